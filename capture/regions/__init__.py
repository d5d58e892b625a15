"""Regions of images in which hands are expected."""
