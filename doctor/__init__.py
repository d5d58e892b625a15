"""`handpipe doctor`: what a recording has wrong, found in seconds and before anything is computed."""
