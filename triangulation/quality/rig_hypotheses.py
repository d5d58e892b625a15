"""Why the views of a rig do not agree with each other: what is wrong with the rig as a whole.

Hypotheses are tested on a few frames: how many of the candidates do the views then agree on?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from .explanations import SIZES, Explanation
from .references import Reference, grouped
from .view_agreement import agreement

FRAMES = 8
"""Frames on which a hypothesis is tested: those with the most candidates."""
UNITS_M = {"millimetres": 0.001, "centimetres": 0.01, "inches": 0.0254, "decimetres": 0.1}
MAX_PAIR_VIEWS = 6
"""Rigs of more views are not disabled by two exchanged cameras."""
FOUND, GAIN = 0.5, 1.5
"""Share of the candidates that a hypothesis must bring near the hands of the other views, and how many times as many
as without it."""


@dataclass(frozen=True)
class RigExplanation:
    """What would make the views of a rig agree."""

    what: Explanation
    """unit, size, mirrored, upside down, sorted as text or exchanged."""
    rig: Cameras
    """The cameras as they would have to be."""
    points_px: ndarray
    """The candidates as they would have to be, like those that were given."""
    pair: tuple[str, str] = ("", "")
    """The exchanged views."""


def explain_rig(cameras: Cameras, points_px: ndarray, score: ndarray, right: ndarray) -> RigExplanation | None:
    """The hypothesis under which the views agree on the most candidates; None if none does.

    Args:
        cameras: the rig.
        points_px: (view, frame, candidate, 21, 2) candidates, NaN where there is none.
        score, right: (view, frame, candidate) as in the store.
    """
    there = np.isfinite(points_px[..., 0]).sum(-1) > 0
    seen = there[cameras.calibrated].any(-1).sum(0)
    frames = np.sort(np.argsort(-seen, kind="stable")[:FRAMES])
    count = max(int(there[cameras.calibrated][:, frames].sum()), 1)

    def agreeing(rig: Cameras, seen_px: ndarray) -> float:
        seen = grouped(rig, seen_px[:, frames], score[:, frames], right[:, frames])
        if not (seen.member >= 0).any():
            return 0.0
        found = agreement(rig, Reference(rig, seen).hands_of_others(()), seen.points_px)
        return float(np.nansum(found.share * found.count) / count)

    now = agreeing(cameras, points_px)
    best: RigExplanation | None = None
    for hypothesis in _hypotheses(cameras, points_px):
        share = agreeing(hypothesis.rig, hypothesis.points_px)
        if share >= max(FOUND, GAIN * now) and (best is None or share > best.what.share):
            best = replace(hypothesis, what=replace(hypothesis.what, share=share))
    return best


def _hypotheses(cameras: Cameras, points_px: ndarray) -> Iterator[RigExplanation]:
    for unit, metres in UNITS_M.items():
        for factor in (metres, 1 / metres):
            T = cameras.T_cam_world.copy()
            T[:, :3, 3] *= factor
            what = Explanation("unit", 0.0, other=unit, value=factor)
            yield RigExplanation(what, replace(cameras, T_cam_world=T), points_px)
    for ratio in SIZES:
        yield RigExplanation(Explanation("size", 0.0, value=1 / ratio), cameras, ratio * (points_px + 0.5) - 0.5)
    w, h = (cameras.size_px - 1.0).T[:, :, None, None, None]
    x, y = points_px[..., 0], points_px[..., 1]
    yield RigExplanation(Explanation("mirrored", 0.0), cameras, np.stack([w - x, y], -1))
    yield RigExplanation(Explanation("upside down", 0.0), cameras, np.stack([w - x, h - y], -1))
    if 2 < len(cameras) <= MAX_PAIR_VIEWS:
        for a, b in combinations(np.flatnonzero(cameras.calibrated).tolist(), 2):
            order = list(range(len(cameras)))
            order[a], order[b] = b, a
            pair = (cameras.names[a], cameras.names[b])
            yield RigExplanation(Explanation("exchanged", 0.0), _renamed(cameras, order), points_px, pair)
    # After the pairs: of hypotheses that come to the same, the first counts.
    as_text = sorted(range(len(cameras)), key=lambda i: cameras.names[i])
    if as_text != list(range(len(cameras))):
        for order in (as_text, np.argsort(as_text).tolist()):
            yield RigExplanation(Explanation("sorted as text", 0.0), _renamed(cameras, order), points_px)


def _renamed(cameras: Cameras, order: list[int]) -> Cameras:
    """The same names for the cameras in another order."""
    return replace(cameras.subset(order), names=cameras.names)
