"""Bundle adjustment of cameras and board poses: Levenberg-Marquardt on the Schur complement, analytic derivatives.

Pure array code. A camera has 15 parameters: rotation (3), translation (3) and the lens fx, fy, cx, cy, k1, k2, p1, p2,
k3 (9); a fisheye's are k1, k2, k3, k4 and one that its prior holds. A board pose has 6. Rotations are updated from the
left, R <- exp(w) R, translations by addition.
Source: Triggs et al., Bundle Adjustment - A Modern Synthesis (2000), sections 4 and 6.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ..core.cameras import distort
from ..core.fisheye import distort_fisheye, fisheye_jacobian
from ..core.geometry import cross_matrix, moved_poses
from ..core.least_squares import DampedSearch, Damping, damped

NUM_LENS = 9
NUM_CAMERA = 15
NUM_BOARD = 6
MIN_DEPTH_M = 1e-3
TINY = 1e-12
"""On the diagonals: keeps parameters that nothing observes solvable."""


@dataclass(frozen=True)
class RigEstimate:
    """What the adjustment estimates."""

    lens: ndarray
    """(view, 9) fx, fy, cx, cy (pixels), k1, k2, p1, p2, k3."""
    T_cam_world: ndarray
    """(view, 4, 4) world to camera, metres."""
    T_world_board: ndarray
    """(frame, 4, 4) board to world, metres."""
    fisheye: bool = False
    """The model of all lenses."""


@dataclass(frozen=True)
class Sightings:
    """One row per (view, frame) that saw the board."""

    view: ndarray
    """(pair,) index of the view."""
    frame: ndarray
    """(pair,) index of the frame."""
    uv_px: ndarray
    """(pair, corner, 2) pixels; anything finite where not seen."""
    seen: ndarray
    """(pair, corner) bool, which corners count."""

    @classmethod
    def from_grid(cls, corners_px: ndarray) -> Sightings:
        """Rows of a (view, frame, corner, 2) array with NaN where nothing was seen."""
        seen = np.all(np.isfinite(corners_px), axis=-1)
        view, frame = np.nonzero(np.any(seen, axis=-1))
        seen = seen[view, frame]
        return cls(view, frame, np.where(seen[..., None], corners_px[view, frame], 0.0), seen)


@dataclass(frozen=True)
class LensPrior:
    """Gaussian knowledge about each lens: rows @ lens = values, each row in units of its own standard deviation."""

    rows: ndarray
    """(view, row, 9)."""
    values: ndarray
    """(view, row)."""
    noise_px: float
    """Noise of one image coordinate: what one standard deviation costs next to the reprojection errors."""


def project(scene: RigEstimate, sightings: Sightings, corners_m: ndarray) -> ndarray:
    """(pair, corner, 2) pixels at which the scene puts the board's corners (corner, 3); NaN behind a camera."""
    v, f = sightings.view, sightings.frame
    T_cam_board = scene.T_cam_world[v] @ scene.T_world_board[f]
    return _to_pixels(scene, v, corners_m @ T_cam_board[:, :3, :3].transpose(0, 2, 1) + T_cam_board[:, None, :3, 3])


def project_points(scene: RigEstimate, view: ndarray, points_m: ndarray) -> ndarray:
    """(pair, point, 2) pixels of points in the world (pair, point, 3), each row in its own view (pair,)."""
    T = scene.T_cam_world[view]
    return _to_pixels(scene, view, points_m @ T[:, :3, :3].transpose(0, 2, 1) + T[:, None, :3, 3])


def _to_pixels(scene: RigEstimate, view: ndarray, points: ndarray) -> ndarray:
    """(pair, point, 2) pixels of points in the camera's frame; NaN behind it."""
    depth = np.where(points[..., 2:] > MIN_DEPTH_M, points[..., 2:], np.nan)
    lens = scene.lens[view][:, None]
    distorted = distort_fisheye if scene.fisheye else distort
    return distorted(points[..., :2] / depth, lens[..., 4:]) * lens[..., 0:2] + lens[..., 2:4]


def adjust(
    scene: RigEstimate,
    sightings: Sightings,
    corners_m: ndarray,
    prior: LensPrior,
    free: ndarray,
    huber_px: float,
    iterations: int = 50,
    tolerance: float = 1e-9,
) -> RigEstimate:
    """Minimise the Huber cost of the reprojection errors over the free camera parameters and all board poses.

    Args:
        corners_m: (corner, 3) in the board's frame, metres.
        prior: what is known about the lenses; it decides what a view saw too little of.
        free: (view, 15) bool, camera parameters that may move. Hold one camera's first six to fix the world.
        huber_px: errors beyond this count linearly.
        iterations: steps tried at most, with those that fail.
        tolerance: stop when a step lowers the cost by less than this fraction.

    Returns:
        The adjusted scene; the given one when a corner starts behind its camera.
    """
    cost = _cost(scene, sightings, corners_m, prior, huber_px)
    if np.isinf(cost):
        return scene  # a corner starts behind its camera: there is no direction to improve in
    search, system = DampedSearch(cost, Damping(1e-4, least=1e-10, most=1e11), tolerance), None
    for damping in search.tries(iterations):
        system = system or linearise(scene, sightings, corners_m, prior, huber_px)
        step = _solve(system, free, float(damping[0]))
        candidate = _moved(scene, *step) if step is not None else scene
        if search.improves(_cost(candidate, sightings, corners_m, prior, huber_px) if step is not None else np.inf):
            scene, system = candidate, None
    return scene


@dataclass(frozen=True)
class RigSigma:
    """Standard errors of each camera within the rig, to first order."""

    center_m: ndarray
    """(view,) of its position, metres."""
    rotation_rad: ndarray
    """(view,) of its direction, radians. Most of it is the lens: a principal point that is off by a few pixels and a
    camera turned by as much give nearly the same image."""


def rig_sigma(
    scene: RigEstimate, sightings: Sightings, corners_m: ndarray, prior: LensPrior, free: ndarray, noise_px: float
) -> RigSigma:
    """How well each camera is known.

    Errors are relative to the rig as a whole (best rigid alignment of the centres), so that no camera carries the
    error of the one that defines the world. `noise_px` is the standard deviation of one image coordinate.
    """
    return sigma_of(scene.T_cam_world, information(scene, sightings, corners_m, prior), free, noise_px)


def information(scene: RigEstimate, sightings: Sightings, corners_m: ndarray, prior: LensPrior) -> ndarray:
    """(view*15, view*15) what the sightings and the priors tell about the cameras, per squared noise."""
    # The trace of damping lets through a frame whose remaining corners do not fix the board.
    return reduce(linearise(scene, sightings, corners_m, prior, np.inf), 1e-9)[0]


def sigma_of(T_cam_world: ndarray, reduced: ndarray, free: ndarray, noise_px: float) -> RigSigma:
    """The standard errors that follow from `information`. Other arguments as in `rig_sigma`."""
    views, index = len(T_cam_world), np.nonzero(free.ravel())[0]
    covariance = np.zeros(reduced.shape)
    covariance[np.ix_(index, index)] = np.linalg.inv(reduced[np.ix_(index, index)]) * noise_px**2
    R, t = T_cam_world[:, :3, :3], T_cam_world[:, :3, 3]
    each, identity = np.arange(views), np.broadcast_to(np.eye(3), (views, 3, 3))
    # centre = -R^T t, so d centre = -R^T ([t]x w + v)
    center = np.zeros((views, 3, views, NUM_CAMERA))
    center[each, :, each, :6] = -R.transpose(0, 2, 1) @ np.concatenate([cross_matrix(t), identity], axis=2)
    center = center.reshape(3 * views, -1)
    turn = np.zeros((views, 3, views, NUM_CAMERA))
    turn[each, :, each, :3] = identity
    centers = -np.einsum("vji,vj->vi", R, t)
    rigid = np.concatenate([cross_matrix(centers - centers.mean(0)), identity], axis=2).reshape(-1, 6)
    motion = np.linalg.lstsq(rigid, center, rcond=None)[0]
    center = center - rigid @ motion
    # Turning the world by a turns each camera by -R a, seen from the camera.
    turn = turn.reshape(3 * views, -1) - R.reshape(-1, 3) @ motion[:3]

    def length(jacobian: ndarray) -> ndarray:
        variance = np.einsum("ai,ij,aj->a", jacobian, covariance, jacobian, optimize=True)
        return np.sqrt(variance.reshape(views, 3).sum(1))

    return RigSigma(length(center), length(turn))


@dataclass(frozen=True)
class Rows:
    """The linearised sightings, each row weighed by the square root of its weight in the Huber loss."""

    root: ndarray
    """(pair, corner, 1) square roots of the weights; 0 where not seen."""
    camera: ndarray
    """(pair, corner * 2, 15) derivatives of the pixels to the camera."""
    board: ndarray
    """(pair, corner * 2, 6) derivatives of the pixels to the board pose."""
    residual: ndarray
    """(pair, corner * 2, 1) seen minus put, pixels."""


@dataclass(frozen=True)
class System:
    """Normal equations: (view, 15, 15), (view, 15), (frame, 6, 6), (frame, 6) and the coupling (view*15, frame, 6)."""

    camera: ndarray
    camera_rhs: ndarray
    board: ndarray
    board_rhs: ndarray
    coupling: ndarray


def _errors(scene: RigEstimate, sightings: Sightings, corners_m: ndarray) -> tuple[ndarray, ndarray]:
    """Residuals (pair, corner, 2) and their lengths (pair, corner); both 0 where not seen."""
    residual = np.where(sightings.seen[..., None], sightings.uv_px - project(scene, sightings, corners_m), 0.0)
    return residual, np.linalg.norm(residual, axis=-1)


def _cost(scene: RigEstimate, sightings: Sightings, corners_m: ndarray, prior: LensPrior, huber_px: float) -> float:
    _, length = _errors(scene, sightings, corners_m)
    if not np.isfinite(length).all():
        return np.inf  # a corner went behind a camera: never accept such a step
    robust = (
        length**2 if np.isinf(huber_px) else np.where(length <= huber_px, length**2, huber_px * (2 * length - huber_px))
    )
    return float(robust.sum() + (_prior_residual(scene, prior) ** 2).sum())


def _prior_residual(scene: RigEstimate, prior: LensPrior) -> ndarray:
    """(view, row), pixels like the reprojection errors."""
    return prior.noise_px * (prior.values - np.einsum("vrl,vl->vr", prior.rows, scene.lens))


def weighted_rows(scene: RigEstimate, sightings: Sightings, corners_m: ndarray, huber_px: float) -> Rows:
    """The rows of the least-squares problem at this scene, without the priors."""
    residual, length = _errors(scene, sightings, corners_m)
    root = np.sqrt(sightings.seen * np.minimum(1.0, huber_px / np.maximum(length, 1e-12)))[..., None]
    pairs = len(sightings.view)
    camera_rows, board_rows = _jacobian(scene, sightings, corners_m)
    camera_rows = (camera_rows * root[..., None]).reshape(pairs, -1, NUM_CAMERA)
    board_rows = (board_rows * root[..., None]).reshape(pairs, -1, NUM_BOARD)
    return Rows(root, camera_rows, board_rows, (residual * root).reshape(pairs, -1, 1))


def linearise(
    scene: RigEstimate, sightings: Sightings, corners_m: ndarray, prior: LensPrior, huber_px: float
) -> System:
    """The normal equations at this scene."""
    rows = weighted_rows(scene, sightings, corners_m, huber_px)
    camera_rows, board_rows, residual = rows.camera, rows.board, rows.residual
    views, frames = len(scene.lens), len(scene.T_world_board)

    camera = np.zeros((views, NUM_CAMERA, NUM_CAMERA))
    camera_rhs = np.zeros((views, NUM_CAMERA))
    board = np.zeros((frames, NUM_BOARD, NUM_BOARD))
    board_rhs = np.zeros((frames, NUM_BOARD))
    coupling = np.zeros((views, NUM_CAMERA, frames, NUM_BOARD))
    camera_rows_t, board_rows_t = camera_rows.transpose(0, 2, 1), board_rows.transpose(0, 2, 1)
    np.add.at(camera, sightings.view, camera_rows_t @ camera_rows)
    np.add.at(camera_rhs, sightings.view, (camera_rows_t @ residual)[..., 0])
    np.add.at(board, sightings.frame, board_rows_t @ board_rows)
    np.add.at(board_rhs, sightings.frame, (board_rows_t @ residual)[..., 0])
    coupling[sightings.view, :, sightings.frame] = camera_rows_t @ board_rows

    prior_rows = prior.noise_px * prior.rows
    camera[:, 6:, 6:] += np.einsum("vri,vrj->vij", prior_rows, prior_rows)
    camera_rhs[:, 6:] += np.einsum("vri,vr->vi", prior_rows, _prior_residual(scene, prior))
    return System(camera, camera_rhs, board, board_rhs, coupling.reshape(views * NUM_CAMERA, frames, NUM_BOARD))


def _jacobian(scene: RigEstimate, sightings: Sightings, corners_m: ndarray) -> tuple[ndarray, ndarray]:
    """Derivatives of the pixels: (pair, corner, 2, 15) to the camera, (pair, corner, 2, 6) to the board pose."""
    v, f = sightings.view, sightings.frame
    R_cam_world = scene.T_cam_world[v, :3, :3]
    on_board = corners_m @ scene.T_world_board[f, :3, :3].transpose(0, 2, 1)  # turned, not yet moved
    turned = (on_board + scene.T_world_board[f, None, :3, 3]) @ R_cam_world.transpose(0, 2, 1)
    point = turned + scene.T_cam_world[v, None, :3, 3]
    depth = np.maximum(point[..., 2], MIN_DEPTH_M)
    x, y = point[..., 0] / depth, point[..., 1] / depth
    lens = scene.lens[v][:, None]
    distorted, derivatives = (distort_fisheye, fisheye_jacobian) if scene.fisheye else (distort, _distort_jacobian)
    d_xy, d_coefficients = derivatives(x, y, lens[..., 4:])

    zero = np.zeros_like(x)
    d_point = np.stack([np.stack([1 / depth, zero, -x / depth], -1), np.stack([zero, 1 / depth, -y / depth], -1)], -2)
    d_point = (lens[..., :2, None] * d_xy) @ d_point  # (pair, corner, 2, 3) pixels per metre in the camera's frame
    d_center = np.broadcast_to(np.eye(2), (*x.shape, 2, 2))
    d_focal = distorted(np.stack([x, y], -1), lens[..., 4:])[..., None] * np.eye(2)
    camera = [np.cross(turned[..., None, :], d_point), d_point, d_focal, d_center, lens[..., :2, None] * d_coefficients]
    d_world = d_point @ R_cam_world[:, None]
    board = [np.cross(on_board[..., None, :], d_world), d_world]
    return np.concatenate(camera, -1), np.concatenate(board, -1)


def _distort_jacobian(x: ndarray, y: ndarray, distortion: ndarray) -> tuple[ndarray, ndarray]:
    """Derivatives of `core.cameras.distort`: (..., 2, 2) to x, y and (..., 2, 5) to k1, k2, p1, p2, k3."""
    k1, k2, p1, p2, k3 = np.moveaxis(distortion, -1, 0)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = k1 + r2 * (2 * k2 + 3 * k3 * r2)
    mixed = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
    d_xy = [radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x, mixed]
    d_xy += [mixed, radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x]
    d_coefficients = [x * r2, x * r2**2, 2 * x * y, r2 + 2 * x * x, x * r2**3]
    d_coefficients += [y * r2, y * r2**2, r2 + 2 * y * y, 2 * x * y, y * r2**3]
    return np.stack(d_xy, -1).reshape(*x.shape, 2, 2), np.stack(d_coefficients, -1).reshape(*x.shape, 2, 5)


def reduce(system: System, damping: float) -> tuple[ndarray, ndarray]:
    """Eliminate the board poses: the (view*15, view*15) matrix and right side that remain for the cameras."""
    size = len(system.camera) * NUM_CAMERA
    reduced = np.zeros((len(system.camera), NUM_CAMERA, len(system.camera), NUM_CAMERA))
    diagonal = np.arange(len(system.camera))
    reduced[diagonal, :, diagonal, :] = damped(system.camera, damping, TINY)
    reduced = reduced.reshape(size, size)
    board = damped(system.board, damping, TINY)
    eliminated = np.linalg.solve(board, system.coupling.transpose(1, 2, 0))  # (frame, 6, view*15)
    flat = system.coupling.reshape(size, -1)
    reduced = reduced - flat @ eliminated.reshape(-1, size)
    moved = np.linalg.solve(board, system.board_rhs[..., None])
    return reduced, system.camera_rhs.ravel() - flat @ moved.ravel()


def _solve(system: System, free: ndarray, damping: float) -> tuple[ndarray, ndarray] | None:
    """Steps (view, 15) and (frame, 6); None where the damped system is not positive definite."""
    step = np.zeros(free.size)
    index = np.nonzero(free.ravel())[0]
    if len(index):
        reduced, rhs = reduce(system, damping)
        try:
            step[index] = cho_solve(cho_factor(reduced[np.ix_(index, index)], lower=True), rhs[index])
        except LinAlgError:
            return None
    rhs = system.board_rhs - np.einsum("cfb,c->fb", system.coupling, step)
    board_step = np.linalg.solve(damped(system.board, damping, TINY), rhs[..., None])[..., 0]
    return step.reshape(free.shape), board_step


def _moved(scene: RigEstimate, camera_step: ndarray, board_step: ndarray) -> RigEstimate:
    return replace(
        scene,
        lens=scene.lens + camera_step[:, 6:],
        T_cam_world=moved_poses(scene.T_cam_world, camera_step[:, :6]),
        T_world_board=moved_poses(scene.T_world_board, board_step),
    )
