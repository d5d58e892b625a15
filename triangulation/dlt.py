"""Linear triangulation of many points at once, as one matrix product per batch.

A view that sees a point at the normalised image position (x, y) gives two rows, x p3 - p1 and y p3 - p2, of a
homogeneous system (Hartley & Zisserman, *Multiple View Geometry*, 12.2). The point is finite, so its fourth
coordinate is fixed to 1 (the book's inhomogeneous method): the residual of a row is then depth times image error,
which no motion of the world changes. The weighted normal matrix is linear in (w, w x, w y, w (x² + y²)) of each
view, so a whole batch of points is one product with a table that depends on the cameras only.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

ROWS = 64
"""Rows of one matrix product. BLAS picks its kernel by shape; with this one shape for every product, a point's bits
do not depend on how many points are computed with it."""

_BLOCK = 16 * ROWS  # Points at a time, so that the features stay in the cache.
_UPPER = np.triu_indices(4)


def normal_table(P_cam_world: ndarray) -> ndarray:
    """The contribution of the cameras to the normal matrices.

    Args:
        P_cam_world: (view, 3, 4) [R | t].

    Returns:
        (4 view, 10): for each of the features (w, w x, w y, w (x² + y²)) and each view, the upper triangle of the
        symmetric 4x4 matrix it multiplies.
    """
    p1, p2, p3 = np.moveaxis(P_cam_world, 1, 0)

    def outer(a: ndarray, b: ndarray) -> ndarray:
        product = a[:, :, None] * b[:, None, :]
        return 0.5 * (product + product.transpose(0, 2, 1))

    table = np.stack([outer(p1, p1) + outer(p2, p2), -2 * outer(p1, p3), -2 * outer(p2, p3), outer(p3, p3)])
    return table[:, :, _UPPER[0], _UPPER[1]].reshape(-1, 10)


def rowwise_matmul(a: ndarray, b: ndarray) -> ndarray:
    """(n, k) @ (k, m) with n a multiple of ROWS; each row's bits are independent of n."""
    n, k = a.shape
    assert n % ROWS == 0, n
    return np.matmul(a.reshape(n // ROWS, ROWS, k), b).reshape(n, b.shape[1])


def pad_rows(a: ndarray) -> ndarray:
    """Rows of zeros appended up to the next multiple of ROWS."""
    missing = -len(a) % ROWS
    return np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) if missing else a


def normal_matrices(table: ndarray, xy: ndarray, weight: ndarray) -> ndarray:
    """Upper triangles of the weighted normal matrices.

    Args:
        table: from `normal_table`.
        xy: (n, view, 2) finite wherever the weight is not 0, n a multiple of ROWS.
        weight: (n, view) weights of the squared residuals.

    Returns:
        (n, 10)
    """
    n, views = weight.shape
    x, y = xy[..., 0], xy[..., 1]
    features = np.empty((n, 4, views))
    features[:, 0] = weight
    np.multiply(weight, x, out=features[:, 1])
    np.multiply(weight, y, out=features[:, 2])
    np.multiply(weight, x * x + y * y, out=features[:, 3])
    return rowwise_matmul(features.reshape(n, 4 * views), table)


def solve_points(normal: ndarray) -> tuple[ndarray, ndarray]:
    """Minimise (X, 1) M (X, 1)ᵀ for each symmetric M.

    Args:
        normal: (..., 10) upper triangles.

    Returns:
        points (..., 3), NaN where M's 3x3 part is singular; and the (..., 3) diagonal of that part's inverse, which is
        the covariance's diagonal when the rows are in units of their standard deviation.
    """
    a, b, c, p, d, e, q, f, r, _ = np.moveaxis(normal, -1, 0)
    # The inverse of [[a, b, c], [b, d, e], [c, e, f]] by cofactors: ten times faster than a batched LAPACK call.
    co_aa, co_ab, co_ac = d * f - e * e, c * e - b * f, b * e - c * d
    co_dd, co_de, co_ff = a * f - c * c, b * c - a * e, a * d - b * b
    det = a * co_aa + b * co_ab + c * co_ac
    # Rank < 3 shows as a determinant that is rounding error against the product of the diagonal (Hadamard's bound).
    det = np.where(det > 1e-12 * (a * d * f), det, np.nan)
    points = -np.stack(
        [
            co_aa * p + co_ab * q + co_ac * r,
            co_ab * p + co_dd * q + co_de * r,
            co_ac * p + co_de * q + co_ff * r,
        ],
        axis=-1,
    )
    return points / det[..., None], np.stack([co_aa, co_dd, co_ff], axis=-1) / det[..., None]


def triangulate_dlt(P_cam_world: ndarray, xy: ndarray, weight: ndarray) -> ndarray:
    """Weighted linear triangulation.

    Args:
        P_cam_world: (view, 3, 4) [R | t]; a view with NaN is ignored.
        xy: (*batch, view, 2) undistorted normalised image coordinates; NaN where there is none.
        weight: (*batch, view) weights of the squared residuals, >= 0.

    Returns:
        (*batch, 3) world points in the unit of the cameras' translations; NaN where fewer than two views have weight
        or their rays are parallel.
    """
    *batch, views, _ = xy.shape
    assert P_cam_world.shape == (views, 3, 4), P_cam_world.shape
    assert weight.shape == (*batch, views), weight.shape
    P, xy, weight = usable(P_cam_world, xy.reshape(-1, views, 2), weight.reshape(-1, views))
    # Origin at the middle of the cameras: far from the world's origin the normal matrix would lose digits.
    P, center = centered(P)
    table, points = normal_table(P), np.empty((len(xy), 3))
    for start in range(0, len(xy), _BLOCK):
        part = slice(start, start + _BLOCK)
        with np.errstate(divide="ignore", invalid="ignore"):
            solved, _ = solve_points(normal_matrices(table, pad_rows(xy[part]), pad_rows(weight[part])))
        points[part] = solved[: len(xy[part])] + center
    points[np.count_nonzero(weight, axis=-1) < 2] = np.nan
    return points.reshape(*batch, 3)


def usable(P_cam_world: ndarray, xy: ndarray, weight: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Inputs without NaN: what is missing in cameras, positions or weights gets weight 0."""
    calibrated = np.all(np.isfinite(P_cam_world), axis=(1, 2))
    seen = np.isfinite(xy).all(-1) & calibrated & (weight > 0)
    P = np.where(calibrated[:, None, None], P_cam_world, np.eye(3, 4))
    return P, np.where(seen[..., None], xy, 0.0).astype(float), np.where(seen, weight, 0.0).astype(float)


def centered(P_cam_world: ndarray) -> tuple[ndarray, ndarray]:
    """The cameras in a world whose origin is the mean camera position, and that position in the old world."""
    centers = -np.einsum("vji,vj->vi", P_cam_world[:, :, :3], P_cam_world[:, :, 3])
    center = centers.mean(0)
    P = P_cam_world.copy()
    P[:, :, 3] += P[:, :, :3] @ center
    return P, center
