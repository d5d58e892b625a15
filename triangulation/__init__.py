"""Time synchronisation, hand identity, and robust triangulation of hand joints."""
