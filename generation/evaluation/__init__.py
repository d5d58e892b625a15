"""Measures of generated motion."""
