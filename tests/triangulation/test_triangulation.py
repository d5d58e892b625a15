"""Linear triangulation: hand-checkable scenes, laws and a naive twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from point_scenes import dome, look_at_345, project, scene

from handpipe.triangulation.dlt import triangulate_dlt


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
