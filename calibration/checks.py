"""What a recording of the board may have wrong, told from the numbers: groups apart, moved cameras, twice the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras

MIN_SIGHTINGS, MIN_SHARE = 5, 0.125
"""On either side of a step: a few wrong sightings at one end are no step."""
MIN_STEP_PX = 1.0
MIN_EXPLAINED = 0.5
"""Share of the residuals' variance that a step explains: a camera that is out of step scatters, a moved one jumps."""
MIN_AGREEING = 0.8
"""Share of the sightings on each side that lie on their side of the middle: a step is one level and then another, not a
board that was fast for a while."""
MIN_T = 8.0
"""The step in its own standard errors: the best of all places to cut noise reaches 4 or so."""
SAME_CENTER_M, SAME_ROTATION_RAD = 1e-3, 1e-3
"""No two cameras fit into each other."""
WEAK = 3.0
"""A camera this many times less well known than the rig's median camera is weakly seen."""
MAX_NAMES = 6


@dataclass(frozen=True)
class Step:
    """A camera's view of the board jumps."""

    view: int
    before: int
    """Last frame before it."""
    after: int
    """First frame after it."""
    px: float
    """How far."""


def moved_camera(residual_px: ndarray) -> Step | None:
    """The camera that was moved during the recording, if one was; of several, the one that was moved furthest.

    One cut in two per view: the cut after which the mean residual of the sightings differs most from before.

    Args:
        residual_px: (view, frame, corner, 2) seen minus put, NaN where not seen.
    """
    steps = [step for view, residual in enumerate(residual_px) if (step := _step(view, residual)) is not None]
    return max(steps, key=lambda step: step.px, default=None)


def _step(view: int, residual_px: ndarray) -> Step | None:
    finite = np.where(np.isfinite(residual_px).all(-1, keepdims=True), residual_px, np.nan)
    frames = np.nonzero(np.isfinite(finite[..., 0]).any(-1))[0]
    n = len(frames)
    side = max(MIN_SIGHTINGS, int(MIN_SHARE * n))
    if n < 2 * side:
        return None
    mean = np.nanmedian(finite[frames], axis=1)  # (sighting, 2); a median, for single corners may be wrong
    first = np.arange(side, n - side + 1)  # sightings before the cut
    sums = np.cumsum(mean, axis=0)
    jump = (sums[-1] - sums[first - 1]) / (n - first)[:, None] - sums[first - 1] / first[:, None]
    between = first * (n - first) / n * (jump**2).sum(-1)
    cut = int(between.argmax())
    total = ((mean - mean.mean(0)) ** 2).sum()
    before = int(first[cut])
    levels = np.median(mean[:before], axis=0), np.median(mean[before:], axis=0)
    beyond = (mean - (levels[0] + levels[1]) / 2) @ (levels[1] - levels[0]) > 0
    if (~beyond[:before]).mean() < MIN_AGREEING or beyond[before:].mean() < MIN_AGREEING:
        return None
    px = float(np.linalg.norm(levels[1] - levels[0]))
    if px < MIN_STEP_PX or between[cut] < MIN_EXPLAINED * total:
        return None
    within = max((total - between[cut]) / (2 * (n - 2)), 1e-12)
    if px < MIN_T * np.sqrt(within * (1 / before + 1 / (n - before))):
        return None
    return Step(view, int(frames[before - 1]), int(frames[before]), px)


def joining_pair(usable: ndarray, group: Sequence[int], other: Sequence[int]) -> tuple[int, int, int]:
    """The pair of views that comes nearest to joining two groups, and the frames of the board it shares.

    Most shared frames; where none shares any, the pair that the board passed between fastest.

    Args:
        usable: (view, frame) bool, sightings of the board.
        group: views of one group.
        other: views of the other.
    """
    best = (-1, -np.inf, 0, 0)
    for a in group:
        for b in other:
            shared = int((usable[a] & usable[b]).sum())
            seen_a, seen_b = np.nonzero(usable[a])[0], np.nonzero(usable[b])[0]
            gap = np.abs(seen_a[:, None] - seen_b).min(initial=usable.shape[1])
            best = max(best, (shared, -gap, -int(a), -int(b)))
    return -best[2], -best[3], best[0]


def same_pose(cameras: Cameras) -> tuple[str, str] | None:
    """Two views whose cameras would have to be in the same place and look the same way."""
    index = np.nonzero(cameras.calibrated)[0]
    center, R = cameras.centers_m[index], cameras.T_cam_world[index, :3, :3]
    near = np.linalg.norm(center[:, None] - center, axis=-1) < SAME_CENTER_M
    # |R_a - R_b| = 2 sqrt(2) sin(angle / 2), Frobenius.
    turn = np.linalg.norm(R[:, None] - R, axis=(-2, -1)) / np.sqrt(2)
    pairs = np.argwhere(np.triu(near & (turn < SAME_ROTATION_RAD), k=1))
    return (cameras.names[index[pairs[0, 0]]], cameras.names[index[pairs[0, 1]]]) if len(pairs) else None


def weak_views(names: Sequence[str], center_sigma_m: ndarray, rotation_sigma_rad: ndarray) -> list[str]:
    """Views that are known much less well than the others."""
    weak = np.zeros(len(names), bool)
    for sigma in (center_sigma_m, rotation_sigma_rad):
        if np.isfinite(sigma).any():
            weak |= np.nan_to_num(sigma) > WEAK * np.nanmedian(sigma)
    return [name for name, is_weak in zip(names, weak, strict=True) if is_weak]


def listed(names: Sequence[str]) -> str:
    """`a, b, c`; the first of many."""
    return ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
