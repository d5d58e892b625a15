"""Fits MANO to a sequence of 3D keypoints: one shape, a pose per frame, smooth in time.

Three Gauss-Newton problems, each the start of the next, all with exact derivatives:
1. shape, on a few well-seen frames: (poses, betas) by the Schur complement on the betas;
2. pose of each frame on its own, all frames at once;
3. poses of all frames together with smoothness, by a banded Cholesky factorisation: linear time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy import ndarray
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_dataclass
from scipy.linalg import lapack

from ..core.hand_model import HandModel
from ..core.hands import NUM_BETAS, NUM_JOINTS, NUM_POSE
from .initial import carry, initial_state
from .kinematics import (
    NUM_PARAMETERS,
    Landmarks,
    Posed,
    anatomical_frames,
    axis_angle_from_rotation,
    pose_jacobian,
    pose_landmarks,
    shape_jacobian,
)
from .residuals import HandState, PosePrior, Smoothness, geman_mcclure, pose_prior

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

SETTLED = 2e-3
"""A step that gains less than this share of the cost is the last."""
BLOCK = 64
"""Frames linearised at a time."""
BANDWIDTH = 2 * NUM_PARAMETERS + 2
"""Below the diagonal: two frames on, and the three components of the root's turn."""


@settings_dataclass(frozen=True)
class FittingSettings:
    """How the hand model is fitted to keypoints."""

    landmark_sigma_m: Positive = 0.001
    """How far a detector's landmark may be from the model's joint (one standard deviation), added to each sigma."""
    robust_scale: Positive = 6.0
    """A point this many sigmas off counts a quarter; far outliers count nothing (Geman-McClure)."""
    wrist_acceleration_sd: Positive = 0.5
    """m/s^2 of the wrist: smaller is smoother. Steady motion is free at any speed."""
    wrist_turn_acceleration_sd: Positive = 10.0
    """rad/s^2 of the wrist's rotation."""
    finger_acceleration_sd: Positive = 20.0
    """rad/s^2 of each finger joint."""
    acceleration_huber: Positive = 1.25
    """Beyond this many standard deviations the cost of an acceleration grows linearly."""
    flexion_sd_rad: Positive = 1.5
    """Prior of bending, about a relaxed hand."""
    abduction_sd_rad: Positive = 0.4
    """Prior of spreading, at the knuckles and the thumb."""
    hinge_sd_rad: Positive = 0.05
    """Sideways bend and twist of the outer finger joints."""
    twist_sd_rad: Positive = 0.12
    """Twist of the fingers at the knuckles."""
    min_observed_joints: Annotated[int, Field(ge=1, le=NUM_JOINTS)] = 6
    """A frame with fewer joints in agreement with the model is carried by its neighbours and not valid."""
    shape_frames: Count = 64
    """How many frames, spread over the sequence, the shape is found from."""
    shape_evidence_frames: Positive = 10.0
    """All those frames together weigh against the shape's prior, betas ~ N(0, 1), as much as this many: what a
    detector or the model gets wrong, it gets wrong in every frame."""
    landmark_offsets: bool = False
    """Also learn where each landmark lies in its bone's frame: detectors' landmarks are not exactly the joints."""
    landmark_offset_sd_m: Positive = 0.003
    """Prior of those offsets."""
    max_iterations: Count = 20
    """Gauss-Newton steps in each of the three problems."""


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


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What was observed, with the sigmas and the robust scale that weigh it."""

    points_m: ndarray
    sigma_m: ndarray
    robust_scale: float

    def take(self, frames: ndarray | slice) -> _Evidence:
        return replace(self, points_m=self.points_m[frames], sigma_m=self.sigma_m[frames])

    def cost(self, posed: Posed) -> ndarray:
        """(frame,)"""
        return geman_mcclure(posed.points_m - self.points_m, self.sigma_m, self.robust_scale)[0].sum(axis=1)

    def weighted(self, posed: Posed) -> tuple[ndarray, ndarray]:
        """Errors (frame, 63), 0 where unobserved, and their weights (frame, 63) in 1/m^2."""
        error = posed.points_m - self.points_m
        weight = geman_mcclure(error, self.sigma_m, self.robust_scale)[1]
        error = np.where(weight[..., None] > 0, error, 0.0)
        return error.reshape(len(error), -1), np.repeat(weight, 3, axis=1)


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
    hand = _fit_shape(hand, state, evidence, prior, known, settings)
    state, _ = initial_state(hand, evidence.points_m, prior)
    chosen = np.flatnonzero(known)
    alone = _fit_frames(hand, state.take(chosen), evidence.take(chosen), prior, settings.max_iterations)
    place = np.cumsum(known) - 1
    state = carry(alone.take(np.maximum(place, 0)), known)
    state = _fit_sequence(hand, state, evidence, prior, _smoothness(settings, fps), settings.max_iterations)
    return _result(hand, state, evidence, settings)


def _evidence(points_m: ndarray, sigma_m: ndarray, settings: FittingSettings) -> _Evidence:
    seen = np.isfinite(points_m).all(axis=-1) & np.isfinite(sigma_m)
    points = np.where(seen[..., None], points_m, np.nan).astype(np.float64)
    sigma = np.where(seen, np.hypot(np.where(seen, sigma_m, 0.0), settings.landmark_sigma_m), np.nan)
    return _Evidence(points, sigma, settings.robust_scale)


def _smoothness(settings: FittingSettings, fps: float) -> Smoothness:
    acceleration = np.array(
        [settings.wrist_acceleration_sd, settings.wrist_turn_acceleration_sd] + [settings.finger_acceleration_sd] * 15
    )
    # Speeds far above what hands do: felt only where nothing is observed.
    speed = np.array([5.0] + [50.0] * 16)
    return Smoothness(float(fps), acceleration, speed, settings.acceleration_huber)


def _linearise(
    hand: Landmarks, state: HandState, posed: Posed, evidence: _Evidence, prior: PosePrior
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """One Gauss-Newton model of points and prior, per frame.

    Returns:
        Normal matrix (frame, 51, 51), gradient (frame, 51), and the whitened points they come from: derivative
        (frame, 63, 51) and error (frame, 63), each row divided by its sigma and scaled by its robust weight.
    """
    error, weight = evidence.weighted(posed)
    root = np.sqrt(weight)
    J = pose_jacobian(hand, posed)
    J *= root[..., None]
    error *= root
    H = J.transpose(0, 2, 1) @ J
    g = (error[:, None] @ J)[:, 0]
    prior_g, prior_h = prior.normal(state.angles)
    g[:, 6:] += prior_g
    diagonal = np.arange(6, NUM_PARAMETERS)
    H[:, diagonal, diagonal] += prior_h
    return H, g, J, error


def _normal_equations(
    hand: Landmarks, state: HandState, evidence: _Evidence, prior: PosePrior
) -> tuple[ndarray, ndarray]:
    """Normal matrix (frame, 51, 51) and gradient (frame, 51), in blocks of frames that stay in the cache."""
    frames = len(state.transl)
    H, g = np.empty((frames, NUM_PARAMETERS, NUM_PARAMETERS)), np.empty((frames, NUM_PARAMETERS))
    for start in range(0, frames, BLOCK):
        block = np.s_[start : start + BLOCK]
        part = state.take(block)
        posed = pose_landmarks(hand, part.R_root, part.angles, part.transl)
        H[block], g[block], _, _ = _linearise(hand, part, posed, evidence.take(block), prior)
    return H, g


def _damp(H: ndarray, damping: ndarray | float) -> None:
    """Marquardt's damping, relative to the diagonal, in place."""
    diagonal = np.arange(H.shape[-1])
    H[:, diagonal, diagonal] *= 1 + np.asarray(damping)[..., None]


def _frame_costs(posed: Posed, state: HandState, evidence: _Evidence, prior: PosePrior) -> ndarray:
    return evidence.cost(posed) + prior.cost(state.angles)


# ---- 1. shape ----------------------------------------------------------------------------------------------------


def _fit_shape(
    hand: Landmarks,
    state: HandState,
    evidence: _Evidence,
    prior: PosePrior,
    known: ndarray,
    settings: FittingSettings,
) -> Landmarks:
    """The hand with the betas (and offsets) that explain its best-seen frames."""
    chosen = _shape_frames(known, evidence, settings.shape_frames)
    evidence, state = evidence.take(chosen), state.take(chosen)
    width = NUM_BETAS + (3 * NUM_JOINTS if settings.landmark_offsets else 0)
    precision = np.ones(NUM_BETAS + 3 * NUM_JOINTS)
    precision[NUM_BETAS:] = settings.landmark_offset_sd_m**-2
    precision *= max(1.0, len(chosen) / settings.shape_evidence_frames)

    def cost(h: Landmarks, s: HandState, p: Posed) -> float:
        shared = np.concatenate([h.betas, h.offsets_m.ravel()])
        return float(_frame_costs(p, s, evidence, prior).sum() + 0.5 * precision @ shared**2)

    posed = pose_landmarks(hand, state.R_root, state.angles, state.transl)
    best, damping = cost(hand, state, posed), 1e-3
    for _ in range(settings.max_iterations):
        H, g, J, error = _linearise(hand, state, posed, evidence, prior)
        _damp(H, damping)
        shared = np.concatenate([hand.betas, hand.offsets_m.ravel()])[:width]
        weight = evidence.weighted(posed)[1]
        Js = shape_jacobian(hand, posed)[..., :width] * np.sqrt(weight)[..., None]
        cross = J.transpose(0, 2, 1) @ Js
        Hs = np.einsum("nri,nrj->ij", Js, Js, optimize=True) + np.diag(precision[:width])
        gs = np.einsum("nri,nr->i", Js, error) + precision[:width] * shared
        solved = np.linalg.solve(H, np.concatenate([g[..., None], cross], axis=2))
        Hs -= np.einsum("nri,nrj->ij", cross, solved[..., 1:], optimize=True)
        gs -= np.einsum("nri,nr->i", cross, solved[..., 0])
        step_shared = -np.linalg.solve(Hs, gs)
        step = -solved[..., 0] - solved[..., 1:] @ step_shared
        moved = np.zeros(len(precision))
        moved[:width] = step_shared
        trial = replace(
            hand, betas=hand.betas + moved[:NUM_BETAS], offsets_m=hand.offsets_m + moved[NUM_BETAS:].reshape(-1, 3)
        )
        trial_state = state.moved(step)
        trial_posed = pose_landmarks(trial, trial_state.R_root, trial_state.angles, trial_state.transl)
        new = cost(trial, trial_state, trial_posed)
        if new >= best:
            damping *= 10
            if damping > 1e6:
                break
            continue
        gain, best, damping = best - new, new, damping * 0.1
        hand, state, posed = trial, trial_state, trial_posed
        if gain < SETTLED * best:
            break
    return hand


def _shape_frames(known: ndarray, evidence: _Evidence, count: int) -> ndarray:
    """At most `count` frames, evenly spread among those that see as many joints as the median frame or more."""
    seen = np.isfinite(evidence.sigma_m).sum(axis=1)
    good = np.flatnonzero(known & (seen >= np.median(seen[known])))
    return good[np.unique(np.linspace(0, len(good) - 1, min(count, len(good))).round().astype(int))]


# ---- 2. each frame on its own ------------------------------------------------------------------------------------


def _fit_frames(
    hand: Landmarks, state: HandState, evidence: _Evidence, prior: PosePrior, max_iterations: int
) -> HandState:
    """Levenberg-Marquardt on every frame at once, each with its own damping; settled frames drop out."""
    posed = pose_landmarks(hand, state.R_root, state.angles, state.transl)
    best = _frame_costs(posed, state, evidence, prior)
    damping = np.full(len(best), 1e-3)
    active = np.arange(len(best))
    for _ in range(max_iterations):
        now, seen = state.take(active), evidence.take(active)
        H, g = _normal_equations(hand, now, seen, prior)
        _damp(H, damping[active])
        trial = now.moved(-np.linalg.solve(H, g[..., None])[..., 0])
        posed = pose_landmarks(hand, trial.R_root, trial.angles, trial.transl)
        new = _frame_costs(posed, trial, seen, prior)
        better = new < best[active]
        damping[active] = np.where(better, damping[active] * 0.1, damping[active] * 10)
        gain = np.where(better, best[active] - new, np.inf)
        best[active[better]] = new[better]
        kept = trial.where(better, now)
        for whole, part in ((state.R_root, kept.R_root), (state.angles, kept.angles), (state.transl, kept.transl)):
            whole[active] = part
        # The next problem takes it from here: a tenth of the cost is close enough.
        active = active[(gain > 0.1 * np.maximum(best[active], 0.1)) & (damping[active] < 1e4)]
        if len(active) == 0:
            break
    return state


# ---- 3. the whole sequence ---------------------------------------------------------------------------------------


def _fit_sequence(
    hand: Landmarks,
    state: HandState,
    evidence: _Evidence,
    prior: PosePrior,
    smoothness: Smoothness,
    max_iterations: int,
) -> HandState:
    """Levenberg-Marquardt on all frames together."""

    def cost(s: HandState) -> float:
        posed = pose_landmarks(hand, s.R_root, s.angles, s.transl)
        return float(_frame_costs(posed, s, evidence, prior).sum()) + smoothness.cost(s)

    best, damping = cost(state), 1e-6
    band = np.empty((len(state.transl), NUM_PARAMETERS, BANDWIDTH + 1))
    for _ in range(max_iterations):
        H, g = _normal_equations(hand, state, evidence, prior)
        _, smooth_g, smooth_h = smoothness.normal(state)
        _damp(H, damping)
        trial = state.moved(-_solve_banded(H, smooth_h, g + smooth_g, band))
        new = cost(trial)
        if new >= best:
            damping = max(10 * damping, 1e-4)
            if damping > 1e6:
                break
            continue
        gain, best, damping = best - new, new, max(0.1 * damping, 1e-9)
        state = trial
        if gain < SETTLED * best:
            break
    return state


def _solve_banded(H: ndarray, smooth: ndarray, g: ndarray, band: ndarray) -> ndarray:
    """Solve the block-pentadiagonal system of frame blocks `H` plus the smoothness blocks.

    Args:
        H: (frame, 51, 51) of points and prior.
        smooth: (frame, 3, 17, 3, 3) of `Smoothness.normal`.
        g: (frame, 51).
        band: (frame, 51, BANDWIDTH + 1) memory to work in.

    Returns:
        (frame, 51).
    """
    frames, n = g.shape
    # band[t, j, i] is row 51 t + j + i of column 51 t + j: LAPACK's lower band, transposed.
    band[...] = 0.0
    for j in range(n):
        band[:, j, : n - j] = H[:, j, j:]
    rows, columns = np.meshgrid(np.arange(3), np.arange(3), indexing="ij")
    for k in range(3):
        for r, c in zip(rows.ravel(), columns.ravel(), strict=True):
            if k == 0 and r < c:
                continue
            band[:, np.arange(17) * 3 + c, k * n + r - c] += smooth[:, k, :, r, c]
    packed = band.reshape(frames * n, BANDWIDTH + 1).T
    _, x, info = lapack.dpbsv(packed, g.reshape(-1, 1), lower=1, overwrite_ab=1)
    assert info == 0, f"normal matrix not positive definite at row {info}"
    return x.reshape(frames, n)


# ---- result ------------------------------------------------------------------------------------------------------


def _result(hand: Landmarks, state: HandState, evidence: _Evidence, settings: FittingSettings) -> HandFit:
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
