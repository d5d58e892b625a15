"""2D keypoints of other detectors."""
