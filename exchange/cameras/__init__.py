"""Camera files of other programs."""
