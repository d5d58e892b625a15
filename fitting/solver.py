"""Fit MANO to a sequence of 3D keypoints: one shape, and a pose per frame that is smooth over time.

The solver uses three Gauss-Newton problems with exact derivatives; each one initialises the next:
1. shape, from a few well-observed frames: (poses, betas) by the Schur complement on the betas;
2. pose of each frame separately, all frames at once;
3. poses of all frames together with smoothness, by a banded Cholesky factorisation: linear time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ..core.geometry import axis_angle_from_rotation
from ..core.hands import NUM_BETAS, NUM_JOINTS, NUM_POSE
from ..hand.model import HandModel
from .contact import fill, planes
from .gauss_newton import Evidence, PointTerm, best_seen, fit_frames, fit_sequence, fit_shape
from .initial import carry, initial_state
from .kinematics import Landmarks, anatomical_frames, pose_landmarks
from .residuals import HandState, PosePrior, Smoothness, pose_prior
from .settings import FittingSettings

__all__ = ["FittingSettings", "HandFit", "HandShape", "find_shape", "fit_hand", "fit_hands"]

CARRY_S = 0.5
"""Time in seconds for which an unobserved hand keeps its speed. It has no effect where the hand is observed."""
FAST_SPAN_S = 0.3
"""Duration in seconds over which strong acceleration counts as fast motion."""
FINGER_M = 0.07
"""Approximate displacement of a fingertip by a rotation, metres per radian."""
CONTACT_ROUNDS = 2
"""Number of updates of the planes between two hands."""
CONTACT_ENOUGH_M = 2e-4
"""Hands that overlap by less than twice this are left alone."""
CONTACT_ITERATIONS = 3
"""Gauss-Newton steps between two updates of the planes."""


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
    """(frame,) bool: enough observed joints agree with the model, or frames where they do are close enough in time."""
    offsets_m: ndarray
    """(21, 3) learned landmark offsets in the zero pose; zeros unless asked for."""


@dataclass(frozen=True, eq=False)
class HandShape:
    """The parameters of a hand that are constant over a session."""

    betas: ndarray
    """(10,)"""
    offsets_m: ndarray
    """(21, 3) learned landmark offsets in the zero pose; zeros unless asked for."""


def find_shape(model: HandModel, points_m: ndarray, sigma_m: ndarray, settings: FittingSettings) -> HandShape | None:
    """Estimate the shape of one hand from frames spread over its sequence; None if no frame observes it well enough.

    Args: as of `fit_hand`.
    """
    chosen = best_seen(_observed(points_m, sigma_m), settings.min_observed_joints, settings.shape_frames)
    evidence, prior, hand = _evidence(points_m[chosen], sigma_m[chosen], settings), _prior(settings), _mean_hand(model)
    state, palm_seen = initial_state(hand, evidence.points_m, prior)
    known = np.flatnonzero(palm_seen)
    if len(known) == 0:
        return None
    hand = fit_shape(hand, state.take(known), evidence.take(known), prior, settings)
    return HandShape(hand.betas, hand.offsets_m)


def fit_hand(
    model: HandModel,
    points_m: ndarray,
    sigma_m: ndarray,
    fps: float,
    settings: FittingSettings | None = None,
    shape: HandShape | None = None,
    detections: PointTerm | None = None,
) -> HandFit:
    """Fit one hand to its 3D keypoints over a whole sequence.

    Args:
        model: left or right, as the points are.
        points_m: (frame, 21, 3) keypoints in MediaPipe's order, metres; NaN where missing.
        sigma_m: (frame, 21) standard error of each, metres; a point without one counts as missing.
        fps: frames per second.
        settings: see `FittingSettings`.
        shape: when it is known already; None finds it in these frames.
        detections: the 2D detections of the same observations (`reprojection_term`); they replace the points in the
            final steps.

    Returns:
        `HandFit`; the same bits for the same input.
    """
    settings = settings or FittingSettings()
    track = _follow(model, points_m, sigma_m, fps, settings, shape, detections)
    return _unseen(len(points_m)) if track is None else track.result(settings)


def fit_hands(
    models: Sequence[HandModel],
    points_m: ndarray,
    sigma_m: ndarray,
    fps: float,
    settings: FittingSettings | None = None,
    shapes: Sequence[HandShape | None] = (None, None),
    detections: Sequence[PointTerm | None] = (None, None),
) -> list[HandFit]:
    """Fit two hands, with a contact term that keeps them from overlapping.

    Args:
        models: left, right.
        points_m: (frame, hand, 21, 3), otherwise as of `fit_hand`.
        sigma_m: (frame, hand, 21).
        fps: frames per second.
        settings: see `FittingSettings`.
        shapes: of each hand.
        detections: of each hand.
    """
    settings = settings or FittingSettings()
    tracks = [
        _follow(models[h], points_m[:, h], sigma_m[:, h], fps, settings, shapes[h], detections[h]) for h in range(2)
    ]
    left, right = tracks
    if left is not None and right is not None and settings.penetration_weight > 0:
        tracks = _separate(left, right, settings)
    return [_unseen(len(points_m)) if track is None else track.result(settings) for track in tracks]


@dataclass(frozen=True, eq=False)
class _Track:
    """The problem of one hand over a sequence, and its current solution."""

    hand: Landmarks
    state: HandState
    seen: Evidence
    """All observations; the result is evaluated against them."""
    evidence: Evidence
    """The observations that are used in addition to the terms."""
    prior: PosePrior
    smoothness: Smoothness
    terms: tuple[PointTerm, ...]

    def solved(self, max_iterations: int, *more: PointTerm) -> _Track:
        terms = (*self.terms, *more)
        state = fit_sequence(self.hand, self.state, self.evidence, self.prior, self.smoothness, max_iterations, terms)
        return replace(self, state=state)

    def joints_m(self) -> ndarray:
        """(frame, 21, 3) of the model, without offsets."""
        return pose_landmarks(self.hand.bare, self.state.R_root, self.state.angles, self.state.transl).points_m

    def result(self, settings: FittingSettings) -> HandFit:
        return _result(self, settings)


def _follow(
    model: HandModel,
    points_m: ndarray,
    sigma_m: ndarray,
    fps: float,
    settings: FittingSettings,
    shape: HandShape | None,
    detections: PointTerm | None,
) -> _Track | None:
    """Fit one hand; None if no frame observes it well enough."""
    frames = len(points_m)
    assert points_m.shape == (frames, NUM_JOINTS, 3), points_m.shape
    assert sigma_m.shape == (frames, NUM_JOINTS), sigma_m.shape
    shape = shape or find_shape(model, points_m, sigma_m, settings)
    if shape is None:
        return None
    evidence, prior, smoothness = _evidence(points_m, sigma_m, settings), _prior(settings), _smoothness(settings, fps)
    hand = replace(_mean_hand(model), betas=shape.betas, offsets_m=shape.offsets_m)
    state, palm_seen = initial_state(hand, evidence.points_m, prior)
    known = palm_seen & (np.isfinite(evidence.sigma_m).sum(axis=1) >= settings.min_observed_joints)
    if not known.any():
        return None
    chosen = np.flatnonzero(known)
    alone = fit_frames(hand, state.take(chosen), evidence.take(chosen), prior, settings.max_iterations)
    place = np.cumsum(known) - 1
    state = carry(alone.take(np.maximum(place, 0)), known)
    track = _Track(hand, state, evidence, evidence, prior, smoothness, ()).solved(settings.max_iterations)
    if settings.fast_motion_share > 0:
        smoothness = smoothness.adapted(track.state, settings.fast_motion_share, FAST_SPAN_S)
    if detections is not None:
        track = replace(track, evidence=evidence.without(detections.covers), terms=(detections,))
    return replace(track, smoothness=smoothness).solved(settings.max_iterations)


def _separate(left: _Track, right: _Track, settings: FittingSettings) -> list[_Track | None]:
    """Fit both hands, with contact planes where they are close."""
    spheres = fill(left.hand), fill(right.hand)
    for _ in range(CONTACT_ROUNDS):
        sides = planes(spheres, (left.joints_m(), right.joints_m()), settings.penetration_weight)
        if sides is None or sides[0].deepest_m(left.joints_m()) < CONTACT_ENOUGH_M:
            break
        left, right = left.solved(CONTACT_ITERATIONS, sides[0]), right.solved(CONTACT_ITERATIONS, sides[1])
    return [left, right]


def _mean_hand(model: HandModel) -> Landmarks:
    return Landmarks(model, anatomical_frames(model), np.zeros(NUM_BETAS), np.zeros((NUM_JOINTS, 3)))


def _prior(settings: FittingSettings) -> PosePrior:
    return pose_prior(settings.flexion_sd_rad, settings.abduction_sd_rad, settings.hinge_sd_rad, settings.twist_sd_rad)


def _observed(points_m: ndarray, sigma_m: ndarray) -> ndarray:
    """(frame, 21) the sigma of what is a point with a sigma, NaN elsewhere."""
    return np.where(np.isfinite(points_m).all(axis=-1), sigma_m, np.nan)


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


def _result(track: _Track, settings: FittingSettings) -> HandFit:
    hand, state, evidence = track.hand, track.state, track.seen
    posed = pose_landmarks(hand, state.R_root, state.angles, state.transl)
    error = np.linalg.norm(posed.points_m - evidence.points_m, axis=-1)
    count = np.isfinite(error).sum(axis=1)
    mean_square = np.nansum(error**2, axis=1) / np.maximum(count, 1)
    agree = (error <= settings.robust_scale * evidence.sigma_m).sum(axis=1) >= settings.min_observed_joints
    return HandFit(
        betas=hand.betas,
        global_orient=axis_angle_from_rotation(state.R_root),
        hand_pose=(state.angles[:, :, None] @ hand.frames).reshape(-1, NUM_POSE),
        transl=state.transl,
        joints_m=track.joints_m(),
        residual_m=np.where(count > 0, np.sqrt(mean_square), np.nan),
        valid=carried_sd_m(agree, track.smoothness) <= settings.max_carried_sd_m,
        offsets_m=hand.offsets_m,
    )


def carried_sd_m(supported: ndarray, smoothness: Smoothness) -> ndarray:
    """Standard error of a hand's position in frames without observations, metres.

    A point of the hand whose acceleration is unknown, A per frame (the wrist's and, a finger's length away, those of
    the rotations), strays A / fps^2 sqrt(m^3 / 3) in m frames; both ends of a gap bound it, as independent estimates.

    Args:
        supported: (frame,) True where observations hold it.
        smoothness: the prior of the accelerations.

    Returns:
        (frame,) standard deviation; 0 where supported, infinite if nothing is.
    """
    wrist, turn, finger = smoothness.acceleration_sd[:3]
    per_frame_m = np.sqrt(wrist**2 + (FINGER_M * turn) ** 2 + (FINGER_M * finger) ** 2) / smoothness.fps**2
    frame = np.arange(len(supported))
    before = frame - np.maximum.accumulate(np.where(supported, frame, -np.inf))
    after = np.minimum.accumulate(np.where(supported, frame, np.inf)[::-1])[::-1] - frame
    information = sum(3 / np.maximum(m, 0.5) ** 3 for m in (before, after)) / per_frame_m**2
    return np.where(supported, 0.0, 1 / np.sqrt(np.maximum(information, 1e-12)))


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
