"""Where the hands are expected in every frame, from the images of a few frames and views that were searched first.

`first_groups` are the hands in these frames, `places` their motion: linear between two searched frames in which a hand
was found. `detect` then looks for the hands only there.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..core.engine import Plan, Unit
from ..core.storage.candidates import read_found_by
from ..core.storage.schema import DETECTIONS, GROUPS, PLACES, group_spec, read_cameras
from ..core.storage.spec import PART_FRAMES
from ..core.storage.store import Store
from .assignment import predict_hands
from .grouping import SLOTS, HandGroups, group_hands
from .tracking import track_hands

FIRST_LOOK = "first_look"
"""Group with the candidates in the searched images."""
CODE = 1
"""Version of this code. Increase it when results change for the same input."""


@dataclass(frozen=True)
class Searched:
    """Which images are searched first: fixed from the session's start, so that they depend on nothing else."""

    step: int
    """Every how many frames."""
    stride: int
    """One of how many views, in turn."""

    def frames(self, count: int) -> ndarray:
        """Indices of the searched frames; the last frame is one of them, so that every other is between two."""
        return np.unique(np.append(np.arange(0, count, self.step), count - 1))

    def images(self, source_frame: ndarray) -> ndarray:
        """(view, frame) index into the clips, as given, with -1 for images that are not searched."""
        views, count = source_frame.shape
        chosen = np.zeros((views, count), bool)
        for turn, frame in enumerate(self.frames(count).tolist()):
            chosen[:, frame] = (np.arange(views) + turn) % self.stride == 0
        return np.where(chosen, source_frame, -1)


def searched(fps: float, views: int, step_s: float, most_views: int) -> Searched:
    """Images every `step_s` seconds at most, of about `most_views` views each."""
    return Searched(max(1, int(step_s * fps)), max(1, views // most_views))


def interpolated(points_m: ndarray, key: ndarray, frames: int, fps: float) -> tuple[ndarray, ndarray]:
    """Places of the hands in every frame.

    Args:
        points_m: (key, hand, joint, 3) in the searched frames, NaN where not found.
        key: (key,) their indices, from 0 to `frames` - 1.
        frames: number of frames.
        fps: searched frames per second.

    Returns:
        (frame, hand, joint, 3), NaN where a hand is not expected; (frame,) bool, whether whole images are searched: a
        hand was found in the searched frame before, or after, and not in both.
    """
    known = np.asarray(np.isfinite(points_m).any((-2, -1)))
    filled = np.where(known[..., None, None], points_m, predict_hands(points_m, fps))
    at = np.arange(frames)
    after = np.searchsorted(key, at)
    before = np.where(key[after] == at, after, after - 1)
    part = ((at - key[before]) / np.maximum(key[after] - key[before], 1))[:, None, None, None]
    places = filled[before] + part * (filled[after] - filled[before])
    # A searched frame has itself on both sides; there, its neighbours count.
    left, right = np.maximum(before - (before == after), 0), np.minimum(after + (before == after), len(key) - 1)
    sure = known[before] & known[after]
    near = known[left] | known[right] | known[before]
    return places, np.asarray((near & ~sure).any(-1))


@dataclass(frozen=True)
class GroupSearched:
    """Task that groups the candidates of a chunk's searched frames into hands."""

    store: Store
    rig: Store
    key: ndarray
    """Searched frames of the session."""
    unit: Unit
    frames: slice

    @property
    def units(self) -> Sequence[Unit]:
        return [self.unit]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        region = (slice(None), self.frames)
        count = self.frames.stop - self.frames.start
        rows = self.key[(self.key >= self.frames.start) & (self.key < self.frames.stop)] - self.frames.start
        points, score, right = (self.store.read(FIRST_LOOK, name, region)[:, rows] for name in DETECTIONS)
        found_by = read_found_by(self.store, FIRST_LOOK, region)
        found_by = None if found_by is None else found_by[:, rows]
        groups = group_hands(read_cameras(self.rig), points, score, right, found_by)
        blocks = {"member": groups.member.transpose(2, 0, 1), "points": groups.points_m, "votes": groups.votes}
        axis = {"member": 1, "points": 0, "votes": 0}
        yield self.unit, {name: _spread(block, rows, count, axis[name]) for name, block in blocks.items()}


def _spread(block: ndarray, rows: ndarray, count: int, axis: int) -> ndarray:
    """The block with its rows along an axis moved to their places among `count`; -1, 0 or NaN elsewhere."""
    shape = (*block.shape[:axis], count, *block.shape[axis + 1 :])
    empty = -1 if block.dtype.kind == "i" else np.nan if block.ndim > 3 else 0.0
    spread = np.full(shape, empty, block.dtype)
    spread[(slice(None),) * axis + (rows,)] = block
    return spread


@dataclass(frozen=True)
class PlaceHands:
    """Task that follows the hands through the searched frames, and places them in all of them."""

    store: Store
    key: ndarray
    fps: float
    """Searched frames per second."""
    frames: int
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        member, points, votes = self.store.read_each("first_groups", ("member", "points", "votes")).values()
        groups = HandGroups(
            member[:, self.key].transpose(1, 2, 0).astype(int),
            points[self.key].astype(float),
            votes[self.key].astype(float),
        )
        tracks = track_hands(groups, self.fps)
        places, search = interpolated(tracks.points_m, self.key, self.frames, self.fps)
        yield todo[0], {"points": places, "search": search}


def first_groups_plan(store: Store, rig: Store, which: Searched, chunk_frames: int) -> Plan:
    """Group the hands in the searched images.

    Args:
        store: with `timeline` and `first_look`.
        rig: with `cameras`.
        which: the searched images.
        chunk_frames: frames per unit.
    """
    views, frames = store.shape("timeline", "source_frame")
    chunk, key = min(chunk_frames, frames), which.frames(frames)
    slices = {(i,): slice(start, min(start + chunk, frames)) for i, start in enumerate(range(0, frames, chunk))}
    group = group_spec(
        "first_groups",
        GROUPS,
        sizes={"view": views, "frame": frames, "slot": SLOTS},
        unit={"frame": chunk},
        fingerprint={
            "settings": {},
            "inputs": {FIRST_LOOK: store.digest_of(FIRST_LOOK), "cameras": rig.digest_of("cameras")},
            "code": CODE,
        },
        attrs={},
        coords={"view": (("view",), np.array(store.labels(FIRST_LOOK, "view"), object))},
    )
    tasks = [GroupSearched(store, rig, key, unit, part) for unit, part in slices.items()]
    return Plan(group, tasks, {unit: part.stop - part.start for unit, part in slices.items()}, "frames")


def places_plan(store: Store, which: Searched, chunk_frames: int) -> Plan:
    """Where the hands are in every frame; arguments as for `first_groups_plan`."""
    del chunk_frames
    fps, frames = store.attrs("timeline")["fps"], store.shape("timeline", "source_frame")[1]
    group = group_spec(
        "places",
        PLACES,
        sizes={"frame": frames, "session": 1},
        unit={"session": 1},
        fingerprint={
            "settings": {"fps": fps, "step": which.step},
            "inputs": {"first_groups": store.digest_of("first_groups")},
            "code": CODE,
        },
        attrs={"step": which.step, "stride": which.stride},
        parts={"frame": PART_FRAMES},
    )
    return Plan(group, [PlaceHands(store, which.frames(frames), fps / which.step, frames)], {(0,): 1}, "session")
