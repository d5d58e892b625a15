"""Regions of images in which hands are expected: what is looked at in them, and how."""
