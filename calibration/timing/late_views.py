"""Cameras from the board in spite of late views: delays are estimated with the rig, corrected, and the rig solved anew.

Where no view is late, the rig is what `calibrate` makes of the corners as they are, to the bit.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ...core.geometry import align_rigid, transform
from ..calibrate import Calibration
from .alignment import at_instants
from .delays import Delays

LEAST_FRAMES, SURE = 0.1, 4.0
"""A delay is corrected above so many frames and standard errors; smaller ones cost less than interpolation."""
SUSPECTED = 2.0
"""A delay above so many standard errors is looked into: its first estimate suffers from the rig that it has bent."""
REACH_FRAMES = 15
"""A view that contradicts the others is looked for so many frames earlier and later."""
SEARCH_STEP_FRAMES = 0.25
MIN_SIGHTINGS = 8
CLEARER = 0.8
"""It is late, and not otherwise wrong, if its error falls below this part of what it is without a delay."""
REGAINED_WORSE = 1.5
"""A view that takes part again may raise the rig's error by this factor: the rig was judged without it."""
ROUNDS = 8
SETTLED_FRAMES = 0.003
"""A last step below this ends the rounds."""


@dataclass(frozen=True)
class InTime:
    """A calibration, and the delays it was corrected for."""

    calibration: Calibration
    delays: Delays
    """Of each view, relative to the median view; also where nothing was corrected."""
    step_s: float
    """From one frame to the next."""
    before: Calibration | None = None
    """Without the correction, where there is one."""


def calibrate_in_time(
    solve: Callable[[ndarray, ndarray | None, ndarray], Calibration],
    corners_px: ndarray,
    time_s: ndarray,
    correct: bool = True,
) -> InTime:
    """Calibrate; where views are late, once more at the times that the board tells.

    Args:
        solve: `calibrate` for corners, capture times (view, frame) or None, and instants (frame,).
        corners_px: (view, frame, corner, 2) pixels, NaN where not seen.
        time_s: (view, frame) when each image was taken, as far as known; seconds, NaN where there is none.
        correct: whether to correct; else the delays are estimated only.
    """
    instant_s = instants(time_s)
    first = solve(corners_px, time_s, instant_s)
    step_s = float(np.nanmedian(np.diff(instant_s))) if len(instant_s) > 1 else np.nan
    least_s = LEAST_FRAMES * step_s
    if not correct:
        return InTime(first, first.delays, step_s)
    contradict_s = _delays_of_left_out(first, time_s, instant_s, step_s)
    if not first.delays.significant(least_s, SUSPECTED).any() and np.isnan(contradict_s).all():
        return InTime(first, first.delays, step_s)
    delay_s, found = np.nan_to_num(contradict_s), first
    for _ in range(ROUNDS):
        delay_s = delay_s + np.nan_to_num(found.delays.delay_s)
        found = solve(at_instants(corners_px, time_s + delay_s[:, None], instant_s), None, instant_s)
        if not found.left_out.keys() <= first.left_out.keys():
            return InTime(first, first.delays, step_s)
        if np.nanmax(np.abs(found.delays.delay_s)) < SETTLED_FRAMES * step_s:
            break
    # The last step is part of the answer, though it is not worth another round.
    total_s = np.where(np.isfinite(found.delays.delay_s), delay_s + found.delays.delay_s, np.nan)
    delays = Delays(total_s - np.nanmedian(total_s), found.delays.sigma_s)
    worse = REGAINED_WORSE if len(found.left_out) < len(first.left_out) else 1.0
    if not delays.significant(least_s, SURE).any() or not _error_px(found) < worse * _error_px(first):
        return InTime(first, first.delays, step_s)
    return InTime(found, delays, step_s, first)


def _delays_of_left_out(found: Calibration, time_s: ndarray, instant_s: ndarray, step_s: float) -> ndarray:
    """(view,) seconds by which views that contradict the others would fit; NaN for views in the rig, or if none.

    A view's own images tell where the board was from its camera; the rig tells where it was in the world at any time.
    At the right delay one rigid motion takes the one path to the other.
    """
    delay_s = np.full(len(time_s), np.nan)
    path_m = _points(found.T_world_board)
    steps = np.arange(-REACH_FRAMES, REACH_FRAMES + SEARCH_STEP_FRAMES, SEARCH_STEP_FRAMES)
    for view in np.nonzero(~found.cameras.calibrated)[0].tolist():
        own_m = _points(found.T_cam_board[view])
        if np.isfinite(own_m).all((1, 2)).sum() < MIN_SIGHTINGS:
            continue
        # The board at the times of this view's images, if they were taken so much later.
        errors = np.array([
            _misfit(own_m, at_instants(path_m[None], instant_s[None], time_s[view] + step * step_s)[0])
            for step in steps
        ])  # fmt: skip
        if np.nanmin(errors, initial=np.inf) < CLEARER * errors[steps == 0][0]:
            delay_s[view] = steps[np.nanargmin(errors)] * step_s
    return delay_s


def _points(T: ndarray) -> ndarray:
    """(frame, 4, 3) the origin of the board and a point along each axis, a decimetre away."""
    return np.concatenate([T[:, None, :3, 3], T[:, None, :3, 3] + 0.1 * T[:, :3, :3].transpose(0, 2, 1)], axis=1)


def _misfit(a_m: ndarray, b_m: ndarray) -> float:
    """Median distance of points (frame, 4, 3) after the rigid motion that brings most of them together; NaN if few."""
    both = np.isfinite(a_m).all((1, 2)) & np.isfinite(b_m).all((1, 2))
    if both.sum() < MIN_SIGHTINGS:
        return np.nan
    a, b = a_m[both].reshape(-1, 3), b_m[both].reshape(-1, 3)
    distance = np.zeros(len(a))
    for _ in range(3):
        near = distance <= np.percentile(distance, 70)
        distance = np.linalg.norm(transform(align_rigid(a[near], b[near]), a) - b, axis=-1)
    return float(np.median(distance))


def instants(time_s: ndarray) -> ndarray:
    """(frame,) median time of each frame's images; NaN where there is none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        return np.nanmedian(time_s, axis=0)


def _error_px(found: Calibration) -> float:
    """Of held-out corners, or of all where too few frames were shared to hold any out."""
    return found.held_out.rms_px if found.held_out.frames else found.total_rms_px
