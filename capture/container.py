"""What a clip's container really holds: packets are counted and their times read, without decoding where that suffices.

Headers are claims: an edit list hides frames, a stream of sound runs on, a browser writes no duration, a phone records
with a variable rate. OpenCV reports the claims; what it decodes is right, so that it stays the decoder.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy import ndarray

MAX_UNEVEN = 0.25
"""Deviation of presentation times from a regular rate, in steps, up to which the rate counts as regular."""

ROUNDING_S = 0.0011
"""Containers such as Matroska round times to a millisecond."""

MIN_FRAMES = 3
"""Fewer frames do not show a rate."""


@dataclass(frozen=True)
class Contents:
    """The frames of a clip, counted."""

    frames: int
    """That can be decoded."""
    time_s: ndarray
    """(frame,) presentation times since the first frame, seconds; empty where the container has none."""
    broken: int = 0
    """Packets that cannot be decoded."""

    def fps(self) -> float:
        """Mean rate of the presentation times; NaN where they do not tell."""
        if len(self.time_s) < MIN_FRAMES or not self.time_s[-1] > 0:
            return float("nan")
        return float((len(self.time_s) - 1) / self.time_s[-1])

    def uneven(self) -> bool:
        """Whether the presentation times are not those of a regular rate."""
        if not self.fps() > 0:
            return False
        away = np.abs(self.time_s - np.arange(len(self.time_s)) / self.fps())
        return bool(away.max() > max(MAX_UNEVEN / self.fps(), ROUNDING_S))


def contents(path: Path, declared: int) -> Contents | None:
    """Count the frames of a clip's first video stream, None where PyAV cannot open it.

    Args:
        path: the clip.
        declared: number of frames according to its header. Where the packets agree, nothing is decoded.
    """
    # FFmpeg takes what stands before a colon for a protocol, unless the path is absolute.
    try:
        with av.open(str(path.absolute()), metadata_errors="ignore") as file:
            if not file.streams.video:
                return None
            times, sound = _packets(file, file.streams.video[0])
            if sound and len(times) == declared:
                return Contents(declared, since_first(times))
        with av.open(str(path.absolute()), metadata_errors="ignore") as file:
            return _decoded(file, file.streams.video[0])
    except (FFmpegError, OSError, ValueError):
        return None


def _packets(file: InputContainer, stream: VideoStream) -> tuple[list[float | None], bool]:
    """Time of each packet that is shown, and whether no packet looks damaged."""
    times, sound = [], True
    for packet in file.demux(stream):
        if packet.size and not packet.is_discard:
            base = packet.time_base
            times.append(None if packet.pts is None or base is None else float(packet.pts * base))
            # A hole in a file reads as zeros, and no codec's packet begins with that many.
            sound = sound and not packet.is_corrupt and any(memoryview(packet)[:16])
            # Frames before the first key frame, in either order, may miss what they are predicted from.
            sound = sound and (packet.is_keyframe or len(times) > 1) and not _before(times[-1], times[0])
    return times, sound


def _before(time: float | None, first: float | None) -> bool:
    return time is not None and first is not None and time < first


def _decoded(file: InputContainer, stream: VideoStream) -> Contents:
    times, broken = [], 0
    for packet in file.demux(stream):
        try:
            frames = packet.decode()
        except FFmpegError:
            broken += 1
            continue
        times += [frame.time for frame in frames]
    return Contents(len(times), since_first(times), broken)


def since_first(times: list[float | None]) -> ndarray:
    """Ascending times since the first; equal ones, which are rounded, are spread between their neighbours."""
    known = [time for time in times if time is not None]
    if len(known) < len(times) or not known:
        return np.zeros(0)
    time_s = np.sort(np.array(known)) - min(known)
    distinct, first = np.unique(time_s, return_index=True)
    if len(distinct) > 1:
        time_s = np.interp(np.arange(len(time_s)), first, distinct)
        # The last ones have no later neighbour.
        tail = np.arange(len(time_s)) - first[-1]
        time_s += np.maximum(tail, 0) * (distinct[-1] - distinct[-2]) / (first[-1] - first[-2])
    return time_s
