"""Estimation of time offsets and drift of cameras from the motion of the hands.

If views are not synchronised, the reprojection error of a moving hand is velocity times time offset. The offsets of all
views are solved for together: the 3D joints are eliminated from the reprojection errors, which leaves normal equations
over the views (variable projection: Golub & Pereyra, SIAM J. Numer. Anal. 10, 1973). The drift of a camera, the change
of its offset over the recording, is a second unknown per view.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from .candidates import detection_noise_px, normalised
from .grouping import HandGroups, group_hands
from .time_alignment import align, images_at, velocities, velocities_at

PARTS = 8
"""Number of parts of the recording for the jackknife estimate of standard errors."""
SURE = 5.0
"""An offset or drift below this number of standard errors is ignored."""

_PRIOR_S = 1.0  # Prior standard deviation of offsets: it keeps the equations solvable.
_ROBUST = 3.0  # An error of so many standard deviations counts a quarter (Geman-McClure).
_GROUPINGS, _STEPS = 4, 8
_DONE, _SETTLED = 0.005, 0.15  # Instants; shorter steps are the end of the steps, and of the groupings.
_FASTEST = 0.8  # Steps that shrink more slowly than by this factor are not lengthened any further.
_DRIFT = 0.1  # Instants that a drift must make over half the recording to be followed.
_NEAREST_M = 0.02  # Nearer to a camera, or behind it, a point is not seen by it.


@dataclass(frozen=True)
class Offsets:
    """Time offset and drift of each view, relative to the median of the rig."""

    offset_s: ndarray
    """(view,) seconds by which images were taken later than recorded, at the middle of the recording."""
    sigma_s: ndarray
    """(view,) standard error; infinite if the offset is unknown."""
    drift: ndarray
    """(view,) seconds per second by which the offset grows."""
    drift_sigma: ndarray
    """(view,) standard error."""
    middle_s: float
    """The time to which `offset_s` refers."""

    def corrected(self, time_s: ndarray) -> ndarray:
        """(view, frame) corrected capture times, from the recorded times."""
        return time_s + self.offset_s[:, None] + self.drift[:, None] * (time_s - self.middle_s)


@dataclass(frozen=True)
class Equations:
    """Normal equations of the views' offsets (seconds) and then their drifts (seconds over half the recording)."""

    A: ndarray
    """(part, parameter, parameter)"""
    b: ndarray
    """(part, parameter)"""


def find_offsets(
    cameras: Cameras, points_px: ndarray, score: ndarray, right: ndarray, time_s: ndarray, instant_s: ndarray
) -> Offsets:
    """Estimate all views' offsets and drifts, from where they are known to about one instant.

    Args:
        cameras: the rig.
        points_px: (view, frame, candidate, joint, 2) detections, NaN where none.
        score: (view, frame, candidate) confidence.
        right: (view, frame, candidate) the detector's probability of a right hand.
        time_s: (view, frame) recorded capture time of each image; NaN where there is none.
        instant_s: (instant,) increasing times at which the views are compared.
    """
    views = len(cameras)
    step_s = float(np.median(np.diff(instant_s)))
    half_s = 0.5 * float(instant_s[-1] - instant_s[0])
    velocity_px = velocities(points_px, time_s)
    zero, unknown = np.zeros(views), np.full(views, np.inf)
    found = Offsets(zero, unknown, zero, unknown, float(instant_s[0]) + half_s)
    drifting = False
    for _ in range(_GROUPINGS):
        before = found
        found = _improve(cameras, points_px, velocity_px, score, right, time_s, instant_s, found, drifting)
        change_s = np.abs(found.offset_s - before.offset_s)
        if drifting:
            change_s += np.abs(found.drift - before.drift) * half_s
        if change_s.max() < _SETTLED * step_s:
            sure = np.abs(found.drift) > SURE * found.drift_sigma
            if drifting or not (sure & (np.abs(found.drift) * half_s > _DRIFT * step_s)).any():
                break
            drifting = True
    return found if drifting else replace(found, drift=zero)


def _improve(
    cameras: Cameras,
    points_px: ndarray,
    velocity_px: ndarray,
    score: ndarray,
    right: ndarray,
    time_s: ndarray,
    instant_s: ndarray,
    found: Offsets,
    drifting: bool,
) -> Offsets:
    """Group the hands with the current offsets, and update the offsets with these hands for some steps."""
    row = np.arange(len(cameras))[:, None]
    half_s = 0.5 * float(instant_s[-1] - instant_s[0])
    when = (instant_s - found.middle_s) / half_s
    part = np.arange(len(instant_s)) * PARTS // len(instant_s)
    groups, base, last = None, np.empty(0), np.zeros(len(cameras))
    for k in range(_STEPS):
        corrected = (found if drifting else replace(found, drift=0 * found.drift)).corrected(time_s)
        images = images_at(corrected, instant_s)
        aligned = align(points_px, images)
        if groups is None:
            groups = group_hands(cameras, aligned.points_px, score[row, images.base], right[row, images.base])
            base = images.base
        # In another image the candidates have other numbers.
        member = np.where((images.base == base).T[:, None], groups.member, -1)
        hands, speed_px = replace(groups, member=member), velocities_at(velocity_px, images, aligned)
        equations = offset_equations(cameras, aligned.points_px, speed_px, hands, part, when)
        change, sigma = solve_offsets(equations, drifting)
        if k % 2:
            # Noise in the velocities makes every step too short by about the same factor (Aitken's extrapolation).
            change = change / (1 - np.clip(change[0] @ last / max(last @ last, 1e-18), 0.0, _FASTEST))
        last = change[0]
        offset_s, drift = found.offset_s + change[0], change[1] / half_s
        drift = found.drift + drift if drifting else drift
        found = Offsets(
            offset_s - np.median(offset_s), sigma[0], drift - np.median(drift), sigma[1] / half_s, found.middle_s
        )
        if np.abs(last).max() < _DONE * np.median(np.diff(instant_s)):
            break
    return found


def offset_equations(
    cameras: Cameras, points_px: ndarray, velocity_px: ndarray, groups: HandGroups, part: ndarray, when: ndarray
) -> Equations:
    """Normal equations of the reprojection errors in the offsets and drifts of the views.

    Args:
        cameras: the rig.
        points_px: (view, instant, candidate, joint, 2) the candidates at the instants.
        velocity_px: (view, instant, candidate, joint, 2) how they move, per second; NaN where unknown.
        groups: which of them are which hand, and where that is.
        part: (instant,) which part of the recording each belongs to.
        when: (instant,) from -1 at the beginning to 1 at the end.
    """
    error, speed, J, weight = (_per_point(a) for a in _errors(cameras, points_px, velocity_px, groups))
    # With C = Jᵀ W speed of each view and M = Jᵀ W J of the point, A = speedᵀ W speed - Cᵀ M⁻¹ C, and b alike.
    M = np.einsum("nv,nvax,nvay->nxy", weight, J, J)
    C = np.einsum("nv,nvax,nva->nvx", weight, J, speed)
    g = np.einsum("nv,nvax,nva->nx", weight, J, error)
    fixed = np.linalg.eigvalsh(M)[:, 0] > 0
    root = np.linalg.inv(np.linalg.cholesky(np.where(fixed[:, None, None], M, np.eye(3))))  # M⁻¹ = rootᵀ root
    C, g = np.einsum("nxy,nvy->nvx", root, C), np.einsum("nxy,ny->nx", root, g)
    own = weight * (speed**2).sum(-1)
    b = weight * (speed * error).sum(-1) - np.einsum("nvx,nx->nv", C, g)
    repeats = len(weight) // len(when)
    part, when, views = np.repeat(part, repeats), np.repeat(when, repeats), weight.shape[1]
    A_parts, b_parts = np.zeros((PARTS, 2 * views, 2 * views)), np.zeros((PARTS, 2 * views))
    for k in range(PARTS):
        here = fixed & (part == k)
        s = when[here, None]
        both = np.concatenate([C[here], C[here] * s[..., None]], axis=1).transpose(1, 0, 2).reshape(2 * views, -1)
        moments = [np.diag((own[here] * s**power).sum(0)) for power in range(3)]
        A_parts[k] = np.block([[moments[0], moments[1]], [moments[1], moments[2]]]) - both @ both.T
        b_parts[k] = np.concatenate([b[here].sum(0), (b[here] * s).sum(0)])
    return Equations(A_parts, b_parts)


def _errors(
    cameras: Cameras, points_px: ndarray, velocity_px: ndarray, groups: HandGroups
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Of the hands' joints in the views, in standard deviations: error (view, frame, slot, joint, 2), its change per
    second of offset (the same), its derivative by the point (..., 2, 3), and weight (view, frame, slot, joint)."""
    member = groups.member.transpose(2, 0, 1)[..., None]
    px, velocity = (
        np.where(member[..., None] >= 0, np.take_along_axis(a, np.maximum(member, 0)[..., None], axis=2), np.nan)
        for a in (points_px, velocity_px)
    )
    one = np.ones(px.shape[:3])
    xy, later = (normalised(cameras, a, one)[0] for a in (px, px + velocity * 1e-3))
    scale = cameras.focal_px[:, None, None, None] / detection_noise_px(xy, cameras.focal_px)
    P = np.nan_to_num(cameras.P_cam_world)[:, None, None, None]
    cam = np.einsum("vfsjab,fsjb->vfsja", P[..., :3], groups.points_m) + P[..., 3]
    depth = np.where(cam[..., 2:] > _NEAREST_M, cam[..., 2:], np.nan)
    image = cam[..., :2] / depth
    J = (P[..., :2, :3] - image[..., None] * P[..., 2:, :3]) / depth[..., None] * scale[..., None, None]
    error, speed = (xy - image) * scale[..., None], (later - xy) / 1e-3 * scale[..., None]
    usable = np.isfinite(error).all(-1) & np.isfinite(speed).all(-1)
    usable &= usable.sum(0) >= 2
    weight = np.where(usable, 1 / (1 + np.where(usable, (error**2).sum(-1), 0.0) / _ROBUST**2) ** 2, 0.0)
    error, speed = (np.where(usable[..., None], a, 0.0) for a in (error, speed))
    return error, speed, np.where(usable[..., None, None], J, 0.0), weight


def _per_point(a: ndarray) -> ndarray:
    """(view, frame, slot, joint, ...) to (point, view, ...)."""
    return np.moveaxis(a, 0, 3).reshape(-1, len(a), *a.shape[4:])


def solve_offsets(equations: Equations, drifting: bool) -> tuple[ndarray, ndarray]:
    """Offsets and drifts relative to their means, and their standard errors, each (2, view).

    Without `drifting`, offsets are estimated without drift, and the drifts are estimated given these offsets.
    """
    views = equations.b.shape[1] // 2
    both = _solve(equations.A, equations.b, views)
    if drifting:
        return both
    alone = _solve(equations.A[:, :views, :views], equations.b[:, :views], views)
    return np.concatenate([alone[0], both[0][1:]]), np.concatenate([alone[1], both[1][1:]])


def _solve(A: ndarray, b: ndarray, views: int) -> tuple[ndarray, ndarray]:
    """Least-squares solution and standard errors, from the noise and from a jackknife over the parts."""
    prior = np.eye(b.shape[1]) / _PRIOR_S**2

    def solution(A: ndarray, b: ndarray) -> ndarray:
        x = np.linalg.solve(A + prior, b).reshape(-1, views)
        return x - x.mean(-1, keepdims=True)

    total_A, total_b, parts = A.sum(0), b.sum(0), len(A)
    without = np.stack([solution(total_A - A[k], total_b - b[k]) for k in range(parts)])
    spread = (parts - 1) / parts * ((without - without.mean(0)) ** 2).sum(0)
    center = np.kron(np.eye(b.shape[1] // views), np.eye(views) - 1 / views)
    covariance = center @ np.linalg.inv(total_A + prior) @ center
    return solution(total_A, total_b), np.sqrt(spread + np.diag(covariance).reshape(-1, views))
