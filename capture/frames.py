"""Decoding every frame of a clip once, chunk by chunk. Shared by hand detection and board detection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy import ndarray

from ..core.engine import Unit
from .timeline import Timeline
from .video import Clip, read_frames

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class ViewFrames:
    """The instants of one view, cut into the units (view, chunk)."""

    clip: Clip
    view: int
    source_frame: ndarray
    """(frame,) index into the clip, -1 where the view has no frame."""
    chunk_frames: int

    @property
    def units(self) -> list[Unit]:
        return [(self.view, chunk) for chunk in range(-(-len(self.source_frame) // self.chunk_frames))]

    def chunk(self, unit: Unit) -> ndarray:
        """(frame,) the clip's frames that belong to a unit."""
        return self.source_frame[unit[1] * self.chunk_frames :][: self.chunk_frames]

    def look(self, todo: Sequence[Unit], see: Callable[[ndarray], Seen]) -> Iterator[tuple[Unit, list[Seen | None]]]:
        """Decode the clip once and yield the result of `see` for each instant's image; None if there is no image.

        An image that is used for two instants (a duplicated frame) is processed once.
        """
        wanted = np.unique(np.concatenate([self.chunk(unit) for unit in todo]))
        wanted = wanted[wanted >= 0].tolist()
        images = zip(wanted, read_frames(self.clip, wanted), strict=True)
        at, seen = -1, None
        for unit in todo:
            found: list[Seen | None] = []
            for frame in self.chunk(unit).tolist():
                if frame > at:
                    at, image = next(images)
                    seen = see(image)
                found.append(seen if frame >= 0 else None)
            yield unit, found


def view_frames(clips: Sequence[Clip], timeline: Timeline, chunk_frames: int) -> list[ViewFrames]:
    """All views of a session, in order."""
    return [ViewFrames(clip, view, timeline.source_frame[view], chunk_frames) for view, clip in enumerate(clips)]
