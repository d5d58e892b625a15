"""MANO: the solver that turns keypoints into one smooth hand."""
