"""Kinds of cameras, one module each."""
