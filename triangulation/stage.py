"""The `triangulate` stage: `groups` (candidates grouped into hands, frame by frame), `tracks` (hand identity over the
whole session), `keypoints` (triangulated joints of both hands)."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.engine import Plan, Unit
from ..core.hands import HANDS
from ..core.storage.candidates import detections_group, read_candidates, read_found_by, read_taken_px
from ..core.storage.schema import GROUPS, KEYPOINTS, TRACKS, Columns, group_spec, read_cameras
from ..core.storage.spec import PART_FRAMES
from ..core.storage.store import Store
from .assignment import add_second_look, labelled_members, predict_hands, recover_hands, triangulate_assigned
from .grouping import SLOTS, HandGroups, group_hands
from .settings import TriangulationSettings
from .tracking import track_hands

CODE = 7
"""Version of this code. Increase it when results change for the same input."""

RUN_FRAMES, MOST_RUNS = 256, 32
"""Frames that are read at a time for `reprojection_px`, and how often at most."""


@dataclass(frozen=True)
class _Inputs:
    """The inputs of a task."""

    store: Store
    rig: Store


@dataclass(frozen=True)
class GroupFrames:
    """Task that groups the candidates of all views into hands, in a chunk of frames."""

    inputs: _Inputs
    unit: Unit
    frames: slice

    @property
    def units(self) -> Sequence[Unit]:
        return [self.unit]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        store = self.inputs.store
        found = read_candidates(store, self.frames, second_look=False)
        found_by = read_found_by(store, detections_group(store), (slice(None), self.frames))
        candidates = found["points"], found["score"], found["right"], found_by
        groups = group_hands(read_cameras(self.inputs.rig), *candidates)
        yield (
            self.unit,
            {"member": groups.member.transpose(2, 0, 1), "points": groups.points_m, "votes": groups.votes},
        )


@dataclass(frozen=True)
class TrackHands:
    """Task that tracks and labels the hands of the whole session."""

    store: Store
    fps: float
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        member, points, votes = self.store.read_each("groups", ("member", "points", "votes")).values()
        groups = HandGroups(member.transpose(1, 2, 0).astype(int), points.astype(float), votes.astype(float))
        tracks = track_hands(groups, self.fps)
        yield (
            todo[0],
            {
                "slot": tracks.slot,
                "points": tracks.points_m,
                "predicted": predict_hands(tracks.points_m, self.fps),
            },
        )


@dataclass(frozen=True)
class TriangulateFrames:
    """Task that triangulates the joints of both hands in a chunk of frames."""

    inputs: _Inputs
    options: TriangulationSettings
    second_look: bool
    unit: Unit
    frames: slice

    @property
    def units(self) -> Sequence[Unit]:
        return [self.unit]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        store, frames = self.inputs.store, self.frames
        cameras, found = read_cameras(self.inputs.rig), read_candidates(store, frames, self.second_look)
        member = store.read("groups", "member", (slice(None), frames)).transpose(1, 2, 0).astype(int)
        slot, points, predicted = store.read_each("tracks", ("slot", "points", "predicted"), frames).values()
        member = labelled_members(member, slot.astype(int))
        open_ = self._without_known(found["points"], points)
        member = recover_hands(cameras, open_, found["score"], member, points.astype(float), predicted.astype(float))
        if self.second_look:
            member = add_second_look(cameras, found["points"], found["score"], member, points.astype(float))
        assignment = member.transpose(2, 0, 1)
        robust = triangulate_assigned(cameras, found["points"], found["score"], assignment, found["sigma"])
        certain = robust.sigma_m <= self.options.max_sigma_m
        yield (
            self.unit,
            {
                "points": np.where(certain[..., None], robust.points_m, np.nan),
                "sigma": np.where(certain, robust.sigma_m, np.nan),
                "assignment": assignment,
                "inlier": np.moveaxis(robust.inlier & certain[..., None], -1, 0),
            },
        )

    def _without_known(self, candidates_px: ndarray, points_m: ndarray) -> ndarray:
        """The candidates without those of the second look, which must not start new hands."""
        if not self.second_look:
            return candidates_px
        open_ = candidates_px.copy()
        again = open_[:, :, -len(HANDS) :]
        again[:, np.isfinite(points_m).any((-2, -1))] = np.nan
        return open_


def groups_plan(store: Store, rig: Store, options: TriangulationSettings, chunk_frames: int) -> Plan:
    """Group the candidates of every frame into hands.

    Args:
        store: store with `detections`.
        rig: store with `cameras`.
        options: unused by this group.
        chunk_frames: frames per unit.
    """
    return _plan_over_frames(
        "groups",
        GROUPS,
        store,
        chunk_frames,
        task=lambda unit, frames: GroupFrames(_Inputs(store, rig), unit, frames),
        fingerprint={
            "settings": {},
            "inputs": _fingerprints(store, detections_group(store)) | _fingerprints(rig, "cameras"),
        },
    )


def tracks_plan(store: Store, rig: Store, options: TriangulationSettings, chunk_frames: int) -> Plan:
    """Follow the hands over time and label them; arguments as for `groups_plan`."""
    del rig, options, chunk_frames
    fps, (_, frames) = _length(store)
    group = group_spec(
        "tracks",
        TRACKS,
        sizes={"frame": frames, "session": 1},
        unit={"session": 1},
        fingerprint={"settings": {"fps": fps}, "inputs": _fingerprints(store, "groups"), "code": CODE},
        attrs={"fps": fps},
        parts={"frame": PART_FRAMES},
    )
    return Plan(group, [TrackHands(store, fps)], {(0,): 1}, "session")


def keypoints_plan(
    store: Store, rig: Store, options: TriangulationSettings, chunk_frames: int, second_look: bool = False
) -> Plan:
    """Triangulate every joint; arguments as for `groups_plan`, and whether the group `second_look` is used."""
    return _plan_over_frames(
        "keypoints",
        KEYPOINTS,
        store,
        chunk_frames,
        task=lambda unit, frames: TriangulateFrames(_Inputs(store, rig), options, second_look, unit, frames),
        fingerprint={
            "settings": asdict(options),
            "inputs": _fingerprints(store, "tracks", *(["second_look"] if second_look else [])),
        },
        summarize=lambda store: {"reprojection_px": reprojection_px(store, rig)},
    )


IDENTITY_PLANS: Mapping[str, Callable[[Store, Store, TriangulationSettings, int], Plan]] = {
    "groups": groups_plan,
    "tracks": tracks_plan,
}
"""The groups of the stage before `keypoints`, in order. The second look runs between them and `keypoints`."""


def _plan_over_frames(
    name: str,
    columns: Columns,
    store: Store,
    chunk_frames: int,
    task: Callable[[Unit, slice], Any],
    fingerprint: Mapping[str, Any],
    summarize: Callable[[Store], dict[str, Any]] = lambda store: {},
) -> Plan:
    fps, (views, frames) = _length(store)
    chunk = min(chunk_frames, frames)
    slices = {(i,): slice(start, min(start + chunk, frames)) for i, start in enumerate(range(0, frames, chunk))}
    group = group_spec(
        name,
        columns,
        sizes={"view": views, "frame": frames, "slot": SLOTS},
        unit={"frame": chunk},
        fingerprint={**fingerprint, "code": CODE},
        attrs={"fps": fps},
        coords={"view": (("view",), np.array(store.labels("detections", "view"), object))},
    )
    tasks = [task(unit, part) for unit, part in slices.items()]
    return Plan(group, tasks, {unit: part.stop - part.start for unit, part in slices.items()}, "frames", summarize)


def _length(store: Store) -> tuple[float, tuple[int, int]]:
    views, frames = store.shape("timeline", "source_frame")
    return store.attrs("timeline")["fps"], (views, frames)


def _fingerprints(store: Store, *groups: str) -> dict[str, Any]:
    return {group: store.digest_of(group) for group in groups}


def reprojection_px(store: Store, rig: Store) -> float | None:
    """Median distance between the used detections and where their points project; None without any.

    Of more than 8,192 frames, runs of 256 spread over the recording are read: one process holds all distances.
    """
    cameras = read_cameras(rig)
    frames = store.shape("keypoints", "points")[0]
    starts = range(0, frames, RUN_FRAMES)
    errors = []
    for at in np.linspace(0, len(starts) - 1, min(len(starts), MOST_RUNS)).astype(int).tolist():
        part = slice(starts[at], starts[at] + RUN_FRAMES)
        points = store.read("keypoints", "points", part).astype(float)
        distance = np.linalg.norm(cameras.project(points) - read_taken_px(store, part), axis=-1)
        errors.append(distance[store.read("keypoints", "inlier", (slice(None), part))])
    every = np.concatenate(errors)
    return float(np.median(every)) if len(every) else None
