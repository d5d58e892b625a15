"""Fits MANO to a sequence of 3D keypoints: one shape, a pose per frame, smooth in time.

Three Gauss-Newton problems, each the start of the next, all with exact derivatives:
1. shape, on a few well-seen frames: (poses, betas) by the Schur complement on the betas;
2. pose of each frame on its own, all frames at once;
3. poses of all frames together with smoothness, by a banded Cholesky factorisation: linear time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ..core.hand_model import HandModel
from ..core.hands import NUM_BETAS, NUM_JOINTS, NUM_POSE
from .gauss_newton import Evidence, fit_frames, fit_sequence, fit_shape
from .initial import carry, initial_state
from .kinematics import Landmarks, anatomical_frames, axis_angle_from_rotation, pose_landmarks
from .residuals import HandState, Smoothness, pose_prior
from .settings import FittingSettings

__all__ = ["FittingSettings", "HandFit", "fit_hand"]

CARRY_S = 0.5
"""An unseen hand keeps its speed about this long, seconds; nothing of it is felt where the hand is seen."""


@dataclass(frozen=True, eq=False)
class HandFit:
    """MANO's parameters of one hand in one sequence; NaN in every frame if the hand was never seen."""

    betas: ndarray
    """(10,)"""
    global_orient: ndarray
    """(frame, 3) axis-angle, radians."""
    hand_pose: ndarray
    """(frame, 45) axis-angle, `flat_hand_mean=True`, radians."""
    transl: ndarray
    """(frame, 3) metres."""
    joints_m: ndarray
    """(frame, 21, 3) joints of the fitted model."""
    residual_m: ndarray
    """(frame,) root mean square distance of the observed points, NaN where there are none."""
    valid: ndarray
    """(frame,) bool: enough observed joints agree; elsewhere the pose is carried by its neighbours."""
    offsets_m: ndarray
    """(21, 3) learned landmark offsets in the zero pose; zeros unless asked for."""


def fit_hand(
    model: HandModel,
    points_m: ndarray,
    sigma_m: ndarray,
    fps: float,
    settings: FittingSettings | None = None,
) -> HandFit:
    """Fit one hand to its 3D keypoints over a whole sequence.

    Args:
        model: left or right, as the points are.
        points_m: (frame, 21, 3) keypoints in MediaPipe's order, metres; NaN where missing.
        sigma_m: (frame, 21) standard error of each, metres; a point without one counts as missing.
        fps: frames per second.
        settings: see `FittingSettings`.

    Returns:
        `HandFit`; the same bits for the same input.
    """
    settings = settings or FittingSettings()
    frames = len(points_m)
    assert points_m.shape == (frames, NUM_JOINTS, 3), points_m.shape
    assert sigma_m.shape == (frames, NUM_JOINTS), sigma_m.shape
    evidence = _evidence(points_m, sigma_m, settings)
    prior = pose_prior(settings.flexion_sd_rad, settings.abduction_sd_rad, settings.hinge_sd_rad, settings.twist_sd_rad)
    hand = Landmarks(model, anatomical_frames(model), np.zeros(NUM_BETAS), np.zeros((NUM_JOINTS, 3)))
    enough = np.isfinite(evidence.sigma_m).sum(axis=1) >= settings.min_observed_joints
    state, palm_seen = initial_state(hand, evidence.points_m, prior)
    known = enough & palm_seen
    if not known.any():
        return _unseen(frames)
    hand = fit_shape(hand, state, evidence, prior, known, settings)
    state, _ = initial_state(hand, evidence.points_m, prior)
    chosen = np.flatnonzero(known)
    alone = fit_frames(hand, state.take(chosen), evidence.take(chosen), prior, settings.max_iterations)
    place = np.cumsum(known) - 1
    state = carry(alone.take(np.maximum(place, 0)), known)
    state = fit_sequence(hand, state, evidence, prior, _smoothness(settings, fps), settings.max_iterations)
    return _result(hand, state, evidence, settings)


def _evidence(points_m: ndarray, sigma_m: ndarray, settings: FittingSettings) -> Evidence:
    seen = np.isfinite(points_m).all(axis=-1) & np.isfinite(sigma_m)
    points = np.where(seen[..., None], points_m, np.nan).astype(np.float64)
    sigma = np.where(seen, np.hypot(np.where(seen, sigma_m, 0.0), settings.landmark_sigma_m), np.nan)
    return Evidence(points, sigma, settings.robust_scale)


def _smoothness(settings: FittingSettings, fps: float) -> Smoothness:
    acceleration = np.array(
        [settings.wrist_acceleration_sd, settings.wrist_turn_acceleration_sd] + [settings.finger_acceleration_sd] * 15
    )
    return Smoothness(float(fps), acceleration, CARRY_S * acceleration, settings.acceleration_huber)


# ---- result ------------------------------------------------------------------------------------------------------


def _result(hand: Landmarks, state: HandState, evidence: Evidence, settings: FittingSettings) -> HandFit:
    global_orient = axis_angle_from_rotation(state.R_root)
    hand_pose = (state.angles[:, :, None] @ hand.frames).reshape(-1, NUM_POSE)
    posed = pose_landmarks(hand, state.R_root, state.angles, state.transl)
    error = np.linalg.norm(posed.points_m - evidence.points_m, axis=-1)
    count = np.isfinite(error).sum(axis=1)
    mean_square = np.nansum(error**2, axis=1) / np.maximum(count, 1)
    agree = (error <= settings.robust_scale * evidence.sigma_m).sum(axis=1)
    model_joints = replace(hand, offsets_m=np.zeros_like(hand.offsets_m))
    return HandFit(
        betas=hand.betas,
        global_orient=global_orient,
        hand_pose=hand_pose,
        transl=state.transl,
        joints_m=pose_landmarks(model_joints, state.R_root, state.angles, state.transl).points_m,
        residual_m=np.where(count > 0, np.sqrt(mean_square), np.nan),
        valid=agree >= settings.min_observed_joints,
        offsets_m=hand.offsets_m,
    )


def _unseen(frames: int) -> HandFit:
    def nan(*shape: int) -> ndarray:
        return np.full((frames, *shape), np.nan)

    return HandFit(
        betas=np.zeros(NUM_BETAS),
        global_orient=nan(3),
        hand_pose=nan(NUM_POSE),
        transl=nan(3),
        joints_m=nan(NUM_JOINTS, 3),
        residual_m=nan(),
        valid=np.zeros(frames, dtype=bool),
        offsets_m=np.zeros((NUM_JOINTS, 3)),
    )
