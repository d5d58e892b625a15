"""Shared code of the parts of `fitting.py`: a motion, its points with noise, and the fit of one hand."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from handpipe.core.hands import HANDS
from handpipe.fitting.solver import FittingSettings, HandFit, fit_hand
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion

NOISE_M = 0.001
MISSING = 0.1
SLOWER = 2.0
"""The procedural motion plays a cycle in three seconds; conversation-like motion takes about twice as long."""
GIVEN_JOINTS = FittingSettings(landmark_offsets=False)
"""Points that are the model's own joints: there is no detector whose habits could be learnt."""


def truth_motion(frames: int, fps: float, seed: int = 0) -> ndarray:
    """(hand, frame, 21, 3) joints of the procedural two-hand motion."""
    motion = two_hand_motion(frames, SLOWER * fps, seed)
    models = [HandModel.procedural(side) for side in HANDS]
    return np.stack(
        [
            models[h].joints(motion.betas[h], motion.global_orient[:, h], motion.hand_pose[:, h], motion.transl[:, h])
            for h in range(2)
        ]
    )


def noisy(points_m: ndarray, seed: int = 0) -> ndarray:
    """With NOISE_M per axis, and a share of points missing."""
    rng = np.random.default_rng(seed)
    points = points_m + NOISE_M * rng.standard_normal(points_m.shape)
    points[rng.random(points.shape[:-1]) < MISSING] = np.nan
    return points


def error_mm(joints_m: ndarray, truth_m: ndarray) -> ndarray:
    return 1e3 * np.linalg.norm(joints_m - truth_m, axis=-1)


def fit(side: int, points_m: ndarray, fps: float, options: FittingSettings = GIVEN_JOINTS) -> HandFit:
    sigma = np.where(np.isfinite(points_m[..., 0]), NOISE_M, np.nan)
    return fit_hand(HandModel.procedural(HANDS[side]), points_m, sigma, fps, options)
