"""Sampling motion from a trained model: control files, sampling of any length, and `handpipe generate`."""
