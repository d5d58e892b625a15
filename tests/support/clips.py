"""Small clips of changing brightness, written for a test."""

from __future__ import annotations

import numpy as np

from handpipe.capture.video import clip_writer

SIZE = (64, 48)


def write(path, frames=10, fps=30.0, size=SIZE):
    """A clip whose n-th frame is gray of brightness 20 n."""
    with clip_writer(path, fps, size) as writer:
        for n in range(frames):
            writer.write(np.full((size[1], size[0], 3), 20 * n, np.uint8))
    return path
