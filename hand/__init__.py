"""The hand: names of joints, anatomy, the hand model and the procedural hand."""
