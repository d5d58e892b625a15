"""The formats of 2D hands: one module each. A hand has 21 joints in MediaPipe's order."""
