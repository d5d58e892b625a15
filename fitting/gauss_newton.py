"""The three Gauss-Newton problems of the fit: the shape, each frame separately, and the whole sequence.

All derivatives are exact. Steps use Levenberg-Marquardt damping and are accepted only if they reduce the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
from numpy import ndarray
from scipy.linalg import get_lapack_funcs

from ..core.hands import NUM_BETAS, NUM_JOINTS
from ..core.least_squares import DampedSearch, Damping, damped
from .kinematics import NUM_PARAMETERS, Landmarks, PosedLandmarks, pose_jacobian, pose_landmarks, shape_jacobian
from .residuals import HandState, PosePrior, Smoothness, geman_mcclure
from .settings import FittingSettings

SETTLED = 2e-3
"""Convergence: iteration stops when a step reduces the cost by less than this share."""
BLOCK = 64
"""Frames linearised at a time."""
BANDWIDTH = 2 * NUM_PARAMETERS + 2
"""Below the diagonal: two frames on, and the three components of the root's turn."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Observed points and their weights."""

    points_m: ndarray
    """(frame, 21, 3) metres, NaN where unobserved."""
    sigma_m: ndarray
    """(frame, 21) standard error, metres, NaN where unobserved."""
    robust_scale: float
    """`geman_mcclure`'s scale, standard deviations."""

    def take(self, frames: ndarray | slice) -> Evidence:
        return replace(self, points_m=self.points_m[frames], sigma_m=self.sigma_m[frames])

    def without(self, covered: ndarray) -> Evidence:
        """Without the (frame, 21) points that another term replaces."""
        return replace(
            self,
            points_m=np.where(covered[..., None], np.nan, self.points_m),
            sigma_m=np.where(covered, np.nan, self.sigma_m),
        )

    def cost(self, posed: PosedLandmarks) -> ndarray:
        """(frame,)"""
        return geman_mcclure(posed.points_m - self.points_m, self.sigma_m, self.robust_scale)[0].sum(axis=1)

    def weighted(self, posed: PosedLandmarks) -> tuple[ndarray, ndarray]:
        """Errors (frame, 63), 0 where unobserved, and their weights (frame, 63) in 1/m^2."""
        error = posed.points_m - self.points_m
        weight = geman_mcclure(error, self.sigma_m, self.robust_scale)[1]
        error = np.where(weight[..., None] > 0, error, 0.0)
        return error.reshape(len(error), -1), np.repeat(weight, 3, axis=1)


def _linearise(
    hand: Landmarks, state: HandState, posed: PosedLandmarks, evidence: Evidence, prior: PosePrior
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


class PointTerm(Protocol):
    """An additional cost term on the positions of the landmarks."""

    @property
    def of_model(self) -> bool:
        """Whether the landmarks are the model's own joints, without the learned offsets."""
        ...

    @property
    def covers(self) -> ndarray:
        """(frame, 21) bool: landmarks for which this term replaces the observed points."""
        ...

    def take(self, frames: slice) -> PointTerm:
        """The term of these frames."""
        ...

    def cost(self, points_m: ndarray) -> ndarray:
        """(frame,) of (frame, 21, 3) landmarks."""
        ...

    def normal(self, points_m: ndarray) -> tuple[ndarray, ndarray]:
        """Gradient (frame, 21, 3) and Gauss-Newton matrix, (frame, 21, 3, 3) or, coupled, (frame, 63, 63)."""
        ...


def _term_cost(hand: Landmarks, state: HandState, terms: Sequence[PointTerm]) -> float:
    """Cost of all frames, computed in blocks to limit memory in long windows."""
    total = 0.0
    for start in range(0, len(state.transl), BLOCK) if terms else ():
        block = slice(start, start + BLOCK)
        part = state.take(block)
        for of_model in (False, True):
            chosen = [term for term in terms if term.of_model == of_model]
            if chosen:
                points = pose_landmarks(hand.bare if of_model else hand, part.R_root, part.angles, part.transl).points_m
                total += sum(float(term.take(block).cost(points).sum()) for term in chosen)
    return total


def _add_term(H: ndarray, g: ndarray, hand: Landmarks, posed: PosedLandmarks, term: PointTerm) -> None:
    """Adds a term to the normal matrices (frame, 51, 51) and gradients (frame, 51) of a block, in place."""
    slope, curve = term.normal(posed.points_m)
    felt = np.flatnonzero(slope.any(axis=(1, 2)) | curve.reshape(len(curve), -1).any(axis=1))
    if len(felt) == 0:
        return
    posed = PosedLandmarks(*(getattr(posed, field.name)[felt] for field in fields(posed)))
    J = pose_jacobian(hand, posed)
    slope, curve = slope[felt].reshape(len(felt), 1, -1), curve[felt]
    if curve.ndim == 4:
        curved = (curve @ J.reshape(len(felt), NUM_JOINTS, 3, NUM_PARAMETERS)).reshape(J.shape)
    else:
        curved = curve @ J
    H[felt] += J.transpose(0, 2, 1) @ curved
    g[felt] += (slope @ J)[:, 0]


def _normal_equations(
    hand: Landmarks, state: HandState, evidence: Evidence, prior: PosePrior, terms: Sequence[PointTerm] = ()
) -> tuple[ndarray, ndarray]:
    """Normal matrix (frame, 51, 51) and gradient (frame, 51), in blocks of frames that stay in the cache."""
    frames = len(state.transl)
    H, g = np.empty((frames, NUM_PARAMETERS, NUM_PARAMETERS)), np.empty((frames, NUM_PARAMETERS))
    for start in range(0, frames, BLOCK):
        block = np.s_[start : start + BLOCK]
        part = state.take(block)
        posed = pose_landmarks(hand, part.R_root, part.angles, part.transl)
        H[block], g[block], _, _ = _linearise(hand, part, posed, evidence.take(block), prior)
        for term in terms:
            if term.of_model:
                bare = pose_landmarks(hand.bare, part.R_root, part.angles, part.transl)
                _add_term(H[block], g[block], hand.bare, bare, term.take(block))
            else:
                _add_term(H[block], g[block], hand, posed, term.take(block))
    return H, g


def _frame_costs(posed: PosedLandmarks, state: HandState, evidence: Evidence, prior: PosePrior) -> ndarray:
    return evidence.cost(posed) + prior.cost(state.angles)


# ---- 1. shape ----------------------------------------------------------------------------------------------------


def fit_shape(
    hand: Landmarks,
    state: HandState,
    evidence: Evidence,
    prior: PosePrior,
    settings: FittingSettings,
) -> Landmarks:
    """The hand with the betas (and offsets) that explain these frames."""
    width = NUM_BETAS + (3 * NUM_JOINTS if settings.landmark_offsets else 0)
    precision = np.ones(NUM_BETAS + 3 * NUM_JOINTS)
    precision[NUM_BETAS:] = settings.landmark_offset_sd_m**-2
    precision *= max(1.0, len(state.transl) / settings.shape_evidence_frames)

    def cost(h: Landmarks, s: HandState, p: PosedLandmarks) -> float:
        shared = np.concatenate([h.betas, h.offsets_m.ravel()])
        return float(_frame_costs(p, s, evidence, prior).sum() + 0.5 * precision @ shared**2)

    posed = pose_landmarks(hand, state.R_root, state.angles, state.transl)
    search = DampedSearch(cost(hand, state, posed), Damping(1e-3, most=1e6), SETTLED)
    for damping in search.tries(settings.max_iterations):
        H, g, J, error = _linearise(hand, state, posed, evidence, prior)
        H = damped(H, damping)
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
        if search.improves(cost(trial, trial_state, trial_posed)):
            hand, state, posed = trial, trial_state, trial_posed
    return hand


def best_seen(sigma_m: ndarray, least: int, count: int) -> ndarray:
    """At most `count` frames, evenly spread among those that see as many joints as the median frame or more.

    Args:
        sigma_m: (frame, 21) NaN where a joint is not seen.
        least: minimum number of joints in a frame.
        count: of frames.
    """
    seen = np.isfinite(sigma_m).sum(axis=1)
    enough = seen >= least
    if not enough.any():
        return np.empty(0, int)
    good = np.flatnonzero(enough & (seen >= np.median(seen[enough])))
    return good[np.unique(np.linspace(0, len(good) - 1, min(count, len(good))).round().astype(int))]


# ---- 2. each frame on its own ------------------------------------------------------------------------------------


def fit_frames(
    hand: Landmarks, state: HandState, evidence: Evidence, prior: PosePrior, max_iterations: int
) -> HandState:
    """Levenberg-Marquardt on every frame at once, each with its own damping; settled frames drop out."""
    posed = pose_landmarks(hand, state.R_root, state.angles, state.transl)
    # The next problem refines the result, so a tenth of the cost is sufficient.
    search = DampedSearch(_frame_costs(posed, state, evidence, prior), Damping(1e-3, most=1e3), 0.1, floor=0.1)
    state = state.take(search.active)  # a copy: settled frames are written into it below
    for damping in search.tries(max_iterations):
        active = search.active
        now, seen = state.take(active), evidence.take(active)
        H, g = _normal_equations(hand, now, seen, prior)
        trial = now.moved(-np.linalg.solve(damped(H, damping), g[..., None])[..., 0])
        posed = pose_landmarks(hand, trial.R_root, trial.angles, trial.transl)
        kept = trial.where(search.improves(_frame_costs(posed, trial, seen, prior)), now)
        for whole, part in ((state.R_root, kept.R_root), (state.angles, kept.angles), (state.transl, kept.transl)):
            whole[active] = part
    return state


# ---- 3. the whole sequence ---------------------------------------------------------------------------------------


def fit_sequence(
    hand: Landmarks,
    state: HandState,
    evidence: Evidence,
    prior: PosePrior,
    smoothness: Smoothness,
    max_iterations: int,
    terms: Sequence[PointTerm] = (),
) -> HandState:
    """Levenberg-Marquardt on all frames together; `terms` are added to the evidence."""

    def cost(s: HandState) -> float:
        posed = pose_landmarks(hand, s.R_root, s.angles, s.transl)
        return float(_frame_costs(posed, s, evidence, prior).sum()) + smoothness.cost(s) + _term_cost(hand, s, terms)

    search = DampedSearch(cost(state), Damping(1e-6, least=1e-9, most=1e6, after_failure=1e-4), SETTLED)
    band = np.empty((len(state.transl), NUM_PARAMETERS, BANDWIDTH + 1))
    for damping in search.tries(max_iterations):
        H, g = _normal_equations(hand, state, evidence, prior, terms)
        _, smooth_g, smooth_h = smoothness.normal(state)
        trial = state.moved(-solve_banded(damped(H, damping), smooth_h, g + smooth_g, band))
        if search.improves(cost(trial)):
            state = trial
    return state


def solve_banded(H: ndarray, smooth: ndarray, g: ndarray, band: ndarray) -> ndarray:
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
    (pbsv,) = get_lapack_funcs(("pbsv",), (packed,))
    _, x, info = pbsv(packed, g.reshape(-1, 1), lower=1, overwrite_ab=1)
    assert info == 0, f"normal matrix not positive definite at row {info}"
    return x.reshape(frames, n)
