"""Clips that cannot be decoded from some frame on, although their packets count right: these frames are missing.

A clip is known to be damaged only when it is decoded, which the workers do. They leave a note in the store under the
clip's content; the process that started them reads the notes and warns. Decoding always starts at the first frame, so
that the damage begins at the same frame whatever the chunks and the workers.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy import ndarray

from ..core.recording import Clip, Timeline, ViewFrames
from ..core.storage.store import Store
from .frames import view_frames
from .video import DamagedClip, read_frames

GROUP = "_damage"
"""Group with one group of attributes for each damaged clip."""

MIN_SHARE = 0.5
"""Of a view's frames that can be decoded; with fewer, the view counts as unusable."""


@dataclass(frozen=True)
class UntilDamage:
    """Reads clips up to where they cannot be decoded any more."""

    store: Store
    """Where the note is left."""
    sha256: Mapping[Path, str]
    """Content of each clip."""

    def __call__(self, clip: Clip, wanted: Sequence[int]) -> Iterator[ndarray]:
        """The wanted frames as `read_frames` yields them; ends early at the first that cannot be decoded."""
        try:
            yield from read_frames(clip, wanted)
        except DamagedClip as damage:
            self.store.set_attrs(self._group(clip), first_missing=damage.frame)

    def views(self, clips: Sequence[Clip], timeline: Timeline, chunk_frames: int) -> list[ViewFrames]:
        """All views of a session, in order, without the frames that are known to be missing."""
        frames = view_frames(clips, timeline, chunk_frames, self)
        return [replace(view, source_frame=self._decodable(view.clip, view.source_frame)) for view in frames]

    def missing(self, clips: Sequence[Clip], timeline: Timeline) -> tuple[dict[str, str], dict[str, str]]:
        """Damage in clips that have been decoded.

        Returns:
            A sentence for each damaged view, and one for each of these that has fewer than half of its frames.
        """
        damaged, unusable = {}, {}
        for clip, source in zip(clips, timeline.source_frame, strict=True):
            has, decodable = np.sum(source >= 0), np.sum(self._decodable(clip, source) >= 0)
            if decodable == has:
                continue
            first = self._first_missing(clip)
            damaged[clip.view] = (
                f"{clip.path}: expected {clip.frames} frames, but the clip is damaged: frames {first} to "
                f"{clip.frames - 1} of view {clip.view} cannot be decoded and are missing. Copy it again from the "
                "camera, or remove it to continue without this view."
            )
            if decodable < MIN_SHARE * has:
                unusable[clip.view] = damaged[clip.view]
        return damaged, unusable

    def _decodable(self, clip: Clip, source_frame: ndarray) -> ndarray:
        return np.where(source_frame < self._first_missing(clip), source_frame, -1)

    def _first_missing(self, clip: Clip) -> int:
        return self.store.attrs(self._group(clip)).get("first_missing", clip.frames)

    def _group(self, clip: Clip) -> str:
        return f"{GROUP}/{self.sha256[clip.path]}"


def decoded_rows(store: Store, clips: Sequence[Path | None], source_frame: ndarray) -> ndarray:
    """Which frame of each clip belongs to each instant, -1 also where the hands were detected and it was missing.

    Args:
        store: with `detections`.
        clips: of each view, None where there is none.
        source_frame: (view, frame) index into the clip.
    """
    inputs = (store.fingerprint("detections") or {}).get("inputs", {})
    rows = source_frame.copy()
    for row, clip in zip(rows, clips, strict=True):
        sha256 = inputs.get(f"{clip.parent.name}/{clip.name}") if clip is not None else None
        first = store.attrs(f"{GROUP}/{sha256}").get("first_missing") if sha256 is not None else None
        if first is not None:
            row[row >= first] = -1
    return rows
