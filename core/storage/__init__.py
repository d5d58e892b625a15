"""The Zarr store: its schema, its lock, whole-or-absent units."""
