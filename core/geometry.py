"""Rigid motions of points, rotations, and the alignment of one set of points with another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.spatial.transform import Rotation

# ---- rigid motions -----------------------------------------------------------------------------------------------


def transform(T_a_b: ndarray, points_b: ndarray) -> ndarray:
    """Points in frame a: (..., 4, 4) rigid motion, (..., 3) points."""
    return np.einsum("...ij,...j->...i", T_a_b[..., :3, :3], points_b) + T_a_b[..., :3, 3]


def moved_poses(T: ndarray, step: ndarray) -> ndarray:
    """(n, 4, 4) poses after (n, 6) steps: a turn from the left, R <- exp(w) R, and a translation, added."""
    moved = T.copy()
    moved[:, :3, :3] = Rotation.from_rotvec(step[:, :3]).as_matrix() @ T[:, :3, :3]
    moved[:, :3, 3] += step[:, 3:]
    return moved


# ---- alignment ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """The motion that takes points b nearest to points a: a = scale R (b - center_b) + center_a."""

    R: ndarray
    """(..., 3, 3) rotation, never a reflection."""
    scale: ndarray
    """(...) 1 for a rigid motion."""
    center_a: ndarray
    """(..., 3) weighted mean of points a."""
    center_b: ndarray
    """(..., 3) weighted mean of points b."""
    covariance: ndarray
    """(..., 3) singular values of the mean cross-covariance, largest first: what the rotation rests on."""

    @property
    def shift(self) -> ndarray:
        """(..., 3) t of a = scale R b + t."""
        return self.center_a - self.scale[..., None] * np.einsum("...ij,...j->...i", self.R, self.center_b)

    def apply(self, points_b: ndarray) -> ndarray:
        """(..., n, 3) points b in the frame of points a."""
        turned = np.einsum("...ij,...nj->...ni", self.R, points_b)
        return self.scale[..., None, None] * turned + self.shift[..., None, :]


def align(points_b: ndarray, points_a: ndarray, weight: ndarray | None = None, scaled: bool = False) -> Alignment:
    """Least-squares alignment of corresponding points.

    Sources: Kabsch, Acta Crystallographica A32, 1976; with scale Umeyama, PAMI 13(4), 1991.

    Args:
        points_b, points_a: (..., n, 3) corresponding points; leading axes broadcast.
        weight: (..., n) of each pair, 0 or more; 1 if not given.
        scaled: find a scale as well.
    """
    weight = np.ones(np.broadcast_shapes(points_b.shape, points_a.shape)[:-1]) if weight is None else weight
    total = np.maximum(weight.sum(axis=-1), 1e-9)[..., None]
    center_b, center_a = (np.einsum("...n,...nx->...x", weight, points) / total for points in (points_b, points_a))
    from_b, from_a = points_b - center_b[..., None, :], points_a - center_a[..., None, :]
    u, s, vt = np.linalg.svd(np.swapaxes(weight[..., None] * from_a, -1, -2) @ from_b)
    sign = np.sign(np.linalg.det(u @ vt))
    u[..., 2] *= sign[..., None]
    scale = np.ones(s.shape[:-1])
    if scaled:
        scale = (s[..., 0] + s[..., 1] + sign * s[..., 2]) / np.einsum("...n,...nx->...", weight, from_b**2)
    return Alignment(u @ vt, scale, center_a, center_b, s / total)


def align_rigid(points_b: ndarray, points_a: ndarray) -> ndarray:
    """The rigid motion T_a_b (4, 4) that takes (n, 3) points b nearest to points a."""
    found = align(points_b, points_a)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = found.R, found.shift
    return T


# ---- rotations ---------------------------------------------------------------------------------------------------


def cross_matrix(v: ndarray) -> ndarray:
    """(..., 3, 3) matrix of `v x`."""
    out = np.zeros((*v.shape, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def rotation_from_axis_angle(axis_angle: ndarray) -> ndarray:
    """(..., 3, 3) rotations of (..., 3) axis-angle vectors (Rodrigues), exact and smooth at zero."""
    angle = np.linalg.norm(axis_angle, axis=-1)
    a = np.sinc(angle / np.pi)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    x, y, z = np.moveaxis(axis_angle, -1, 0)
    R = np.empty((*axis_angle.shape, 3))
    c = np.cos(angle)
    R[..., 0, 0], R[..., 1, 1], R[..., 2, 2] = c + b * x * x, c + b * y * y, c + b * z * z
    R[..., 0, 1], R[..., 1, 0] = b * x * y - a * z, b * x * y + a * z
    R[..., 0, 2], R[..., 2, 0] = b * x * z + a * y, b * x * z - a * y
    R[..., 1, 2], R[..., 2, 1] = b * y * z - a * x, b * y * z + a * x
    return R


def axis_angle_from_rotation(R: ndarray) -> ndarray:
    """(..., 3) axis-angle, angle in [0, pi], of (..., 3, 3) rotations, through the quaternion (stable everywhere)."""
    trace = np.trace(R, axis1=-2, axis2=-1)
    diagonal = np.stack([trace, R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]], axis=-1)
    # 4 q q^T, whose row of largest diagonal is the quaternion up to scale (Shepperd 1978)
    qq = np.empty((*R.shape[:-2], 4, 4))
    qq[..., 0, 0] = 1 + trace
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        qq[..., i + 1, i + 1] = 1 + R[..., i, i] - R[..., j, j] - R[..., k, k]
        qq[..., 0, i + 1] = qq[..., i + 1, 0] = R[..., k, j] - R[..., j, k]
        qq[..., j + 1, k + 1] = qq[..., k + 1, j + 1] = R[..., j, k] + R[..., k, j]
    best = diagonal.argmax(axis=-1)
    q = np.take_along_axis(qq, best[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    scale = np.where(sine > 1e-12, angle / np.where(sine > 1e-12, sine, 1.0), 2.0)
    return q[..., 1:] * scale
