"""Rigid motions of points."""

from __future__ import annotations

import numpy as np
from numpy import ndarray


def transform(T_a_b: ndarray, points_b: ndarray) -> ndarray:
    """Points in frame a: (..., 4, 4) rigid motion, (..., 3) points."""
    return np.einsum("...ij,...j->...i", T_a_b[..., :3, :3], points_b) + T_a_b[..., :3, 3]


def align_rigid(points_b: ndarray, points_a: ndarray) -> ndarray:
    """The rigid motion T_a_b that takes (n, 3) points b nearest to points a, least squares (Kabsch 1976)."""
    center_a, center_b = points_a.mean(0), points_b.mean(0)
    u, _, vt = np.linalg.svd((points_b - center_b).T @ (points_a - center_a))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    T = np.eye(4)
    T[:3, :3] = vt.T @ flip @ u.T
    T[:3, 3] = center_a - T[:3, :3] @ center_b
    return T
