"""Camera poses refined from the hands."""
