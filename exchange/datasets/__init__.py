"""Datasets: images with labels."""
