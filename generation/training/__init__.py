"""Training the diffusion model."""
