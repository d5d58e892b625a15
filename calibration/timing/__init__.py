"""When the images of the board were taken."""
