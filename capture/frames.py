"""Decoding every frame of a clip once, chunk by chunk. Shared by hand detection and board detection."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence

from ..core.recording import Clip, ReadFrames, Timeline, ViewFrames
from .video import read_frames


def view_frames(
    clips: Sequence[Clip], timeline: Timeline, chunk_frames: int, read: ReadFrames = read_frames
) -> list[ViewFrames]:
    """All views of a session, in order."""
    return [ViewFrames(clip, view, timeline.source_frame[view], chunk_frames, read) for view, clip in enumerate(clips)]
