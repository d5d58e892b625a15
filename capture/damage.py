"""Clips that cannot be decoded from some frame on, although their packets count right: these frames are missing.

A clip is known to be damaged only when it is decoded, which the workers do. They leave a note in the store under the
clip's content; the process that started them reads the notes and warns. Decoding always starts at the first frame, so
that the damage begins at the same frame whatever the chunks and the workers.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        first = first_missing(self.store, self.sha256.values())
        return [
            replace(view, source_frame=_decodable(view.source_frame, first.get(self.sha256[view.clip.path])))
            for view in view_frames(clips, timeline, chunk_frames, self)
        ]

    def missing(self, clips: Sequence[Clip], timeline: Timeline) -> tuple[dict[str, str], dict[str, str]]:
        """Damage in clips that have been decoded.

        Returns:
            A sentence for each damaged view, and one for each of these that has fewer than half of its frames.
        """
        damaged, unusable = {}, {}
        known = first_missing(self.store, (self.sha256[clip.path] for clip in clips))
        for clip, source in zip(clips, timeline.source_frame, strict=True):
            first = known.get(self.sha256[clip.path])
            has, decodable = np.sum(source >= 0), np.sum(_decodable(source, first) >= 0)
            if decodable == has:
                continue
            damaged[clip.view] = (
                f"{clip.path}: expected {clip.frames} frames, but the clip is damaged: frames {first} to "
                f"{clip.frames - 1} of view {clip.view} cannot be decoded and are missing. Copy it again from the "
                "camera, or remove it to continue without this view."
            )
            if decodable < MIN_SHARE * has:
                unusable[clip.view] = damaged[clip.view]
        return damaged, unusable

    def _group(self, clip: Clip) -> str:
        return f"{GROUP}/{self.sha256[clip.path]}"


def first_missing(store: Store, sha256: Iterable[str]) -> dict[str, int]:
    """The first frame that cannot be decoded, of those of these clips of which a note was left."""
    if store.node(GROUP) is None:  # As nearly always: one request, where each look is one, and not one for each clip.
        return {}
    notes = {each: store.attrs(f"{GROUP}/{each}").get("first_missing") for each in set(sha256)}
    return {each: first for each, first in notes.items() if first is not None}


def _decodable(source_frame: ndarray, first: int | None) -> ndarray:
    return source_frame if first is None else np.where(source_frame < first, source_frame, -1)


def decoded_rows(store: Store, clips: Sequence[Path | None], source_frame: ndarray) -> ndarray:
    """Which frame of each clip belongs to each instant, -1 also where the hands were detected and it was missing.

    Args:
        store: with `detections`.
        clips: of each view, None where there is none.
        source_frame: (view, frame) index into the clip.
    """
    inputs = (store.fingerprint("detections") or {}).get("inputs", {})
    contents = [inputs.get(f"{clip.parent.name}/{clip.name}") if clip is not None else None for clip in clips]
    first = first_missing(store, (sha256 for sha256 in contents if sha256 is not None))
    rows = [_decodable(row, first.get(sha256 or "")) for row, sha256 in zip(source_frame, contents, strict=True)]
    return np.stack(rows) if rows else source_frame.copy()
