"""Two-hand motion: representations, the diffusion model, its training and sampling (HandDiffuse, arXiv 2312.04867)."""
