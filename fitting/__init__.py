"""Fitting MANO to keypoints: one shape per hand, and a pose per frame, smooth over time."""
