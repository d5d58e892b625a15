"""Points from views: hand-checkable scenes, laws, a naive twin, and what outliers may cost."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from handpipe.triangulation.dlt import triangulate_dlt
from handpipe.triangulation.robust import UNCONFIRMED_M, triangulate_robust

FOCAL_PX = 700.0


def look_at_345() -> np.ndarray:
    """Two cameras at (±3, 0, 0) turned toward p = (0, 0, 4).

    c- ────3──── 0 ────3──── c+        3² + 4² = 5²,
      ╲          │4         ╱          so p is on both optical axes
        5 ╲      p      ╱ 5            at depth 5.
    """
    P = []
    for x in (-3.0, 3.0):
        z = np.array([-x, 0, 4]) / 5
        R = np.stack([np.cross([0, 1, 0], z), [0, 1, 0], z])
        P.append(np.c_[R, -R @ [x, 0, 0]])
    return np.array(P)


def dome(views: int, radius_m: float = 0.8) -> np.ndarray:
    """(view, 3, 4) cameras spread evenly over most of a sphere, looking at its middle."""
    k = np.arange(views) + 0.5
    polar, azimuth = np.arccos(1 - 1.6 * k / views), np.pi * (1 + 5**0.5) * k
    spread = np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=-1)
    P = []
    for c in radius_m * spread:
        z = -c / np.linalg.norm(c)
        x = np.cross(z, [0.3, 0.2, 0.93])
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        P.append(np.c_[R, -R @ c])
    return np.array(P)


def project(P: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(..., view, 2) normalised image coordinates of (..., 3) points."""
    cam = np.einsum("vij,...j->...vi", P[:, :, :3], points) + P[:, :, 3]
    return cam[..., :2] / cam[..., 2:]


def scene(
    views: int, points: int, *, missing: float = 0.0, outliers: float = 0.0, noise_px: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cameras, true points in a 20 cm cube, observations and weights; outliers lie anywhere in a 640x480 image."""
    rng = np.random.default_rng(seed)
    P = dome(views)
    truth = rng.uniform(-0.1, 0.1, (points, 3))
    px = FOCAL_PX * project(P, truth) + rng.normal(0, noise_px, (points, views, 2))
    wild = rng.random((points, views)) < outliers
    px[wild] = rng.uniform([-320, -240], [320, 240], (wild.sum(), 2))
    weight = (rng.random((points, views)) >= missing).astype(float)
    return P, truth, px / FOCAL_PX, weight


def focal(P: np.ndarray) -> np.ndarray:
    return np.full(len(P), FOCAL_PX)


def triangulate_dlt_naive(P: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """One point at a time, by the SVD of its stacked rows with the fourth coordinate fixed to 1."""
    points = []
    for x, w in zip(xy, weight, strict=True):
        rows, right = [], []
        for p, (u, v), s in zip(P, x, np.sqrt(w), strict=True):
            for row in (u * p[2] - p[0], v * p[2] - p[1]):
                rows.append(s * row[:3])
                right.append(-s * row[3])
        left, values, vt = np.linalg.svd(np.array(rows), full_matrices=False)
        points.append(vt.T @ (left.T @ np.array(right) / values))
    return np.array(points)


# ---- linear ------------------------------------------------------------------------------------------------------


def test_two_cameras_of_3_4_5():
    point = triangulate_dlt(look_at_345(), np.zeros((2, 2)), np.ones(2))
    np.testing.assert_allclose(point, [0, 0, 4], atol=1e-12)


@given(seed=integers(0, 2**32 - 1), batch=sampled_from([(), (1,), (2, 1, 3), (70,)]), views=sampled_from([2, 3, 17]))
@settings(max_examples=30, deadline=None)
def test_triangulate_inverts_project(seed, batch, views):
    P = dome(views)
    truth = np.random.default_rng(seed).uniform(-0.1, 0.1, (*batch, 3))
    points = triangulate_dlt(P, project(P, truth), np.ones((*batch, views)))
    np.testing.assert_allclose(points, truth, atol=1e-9)


@given(seed=integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_dlt_agrees_with_its_naive_twin(seed):
    P, _, xy, _ = scene(7, 5, noise_px=4.0, seed=seed)
    weight = np.random.default_rng(seed).uniform(0.1, 1, (5, 7))
    np.testing.assert_allclose(triangulate_dlt(P, xy, weight), triangulate_dlt_naive(P, xy, weight), atol=1e-9)


@pytest.mark.parametrize("fill", [np.nan, 123.0])
def test_views_without_weight_or_calibration_are_ignored(fill):
    P, _, xy, weight = scene(6, 4, noise_px=2.0)
    weight[:, 2] = 0
    xy[:, 2] = fill
    P[4] = np.nan
    kept = [0, 1, 3, 5]
    np.testing.assert_allclose(
        triangulate_dlt(P, xy, weight), triangulate_dlt(P[kept], xy[:, kept], weight[:, kept]), atol=1e-9
    )


def test_one_view_or_parallel_rays_give_nan():
    P, _, xy, weight = scene(4, 2)
    weight[0, 1:] = 0
    assert np.isnan(triangulate_dlt(P, xy, weight)[0]).all()
    same_place = P[[0, 0]]
    assert np.isnan(triangulate_dlt(same_place, xy[:, [0, 0]], np.ones((2, 2)))).all()


def test_far_from_the_origin_no_digits_are_lost():
    P, truth, xy, weight = scene(5, 20)
    away = np.array([1e4, -2e4, 5e3])
    P[:, :, 3] -= P[:, :, :3] @ away
    np.testing.assert_allclose(triangulate_dlt(P, xy, weight) - away, truth, atol=1e-6)


# ---- robust ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outliers", [0.0, 0.2, 0.4])
def test_fifty_views_cost_no_more_than_knowing_the_outliers(outliers):
    """Within 3 % of least squares over the observations that are known to be good, the best an estimator can do."""
    P, truth, xy, weight = scene(50, 1500, missing=0.3, outliers=outliers, noise_px=1.5)
    good = np.linalg.norm(xy - project(P, truth), axis=-1) * FOCAL_PX < 6
    error = np.linalg.norm(triangulate_robust(P, xy, weight, focal(P)).points_m - truth, axis=-1)
    oracle = np.linalg.norm(triangulate_dlt(P, xy, weight * good) - truth, axis=-1)
    assert np.median(error) < 1.03 * np.median(oracle)
    assert np.percentile(error, 99) < 1.2 * np.percentile(oracle, 99)


def test_ten_views_with_forty_percent_outliers():
    P, truth, xy, weight = scene(10, 2000, outliers=0.4, noise_px=1.5)
    error = np.linalg.norm(triangulate_robust(P, xy, weight, focal(P)).points_m - truth, axis=-1)
    assert np.nanpercentile(error, 95) < 0.005


def test_wrong_points_of_few_views_carry_a_wide_sigma():
    """Of four views with every tenth observation wild, some points cannot be decided: they must say so."""
    P, truth, xy, weight = scene(4, 4000, missing=0.2, outliers=0.1, noise_px=1.5, seed=3)
    result = triangulate_robust(P, xy, weight, focal(P))
    error = np.linalg.norm(result.points_m - truth, axis=-1)
    wrong, known = error > 0.01, np.isfinite(error)
    assert wrong.any()
    assert np.median(result.sigma_m[wrong]) > 5 * np.nanmedian(result.sigma_m)
    assert (error > 3 * result.sigma_m)[known].mean() < 0.01


def test_sigma_is_the_error_to_expect():
    P, truth, xy, weight = scene(30, 2000, missing=0.3, noise_px=1.5)
    result = triangulate_robust(P, xy, weight, focal(P))
    z = np.linalg.norm(result.points_m - truth, axis=-1) / result.sigma_m
    assert 0.9 < np.sqrt((z**2).mean()) < 1.1


def test_two_views_say_that_no_third_one_confirms():
    P = look_at_345()
    result = triangulate_robust(P, np.zeros((2, 2)), np.ones(2), np.full(2, FOCAL_PX))
    np.testing.assert_allclose(result.points_m, [0, 0, 4], atol=1e-9)
    assert result.sigma_m >= UNCONFIRMED_M
    assert result.inlier.all()


def test_a_wild_view_is_named():
    P, truth, xy, weight = scene(8, 30, noise_px=1.0)
    xy[:, 5] += 0.2
    result = triangulate_robust(P, xy, weight, focal(P))
    assert not result.inlier[:, 5].any()
    assert result.inlier[:, [0, 1, 2, 3, 4, 6, 7]].mean() > 0.97
    assert np.linalg.norm(result.points_m - truth, axis=-1).max() < 0.005


@given(seed=integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_world_motion_moves_the_answer_with_it(seed):
    P, _, xy, weight = scene(6, 10, noise_px=1.5, seed=seed)
    rng = np.random.default_rng(seed)
    R, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    R *= np.sign(np.linalg.det(R))
    t = rng.normal(size=3)
    moved = np.concatenate([P[:, :, :3] @ R.T, (P[:, :, 3] - P[:, :, :3] @ R.T @ t)[..., None]], axis=-1)
    before, after = (triangulate_robust(Q, xy, weight, focal(P)) for Q in (P, moved))
    np.testing.assert_allclose(after.points_m, before.points_m @ R.T + t, atol=1e-8)
    np.testing.assert_allclose(after.sigma_m, before.sigma_m, rtol=1e-3)


def test_order_of_views_does_not_matter():
    P, _, xy, weight = scene(12, 200, missing=0.2, noise_px=1.5)
    order = np.random.default_rng(1).permutation(12)
    before = triangulate_robust(P, xy, weight, focal(P))
    after = triangulate_robust(P[order], xy[:, order], weight[:, order], focal(P))
    same = np.linalg.norm(after.points_m - before.points_m, axis=-1) < 1e-6
    # An observation on the edge of the inliers may fall to either side, since the hypotheses start elsewhere.
    assert same.mean() > 0.97
    np.testing.assert_array_equal(after.inlier[same], before.inlier[same][:, order])


def test_weight_zero_equals_removal():
    P, _, xy, weight = scene(9, 50, noise_px=1.5)
    weight[:, [1, 4]] = 0
    kept = [0, 2, 3, 5, 6, 7, 8]
    whole = triangulate_robust(P, xy, weight, focal(P))
    part = triangulate_robust(P[kept], xy[:, kept], weight[:, kept], focal(P)[kept])
    np.testing.assert_allclose(whole.points_m, part.points_m, atol=1e-7)
    np.testing.assert_array_equal(whole.inlier[:, kept], part.inlier)
    assert not whole.inlier[:, [1, 4]].any()


def test_a_points_bits_do_not_depend_on_its_company():
    """Chunks of any size must give the same numbers: a batch-sized BLAS kernel or a reordered sum would show here."""
    P, _, xy, weight = scene(50, 300, missing=0.3, outliers=0.2, noise_px=1.5)
    whole = triangulate_robust(P, xy, weight, focal(P))
    linear = triangulate_dlt(P, xy, weight)
    for start, stop in [(0, 1), (17, 18), (5, 70), (64, 300)]:
        part = triangulate_robust(P, xy[start:stop], weight[start:stop], focal(P))
        assert part.points_m.tobytes() == whole.points_m[start:stop].tobytes()
        assert part.sigma_m.tobytes() == whole.sigma_m[start:stop].tobytes()
        assert triangulate_dlt(P, xy[start:stop], weight[start:stop]).tobytes() == linear[start:stop].tobytes()


def test_points_seen_by_no_two_views_are_nan():
    P, _, xy, weight = scene(4, 3)
    weight[0] = 0
    weight[1, 1:] = 0
    result = triangulate_robust(P, xy, weight, focal(P))
    assert np.isnan(result.points_m[:2]).all()
    assert np.isnan(result.sigma_m[:2]).all()
    assert np.isfinite(result.sigma_m[2])


def test_cost_grows_with_the_views_not_with_their_subsets():
    """Two hundred views have 10^60 subsets; a few hundred points must still take a moment only."""
    P, truth, xy, weight = scene(200, 256, missing=0.3, outliers=0.3, noise_px=1.5)
    start = time.perf_counter()
    result = triangulate_robust(P, xy, weight, focal(P))
    assert time.perf_counter() - start < 5
    assert np.linalg.norm(result.points_m - truth, axis=-1).max() < 0.002
