"""Points from detections that say how uncertain they are.

A network that does not see where a joint is says a mean over the places where it may be: towards the middle of the hand
for a fingertip. Its error is therefore not only noise. It has a direction in space that the views share, and it grows
with the uncertainty that the network says. Both are estimated together: a view with uncertainty s sees the joint at
x + s d, with one vector d for each joint. The point is then where a view without uncertainty would see it.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

DIRECTION_SD = 0.4
"""Standard deviation of each component of d, chosen on rendered hands."""
LEAST_PX = 1.0
"""Standard error per axis that no detection is below."""

_GATE = 1.75  # Geman-McClure scale, in standard errors: errors of networks have long tails.
_STEPS = 2
_DETERMINED = 1e-9  # Smallest over largest eigenvalue of a point's normal matrix.
_UPPER = np.triu_indices(3)
_LOWER = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])  # From the upper triangle to the symmetric matrix.


def without_shared_error(
    P_cam_world: ndarray, xy: ndarray, sigma_px: ndarray, focal_px: ndarray, points_m: ndarray
) -> tuple[ndarray, ndarray]:
    """Points without the error that their views share, by Gauss-Newton steps from where they are.

    Args:
        P_cam_world: (view, 3, 4) [R | t], metres; a view with NaN is ignored.
        xy: (*batch, view, 2) undistorted normalised image coordinates; NaN where there is none.
        sigma_px: (*batch, view) standard error per axis by the detector; NaN where there is none.
        focal_px: (view,) focal lengths.
        points_m: (*batch, 3) triangulated points; NaN where there is none.

    Returns:
        Points (*batch, 3), and what not knowing d adds to the variance of each (*batch), m²; NaN where no point is.
        Where all views are equally uncertain nothing moves but by the weights of views that are far off. The result of
        a point does not depend on the other points in the call.
    """
    batch = points_m.shape[:-1]
    known = np.isfinite(points_m).all(-1).reshape(-1)
    views = np.isfinite(P_cam_world).all((-1, -2))
    found, added = points_m.reshape(-1, 3).copy(), np.full(known.shape, np.nan)
    seen = xy.reshape(-1, *xy.shape[-2:])[known][:, views]
    sigma = np.maximum(sigma_px.reshape(-1, sigma_px.shape[-1])[known][:, views], LEAST_PX)
    found[known], added[known] = _solve(P_cam_world[views], seen, sigma, focal_px[views], found[known])
    return found.reshape(*batch, 3), added.reshape(batch)


def _solve(P: ndarray, xy: ndarray, sigma: ndarray, focal: ndarray, points: ndarray) -> tuple[ndarray, ndarray]:
    known = np.isfinite(xy).all(-1) & np.isfinite(sigma)
    sigma = np.where(known, sigma, 1.0)
    direction, added = np.zeros_like(points), np.zeros(len(points))
    for _ in range(_STEPS):
        # The products are written out, and sums run over one row each: a fixed order, whatever the batch.
        x, y, z = (sum(points[:, a, None] * P[:, k, a] for a in range(3)) + P[:, k, 3] for k in range(3))
        ahead = known & (z > 0)
        z = np.where(ahead, z, 1.0)
        scale = focal / z
        error = [np.where(ahead, (xy[..., k] - at / z) * focal, 0.0) for k, at in enumerate((x, y))]
        slope = [
            np.stack([scale * (P[:, k, a] - at / z * P[:, 2, a]) for a in range(3)]) for k, at in enumerate((x, y))
        ]
        sigma_m = sigma / scale
        off = [
            e - sum(J[a] * direction[:, a, None] for a in range(3)) * sigma_m for e, J in zip(error, slope, strict=True)
        ]
        chi2 = (off[0] ** 2 + off[1] ** 2) / sigma**2
        weight = np.where(ahead, 1 / (sigma * (1 + chi2 / _GATE**2)) ** 2, 0.0)
        outer = sum(J[_UPPER[0]] * J[_UPPER[1]] for J in slope)
        pull = sum(J * e for J, e in zip(slope, error, strict=True))
        blocks = [np.moveaxis((weight * sigma_m**k * outer).sum(-1), 0, -1)[..., _LOWER] for k in range(3)]
        right = [np.moveaxis((weight * sigma_m**k * pull).sum(-1), 0, -1) for k in range(2)]
        normal = np.concatenate(
            [np.concatenate([blocks[0], blocks[1]], -1), np.concatenate([blocks[1], blocks[2]], -1)], -2
        )
        normal[:, range(3, 6), range(3, 6)] += DIRECTION_SD**-2
        step, added = _solutions(normal, np.concatenate(right, -1))
        points, direction = points + step[:, :3], step[:, 3:]
    return points, added


def _solutions(normal: ndarray, right: ndarray) -> tuple[ndarray, ndarray]:
    """(n, 6) solutions, and (n,) how much larger the variance of the first three is than if the others were known; 0
    where the views do not determine the point, which then stays where it is."""
    spread = np.linalg.eigvalsh(normal[:, :3, :3])
    determined = spread[:, 0] > _DETERMINED * spread[:, 2]
    normal = np.where(determined[:, None, None], normal, np.eye(6))
    covariance = np.linalg.inv(normal)
    step = (covariance @ np.where(determined[:, None], right, 0.0)[..., None])[..., 0]
    added = np.trace(covariance[:, :3, :3] - np.linalg.inv(normal[:, :3, :3]), axis1=1, axis2=2)
    return step, np.where(determined, np.maximum(added, 0.0), 0.0)
