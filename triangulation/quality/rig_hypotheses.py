"""Why hands are seen in the images but not found in space: what is wrong with the rig as a whole.

Hypotheses are tested on a few frames: how many hands do the views then agree on?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ..grouping import group_hands
from .view_agreement import SIZES, Explanation

FRAMES = 8
"""Frames on which a hypothesis is tested: those with the most candidates."""
UNITS_M = {"millimetres": 0.001, "centimetres": 0.01, "inches": 0.0254, "decimetres": 0.1}
MAX_PAIR_VIEWS = 12
"""Rigs of more views are not disabled by two exchanged cameras."""
FOUND = 0.5
"""Share of the frames in which a hypothesis must find hands, at least three times as many as without it."""


def explain_nothing(cameras: Cameras, points_px: ndarray, score: ndarray, right: ndarray) -> Explanation | None:
    """The hypothesis under which the views agree on the most hands; None if none does.

    Args:
        cameras: the rig.
        points_px: (view, frame, candidate, 21, 2) candidates, NaN where there is none.
        score, right: (view, frame, candidate) as in the store.
    """
    there = np.isfinite(points_px[..., 0]).sum(-1) > 0
    seen = there[cameras.calibrated].any(-1).sum(0)
    frames = np.sort(np.argsort(-seen, kind="stable")[:FRAMES])
    points, score, right = points_px[:, frames], score[:, frames], right[:, frames]

    def hands(rig: Cameras, seen_px: ndarray) -> float:
        found = group_hands(rig, seen_px, score, right)
        return float(np.isfinite(found.points_m[:, :2]).any((-2, -1)).sum() / len(frames))

    now = hands(cameras, points)
    best = Explanation("", 0.0)
    for hypothesis, rig, seen_px in _hypotheses(cameras, points):
        share = hands(rig, seen_px)
        if share > best.share:
            best = replace(hypothesis, share=share)
    return best if best.share >= max(FOUND, 3 * now) else None


def _hypotheses(cameras: Cameras, points_px: ndarray) -> Iterator[tuple[Explanation, Cameras, ndarray]]:
    for unit, metres in UNITS_M.items():
        for factor in (metres, 1 / metres):
            T = cameras.T_cam_world.copy()
            T[:, :3, 3] *= factor
            yield Explanation("unit", 0.0, other=unit, value=factor), replace(cameras, T_cam_world=T), points_px
    for ratio in SIZES:
        yield Explanation("size", 0.0, value=1 / ratio), cameras, ratio * (points_px + 0.5) - 0.5
    w, h = (cameras.size_px - 1.0).T[:, :, None, None, None]
    x, y = points_px[..., 0], points_px[..., 1]
    yield Explanation("mirrored", 0.0), cameras, np.stack([w - x, y], -1)
    yield Explanation("upside down", 0.0), cameras, np.stack([w - x, h - y], -1)
    as_text = sorted(range(len(cameras)), key=lambda i: cameras.names[i])
    if as_text != list(range(len(cameras))):
        yield Explanation("sorted as text", 0.0), _renamed(cameras, as_text), points_px
        back = np.argsort(as_text).tolist()
        yield Explanation("sorted as text", 0.0), _renamed(cameras, back), points_px
    if 2 < len(cameras) <= MAX_PAIR_VIEWS:
        for a, b in combinations(np.flatnonzero(cameras.calibrated).tolist(), 2):
            order = list(range(len(cameras)))
            order[a], order[b] = b, a
            pair = f"{cameras.names[a]} and {cameras.names[b]}"
            yield Explanation("exchanged", 0.0, other=pair), _renamed(cameras, order), points_px


def _renamed(cameras: Cameras, order: list[int]) -> Cameras:
    """The same names for the cameras in another order."""
    return replace(cameras.subset(order), names=cameras.names)
