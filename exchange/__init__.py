"""Every foreign format, in and out: one entry each in the registry."""
