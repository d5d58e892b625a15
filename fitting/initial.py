"""Initial poses: rigid alignment of the palm, then each finger bone aligned with the observed bone."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..core.geometry import align, axis_angle_from_rotation, rotation_from_axis_angle
from .kinematics import Landmarks
from .residuals import HandState, PosePrior

PALM = np.array([0, 1, 5, 9, 13, 17])
"""Landmarks that hardly move in the wrist's frame; the thumb's root moves most."""
PALM_WEIGHT = np.array([1.0, 0.3, 1.0, 1.0, 1.0, 1.0])
PALM_SCALE_M = 0.01
"""An error of this size halves a palm point's weight in the next alignment."""
MIN_SPREAD_M = 0.008
"""Second principal extent below which palm points are too nearly on a line to give a rotation."""


def initial_state(hand: Landmarks, points_m: ndarray, prior: PosePrior) -> tuple[HandState, ndarray]:
    """Estimate the pose of each frame from its points.

    Args:
        hand: the model in its best known shape.
        points_m: (frame, 21, 3) observed landmarks, NaN where missing.
        prior: gives the angles of unobserved bones and the limits.

    Returns:
        The state, and (frame,) bool: False where the palm is not observed well enough; the state is invalid there.
    """
    R_root, transl, good = align_palm(hand.rest_landmarks[PALM], points_m[:, PALM], hand.rest_joints[0])
    angles = np.broadcast_to(prior.mean, (len(points_m), 15, 3)).copy()
    rest = hand.rest_landmarks
    for finger, first in enumerate((5, 9, 17, 13, 1)):
        R = R_root
        for level in range(3):
            joint, landmark = 3 * finger + level, first + level
            bone = rest[landmark + 1] - rest[landmark]
            seen = np.einsum("nba,nb->na", R, points_m[:, landmark + 1] - points_m[:, landmark])
            swing = _swing(bone, seen) @ hand.frames[joint].T
            known = np.flatnonzero(np.isfinite(swing).all(axis=1))
            angles[known, joint] = np.clip(swing, prior.low[joint], prior.high[joint])[known]
            R = R @ rotation_from_axis_angle(angles[:, joint] @ hand.frames[joint])
    return HandState(R_root, angles, transl), good


def align_palm(rest_m: ndarray, points_m: ndarray, root_m: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Rotation and translation of the palm by Kabsch's method, with weights that reduce the effect of outliers.

    Args:
        rest_m: (6, 3) palm landmarks at rest.
        points_m: (frame, 6, 3) observed, NaN where missing.
        root_m: (3,) the root joint at rest, about which the hand turns.

    Returns:
        R_root (frame, 3, 3), transl (frame, 3), and (frame,) bool: whether they could be estimated.
    """
    seen = np.logical_and.reduce(np.isfinite(points_m), axis=-1)
    points = np.where(seen[..., None], points_m, 0.0)
    base = seen * PALM_WEIGHT
    found = align(rest_m, points, base)
    for _ in range(3):
        error2 = np.sum((found.apply(rest_m) - points) ** 2, axis=-1)
        found = align(rest_m, points, base / (1 + error2 / PALM_SCALE_M**2) ** 2)
    transl = found.shift + found.R @ root_m - root_m
    spread = np.sqrt(found.covariance[:, 1])
    return found.R, transl, (seen.sum(axis=1) >= 3) & (spread >= MIN_SPREAD_M)


def _swing(start: ndarray, end: ndarray) -> ndarray:
    """(n, 3) shortest axis-angle that points `start` (3,) along `end` (n, 3); NaN where that is unknown."""
    length = np.linalg.norm(end, axis=-1, keepdims=True)
    a, b = start / np.linalg.norm(start), end / np.where(length > 1e-9, length, np.nan)
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    return axis / np.maximum(sine, 1e-12) * np.arctan2(sine, (b @ a)[:, None])


def carry(state: HandState, known: ndarray) -> HandState:
    """Fills the frames where `known` (frame,) is False from the nearest known ones: shortest turn and straight line.

    Before the first and after the last known frame the hand stands still.
    """
    index = np.flatnonzero(known)
    frame = np.arange(len(known))
    after = index[np.minimum(np.searchsorted(index, frame), len(index) - 1)]
    before = index[np.maximum(np.searchsorted(index, frame, side="right") - 1, 0)]
    share = np.where(after > before, (frame - before) / np.maximum(after - before, 1), 0.0)
    share = np.clip(share, 0.0, 1.0)
    a, b = state.take(before), state.take(after)
    turn = axis_angle_from_rotation(np.swapaxes(a.R_root, -1, -2) @ b.R_root)
    R = a.R_root @ rotation_from_axis_angle(share[:, None] * turn)
    angles = a.angles + share[:, None, None] * (b.angles - a.angles)
    filled = HandState(R, angles, a.transl + share[:, None] * (b.transl - a.transl))
    return state.where(known, filled)
