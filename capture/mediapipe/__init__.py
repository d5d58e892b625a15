"""MediaPipe's networks without MediaPipe: where their weights come from, and what runs them."""
