"""Uncertain detections err in a direction that their views share, in proportion to the uncertainty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from point_scenes import FOCAL_PX, dome, focal, project

from handpipe.triangulation.robust import triangulate_robust
from handpipe.triangulation.shared_error import DIRECTION_SD, LEAST_PX, without_shared_error

VIEWS = 30


def shrunk(views: int, points: int, seed: int = 0, noise: float = 0.3):
    """Points that views with uncertainty s see at x + s d, d being random for each point, and some noise."""
    rng = np.random.default_rng(seed)
    P = dome(views)
    truth = rng.uniform(-0.1, 0.1, (points, 3))
    sigma = rng.choice([1.0, 3.0, 9.0], (points, views))
    d = rng.normal(0, DIRECTION_SD, (points, 3))
    depth = np.einsum("vi,ni->nv", P[:, 2, :3], truth) + P[:, 2, 3]
    there = truth[:, None] + (sigma * depth / FOCAL_PX)[..., None] * d[:, None]
    xy = np.stack([project(P[v : v + 1], there[:, v])[:, 0] for v in range(views)], axis=1)
    return P, truth, xy + noise * sigma[..., None] * rng.normal(size=xy.shape) / FOCAL_PX, sigma


def removed(*given: np.ndarray) -> np.ndarray:
    """The points alone."""
    return without_shared_error(*given)[0]


def error_mm(points: np.ndarray, truth: np.ndarray) -> float:
    return 1e3 * float(np.linalg.norm(points - truth, axis=-1).mean())


@pytest.mark.parametrize(("views", "share"), [(6, 1.0), (VIEWS, 0.6)])
def test_the_shared_error_is_removed(views, share):
    """Against the best that weights alone can do: those of independent errors of that size. Few views show little of
    what they share, but it must do no harm."""
    P, truth, xy, sigma = shrunk(views, 400)
    robust = triangulate_robust(P, xy, sigma**-2, focal(P), 3.0).points_m
    better = removed(P, xy, sigma, focal(P), robust)
    assert error_mm(better, truth) < share * error_mm(robust, truth)


def test_it_is_the_least_squares_solution_of_its_model():
    """A naive twin: the rows of all views stacked, one point at a time."""
    P, truth, xy, sigma = shrunk(VIEWS, 20, noise=0.05)
    exact = removed(P, xy, sigma, focal(P), truth)
    for point, seen, s, found in zip(truth, xy, sigma, exact, strict=True):
        x, d = point.copy(), np.zeros(3)
        for _ in range(2):
            rows, right = [], []
            for view in range(VIEWS):
                cam = P[view, :, :3] @ x + P[view, :, 3]
                slope = FOCAL_PX / cam[2] * (P[view, :2, :3] - (cam[:2] / cam[2])[:, None] * P[view, 2, :3])
                error = FOCAL_PX * (seen[view] - cam[:2] / cam[2])
                reach = s[view] * cam[2] / FOCAL_PX
                off = error - reach * slope @ d
                weight = 1 / (s[view] * (1 + off @ off / s[view] ** 2 / 1.75**2))
                rows.append(weight * np.hstack([slope, reach * slope]))
                right.append(weight * error)
            prior = np.hstack([np.zeros((3, 3)), np.eye(3) / DIRECTION_SD])
            A, b = np.vstack([*rows, prior]), np.concatenate([*right, np.zeros(3)])
            step = np.linalg.lstsq(A, b, rcond=None)[0]
            x, d = x + step[:3], step[3:]
        np.testing.assert_allclose(found, x, atol=1e-8)


def test_exact_detections_stay_where_they_are():
    P, truth, xy, sigma = shrunk(VIEWS, 50, noise=0.0)
    xy = project(P, truth)
    np.testing.assert_allclose(removed(P, xy, sigma, focal(P), truth), truth, atol=1e-12)


def test_nothing_is_better_than_a_pixel():
    P, truth, xy, sigma = shrunk(VIEWS, 10)
    low = np.where(sigma == 1.0, 1e-6, sigma)
    at_least = np.maximum(low, LEAST_PX)
    found, wanted = (removed(P, xy, s, focal(P), truth) for s in (low, at_least))
    np.testing.assert_array_equal(found, wanted)


def test_a_view_that_is_far_off_hardly_counts_however_certain_it_is():
    P, truth, xy, sigma = shrunk(VIEWS, 100, noise=0.1)
    before = removed(P, xy, sigma, focal(P), truth)
    sigma[:, 0], xy[:, 0] = 1.0, xy[:, 0] + 80 / FOCAL_PX
    after = removed(P, xy, sigma, focal(P), truth)
    assert error_mm(after, before) < 0.5


@settings(max_examples=20, deadline=None)
@given(integers(0, 1000))
def test_the_result_of_a_point_does_not_depend_on_the_others(seed):
    P, _, xy, sigma = shrunk(VIEWS, 12, seed)
    rng = np.random.default_rng(seed)
    xy[rng.random(xy.shape[:2]) < 0.3] = np.nan
    start = triangulate_robust(P, xy, sigma**-2, focal(P), 3.0).points_m
    start[0] = np.nan
    whole = without_shared_error(P, xy, sigma, focal(P), start)
    parts = np.array_split(np.arange(12), int(rng.integers(1, 13)))
    each = [without_shared_error(P, xy[i], sigma[i], focal(P), start[i]) for i in parts]
    for together, apart in zip(whole, zip(*each, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(apart), together)
        assert np.isfinite(together[1:]).all()
        assert np.isnan(together[0]).all()


@settings(max_examples=20, deadline=None)
@given(integers(0, 1000))
def test_the_world_may_be_moved_and_views_named_in_any_order(seed):
    P, _, xy, sigma = shrunk(8, 10, seed)
    rng = np.random.default_rng(seed)
    R, t, order = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(size=3), rng.permutation(8)
    start = triangulate_robust(P, xy, sigma**-2, focal(P), 3.0).points_m
    here = removed(P, xy, sigma, focal(P), start)
    moved = np.concatenate([P[:, :, :3] @ R.T, P[:, :, 3:] - (P[:, :, :3] @ R.T @ t)[..., None]], axis=-1)
    there = removed(moved[order], xy[:, order], sigma[:, order], focal(P), start @ R.T + t)
    np.testing.assert_allclose(there, here @ R.T + t, atol=1e-9)


def test_views_that_do_not_determine_a_point_leave_it():
    """The same camera twice: nothing says how far away the point is."""
    P = np.repeat(dome(1), 2, axis=0)
    truth = np.array([[0.01, 0.02, 0.0]])
    xy = project(P, truth)
    found = removed(P, xy + 0.01, np.full((1, 2), 2.0), focal(P), truth)
    np.testing.assert_array_equal(found, truth)
    nothing = removed(P, np.full_like(xy, np.nan), np.full((1, 2), np.nan), focal(P), truth)
    np.testing.assert_array_equal(nothing, truth)


def test_views_that_are_equally_uncertain_say_nothing_of_the_shared_error():
    """All of what d may be is added: three components of s times 0.4, at the depth of the dome's middle."""
    P, truth = dome(VIEWS), np.zeros((1, 3))
    sigma = np.full((1, VIEWS), 5.0)
    found, added = without_shared_error(P, project(P, truth), sigma, focal(P), truth)
    np.testing.assert_allclose(found, truth, atol=1e-12)
    np.testing.assert_allclose(added, 3 * (5.0 * 0.8 / FOCAL_PX * DIRECTION_SD) ** 2, rtol=1e-6)


def test_the_variance_is_that_of_the_errors():
    """Of the noise, with d known, and what is added. Weights of views that are off make it a little too large."""
    P, truth, xy, sigma = shrunk(VIEWS, 2000, noise=1.0)
    found, added = without_shared_error(P, xy, sigma, focal(P), truth)
    exact = without_shared_error(P, project(P, truth), sigma, focal(P), truth)[1]
    assert 1 < np.mean(added) / np.mean(exact) < 1.6
    cam = np.einsum("vij,nj->nvi", P[:, :, :3], truth) + P[:, :, 3]
    slope = P[:, :2, :3] - cam[..., :2, None] / cam[..., 2:, None] * P[:, 2:, :3]
    slope *= (FOCAL_PX / cam[..., 2] / sigma)[..., None, None]
    noise = np.trace(np.linalg.inv(np.einsum("nvka,nvkb->nab", slope, slope)), axis1=1, axis2=2)
    error2 = ((found - truth) ** 2).sum(-1)
    assert 0.8 < error2.mean() / (noise + exact).mean() < 1.2
