"""Faults of single views, planted in detections, for `faults_of_input.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from _faults_recordings import Recording, complaints, run
from _identity_scenes import Faults, detect, interacting
from numpy import ndarray

from handpipe.core.cameras import Cameras
from handpipe.rendering.rig import dome_rig
from handpipe.triangulation.quality.references import grouped
from handpipe.triangulation.quality.views import judge_views

FRAMES, LATE = 48, 5
KINDS = ("none", "exchanged", "mirrored", "size", "delay", "moved", "focal length")
DETECTOR = Faults(seen=0.8, wrong=0.2, mixed=0.05)


def planted(kind: str, cameras: Cameras, points: ndarray, view: int, other: int) -> tuple[Cameras, ndarray]:
    """The rig as its file says, and the detections as they come, with one fault."""
    points = points.copy()
    match kind:
        case "exchanged":
            order = list(range(len(cameras)))
            order[view], order[other] = other, view
            return replace(cameras.subset(order), names=cameras.names), points
        case "mirrored":
            points[view, ..., 0] = cameras.size_px[view, 0] - 1 - points[view, ..., 0]
        case "size":
            points[view] = 0.5 * (points[view] + 0.5) - 0.5
        case "delay":
            points[view] = np.concatenate([np.full_like(points[view, :LATE], np.nan), points[view, :-LATE]])
        case "moved":
            T = cameras.T_cam_world.copy()
            c, s = np.cos(0.1), np.sin(0.1)
            T[view] = np.array([[c, 0, s, 0.05], [0, 1, 0, 0.02], [-s, 0, c, 0], [0, 0, 0, 1]]) @ T[view]
            return replace(cameras, T_cam_world=T), points
        case "focal length":
            K = cameras.K.copy()
            K[view, [0, 1], [0, 1]] *= 1.3
            return replace(cameras, K=K), points
    return cameras, points


def named(cameras: Cameras, points: ndarray, score: ndarray, right: ndarray, fps: float) -> dict[str, str]:
    """What is said of each view: its explanation, or "?" for one that disagrees without any."""
    judged = judge_views(cameras, grouped(cameras, points, score, right), fps)
    said = {name: each.kind for name, each in judged.explained.items() if each is not None}
    return {name: "?" for name, bad in zip(cameras.names, judged.agreement.hopeless, strict=True) if bad} | said


def draw(kind: str, views: int, seed: int) -> tuple[bool, bool, int]:
    """Whether the fault is detected, whether it is named rightly, and how many sound views are accused."""
    rng = np.random.default_rng(seed)
    cameras, scene = dome_rig(views, seed=seed), interacting(FRAMES, seed)
    found = detect(cameras, scene, DETECTOR, seed)
    view, other = rng.choice(views, 2, replace=False).tolist()
    rig, points = planted(kind, cameras, found.points_px.astype(float), view, other)
    said = named(rig, points, found.score, found.right, scene.fps)
    bad = set() if kind == "none" else {rig.names[view], *([rig.names[other]] if kind == "exchanged" else [])}
    return bad <= said.keys(), all(said.get(name) == kind for name in bad), len(said.keys() - bad)


# ---- recordings --------------------------------------------------------------------------------------------------

SAID = {
    "exchanged": "are exchanged",
    "mirrored": "images mirrored",
    "size": "0.5 times the calibrated size",
    "delay": "not synchronised",
    "moved": "was moved",
    "focal length": "times the focal length",
}
"""What the verdict says of each kind."""


@dataclass(frozen=True)
class Outcome:
    """What a run made of one planted fault."""

    kind: str
    detected: bool
    right: bool
    accused: int
    """Sound views that are named, or complaints where there is nothing wrong."""
    said: str


def planted_in(recording: Recording, kind: str, seed: int) -> Outcome:
    """Plant a fault in a recording's detections or cameras, and run it through the command line."""
    rng = np.random.default_rng(seed)
    view, other = rng.choice(len(recording.cameras), 2, replace=False).tolist()
    cameras, points = planted(kind, recording.cameras, recording.points_px, view, other)
    summary = run(replace(recording, cameras=cameras, points_px=points))
    names = recording.cameras.names
    bad = [] if kind == "none" else [names[view], *([names[other]] if kind == "exchanged" else [])]
    said = complaints(summary)
    of_bad = [line for line in said if line.split(" ", 1)[0] in bad]
    accused = len([line for line in said if line.split(" ", 1)[0] in set(names) - set(bad)])
    if kind == "delay" and (late_s := _corrected_s(summary, names[view])) is not None:
        # The offset was found and taken out before the views were judged.
        right = abs(-late_s - LATE / recording.fps) < 0.5 / recording.fps
        return Outcome(kind, right, right, accused, f"{names[view]} corrected by {late_s:.3f} s")
    if kind == "none":
        return Outcome(kind, False, False, len(said), "; ".join(said))
    right = sum(SAID[kind] in line for line in of_bad) == len(bad)
    return Outcome(kind, bool(said), right, accused, "; ".join(of_bad))


def _corrected_s(summary: dict, view: str) -> float | None:
    """Offset that the time synchronisation took out of a view, seconds; None if it left it alone."""
    found = (summary.get("clock") or {}).get("views", {}).get(view)
    return found["offset_ms"] / 1000 if found and found["corrected"] else None
