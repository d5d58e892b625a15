"""A 2D detector that learns from a rig: the fitted hands, projected into every view, are its labels."""
