"""Small clips of changing brightness, written for a test, and damaged ones."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

from handpipe.capture.video import clip_writer

SIZE = (64, 48)


def write(path, frames=10, fps=30.0, size=SIZE):
    """A clip whose n-th frame is gray of brightness 20 n."""
    with clip_writer(path, fps, size) as writer:
        for n in range(frames):
            writer.write(np.full((size[1], size[0], 3), 20 * n, np.uint8))
    return path


def overwrite(path, first, last):
    """Other bytes over these packets, as a bad sector or a half-written copy leaves them; the index stays whole."""
    with av.open(str(path)) as file:
        demuxed: Any = file.demux(video=0)
        packets = [(packet.pos, packet.size) for packet in demuxed if packet.size]
    content = bytearray(path.read_bytes())
    for pos, size in packets[first : last + 1]:
        content[pos : pos + size] = b"\xff" * size
    path.write_bytes(content)
    return path
