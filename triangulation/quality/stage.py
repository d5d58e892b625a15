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
from ...core.storage.candidates import detections_group
from ...core.storage.schema import QUALITY, group_spec, read_cameras
from ...core.storage.store import Store
from .checks import Evidence, checks_of, fast_steps, frames_together
from .explanations import Explanation
from .references import Candidates
from .rig_hypotheses import UNITS_M
from .view_agreement import Agreement
from .views import JudgedViews, judge_views

GROUP = "quality"
CODE = 2
"""Raised when the same input would give other numbers."""
MAX_FRAMES = 600
"""Frames that are read, spread over the recording in runs: what is wrong with a view is wrong in all of it."""
RUN = 60
"""Frames on end, so that a delay can be seen."""

KINDS = (
    "none",
    "exchanged",
    "delay",
    "mirrored",
    "upside down",
    "mirrored upside down",
    "turned left",
    "turned right",
    "size",
    "focal length",
    "moved",
    "cut out",
    "unit",
    "sorted as text",
)
"""What the column `explanation` counts in: no explanation, or why a view or the rig disagrees."""


@dataclass(frozen=True)
class JudgeViews:
    """Task that holds every view against the hands of the others."""

    store: Store
    rig: Store
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        store, cameras = self.store, read_cameras(self.rig)
        runs, detected = _runs(store), detections_group(store)
        points, score, right = (_sampled(store, detected, name, runs) for name in ("points", "score", "right"))
        member = _sampled(store, "groups", "member", runs).astype(int)
        seen = Candidates(points.astype(float), score, right, member)
        yield todo[0], _columns(cameras, judge_views(cameras, seen, float(store.attrs("keypoints")["fps"])))


def _sampled(store: Store, group: str, name: str, runs: Sequence[slice]) -> ndarray:
    """An array (view, frame, ...) in runs of frames."""
    return np.concatenate([store.read(group, name, (slice(None), run)) for run in runs], axis=1)


def _runs(store: Store) -> list[slice]:
    """The frames that are looked at."""
    total = store.shape("timeline", "source_frame")[1]
    if total <= MAX_FRAMES:
        return [slice(0, total)]
    starts = np.linspace(0, total - RUN, MAX_FRAMES // RUN).astype(int).tolist()
    return [slice(start, start + RUN) for start in starts]


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
        attrs={"explanations": list(KINDS)},
        coords={"view": (("view",), np.array(views, object))},
    )
    return Plan(group, [JudgeViews(store, rig)], {(0,): 1}, "session", lambda store: _judged(store, rig, root))


def _judged(store: Store, rig: Store, root: str) -> dict[str, Any]:
    return {"keypoint_checks": as_attributes(checks(store, rig, root))["checks"]}


def checks(store: Store, rig: Store, root: str) -> tuple[Check, ...]:
    """The checks of a triangulated session whose views were judged."""
    cameras = read_cameras(rig)
    runs = _runs(store)
    candidates = np.isfinite(_sampled(store, detections_group(store), "points", runs)[..., 0]).any((2, 3))
    seen = (candidates & cameras.calibrated[:, None]).sum(0) >= 2
    keypoints = store.read("keypoints", "points").astype(float)
    known = np.concatenate([np.isfinite(keypoints[run]).any((1, 2, 3)) for run in runs])
    judged = _from_columns(cameras, {name: store.read(GROUP, name) for name in QUALITY})
    return checks_of(
        Evidence(
            seen=float(seen.mean()) if len(seen) else 0.0,
            found=float(known[seen].mean()) if seen.any() else 0.0,
            agreement=judged.agreement,
            views=cameras.names,
            explained=judged.explained,
            whole=judged.whole,
            fast=fast_steps(keypoints, float(store.attrs("keypoints")["fps"])),
            together=frames_together(keypoints),
        ),
        root,
    )


# ---- the columns -------------------------------------------------------------------------------------------------


def _columns(cameras: Cameras, judged: JudgedViews) -> dict[str, ndarray]:
    found, whole = judged.agreement, judged.whole
    names = list(cameras.names)
    why = [judged.explained.get(name) for name in names]
    return {
        "share": found.share,
        "error": found.error_px,
        "error_m": found.error_m,
        "candidates": found.count,
        "examined": np.array([name in judged.explained for name in names]),
        "explanation": np.array([KINDS.index(each.kind) if each else 0 for each in why], np.int8),
        "explained_share": np.array([each.share if each else np.nan for each in why]),
        "explained_value": np.array([each.value if each else np.nan for each in why]),
        "explained_by": np.array([names.index(each.other) if each and each.other else -1 for each in why], np.int16),
        "rig_explanation": np.array([KINDS.index(whole.kind) if whole else 0], np.int8),
        "rig_explained_share": np.array([whole.share if whole else np.nan]),
        "rig_explained_value": np.array([whole.value if whole else np.nan]),
    }


def _from_columns(cameras: Cameras, columns: Mapping[str, ndarray]) -> JudgedViews:
    def view(v: int) -> Explanation | None:
        kind, by = int(columns["explanation"][v]), int(columns["explained_by"][v])
        share, value = float(columns["explained_share"][v]), float(columns["explained_value"][v])
        other = cameras.names[by] if by >= 0 else ""
        return Explanation(KINDS[kind], share, other=other, value=value) if kind else None

    kind = int(columns["rig_explanation"][0])
    share, value = float(columns["rig_explained_share"][0]), float(columns["rig_explained_value"][0])
    unit = next((name for name, metres in UNITS_M.items() if value == metres), "")
    whole = Explanation(KINDS[kind], share, other=unit, value=value) if kind else None
    found = Agreement(*(columns[name] for name in ("share", "error", "error_m", "candidates")))
    examined = np.flatnonzero(columns["examined"]).tolist()
    return JudgedViews(found, {cameras.names[v]: view(v) for v in examined}, whole)
