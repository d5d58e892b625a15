"""The model of two-hand motion: representations, Gaussian-process prior, denoisers, noise schedule."""
