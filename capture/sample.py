"""Some frames of a clip without decoding the others: by seeking, where the packets' times say which frame is which.

`read_frames` is what the stages decode with. This is for a look at a clip: it gives the same frames, sooner.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy import ndarray

from ..core.recording import Clip
from .video import damaged, read_frames

Format = Literal["gray", "bgr24"]


def sample_frames(clip: Clip, wanted: Sequence[int], form: Format = "bgr24") -> Iterator[ndarray]:
    """Yield the wanted frames (ascending indices), as `read_frames` does.

    Yields:
        (height, width, 3) uint8 BGR, or (height, width) uint8 luminance for `gray`.

    Raises:
        DamagedClip: a wanted frame cannot be decoded.
    """
    with av.open(str(clip.path.absolute()), metadata_errors="ignore") as file:
        stream = file.streams.video[0]
        times, keys = _index(file, stream)
    if len(times) != clip.frames or len(np.unique(times)) != clip.frames:
        # Without a time of its own for every frame only counting tells which frame is which.
        for image in read_frames(clip, wanted):
            yield image if form == "bgr24" else image @ np.array([0.114, 0.587, 0.299])
        return
    with av.open(str(clip.path.absolute()), metadata_errors="ignore") as file:
        stream = file.streams.video[0]
        stream.codec_context.thread_count = 1  # The caller's threads are the parallelism.
        at, frames = -1, iter(())
        for index in wanted:
            key = int(np.searchsorted(keys, index, side="right")) - 1
            if at < 0 or (key >= 0 and keys[key] > at):
                file.seek(int(times[index]), stream=stream)
                frames = file.decode(stream)
            image = _shown_at(frames, int(times[index]), form)
            if image is None or image.shape[:2] != clip.size_px[::-1]:
                raise damaged(clip, index)
            at = index
            yield image


def _index(file: InputContainer, stream: VideoStream) -> tuple[ndarray, ndarray]:
    """Times of all frames, ascending, and which of these are key frames; empty where a packet has no time."""
    shown = [packet for packet in file.demux(stream) if packet.size and not packet.is_discard]
    if any(packet.pts is None for packet in shown):
        return np.zeros(0), np.zeros(0)
    times = np.array([packet.pts for packet in shown], np.int64)
    order = np.argsort(times, kind="stable")
    return times[order], np.nonzero(np.array([packet.is_keyframe for packet in shown], bool)[order])[0]


def _shown_at(frames: Iterator[VideoFrame], time: int, form: Format) -> ndarray | None:
    """The decoded frame of a time; None where the clip ends, passes it over, or is damaged."""
    try:
        for frame in frames:
            if frame.pts == time:
                return np.rot90(frame.to_ndarray(format=form), -(frame.rotation // 90))
            if frame.pts is not None and frame.pts > time:
                return None
    except FFmpegError:
        return None
    return None
