"""The image scale, or the pose, under which a camera sees hands in space where its detections are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.geometry import moved_poses
from .view_agreement import MIN_CANDIDATES

SCALES = (0.2, 5.0)
"""Between images of one recording."""
_REWEIGHTED = 5
_POSES, _POSE_STEPS = 100, 8


def _pairs(camera: Cameras, hands_m: ndarray, points_px: ndarray) -> tuple[ndarray, ndarray]:
    """Every candidate with every hand of its frame: (pair, 21, 2) seen pixels and (pair, 21, 3) points, whole hands."""
    seen = np.broadcast_to(points_px[:, :, None], (*points_px.shape[:2], hands_m.shape[1], *points_px.shape[2:]))
    world = np.broadcast_to(hands_m[:, None], (*seen.shape[:3], *hands_m.shape[2:]))
    seen, world = seen.reshape(-1, *seen.shape[3:]), world.reshape(-1, *world.shape[3:])
    whole = np.isfinite(seen).all((1, 2)) & np.isfinite(world).all((1, 2))
    return seen[whole], world[whole]


def image_map(camera: Cameras, hands_m: ndarray, points_px: ndarray) -> tuple[float, ndarray]:
    """Scale and shift from the view's pixels to where its camera should see the hands: what most pairs agree on."""
    seen, world = _pairs(camera, hands_m, points_px)
    expected = camera.project(world)[0] if len(world) else np.empty((0, 21, 2))
    keep = np.isfinite(expected).all((1, 2))
    seen, expected = seen[keep], expected[keep]
    if len(seen) < MIN_CANDIDATES:
        return 1.0, np.zeros(2)
    size = lambda p: np.linalg.norm(p - p.mean(1, keepdims=True), axis=(1, 2))  # noqa: E731
    scales = size(expected) / np.maximum(size(seen), 1e-9)
    votes, members = -1, np.zeros(len(seen), bool)
    for i in np.unique(np.linspace(0, len(seen) - 1, 64).astype(int)):
        for j in np.unique(np.linspace(0, len(seen) - 1, 16).astype(int)):
            a, b = seen[i].mean(0) - seen[j].mean(0), expected[i].mean(0) - expected[j].mean(0)
            scale = scales[i] if a @ a < 1e-6 or i == j else float(a @ b / (a @ a))
            if not SCALES[0] < scale < SCALES[1]:
                continue
            shift = expected[i].mean(0) - scale * seen[i].mean(0)
            off = np.linalg.norm(scale * seen.mean(1) + shift - expected.mean(1), axis=-1)
            inside = off < 0.25 * size(expected) / np.sqrt(21)
            if inside.sum() > votes:
                votes, members = inside.sum(), inside
    if votes < MIN_CANDIDATES:
        return 1.0, np.zeros(2)
    weight = members.astype(float)
    scale, shift = _similarity(seen, expected, weight)
    for _ in range(_REWEIGHTED):
        off = np.sqrt(((scale * seen + shift - expected) ** 2).sum(-1).mean(-1))
        # A candidate beside the other hand is as far away as that hand: those that are nearer decide.
        near = max(float(np.median(off[weight > 0.5 * weight.max()])), 1e-6)
        weight = (1 + (off / near) ** 2) ** -2.0
        scale, shift = _similarity(seen, expected, weight)
    return (scale, shift) if SCALES[0] < scale < SCALES[1] else (1.0, np.zeros(2))


def _similarity(a: ndarray, b: ndarray, weight: ndarray) -> tuple[float, ndarray]:
    """Scale and shift from (pair, 21, 2) points to others by weighted least squares."""
    total = weight.sum()
    middle_a, middle_b = (np.einsum("n,njc->c", weight, each) / (total * each.shape[1]) for each in (a, b))
    scale = float(
        np.einsum("n,njc,njc->", weight, a - middle_a, b - middle_b)
        / max(np.einsum("n,njc,njc->", weight, a - middle_a, a - middle_a), 1e-9)
    )
    return scale, middle_b - scale * middle_a


def moved_camera(camera: Cameras, hands_m: ndarray, points_px: ndarray) -> Cameras | None:
    """The view's camera where its detections put it: the pose of three pairs on which most pairs agree, adjusted."""
    seen, world = _pairs(camera, hands_m, points_px)
    if len(seen) < MIN_CANDIDATES:
        return None
    xy = camera.undistort(seen[None])[0]
    order = np.random.default_rng(0)
    best, members = None, np.zeros(len(seen), bool)
    for _ in range(_POSES):
        pick = order.choice(len(seen), 3, replace=False)
        T = _linear_pose(world[pick].reshape(-1, 3), xy[pick].reshape(-1, 2))
        # Three hands close together say little of a pose from nothing, but enough to mend one that is nearly right.
        trials = [camera] if T is None else [camera, replace(camera, T_cam_world=T[None])]
        for trial in (_adjusted(start, world[pick], xy[pick]) for start in trials):
            if (near := _near(trial, world, seen)).sum() > members.sum():
                best, members = trial, near
    for _ in range(_REWEIGHTED):
        if best is None:
            break
        trial = _adjusted(best, world[members], xy[members])
        if (near := _near(trial, world, seen)).sum() < members.sum():
            break
        best, members = trial, near
    return best


def _near(camera: Cameras, world: ndarray, seen: ndarray) -> ndarray:
    """(pair,) bool, whose points project near where they are seen, for the size of a hand."""
    off = np.linalg.norm(camera.project(world)[0] - seen, axis=-1)
    return np.median(np.nan_to_num(off, nan=np.inf), axis=-1) < 0.15 * np.ptp(seen, axis=1).max(-1)


def _adjusted(camera: Cameras, world: ndarray, xy: ndarray) -> Cameras:
    """The camera at the pose of least reprojection error of (pair, 21) points, by reweighted Gauss-Newton steps."""
    T, focal = camera.T_cam_world, camera.focal_px[0]
    for _ in range(_POSE_STEPS):
        turned = np.einsum("ij,njk->nik", T[0, :3, :3], world.transpose(0, 2, 1)).transpose(0, 2, 1)
        x, y, z = np.moveaxis(turned + T[0, :3, 3], -1, 0)
        residual = np.stack([x / z - xy[..., 0], y / z - xy[..., 1]], -1)
        zero = np.zeros_like(z)
        per_point = np.stack([np.stack([1 / z, zero, -x / z**2], -1), np.stack([zero, 1 / z, -y / z**2], -1)], -2)
        # d(exp(w) R p + t): the turn moves the turned point by w x (R p), the translation all the same.
        jacobian = np.concatenate([np.cross(turned[..., None, :], per_point), per_point], axis=-1)
        off = np.median(np.linalg.norm(residual, axis=-1), axis=-1)
        weight = 1 / (1 + (off / max(float(np.median(off)), 0.1 / focal)) ** 2) ** 2
        normal = np.einsum("n,njki,njkl->il", weight, jacobian, jacobian)
        step = np.linalg.solve(
            normal + 1e-9 * np.trace(normal) * np.eye(6), -np.einsum("n,njki,njk->i", weight, jacobian, residual)
        )
        T = moved_poses(T, step[None])
    return replace(camera, T_cam_world=T)


def _linear_pose(points_m: ndarray, xy: ndarray) -> ndarray | None:
    """(4, 4) world to camera of normalised image points by the direct linear transform; None where it is degenerate."""
    known = np.isfinite(xy).all(1)
    points_m, xy = points_m[known], xy[known]
    if len(xy) < 8:
        return None
    middle, spread = points_m.mean(0), points_m.std()
    X = np.concatenate([(points_m - middle) / spread, np.ones((len(xy), 1))], axis=1)
    zero = np.zeros_like(X)
    rows = np.concatenate([np.concatenate([X, zero, -xy[:, :1] * X], 1), np.concatenate([zero, X, -xy[:, 1:] * X], 1)])
    P = np.linalg.eigh(rows.T @ rows)[1][:, 0].reshape(3, 4)
    P = P * np.sign(np.linalg.det(P[:, :3]))
    # The rotation nearest to P's left part M: M (M^T M)^(-1/2).
    squares, axes = np.linalg.eigh(P[:, :3].T @ P[:, :3])
    if squares[0] < 1e-6 * squares[2]:
        return None
    T = np.eye(4)
    T[:3, :3] = P[:, :3] @ (axes / np.sqrt(squares)) @ axes.T
    T[:3, 3] = P[:, 3] / np.sqrt(squares).mean() * spread - T[:3, :3] @ middle
    return T
