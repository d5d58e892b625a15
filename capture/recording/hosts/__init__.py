"""Recordings by several computers: one start, one clock, one session."""
