"""Session on disk, video reading, time, 2D detection, and the synthetic rig."""
