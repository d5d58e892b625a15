"""Motion of hands: files of other programs."""
