"""handpipe: synchronized clips of two interacting hands in, MANO sequences in Zarr out."""

__version__ = "0.1.0"
