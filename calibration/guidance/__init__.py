"""What to show next while the board is filmed, and when it is enough."""
