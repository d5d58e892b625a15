"""The second look of the `triangulate` stage: detection is repeated in views that missed a hand or detected it poorly.

Where hands are close to each other, a detector often finds only one of them, or mixes both. Once other views determine
the positions of the hands, the detector is told where the hand is in the image of such a view. One that cannot be told
runs on a crop around the hand, in which the other hand is painted over. The result is an additional candidate;
`keypoints` decides whether it is used.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.engine import Plan, Unit
from ..core.hands import HANDS, NUM_JOINTS
from ..core.recording import Session, ViewFrames, ViewsOf
from ..core.storage.candidates import candidates_at, detections_group
from ..core.storage.schema import LOOK_UNCERTAINTY, LOOKS, SECOND_LOOK, group_spec, read_cameras
from ..core.storage.store import Store
from .assignment import labelled_members
from .settings import SecondLookSettings

GROUP, LOOKS_GROUP = "second_look", "looks"
CODE = 2
"""Version of this code. Increase it when results change for the same input."""

MIN_JOINTS = 10
"""Minimum number of joints of a hand that must be known and inside the image for a second look."""


class Seen(Protocol):
    """The expected hand, or none: arrays with one entry, or empty."""

    @property
    def points_px(self) -> ndarray: ...
    @property
    def score(self) -> ndarray: ...
    @property
    def right(self) -> ndarray: ...
    @property
    def sigma_px(self) -> ndarray | None: ...


class LookForHand(Protocol):
    """Looks for one hand in an image. It is sent to the workers: a picklable value."""

    @property
    def gives_sigma(self) -> bool:
        """Whether `sigma_px` is known of every hand."""
        ...

    def __call__(self, image_bgr: ndarray, hands_px: ndarray, hand: int) -> Seen:
        """The hand of an index, in an image in which the hands are expected at (hand, 21, 2) pixels."""
        ...


# ---- where to look -----------------------------------------------------------------------------------------------


def choose_looks(cameras: Cameras, hands_m: ndarray, taken_px: ndarray, options: SecondLookSettings) -> ndarray:
    """Select the hands and views for a second look; frames are independent of one another.

    Args:
        cameras: the rig; a view without calibration is never chosen.
        hands_m: (frame, hand, 21, 3) where the hands are, NaN where unknown.
        taken_px: (view, frame, hand, 21, 2) the detection taken for each hand so far, NaN where none.
        options: thresholds.

    Returns:
        (view, frame, hand) bool.
    """
    views, frames, hands = taken_px.shape[:3]
    expected = cameras.project(hands_m)
    with np.errstate(invalid="ignore"):
        inside = ((expected >= -0.5) & (expected <= cameras.size_px[:, None, None, None] - 0.5)).all(-1)
    visible = inside.sum(-1) >= MIN_JOINTS
    z = (
        np.einsum("vi,fhji->vfhj", cameras.T_cam_world[:, 2, :3], hands_m)
        + cameras.T_cam_world[:, 2, 3, None, None, None]
    )
    error2 = ((taken_px - expected) ** 2).sum(-1) * (z / cameras.focal_px[:, None, None, None]) ** 2
    known = np.isfinite(error2)
    count = known.sum(-1)
    error_m = np.sqrt(np.where(known, error2, 0.0).sum(-1) / np.maximum(count, 1))
    error_m = np.where(count > 0, error_m, np.inf)
    # The worst first; among the missed ones, those that a camera sees from nearby.
    need = np.where(visible & (error_m > options.max_error_m), error_m, -1.0).transpose(1, 0, 2).reshape(frames, -1)
    depth = np.where(known | inside, z, np.inf).min(-1).transpose(1, 0, 2).reshape(frames, -1)
    order = np.lexsort((depth, -need), axis=-1)
    most = max(1, int(options.max_share * cameras.calibrated.sum() * hands))
    chosen = np.zeros((frames, views * hands), bool)
    np.put_along_axis(chosen, order[:, :most], True, axis=1)
    return (chosen & (need > 0)).reshape(frames, views, hands).transpose(1, 0, 2)


# ---- the group ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChooseLooks:
    """Task that chooses the looks in a chunk of frames. All views are ranked together, because they share a budget."""

    store: Store
    rig: Store
    options: SecondLookSettings
    unit: Unit
    frames: slice

    @property
    def units(self) -> Sequence[Unit]:
        return [self.unit]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        store, part = self.store, self.frames
        slots = store.read("groups", "member", (slice(None), part)).astype(int).transpose(1, 2, 0)
        member = labelled_members(slots, store.read("tracks", "slot", part).astype(int)).transpose(2, 0, 1)
        taken = candidates_at(store.read(detections_group(store), "points", (slice(None), part)), member)
        yield self.unit, {"look": choose_looks(read_cameras(self.rig), hands_m(store, part), taken, self.options)}


def hands_m(store: Store, frames: slice) -> ndarray:
    """(frame, hand, 21, 3) where the hands are, or are expected."""
    points, predicted = store.read_each("tracks", ("points", "predicted"), frames).values()
    missing = ~np.isfinite(points).any((-2, -1), keepdims=True)
    return np.where(missing, predicted, points).astype(float)


@dataclass(frozen=True)
class LookAgain:
    """Task for one view. Its clip is decoded once, from the first to the last image with a second look."""

    store: Store
    rig: Store
    frames: ViewFrames
    detect: LookForHand

    @property
    def units(self) -> Sequence[Unit]:
        return self.frames.units

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        view = read_cameras(self.rig).subset([self.frames.view])
        chosen = {unit: self._looks(unit) for unit in todo}
        wanted = [self.frames.chunk(unit)[looks.any(-1)] for unit, looks in chosen.items()]
        wanted = np.unique(np.concatenate(wanted)).tolist()
        images = zip(wanted, self.frames.read(self.frames.clip, wanted), strict=True)
        at, image = -1, np.empty(0)
        for unit, looks in chosen.items():
            blocks = self._empty(len(looks))
            hands = hands_m(self.store, self._part(unit))
            expected, at_image = (view.project(each)[0] for each in (hands, self._at_image(unit, hands)))
            for i in np.flatnonzero(looks.any(-1)).tolist():
                source = int(self.frames.chunk(unit)[i])
                if source > at:
                    at, image = next(images)
                for hand in np.flatnonzero(looks[i]).tolist():
                    blocks["score"][0, i, hand] = 0.0
                    seen = self.detect(image, at_image[i], hand)
                    # Move the result to the time of the instant, like the first detections.
                    points = seen.points_px + np.nan_to_num(expected[i, hand] - at_image[i, hand])
                    found = {"points": points, "score": seen.score, "right": seen.right, "sigma": seen.sigma_px}
                    for name in blocks if len(points) else ():
                        blocks[name][0, i, hand] = found[name][0]
            yield unit, blocks

    def _empty(self, frames: int) -> dict[str, ndarray]:
        tails = {"points": (NUM_JOINTS, 2), "score": (), "right": ()}
        tails |= {"sigma": (NUM_JOINTS,)} if self.detect.gives_sigma else {}
        return {name: np.full((1, frames, len(HANDS), *tail), np.nan, np.float32) for name, tail in tails.items()}

    def _part(self, unit: Unit) -> slice:
        start = unit[1] * self.frames.chunk_frames
        return slice(start, start + len(self.frames.chunk(unit)))

    def _at_image(self, unit: Unit, hands: ndarray) -> ndarray:
        """The hands of a unit's instants (frame, hand, joint, 3) when this view's images were taken."""
        if detections_group(self.store) == "detections":
            return hands
        part = self._part(unit)
        lag_s = self.store.read("clock", "lag", (slice(self.frames.view, self.frames.view + 1), part))[0]
        lag = np.nan_to_num(lag_s * self.store.attrs("clock")["fps"])[:, None, None, None]
        # At the ends of the recording, the hand keeps its position.
        before = hands[:1] if part.start == 0 else hands_m(self.store, slice(part.start - 1, part.start))
        after = np.concatenate([hands_m(self.store, slice(part.stop, part.stop + 1)), hands[-1:]])[:1]
        before, after = np.concatenate([before, hands[:-1]]), np.concatenate([hands[1:], after])
        moved = hands + np.abs(lag) * (np.where(lag > 0, before, after) - hands)
        return np.where(np.isfinite(moved), moved, hands)

    def _looks(self, unit: Unit) -> ndarray:
        """(frame, hand) bool: second looks of this view."""
        view = slice(self.frames.view, self.frames.view + 1)
        look = self.store.read(LOOKS_GROUP, "look", (view, self._part(unit)))[0]
        return look & (self.frames.chunk(unit) >= 0)[:, None]


def looks_plan(store: Store, rig: Store, options: SecondLookSettings, chunk_frames: int) -> Plan:
    """The plan of the group `looks`: in which images which hands are looked for again.

    Args:
        store: with `detections`, `groups` and `tracks`.
        rig: with `cameras`.
        options: where to look.
        chunk_frames: frames per unit.
    """
    views, frames = store.shape("groups", "member")[:2]
    chunk = min(chunk_frames, frames)
    slices = {(i,): slice(start, min(start + chunk, frames)) for i, start in enumerate(range(0, frames, chunk))}
    group = group_spec(
        LOOKS_GROUP,
        LOOKS,
        sizes={"view": views, "frame": frames},
        unit={"frame": chunk},
        fingerprint={
            "settings": _settings(options),
            "inputs": {"tracks": store.digest_of("tracks")},
            "code": CODE,
        },
        attrs={},
        coords={"view": (("view",), np.array(store.labels("detections", "view"), object))},
    )
    tasks = [ChooseLooks(store, rig, options, unit, part) for unit, part in slices.items()]
    return Plan(group, tasks, {unit: part.stop - part.start for unit, part in slices.items()}, "frames")


def _settings(options: SecondLookSettings) -> dict[str, Any]:
    chosen = asdict(options)
    del chosen["enabled"]
    return chosen


def plan(
    session: Session,
    store: Store,
    rig: Store,
    views_of: ViewsOf,
    detect: LookForHand,
    options: SecondLookSettings,
    chunk_frames: int,
    version: str | None = None,
) -> Plan:
    """The plan of the group `second_look`.

    Args:
        session: the clips.
        store: store with `tracks` and `looks`.
        rig: store with `cameras`.
        views_of: reads the clips.
        detect: looks for one hand in one image.
        options: where the looks were chosen.
        chunk_frames: frames per unit.
        version: what the results of `detect` depend on besides the detector of `detections`.
    """
    views, frames = session.timeline.source_frame.shape
    chunk = min(chunk_frames, frames)
    timeline = session.timeline
    if detections_group(store) == "aligned":
        timeline = replace(timeline, source_frame=store.read("clock", "source_frame"))
    clips = views_of(session.clips, timeline, chunk)
    tasks = [LookAgain(store, rig, view, detect) for view in clips]
    group = group_spec(
        GROUP,
        {**SECOND_LOOK, **(LOOK_UNCERTAINTY if detect.gives_sigma else {})},
        sizes={"view": views, "frame": frames},
        unit={"view": 1, "frame": chunk},
        # The digest of the tracks covers their inputs: clips, detector, cameras.
        fingerprint={
            "settings": _settings(options),
            "inputs": {"tracks": store.digest_of("tracks")} | ({} if version is None else {"near": version}),
            "code": CODE,
        },
        attrs={"fps": session.fps},
        coords={"view": (("view",), np.array(session.views, object))},
    )
    weight = {unit: len(task.frames.chunk(unit)) for task in tasks for unit in task.units}
    return Plan(group, tasks, weight, "images", summarize)


def summarize(store: Store) -> dict[str, Any]:
    """Number of second looks per image, and the share of them that found a hand."""
    views, frames, _ = store.shape(GROUP, "score")
    looks = found = 0
    for view in range(views):
        score = store.read(GROUP, "score", slice(view, view + 1))
        looks, found = looks + int(np.isfinite(score).sum()), found + int((score > 0).sum())
    return {"looks_per_image": looks / (views * frames), "found": float(found / max(looks, 1))}
