"""Kinds of calibration boards."""
