"""Session folders, video reading, the timeline of a recording, and 2D hand detection."""
