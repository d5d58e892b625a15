"""The `detect` stage: 2D hand candidates in every view and frame."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.engine import Plan, Unit
from ..core.errors import ConfigError
from ..core.hands import NUM_JOINTS
from ..core.recording import Session, ViewFrames, ViewsOf
from ..core.storage.schema import DETECTIONS, FOUND_BY, TIMELINE, UNCERTAINTY, group_spec
from ..core.storage.store import Store
from .detector import Candidates, NearDetector
from .frames import view_frames
from .installed import chosen_detectors, make_detector
from .regions.expected import CODE as EXPECTED_CODE
from .regions.expected import Expected
from .settings import DetectionSettings
from .voting import count_hands

GROUP = "detections"
CODE = 1
"""Version of this code. Increase it when results change for the same clip."""
FRAMES_AT_ONCE = 128
"""Frames whose candidates are compared with each other at a time, to bound memory."""
# `detector` says what those of `detectors` are; what `places` depends on, its digest says.
_NOT_RESULTS = ("detectors", "regions", "search_s", "search_views")


@dataclass(frozen=True)
class KeepTime:
    """Task that writes the session's timeline to the store, for later stages."""

    session: Session
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        timeline = self.session.timeline
        yield todo[0], {"source_frame": timeline.source_frame, "time": timeline.time_s}


def timeline_plan(session: Session) -> Plan:
    """The plan of the `timeline` group, separate from `detections`: changed timestamps do not invalidate detections."""
    views, frames = session.timeline.source_frame.shape
    group = group_spec(
        "timeline",
        TIMELINE,
        sizes={"view": views, "frame": frames, "session": 1},
        unit={"session": 1},
        fingerprint={
            "settings": {"fps": session.fps, "timestamps": session.timeline.timestamps},
            "inputs": {
                "frames": session.timeline.digest(),
                "times": hashlib.sha256(session.timeline.time_s.astype("<f8").tobytes()).hexdigest(),
            },
            "code": CODE,
        },
        attrs={"fps": session.fps, "timestamps": session.timeline.timestamps},
        coords={"view": (("view",), np.array(session.views, object))},
    )
    return Plan(group, [KeepTime(session)], {(0,): 1}, "session")


@dataclass(frozen=True)
class DetectView:
    """Task for one view. Its clip is decoded once, from the first missing chunk to the last."""

    frames: ViewFrames
    options: DetectionSettings
    version: str
    """Version of the detector, as in the fingerprint."""
    expected: Expected | None = None
    """Where to look for the hands; None: in whole images."""

    @property
    def units(self) -> Sequence[Unit]:
        return self.frames.units

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        detector = make_detector(self.options)
        here = chosen_detectors(self.options).version
        if here != self.version:
            names = ", ".join(each.detector for each in self.options.each)
            raise ConfigError(
                f"detector '{names}': expected {self.version} on every worker, but found {here}. Install the same "
                "version on every worker."
            )
        if self.expected is None:
            looked = self.frames.look(todo, detector.detect)
        else:
            assert isinstance(detector, NearDetector)
            looked = self.expected.look(self.frames, todo, detector)
        for unit, found in looked:
            yield unit, self._blocks(found)

    def _blocks(self, found: Sequence[Candidates | None]) -> dict[str, ndarray]:
        limit = len(self.options.each) * self.options.candidates
        shape = (1, len(found), limit)
        fields = {"points": "points_px", "score": "score", "right": "right"}
        fields |= {"sigma": "sigma_px"} if chosen_detectors(self.options).gives_sigma else {}
        fields |= {"found_by": "found_by"} if self.options.detectors else {}
        tails = {"points": (NUM_JOINTS, 2), "sigma": (NUM_JOINTS,)}
        blocks = {name: np.full((*shape, *tails.get(name, ())), np.nan, np.float32) for name in fields}
        for i, candidates in enumerate(found):
            for name, field in fields.items():
                said = None if candidates is None else getattr(candidates, field)
                if said is not None:
                    blocks[name][0, i, : len(said[:limit])] = said[:limit]
        return blocks


def plan(
    session: Session,
    options: DetectionSettings,
    hashes: Mapping[str, str],
    chunk_frames: int,
    views_of: ViewsOf = view_frames,
    expected: Expected | None = None,
    name: str = GROUP,
) -> Plan:
    """The plan of the `detections` group for a session.

    Args:
        session: the clips.
        options: the detector's settings.
        hashes: SHA-256 of each view's clip, and of the detector's model as `model`.
        chunk_frames: frames per unit.
        views_of: reads the clips.
        expected: where to look for the hands; None: in whole images.
        name: the group, if it is another.

    Raises:
        ConfigError, ModelError: as `find_detector` raises them.
    """
    detectors = chosen_detectors(options)
    version, near = detectors.version, {}
    if expected is not None:
        places = expected.store.digest_of("places")
        near = {"near": detectors.near_version, "places": places, "regions": str(EXPECTED_CODE)}
    views, frames = session.timeline.source_frame.shape
    chunk = min(chunk_frames, frames)
    tasks = [DetectView(view, options, version, expected) for view in views_of(session.clips, session.timeline, chunk)]
    settings = {key: value for key, value in asdict(options).items() if key not in _NOT_RESULTS}
    group = group_spec(
        name,
        {**DETECTIONS, **(UNCERTAINTY if detectors.gives_sigma else {}), **(FOUND_BY if options.detectors else {})},
        sizes={"view": views, "frame": frames, "candidate": len(detectors.each) * options.candidates},
        unit={"view": 1, "frame": chunk},
        fingerprint={
            # The model is identified by its content, not by its path.
            "settings": {**settings, "model": None, "detector": detectors.kind},
            "inputs": {**hashes, "detector": version, "timeline": session.timeline.digest(), **near},
            "code": CODE,
        },
        attrs={},
        coords={"view": (("view",), np.array(session.views, object))},
    )
    weight = {unit: len(task.frames.chunk(unit)) for task in tasks for unit in task.units}
    return Plan(group, tasks, weight, "images", summarize if name == GROUP else lambda store: {})


def summarize(store: Store) -> dict[str, Any]:
    """Share of images in which no, one, two, ... hands were found."""
    if not store.has(GROUP, "found_by"):
        count = np.isfinite(store.read(GROUP, "score")).sum(axis=-1)
    else:
        starts = range(0, store.shape(GROUP, "score")[1], FRAMES_AT_ONCE)
        parts = [(slice(None), slice(at, at + FRAMES_AT_ONCE)) for at in starts]
        count = np.concatenate([_count(store, part) for part in parts], axis=1)
    return {"hands_found": (np.bincount(count.ravel(), minlength=3) / count.size).tolist()}


def _count(store: Store, part: tuple[slice, slice]) -> ndarray:
    return count_hands(store.read(GROUP, "points", part), store.read(GROUP, "found_by", part))
