"""The group `quality`: how far every view agrees with the result, and the checks that follow from it."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.engine import Plan, Unit
from ...core.quality import Check, as_attributes
from ...core.storage.schema import QUALITY, detections_group, group_spec, read_cameras
from ...core.storage.store import Store
from .checks import NO_FRAMES, Evidence, checks_of, fast_steps, frames_together
from .rig_hypotheses import explain_nothing
from .view_agreement import Agreement, Explanation, agreement, both_of_a_pair, explain

GROUP = "quality"
CODE = 1
"""Raised when the same input would give other numbers."""
MAX_FRAMES = 600
"""Frames that are read, spread over the recording in runs: what is wrong with a view is wrong in all of it."""
RUN = 60
"""Frames on end, so that a delay can be seen."""
MAX_EXAMINED = 6
"""Views that are explained, the worst first."""


@dataclass(frozen=True)
class MeasureAgreement:
    """Every view against the hands in space."""

    store: Store
    rig: Store
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        found = _measured(self.store, self.rig)[-1]
        yield todo[0], {"share": found.share, "error": found.error_px, "candidates": found.count}


def quality_plan(store: Store, rig: Store, root: str, chunk_frames: int) -> Plan:
    """Judge the keypoints by the detections of all views, used or not.

    Args:
        store: with `detections`, `groups` and `keypoints`.
        rig: with `cameras`.
        root: the session's folder, for what the checks advise.
        chunk_frames: unused; the whole session is judged at once.
    """
    del chunk_frames
    views = store.labels("detections", "view")
    group = group_spec(
        GROUP,
        QUALITY,
        sizes={"view": len(views), "session": 1},
        unit={"session": 1},
        fingerprint={"settings": {}, "inputs": {"keypoints": store.digest_of("keypoints")}, "code": CODE},
        attrs={},
        coords={"view": (("view",), np.array(views, object))},
    )
    return Plan(group, [MeasureAgreement(store, rig)], {(0,): 1}, "session", lambda store: _judged(store, rig, root))


def _judged(store: Store, rig: Store, root: str) -> dict[str, Any]:
    return {"keypoint_checks": as_attributes(judge(store, rig, root))["checks"]}


def judge(store: Store, rig: Store, root: str) -> tuple[Check, ...]:
    """The checks of a triangulated session."""
    cameras, frames, points, hands, found = _measured(store, rig)
    fps = float(store.attrs("keypoints")["fps"])
    there = (np.isfinite(points[..., 0]).sum(-1) > 0).any(-1) & cameras.calibrated[:, None]
    seen = np.asarray(there.sum(0) >= 2)
    known = np.asarray(np.isfinite(store.read("keypoints", "points")[frames]).any(axis=(1, 2, 3)))
    share = float(known[seen].mean()) if seen.any() else 0.0
    explained: dict[str, Explanation | None] = {}
    examined = [int(i) for i in np.argsort(np.nan_to_num(found.share, nan=2.0)) if found.suspect[i]]
    for view in examined[:MAX_EXAMINED]:
        explained[cameras.names[view]] = explain(cameras, hands, points, found, view, fps)
    nothing = None
    if share < NO_FRAMES and seen.any():
        group, region = detections_group(store), (slice(None), frames)
        score, right = (np.asarray(store.read(group, name))[region] for name in ("score", "right"))
        nothing = explain_nothing(cameras, points, score, right)
    keypoints = store.read("keypoints", "points").astype(float)
    return checks_of(
        Evidence(
            seen=float(seen.mean()) if len(seen) else 0.0,
            found=share,
            agreement=found,
            views=cameras.names,
            explained=both_of_a_pair(explained),
            nothing=nothing,
            fast=fast_steps(keypoints, fps),
            together=frames_together(keypoints),
        ),
        root,
    )


def _measured(store: Store, rig: Store) -> tuple[Cameras, ndarray, ndarray, ndarray, Agreement]:
    """The rig, the frames that are looked at, all candidates and the hands in them, and how far they agree."""
    cameras = read_cameras(rig)
    total = store.read("keypoints", "sigma").shape[0]
    runs = max(1, MAX_FRAMES // RUN)
    starts = np.unique(np.linspace(0, max(0, total - RUN), runs).astype(int)) if total > MAX_FRAMES else np.array([0])
    length = RUN if total > MAX_FRAMES else total
    frames = np.unique(np.concatenate([np.arange(start, start + length) for start in starts]))
    group = detections_group(store)
    parts = [slice(int(start), int(start) + length) for start in starts]
    points = np.concatenate([store.read(group, "points", (slice(None), part)) for part in parts], axis=1).astype(float)
    hands = np.concatenate([store.read("keypoints", "points", part) for part in parts]).astype(float)
    grouped = np.concatenate([store.read("groups", "points", part) for part in parts]).astype(float)[:, :2]
    # Hands that could not be told left from right are in space all the same.
    unlabelled = ~np.isfinite(hands).any((1, 2, 3))
    hands[unlabelled] = grouped[unlabelled]
    taken = np.searchsorted(frames, np.concatenate([np.arange(p.start, p.stop) for p in parts]))
    order = np.unique(taken, return_index=True)[1]
    points, hands = points[:, order], hands[order]
    return cameras, frames, points, hands, agreement(cameras, hands, points)
