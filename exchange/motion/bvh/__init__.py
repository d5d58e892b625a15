"""Biovision Hierarchy (BVH)."""
