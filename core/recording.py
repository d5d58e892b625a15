"""Recordings as seen by the stages: clips, the timeline of synchronised frames, and the images of one view at a time.

`capture` creates these records from a session folder. A stage that needs images gets `ViewFrames`, which hide how a
clip is decoded.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy import ndarray

from .engine import Unit
from .files import view_name


@dataclass(frozen=True)
class Clip:
    """One video file: what it really holds, not what its header claims."""

    path: Path
    frames: int
    fps: float
    size_px: tuple[int, int]
    """Width, height."""
    uneven_s: tuple[float, ...] = ()
    """Presentation time of each frame since the first, seconds, where the rate is not regular; else empty."""

    @property
    def view(self) -> str:
        return view_name(self.path)


@dataclass(frozen=True)
class Timeline:
    """The frame of each view at every instant of the session."""

    source_frame: ndarray
    """(view, frame) int64, index into the view's clip; -1 where the view has no frame for this instant."""
    time_s: ndarray
    """(view, frame) float64, capture time in seconds since the first frame; NaN where there is none."""
    timestamps: bool = False
    """Whether the times were measured, not inferred from a regular rate."""
    warnings: tuple[str, ...] = ()
    """What may be wrong with it, a sentence for each."""

    @property
    def frames(self) -> int:
        return self.source_frame.shape[1]

    def digest(self) -> str:
        """SHA-256 of which frames belong together. Capture times are excluded: they do not change detections."""
        return hashlib.sha256(self.source_frame.astype("<i8").tobytes()).hexdigest()

    def fps(self) -> float:
        """Instants per second, from the times: the median step."""
        step = np.diff(np.nanmean(self.time_s[:, np.isfinite(self.time_s).any(0)], axis=0))
        return float(1 / np.median(step)) if len(step) and np.median(step) > 0 else math.nan

    def first(self, frames: int) -> Timeline:
        """The first instants only."""
        return replace(self, source_frame=self.source_frame[:, :frames], time_s=self.time_s[:, :frames])


def regular(views: int, frames: int, fps: float) -> Timeline:
    """The timeline of clips that started together without dropped frames: frame n of every clip is instant n."""
    index = np.broadcast_to(np.arange(frames), (views, frames))
    return Timeline(index.copy(), index / fps)


@dataclass(frozen=True)
class Session:
    """The usable views of a recording."""

    root: Path
    clips: tuple[Clip, ...]
    """One per view, in natural order of the names."""
    board_clips: Mapping[str, Clip]
    """Clips that show the calibration board, by view: those of `calibration/`, else the session's own."""
    timeline: Timeline
    board_timeline: Timeline
    """The same for the board's clips, one row per entry of `board_clips`."""
    fps: float
    left_out: Mapping[str, str]
    """Unusable views and the reason for each."""
    ignored: tuple[str, ...] = ()
    """Files that look like a part of the session and are not used, a sentence for each."""
    warnings: tuple[str, ...] = ()
    """What is used and may be wrong, a sentence for each."""
    lens_clips: Mapping[str, Clip] = field(default_factory=dict)
    """Clips of `intrinsics/` in which one camera films the board by itself, by view."""

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(clip.view for clip in self.clips)

    @property
    def lens_timeline(self) -> Timeline:
        """One row per entry of `lens_clips`; nothing in it is simultaneous, and clips may differ in length."""
        frames = np.array([clip.frames for clip in self.lens_clips.values()])
        index = np.arange(frames.max(initial=0))
        source = np.where(index < frames[:, None], index, -1)
        return Timeline(source, np.where(source >= 0, source / self.fps, np.nan))

    def first(self, frames: int | None) -> Session:
        """The session reduced to its first frames; the board clips are not shortened."""
        return self if frames is None else replace(self, timeline=self.timeline.first(frames))


Seen = TypeVar("Seen")

ReadFrames = Callable[[Clip, Sequence[int]], Iterator[ndarray]]
"""(clip, frames in ascending order) to their images, (height, width, 3) uint8 BGR each; ends early where the clip
cannot be decoded any more."""

ViewsOf = Callable[[Sequence[Clip], Timeline, int], "list[ViewFrames]"]
"""(clips, timeline, frames per chunk) to the frames of every view."""


@dataclass(frozen=True)
class ViewFrames:
    """The instants of one view, cut into the units (view, chunk)."""

    clip: Clip
    view: int
    source_frame: ndarray
    """(frame,) index into the clip, -1 where the view has no frame."""
    chunk_frames: int
    read: ReadFrames
    """Decodes the clip."""

    @property
    def units(self) -> list[Unit]:
        return [(self.view, chunk) for chunk in range(-(-len(self.source_frame) // self.chunk_frames))]

    def chunk(self, unit: Unit) -> ndarray:
        """(frame,) the clip's frames that belong to a unit."""
        return self.source_frame[unit[1] * self.chunk_frames :][: self.chunk_frames]

    def look(self, todo: Sequence[Unit], see: Callable[[ndarray], Seen]) -> Iterator[tuple[Unit, list[Seen | None]]]:
        """Decode the clip once and yield the result of `see` for each instant's image; None if there is no image.

        A clip that cannot be decoded to its end has no images from there on.
        An image that is used for two instants (a duplicated frame) is processed once.
        """
        wanted = np.unique(np.concatenate([self.chunk(unit) for unit in todo]))
        wanted = wanted[wanted >= 0].tolist()
        images = self.read(self.clip, wanted)
        at, seen = -1, None
        for unit in todo:
            found: list[Seen | None] = []
            for frame in self.chunk(unit).tolist():
                if frame > at:
                    at, image = frame, next(images, None)
                    seen = None if image is None else see(image)
                found.append(seen if frame >= 0 else None)
            yield unit, found
