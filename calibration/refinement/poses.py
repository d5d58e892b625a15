"""The rig's poses from the hands it saw: bundle adjustment over triangulated joints, lenses held.

Pure array code. A camera has 6 parameters (rotation from the left, R <- exp(w) R, and translation), a joint 3; joints
are eliminated (Schur complement), residuals are pixels over their noise under Geman and McClure's loss. Hands fix
neither frame nor scale, so the adjusted rig is laid back with its joints on those of before.

Source: Triggs et al., Bundle Adjustment - A Modern Synthesis (2000), sections 4, 6.1 and 9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.transform import Rotation
from threadpoolctl import threadpool_limits

from ...core.cameras import Cameras
from ...core.geometry import Alignment, align, moved_poses
from ...core.least_squares import DampedSearch, Damping, damped

LOSS_SCALE = 3.0
"""Residuals of this many standard deviations count for a quarter of their square; far ones for nothing."""
PRIOR_SIGMA = (0.1, 0.1)
"""Radians and metres that a camera is expected to move at most: wide, it only holds what the hands leave open."""
NOISE_FLOOR_PX = 0.2
MIN_DEPTH_M = 1e-3
TINY = 1e-9
"""On the diagonals: keeps what nothing observes solvable."""
ROUNDS, STEPS, POINT_STEPS, LAY_ROUNDS = 4, 15, 8, 10
WIDTHS = (10.0, 3.0, 1.0)
"""A joint is settled under a wide loss first, so that it matters little where it starts."""


@dataclass(frozen=True)
class Observations:
    """Joints as the views saw them, through a lens taken off."""

    xy: ndarray
    """(point, view, 2) undistorted normalised coordinates; anything finite where not seen."""
    seen: ndarray
    """(point, view) bool."""
    focal_px: ndarray
    """(view,) what turns coordinates into pixels."""

    @classmethod
    def from_pixels(cls, cameras: Cameras, uv_px: ndarray) -> Observations:
        """From (view, point, 2) pixels, NaN where not seen; uncalibrated views are not seen."""
        with np.errstate(invalid="ignore", over="ignore"):
            xy = np.moveaxis(cameras.undistort(uv_px.astype(float)), 0, 1)
        seen = np.isfinite(xy).all(-1) & cameras.calibrated
        return cls(np.where(seen[..., None], xy, 0.0), seen, np.where(cameras.calibrated, cameras.focal_px, 1.0))

    def part(self, points: ndarray) -> Observations:
        """Only these points."""
        return replace(self, xy=self.xy[points], seen=self.seen[points])


@threadpool_limits.wrap(limits=1, user_api="blas")  # another number of threads gives other last bits
def refine_poses(cameras: Cameras, observations: Observations, points_m: ndarray, free: ndarray) -> Cameras:
    """Adjust the poses of the free views and all joints.

    Args:
        points_m: (point, 3) first guess of the joints, metres.
        free: (view,) bool, views whose pose may move.

    Returns:
        The rig with new poses, laid on the one given.
    """
    T = np.where(cameras.calibrated[:, None, None], cameras.T_cam_world, np.eye(4))
    start, before = T, settle_points(T, observations, points_m)
    points = before
    for _ in range(ROUNDS):
        T, points = _adjust(T, start, points, observations, noise_px(T, observations, points), free)
    T = lay_on(T, points, before)
    return replace(cameras, T_cam_world=np.where(cameras.calibrated[:, None, None], T, np.nan))


def settle_points(T_cam_world: ndarray, observations: Observations, points_m: ndarray) -> ndarray:
    """(point, 3) the joints where the given cameras want them, each by itself."""
    points, held = points_m, np.zeros(len(T_cam_world), bool)
    for factor in WIDTHS:
        sigma_px = factor * noise_px(T_cam_world, observations, points)
        _, points = _adjust(T_cam_world, T_cam_world, points, observations, sigma_px, held)
    return points


def distances_px(T_cam_world: ndarray, observations: Observations, points_m: ndarray) -> ndarray:
    """(point, view) from where a joint was seen to where the cameras put it, pixels; NaN where not seen."""
    residual, _, _ = _project(T_cam_world, observations, points_m)
    return np.where(observations.seen, np.linalg.norm(residual, axis=-1), np.nan)


def noise_px(T_cam_world: ndarray, observations: Observations, points_m: ndarray) -> float:
    """Standard deviation of one coordinate, from the median distance over all views.

    One for the whole rig: joints follow the view that is trusted most, whose residuals then speak for it even more.
    """
    if not observations.seen.any():
        return NOISE_FLOOR_PX
    # A joint follows its views: of the 2 n coordinates of n views, 2 n - 3 are left to err.
    coordinates = 2.0 * np.maximum(observations.seen.sum(1, keepdims=True), 2)
    length = distances_px(T_cam_world, observations, points_m) * np.sqrt(coordinates / (coordinates - 3))
    # The length of a two-dimensional Gaussian error has median 1.1774 sigma.
    return max(float(np.nanmedian(length)) / 1.1774, NOISE_FLOOR_PX)


def lay_on(T_cam_world: ndarray, points_m: ndarray, before_m: ndarray) -> ndarray:
    """The rig moved, turned and scaled as a whole so that its joints (point, 3) lie on those of before.

    Joints and not camera centres: a camera is worst known along its axis, and the scale that matters is the one where
    the hands are. The farthest fifth is left out, again and again; the two must be near each other to begin with.
    """

    def aligned(moved_m: ndarray) -> Alignment:
        distance = np.linalg.norm(moved_m - before_m, axis=-1)
        near = distance <= np.percentile(distance, 80)
        return align(points_m[near], before_m[near], scaled=True)

    found = aligned(points_m)
    for _ in range(LAY_ROUNDS - 1):
        found = aligned(found.apply(points_m))
    out = T_cam_world.copy()
    out[:, :3, :3] = T_cam_world[:, :3, :3] @ found.R.T
    out[:, :3, 3] = found.scale * T_cam_world[:, :3, 3] - np.einsum("vij,j->vi", out[:, :3, :3], found.shift)
    return out


def _project(T: ndarray, seen: Observations, points: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Residuals (point, view, 2) in pixels, the joints turned into each camera's axes, and in its frame."""
    turned = (points @ T[:, :3, :3].transpose(0, 2, 1)).transpose(1, 0, 2)
    inside = turned + T[:, :3, 3]
    depth = np.maximum(inside[..., 2:], MIN_DEPTH_M)
    residual = (inside[..., :2] / depth - seen.xy) * seen.focal_px[:, None]
    # Behind the camera there is nothing to see: as wrong as can be, and no slope to follow.
    return np.where(inside[..., 2:] > MIN_DEPTH_M, residual, 1e6), turned, inside


def _adjust(
    T: ndarray, prior: ndarray, points: ndarray, seen: Observations, sigma_px: float, free: ndarray
) -> tuple[ndarray, ndarray]:
    """Levenberg-Marquardt from the given poses and joints; without a free view every joint moves by itself."""
    any_free = bool(free.any())
    # One damping for all when the cameras couple the joints, one for each when nothing does.
    cost = _costs(T, prior, points, seen, sigma_px, any_free)
    search = DampedSearch(cost, Damping(1e-3, least=1e-9, most=1e9), 1e-6, together=True)
    for damping in search.tries(STEPS if any_free else POINT_STEPS):
        step, moves = _step(T, prior, points, seen, sigma_px, free, damping)
        T_new, points_new = moved_poses(T, step), points + moves
        better = search.improves(_costs(T_new, prior, points_new, seen, sigma_px, any_free))
        # With a free view there is one answer for all joints.
        points = np.where(better[:, None], points_new, points)
        T = np.where(better.all(), T_new, T) if any_free else T
    return T, points


def _costs(T: ndarray, prior: ndarray, points: ndarray, seen: Observations, sigma_px: float, together: bool) -> ndarray:
    """(point,) robust costs, or (1,) their sum with the prior's."""
    squared = (_project(T, seen, points)[0] ** 2).sum(-1) / sigma_px**2
    cost = np.where(seen.seen, squared * LOSS_SCALE**2 / (LOSS_SCALE**2 + squared), 0.0).sum(1)
    return np.array([cost.sum() + (_away(T, prior) ** 2).sum()]) if together else cost


def _away(T: ndarray, prior: ndarray) -> ndarray:
    """(view, 6) how far the poses are from the prior's, in its standard deviations."""
    w = Rotation.from_matrix(T[:, :3, :3] @ prior[:, :3, :3].transpose(0, 2, 1)).as_rotvec()
    return np.concatenate([w / PRIOR_SIGMA[0], (T[:, :3, 3] - prior[:, :3, 3]) / PRIOR_SIGMA[1]], axis=1)


def _step(
    T: ndarray, prior: ndarray, points: ndarray, seen: Observations, sigma_px: float, free: ndarray, damping: ndarray
) -> tuple[ndarray, ndarray]:
    """Steps (view, 6) and (point, 3) of the damped normal equations."""
    residual, turned, inside = _project(T, seen, points)
    squared = (residual**2).sum(-1) / sigma_px**2
    weight = seen.seen * (LOSS_SCALE**2 / (LOSS_SCALE**2 + squared)) ** 2 / sigma_px**2
    z = np.maximum(inside[..., 2], MIN_DEPTH_M)
    d_inside = np.zeros((*z.shape, 2, 3))  # pixels per metre in the camera's frame
    d_inside[..., 0, 0] = d_inside[..., 1, 1] = seen.focal_px / z
    d_inside[..., 2] = -(inside[..., :2] / z[..., None] ** 2) * seen.focal_px[:, None]
    d_point = d_inside @ T[:, :3, :3]
    count, rows = len(points), 2 * len(T)
    weighted = (d_point * weight[..., None, None]).reshape(count, rows, 3).transpose(0, 2, 1)
    H_point = weighted @ d_point.reshape(count, rows, 3)
    g_point = (weighted @ residual.reshape(count, rows, 1))[..., 0]
    H_point = damped(H_point, damping, TINY)
    if not free.any():
        return np.zeros((len(T), 6)), -np.linalg.solve(H_point, g_point[..., None])[..., 0]
    d_camera = np.concatenate([np.cross(turned[..., None, :], d_inside), d_inside], axis=-1)[:, free]
    weighted = d_camera * weight[:, free, None, None]
    views = int(free.sum())
    by_view = weighted.transpose(1, 3, 0, 2).reshape(views, 6, -1)
    H_camera = by_view @ d_camera.transpose(1, 0, 2, 3).reshape(views, -1, 6)
    g_camera = (by_view @ residual[:, free].transpose(1, 0, 2).reshape(views, -1, 1))[..., 0]
    prior_weight = 1 / np.repeat(PRIOR_SIGMA, 3) ** 2
    H_camera = H_camera + np.diag(prior_weight)
    g_camera = g_camera + _away(T, prior)[free] * np.sqrt(prior_weight)
    H_camera = damped(H_camera, damping, TINY)
    W = (weighted.transpose(0, 1, 3, 2) @ d_point[:, free]).reshape(count, 6 * views, 3)
    inverse = np.linalg.inv(H_point)
    through = W @ inverse
    flat = through.transpose(1, 0, 2).reshape(6 * views, -1)
    S = -flat @ W.transpose(1, 0, 2).reshape(6 * views, -1).T
    block = np.arange(views)
    S.reshape(views, 6, views, 6)[block, :, block, :] += H_camera
    rhs = flat @ g_point.ravel() - g_camera.ravel()
    solved = cho_solve(cho_factor(S, lower=True), rhs)
    step = np.zeros((len(T), 6))
    step[free] = solved.reshape(views, 6)
    rest = -g_point - solved @ W
    return step, (inverse @ rest[..., None])[..., 0]
