"""Robust triangulation of many points: two-view hypotheses, a truncated vote over all views, reweighted refinement.

Each point uses a fixed, seeded set of pairs of the views that see it. Subsets of views are never enumerated, so the
cost is linear in the number of views. The pair whose meeting point has the least truncated reprojection error over all
views (MSAC: Torr & Zisserman, CVIU 2000) starts an iteratively reweighted least squares with Geman and McClure's
weights, whose scale shrinks to the point's own residuals. The last step is plain least squares over the inliers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from .dlt import ROWS, centered, normal_matrices, normal_table, pad_rows, rowwise_matmul, solve_points, usable

NOISE_PX = 2.0
"""Standard deviation per axis that a good detection is expected to have, before its residuals are known."""
UNCONFIRMED_M = 0.02
"""Minimum addition to the standard error of a two-view point: two rays can nearly intersect by chance, and no third
view confirms the point."""

_HYPOTHESES = 28
_SCORE_GATE = 6.0  # Standard deviations at which a vote saturates; wide, for a two-view point is itself noisy.
_FINAL_GATE = 3.5
_ANNEAL = (6.0, 4.5, 3.5, 3.0)  # Geman-McClure scale of each iteration, in standard deviations.
_PRIOR_FREEDOM = 4.0  # Degrees of freedom that the expected noise counts for in a point's own noise estimate.
_OUTLIER_COST = 8.0
"""What a saturated vote weighs in -2 log-likelihood, when another place shares a view with the answer: wrong
detections seldom meet by chance."""
_RIVAL_COST = 3.0
"""The same where it shares none: views that are wrong together (the other hand, a neighbouring finger) do meet, and
are to be expected about a fifth as often as right ones."""
_HAND_M = 0.2  # Errors are limited to the length of a hand.
_BLOCK_ELEMENTS = 500_000


@dataclass(frozen=True)
class RobustPoints:
    """Triangulated points of one shape (*batch)."""

    points_m: ndarray
    """(*batch, 3) world points, metres; NaN where no two views agree."""
    sigma_m: ndarray
    """(*batch) standard error: root mean square distance from the truth to expect, metres; NaN where the point is."""
    inlier: ndarray
    """(*batch, view) bool, the views that the point is triangulated from."""


@dataclass(frozen=True)
class _Rig:
    """The cameras in the form that the steps below use. The world's origin is moved to the mean camera position."""

    table: ndarray
    """(4 view, 10) from `normal_table`."""
    projection: ndarray
    """(3, 4, view) homogeneous world points to the x, y and z of every camera."""
    P: ndarray
    """(view, 3, 4)"""
    centers: ndarray
    """(view, 3)"""
    focal: ndarray
    """(view,) pixels."""
    pairs: ndarray
    """(view + 1, hypothesis, 2): for a point seen by m views, which of those m make each hypothesis."""


def triangulate_robust(
    P_cam_world: ndarray,
    xy: ndarray,
    weight: ndarray,
    focal_px: ndarray,
    noise_px: float | ndarray = NOISE_PX,
    hypotheses: int = _HYPOTHESES,
) -> RobustPoints:
    """Triangulate each point from the views that agree on it.

    Args:
        P_cam_world: (view, 3, 4) [R | t], metres; a view with NaN is ignored.
        xy: (*batch, view, 2) undistorted normalised image coordinates; NaN where there is none.
        weight: (*batch, view) confidence >= 0; 0 removes the view from the point.
        focal_px: (view,) focal lengths, which turn angles into pixels.
        noise_px: expected standard deviation of a good detection, per axis; a number, or an array that broadcasts to
            (*batch).
        hypotheses: view pairs tried per point.

    Returns:
        Points, standard errors and inliers. The result of a point does not depend on the other points in the call.
    """
    *batch, views, _ = xy.shape
    assert P_cam_world.shape == (views, 3, 4), P_cam_world.shape
    assert weight.shape == (*batch, views), weight.shape
    assert focal_px.shape == (views,), focal_px.shape
    P, xy, weight = usable(P_cam_world, xy.reshape(-1, views, 2), weight.reshape(-1, views))
    rig, center = _rig(P, np.where(np.isfinite(focal_px), focal_px, 1.0), hypotheses)
    noise = np.broadcast_to(np.asarray(noise_px, float), batch).reshape(-1)
    n = len(xy)
    points, sigma, inlier = np.full((n, 3), np.nan), np.full(n, np.nan), np.zeros((n, views), bool)
    block = ROWS * max(1, _BLOCK_ELEMENTS // (rig.pairs.shape[1] * views * ROWS))
    for start in range(0, n, block):
        part = slice(start, start + block)
        size = len(xy[part])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            result = _block(rig, pad_rows(xy[part]), pad_rows(weight[part]), pad_rows(noise[part]))
        points[part], sigma[part], inlier[part] = (a[:size] for a in result)
    return RobustPoints((points + center).reshape(*batch, 3), sigma.reshape(batch), inlier.reshape(*batch, views))


def _rig(P_cam_world: ndarray, focal_px: ndarray, hypotheses: int) -> tuple[_Rig, ndarray]:
    P, center = centered(P_cam_world)
    centers = -np.einsum("vji,vj->vi", P[:, :, :3], P[:, :, 3])
    projection = np.ascontiguousarray(P.transpose(1, 2, 0))
    rig = _Rig(normal_table(P), projection, P, centers, focal_px, _pair_table(len(P), hypotheses))
    return rig, center


def _pair_table(views: int, hypotheses: int) -> ndarray:
    """(view + 1, hypothesis, 2) pairs of ranks; every pair where they are few, a seeded choice of them otherwise."""
    hypotheses = max(1, min(hypotheses, views * (views - 1) // 2))
    table = np.zeros((views + 1, hypotheses, 2), int)
    for m in range(2, views + 1):
        pairs = np.stack(np.triu_indices(m, 1), axis=-1)
        order = np.random.default_rng(m).permutation(len(pairs))
        table[m] = pairs[np.resize(order, hypotheses)]
    return table


def _block(rig: _Rig, xy: ndarray, weight: ndarray, noise: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """`triangulate_robust` for (n, view) arrays that fit the cache."""
    start, pairs = _two_view_points(rig, xy, weight > 0)
    cost = _votes(rig, start, xy, weight, noise)
    best = np.argmin(cost, axis=1)
    points = start[:, np.arange(len(xy)), best].T
    points, inlier, diagonal, error = _refine(rig, points, xy, weight, noise)
    variance = _noise(noise, error, weight, inlier) ** 2 * diagonal.sum(-1)
    variance += _ambiguity(points, inlier, start, pairs, cost - _votes(rig, points.T[..., None], xy, weight, noise))
    variance += _unconfirmed(noise, error, weight, inlier)
    bad = (inlier.sum(-1) < 2) | ~np.isfinite(points).all(-1)
    points[bad], variance[bad], inlier[bad] = np.nan, np.nan, False
    return points, np.sqrt(variance), inlier


def _two_view_points(rig: _Rig, xy: ndarray, seen: ndarray) -> tuple[ndarray, ndarray]:
    """Midpoint of the rays of each hypothesis's two views: (3, n, hypothesis), and the (2, n, hypothesis) views."""
    # Ranked by what they see, so that neither the order of the views nor a view without weight changes the pairs.
    ranked = np.argsort(np.where(seen, xy[..., 0], np.inf), axis=1)
    pairs = rig.pairs[seen.sum(1)]
    first = np.arange(0, seen.size, seen.shape[1])[:, None]
    i, j = (ranked.take(first + pairs[..., k]) for k in (0, 1))
    # Coordinates lead, so that every step below runs over one long stretch of memory. The products are written out: a
    # fixed order of additions, whatever the batch.
    R = rig.P[:, :, :3].transpose(1, 2, 0)[:, :, None]
    ray = (R[0] * xy[..., 0] + R[1] * xy[..., 1] + R[2]).reshape(3, -1)
    ray_i, ray_j = (ray.take(first + k, axis=1) for k in (i, j))
    center_i, center_j = (rig.centers.T.take(k, axis=1) for k in (i, j))
    base = center_j - center_i
    ii, jj, ij = _dot(ray_i, ray_i), _dot(ray_j, ray_j), _dot(ray_i, ray_j)
    bi, bj = _dot(base, ray_i), _dot(base, ray_j)
    det = ii * jj - ij * ij
    along_i, along_j = (jj * bi - ij * bj) / det, (ij * bi - ii * bj) / det
    middle = 0.5 * (center_i + center_j + along_i * ray_i + along_j * ray_j)
    return middle, np.stack([i, j])


def _dot(a: ndarray, b: ndarray) -> ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _camera_points(rig: _Rig, points: ndarray, dtype: type) -> tuple[ndarray, ndarray, ndarray]:
    """x, y and z of (n, 3) points in every camera, each (n, view)."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1).astype(dtype)
    x, y, z = (rowwise_matmul(homogeneous, rig.projection[k].astype(dtype)) for k in range(3))
    return x, y, z


def _votes(rig: _Rig, start: ndarray, xy: ndarray, weight: ndarray, noise: ndarray) -> ndarray:
    """(n, hypothesis) truncated squared reprojection errors, summed over the views; each counts 0 to its weight."""
    _, n, hypotheses = start.shape
    # Hypotheses lead, so that every step below runs over one long stretch of memory. Single precision halves the time
    # of what is only a comparison.
    points = start.transpose(2, 1, 0).reshape(-1, 3)
    x, y, z = (a.reshape(hypotheses, n, -1) for a in _camera_points(rig, points, np.float32))
    seen_x, seen_y = (xy[..., k].astype(np.float32) for k in (0, 1))
    gate2 = ((rig.focal / (_SCORE_GATE * noise[:, None])) ** 2).astype(np.float32)
    x /= z
    x -= seen_x
    x *= x
    y /= z
    y -= seen_y
    y *= y
    x += y
    x *= gate2
    # fmin: a point at infinity votes like any other far one. A point behind the camera votes against.
    np.fmin(x, np.float32(1), out=x)
    x[z <= 0] = 1
    x *= weight.astype(np.float32)
    return x.sum(-1).T


def _residuals(rig: _Rig, points: ndarray, xy: ndarray) -> tuple[ndarray, ndarray]:
    """Squared reprojection errors in pixels² (infinite behind the camera) and depths, each (n, view)."""
    x, y, z = _camera_points(rig, points, np.float64)
    error = ((x / z - xy[..., 0]) * rig.focal) ** 2 + ((y / z - xy[..., 1]) * rig.focal) ** 2
    return np.where(z > 0, error, np.inf), z


def _refine(
    rig: _Rig, points: ndarray, xy: ndarray, weight: ndarray, noise: ndarray
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Reweighted least squares from the best hypothesis.

    Dividing a row by its depth turns the linear residual into the image error (the reweighting of Hartley & Sturm,
    CVIU 1997), so that the solution is that of the reprojection error.

    Returns:
        points (n, 3), inlier (n, view), the diagonal of the unit covariance (n, 3) in m²/px², and the squared
        reprojection error (n, view) in px².
    """
    scale, seen = noise, weight > 0
    error, depth = _residuals(rig, points, xy)
    for gate in _ANNEAL:
        gate2 = (gate * scale[:, None]) ** 2
        points, _ = _least_squares(rig, xy, weight / (1 + error / gate2) ** 2, depth)
        error, depth = _residuals(rig, points, xy)
        scale = _noise(noise, error, weight, seen & (error < gate2))
    inlier = seen & (error < (_FINAL_GATE * scale[:, None]) ** 2)
    points, diagonal = _least_squares(rig, xy, weight * inlier, depth)
    error, _ = _residuals(rig, points, xy)
    return points, inlier, diagonal, error


def _least_squares(rig: _Rig, xy: ndarray, weight: ndarray, depth: ndarray) -> tuple[ndarray, ndarray]:
    in_px = np.where(weight > 0, weight * (rig.focal / depth) ** 2, 0.0)
    return solve_points(normal_matrices(rig.table, xy, in_px))


def _noise(expected: ndarray, error: ndarray, weight: ndarray, inlier: ndarray) -> ndarray:
    """(n,) standard deviation per axis, pixels: of its residuals, with the expected noise as a few more."""
    squares = np.where(inlier, weight * error, 0.0).sum(-1)
    # Two numbers per view, less the three of the point.
    freedom = np.maximum(2 * (weight * inlier).sum(-1) - 3, 0)
    variance = (_PRIOR_FREEDOM * expected**2 + squares) / (_PRIOR_FREEDOM + freedom)
    return np.clip(np.sqrt(variance), 0.5 * expected, 3 * expected)


def _ambiguity(points: ndarray, inlier: ndarray, start: ndarray, pairs: ndarray, excess: ndarray) -> ndarray:
    """(n,) variance because another place explains the views nearly as well: its odds times its distance squared.

    Only hypotheses with a view that the solution rejects count: the others are noisy copies of the solution.
    `excess` (n, hypothesis) is how much more of the votes each hypothesis loses.
    """
    first = np.arange(0, inlier.size, inlier.shape[1])[:, None]
    one, other = inlier.take(first + pairs)
    rival = ~(one & other)
    odds = np.exp(-0.5 * np.where(one | other, _OUTLIER_COST, _RIVAL_COST) * np.maximum(excess, 0.0))
    away = start - points.T[..., None]
    distance2 = _dot(away, away)
    rival &= np.isfinite(excess) & np.isfinite(distance2)
    return np.where(rival, odds * np.minimum(distance2, _HAND_M**2), 0.0).max(-1)


def _unconfirmed(expected: ndarray, error: ndarray, weight: ndarray, inlier: ndarray) -> ndarray:
    """(n,) variance of points that rest on two views, because the two may be of different things.

    Two right detections miss each other by the noise, wrong ones by any amount: the odds of a mistake grow with the
    likelihood ratio exp(χ²/2). And where other views have been rejected, there is more that may be wrong.
    """
    chi2 = np.where(inlier, weight * error, 0.0).sum(-1) / expected**2
    rejected = ((weight > 0) & ~inlier).sum(-1)
    variance = UNCONFIRMED_M**2 * (1 + rejected) * np.exp(0.5 * np.minimum(chi2, 100.0))
    return np.where(inlier.sum(-1) == 2, np.minimum(variance, _HAND_M**2), 0.0)
