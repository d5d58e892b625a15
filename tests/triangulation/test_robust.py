"""Robust triangulation: laws, a naive twin, what outliers may cost, and what bad input gives."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from point_scenes import FOCAL_PX, focal, look_at_345, project, scene
from scipy.optimize import least_squares

from handpipe.triangulation.dlt import triangulate_dlt
from handpipe.triangulation.robust import NOISE_PX, UNCONFIRMED_M, triangulate_robust


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


def test_a_place_that_half_of_the_views_agree_on_is_not_certain():
    """Three of seven views look at something 15 cm away, all at the same thing: the other hand, say."""
    P, truth, xy, weight = scene(7, 200, noise_px=1.5)
    certain = triangulate_robust(P, xy, weight, focal(P)).sigma_m
    xy[:, [0, 2, 5]] = project(P, truth + [0.15, 0, 0])[:, [0, 2, 5]]
    result = triangulate_robust(P, xy, weight, focal(P))
    assert np.median(certain) < 0.003
    assert np.median(result.sigma_m) > 0.02
    assert (np.linalg.norm(result.points_m - truth, axis=-1) < 3 * result.sigma_m).all()


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


def test_two_views_that_miss_each_other_are_trusted_less():
    xy = np.zeros((2, 2, 2))
    xy[1, 1, 1] = 6 / FOCAL_PX  # across the epipolar lines, which are horizontal
    met, missed = triangulate_robust(look_at_345(), xy, np.ones((2, 2)), np.full(2, FOCAL_PX)).sigma_m
    assert met < missed


def test_a_wild_view_is_named():
    P, truth, xy, weight = scene(8, 30, noise_px=1.0)
    xy[:, 5] += 0.2
    result = triangulate_robust(P, xy, weight, focal(P))
    assert not result.inlier[:, 5].any()
    assert result.inlier[:, [0, 1, 2, 3, 4, 6, 7]].mean() > 0.97
    assert np.linalg.norm(result.points_m - truth, axis=-1).max() < 0.005


# ---- laws --------------------------------------------------------------------------------------------------------


def triangulate_robust_naive(P: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One point: the pair with the least truncated error of all, then least squares over what is near, until it stays.

    Returns:
        (3,) and the (view,) inliers.
    """
    seen = np.flatnonzero(weight > 0)

    def error_px(point: np.ndarray) -> np.ndarray:
        return FOCAL_PX * np.linalg.norm(project(P, point) - xy, axis=-1)

    def votes_lost(point: np.ndarray) -> float:
        return float((np.minimum(error_px(point) / (6 * NOISE_PX), 1) ** 2 * weight).sum())

    pairs = [[i, j] for i in seen for j in seen if i < j]
    point = min((triangulate_dlt(P[pair], xy[pair], np.ones(2)) for pair in pairs), key=votes_lost)
    inlier = np.zeros(len(P), bool)
    for _ in range(10):
        before, inlier = inlier, (error_px(point) < 3.5 * NOISE_PX) & (weight > 0)
        if (inlier == before).all():
            break
        point = least_squares(lambda p, use=inlier: (project(P[use], p) - xy[use]).ravel(), point, xtol=1e-14).x
    return point, inlier


@pytest.mark.parametrize("views", [4, 7])
def test_agrees_with_its_naive_twin(views):
    """With so few views every pair is tried. Which view is only just an inlier may differ: the twin knows the noise."""
    P, _, xy, weight = scene(views, 30, missing=0.1, outliers=0.1, noise_px=NOISE_PX, seed=2)
    ours = triangulate_robust(P, xy, weight, focal(P))
    same = 0
    for k in np.flatnonzero(weight.sum(-1) >= 2):
        point, inlier = triangulate_robust_naive(P, xy[k], weight[k])
        if (inlier == ours.inlier[k]).all() and inlier.sum() >= 2:
            same += 1
            np.testing.assert_allclose(ours.points_m[k], point, atol=2e-5)
    assert same >= 24


SCENES = [(4, 0.1), (10, 0.4), (30, 0.3)]
"""Views and share of outliers."""


@given(seed=integers(0, 2**32 - 1), kind=sampled_from(SCENES))
@settings(max_examples=15, deadline=None)
def test_world_motion_moves_the_answer_with_it(seed, kind):
    P, _, xy, weight = scene(kind[0], 10, missing=0.1, outliers=kind[1], noise_px=1.5, seed=seed)
    rng = np.random.default_rng(seed)
    R, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    R *= np.sign(np.linalg.det(R))
    t = rng.normal(size=3)
    moved = np.concatenate([P[:, :, :3] @ R.T, (P[:, :, 3] - P[:, :, :3] @ R.T @ t)[..., None]], axis=-1)
    before, after = (triangulate_robust(Q, xy, weight, focal(P)) for Q in (P, moved))
    np.testing.assert_array_equal(after.inlier, before.inlier)
    np.testing.assert_allclose(after.points_m, before.points_m @ R.T + t, atol=1e-8)
    np.testing.assert_allclose(after.sigma_m, before.sigma_m, rtol=1e-3)


@given(seed=integers(0, 2**32 - 1), kind=sampled_from(SCENES))
@settings(max_examples=15, deadline=None)
def test_order_of_views_does_not_matter(seed, kind):
    P, _, xy, weight = scene(kind[0], 30, missing=0.2, outliers=kind[1], noise_px=1.5, seed=seed)
    order = np.random.default_rng(seed).permutation(len(P))
    before = triangulate_robust(P, xy, weight, focal(P))
    after = triangulate_robust(P[order], xy[:, order], weight[:, order], focal(P))
    np.testing.assert_array_equal(after.inlier, before.inlier[:, order])
    np.testing.assert_allclose(after.points_m, before.points_m, atol=1e-9)
    np.testing.assert_allclose(after.sigma_m, before.sigma_m, rtol=1e-3)


@given(seed=integers(0, 2**32 - 1), kind=sampled_from(SCENES), fill=sampled_from([np.nan, 0.0, 55.0]))
@settings(max_examples=15, deadline=None)
def test_weight_zero_equals_removal(seed, kind, fill):
    P, _, xy, weight = scene(kind[0], 30, outliers=kind[1], noise_px=1.5, seed=seed)
    gone = np.random.default_rng(seed).permutation(len(P))[: len(P) // 4]
    kept = np.setdiff1d(np.arange(len(P)), gone)
    weight[:, gone], xy[:, gone] = 0, fill
    whole = triangulate_robust(P, xy, weight, focal(P))
    part = triangulate_robust(P[kept], xy[:, kept], weight[:, kept], focal(P)[kept])
    np.testing.assert_array_equal(whole.inlier[:, kept], part.inlier)
    assert not whole.inlier[:, gone].any()
    np.testing.assert_allclose(whole.points_m, part.points_m, atol=1e-9)
    np.testing.assert_allclose(whole.sigma_m, part.sigma_m, rtol=1e-3)


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


# ---- bad input ---------------------------------------------------------------------------------------------------


def nothing(P: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> bool:
    """Whether the points are NaN, with NaN sigma and no inliers."""
    result = triangulate_robust(P, xy, weight, focal(P))
    return bool(np.isnan(result.points_m).all() and np.isnan(result.sigma_m).all() and not result.inlier.any())


def test_a_single_view_gives_nothing():
    P, _, xy, weight = scene(1, 3)
    assert nothing(P, xy, weight)


def test_no_detections_give_nothing():
    P, _, xy, weight = scene(5, 3)
    assert nothing(P, np.full_like(xy, np.nan), weight)


def test_no_confidence_gives_nothing():
    P, _, xy, weight = scene(5, 3)
    assert nothing(P, xy, np.zeros_like(weight))


def test_no_calibration_gives_nothing():
    P, _, xy, weight = scene(5, 3)
    P[1:] = np.nan
    assert nothing(P, xy, weight)


def test_no_points_give_no_points():
    P, _, xy, weight = scene(5, 0)
    assert triangulate_robust(P, xy, weight, focal(P)).points_m.shape == (0, 3)


def test_only_points_seen_by_two_views_are_given():
    P, _, xy, weight = scene(4, 3)
    weight[0] = 0
    weight[1, 1:] = 0
    result = triangulate_robust(P, xy, weight, focal(P))
    assert np.isnan(result.points_m[:2]).all()
    assert np.isnan(result.sigma_m[:2]).all()
    assert np.isfinite(result.sigma_m[2])


def side_by_side(views: int) -> np.ndarray:
    """(view, 3, 4) cameras in a row, 20 cm apart, looking the same way."""
    P = np.tile(np.eye(3, 4), (views, 1, 1))
    P[:, 0, 3] = -0.2 * np.arange(views)
    return P


def test_parallel_rays_give_nothing():
    assert nothing(side_by_side(4), np.zeros((3, 4, 2)), np.ones((3, 4)))


def test_cameras_that_face_away_from_each_other_give_nothing():
    """Where the rays' lines meet is behind one of the two."""
    P = side_by_side(2)
    P[1] = np.c_[np.diag([-1.0, 1.0, -1.0]), [0.2, 0, 0]]  # half a turn
    xy = np.array([[0.1, 0.0], [-0.1, 0.0]])
    np.testing.assert_allclose(triangulate_dlt(P, xy, np.ones(2)), [0.1, 0, 1], atol=1e-12)
    assert nothing(P, xy, np.ones(2))


def test_cameras_without_overlap_give_nothing_certain():
    """Four cameras look outward from the corners of a square; each sees something of its own in front of it."""
    R = [np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    P = np.array([np.c_[r, [0.0, 0.0, 0.1]] for r in R])
    xy = np.random.default_rng(0).uniform(-0.3, 0.3, (200, 4, 2))
    result = triangulate_robust(P, xy, np.ones((200, 4)), focal(P))
    assert not (result.sigma_m < UNCONFIRMED_M).any()


# ---- cost --------------------------------------------------------------------------------------------------------


def test_cost_grows_with_the_views_not_with_their_subsets():
    """Two hundred views have 10^60 subsets; a few hundred points must still take a moment only."""
    P, truth, xy, weight = scene(200, 256, missing=0.3, outliers=0.3, noise_px=1.5)
    start = time.perf_counter()
    result = triangulate_robust(P, xy, weight, focal(P))
    assert time.perf_counter() - start < 5
    assert np.linalg.norm(result.points_m - truth, axis=-1).max() < 0.002
