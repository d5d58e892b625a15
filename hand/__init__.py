"""The hand: joint order, anatomy, the MANO model, the procedural hand, and motion in stores."""
