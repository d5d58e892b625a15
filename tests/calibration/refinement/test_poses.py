"""Poses from the hands: perturbed rigs come back, the frame and the scale stay, and nothing gets worse in silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from point_scenes import dome
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from handpipe.calibration.refinement.poses import (
    Observations,
    distances_px,
    lay_on,
    noise_px,
    refine_poses,
    settle_points,
)
from handpipe.core.cameras import Cameras
from handpipe.core.geometry import align_rigid, transform


def rig_of(T_cam_world: np.ndarray) -> Cameras:
    n = len(T_cam_world)
    K = np.tile(np.array([[700.0, 0, 320], [0, 700, 240], [0, 0, 1]]), (n, 1, 1))
    names = tuple(f"c{i}" for i in range(n))
    return Cameras(names, K, np.tile([-0.1, 0, 0, 0, 0], (n, 1)), T_cam_world, np.tile([640, 480], (n, 1)))


def moved(T: np.ndarray, rng: np.random.Generator, rad: float, m: float) -> np.ndarray:
    out = T.copy()
    out[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, rad, (len(T), 3))).as_matrix() @ T[:, :3, :3]
    out[:, :3, 3] += rng.normal(0, m, (len(T), 3))
    return out


def scene(
    views: int, points: int, seed: int = 0, noise: float = 1.0, wild: float = 0.05, missing: float = 0.3
) -> tuple[Cameras, Cameras, np.ndarray, np.ndarray]:
    """The true rig, a perturbed one (0.5 degrees, 5 mm), true points, and detections of which some are 60 px off."""
    rng = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (views, 1, 1))
    T[:, :3] = dome(views)
    true = rig_of(T)
    points_m = rng.uniform(-0.12, 0.12, (points, 3))
    uv = true.project(points_m) + rng.normal(0, noise, (views, points, 2))
    off = rng.random((views, points)) < wild
    uv[off] += rng.normal(0, 60, (off.sum(), 2))
    uv[rng.random((views, points)) < missing] = np.nan
    return true, replace(true, T_cam_world=moved(T, rng, np.deg2rad(0.5), 0.005)), points_m, uv


def errors(rig: Cameras, points_m: np.ndarray, true: Cameras, true_m: np.ndarray) -> tuple[float, float]:
    """Median errors of the centres (mm) and rotations (degrees), after the rig is laid on the true one."""
    T = lay_on(rig.T_cam_world, points_m, true_m)
    centers = -np.einsum("vji,vj->vi", T[:, :3, :3], T[:, :3, 3])
    turn = T[:, :3, :3] @ true.T_cam_world[:, :3, :3].transpose(0, 2, 1)
    mm = 1e3 * np.linalg.norm(centers - true.centers_m, axis=-1)
    return float(np.median(mm)), float(np.rad2deg(np.median(Rotation.from_matrix(turn).magnitude())))


def test_a_perturbed_rig_comes_back_from_hands_with_outliers():
    true, bad, true_m, uv = scene(8, 700)
    seen = Observations.from_pixels(bad, uv)
    start = settle_points(bad.T_cam_world, seen, true_m)
    refined = refine_poses(bad, seen, start, np.ones(8, bool))
    after = settle_points(refined.T_cam_world, seen, start)
    mm, deg = errors(bad, start, true, true_m)
    assert mm > 5
    assert deg > 0.4
    mm, deg = errors(refined, after, true, true_m)
    assert mm < 1.2
    assert deg < 0.09
    before_px = np.nanmedian(distances_px(bad.T_cam_world, seen, start))
    after_px = np.nanmedian(distances_px(refined.T_cam_world, seen, after))
    assert before_px > 3
    assert after_px < 1.1  # noise of 1 px, a little of it taken up by the joints


def test_frame_and_scale_are_those_of_before():
    _, bad, true_m, uv = scene(6, 300, seed=1)
    seen = Observations.from_pixels(bad, uv)
    before = settle_points(bad.T_cam_world, seen, true_m)
    refined = refine_poses(bad, seen, before, np.ones(6, bool))
    after = settle_points(refined.T_cam_world, seen, before)
    T = align_rigid(after, before)
    assert np.linalg.norm(T[:3, 3]) < 1e-3
    assert Rotation.from_matrix(T[:3, :3]).magnitude() < np.deg2rad(0.1)
    spread = [np.median(np.linalg.norm(p - np.median(p, axis=0), axis=-1)) for p in (before, after)]
    assert abs(spread[1] / spread[0] - 1) < 2e-3


def test_a_perfect_rig_stays():
    true, _, true_m, uv = scene(5, 200, noise=0.0, wild=0.0)
    refined = refine_poses(true, Observations.from_pixels(true, uv), true_m, np.ones(5, bool))
    np.testing.assert_allclose(refined.T_cam_world, true.T_cam_world, atol=1e-7)


def test_the_world_does_not_matter():
    """Law: a rig in another world is refined to the same rig in that other world."""
    _, bad, true_m, uv = scene(4, 150, seed=2)
    seen, free = Observations.from_pixels(bad, uv), np.ones(4, bool)
    T_world_other = np.eye(4)
    T_world_other[:3, :3] = Rotation.from_rotvec([0.3, -1.0, 0.4]).as_matrix()
    T_world_other[:3, 3] = [0.2, -0.1, 0.3]
    other = replace(bad, T_cam_world=bad.T_cam_world @ T_world_other)
    a = refine_poses(bad, seen, true_m, free).T_cam_world @ T_world_other
    b = refine_poses(other, seen, transform(np.linalg.inv(T_world_other), true_m), free).T_cam_world
    # The prior on the poses is wide but knows its axes: a tenth of a millimetre.
    np.testing.assert_allclose(a, b, atol=2e-4)


def test_the_same_input_gives_the_same_bits():
    _, bad, true_m, uv = scene(4, 100, seed=3)
    seen = Observations.from_pixels(bad, uv)
    one, two = (refine_poses(bad, seen, true_m, np.ones(4, bool)).T_cam_world for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_scipy_finds_nothing_better():
    """Naive twin: the same cost, all cameras and joints at once, by scipy with numeric derivatives, from our answer."""
    _, bad, true_m, uv = scene(3, 10, seed=4, wild=0.0, missing=0.0)
    seen = Observations.from_pixels(bad, uv)
    refined = refine_poses(bad, seen, true_m, np.ones(3, bool))
    ours = settle_points(refined.T_cam_world, seen, true_m)
    sigma = noise_px(refined.T_cam_world, seen, ours)

    def residuals(x: np.ndarray) -> np.ndarray:
        steps, points = x[:18].reshape(3, 6), x[18:].reshape(-1, 3)
        T = refined.T_cam_world.copy()
        T[:, :3, :3] = Rotation.from_rotvec(steps[:, :3]).as_matrix() @ T[:, :3, :3]
        T[:, :3, 3] += steps[:, 3:]
        length = distances_px(T, seen, points) / sigma
        return (length * 3 / np.sqrt(9 + length**2)).ravel()  # Geman and McClure, as a residual

    start = np.concatenate([np.zeros(18), ours.ravel()])
    better = least_squares(residuals, start, x_scale="jac", max_nfev=20)
    assert (residuals(start) ** 2).sum() < 2 * better.cost * 1.05
    # The twin does go downhill where there is a slope.
    start[:6] += 0.003
    assert least_squares(residuals, start, x_scale="jac", max_nfev=20).cost < 0.25 * (residuals(start) ** 2).sum()


def test_a_held_view_and_an_uncalibrated_one():
    true, bad, true_m, uv = scene(5, 300, seed=5)
    K = bad.K.copy()
    K[4] = np.nan
    bad = replace(bad, K=K)
    T = bad.T_cam_world.copy()
    T[0] = true.T_cam_world[0]
    bad = replace(bad, T_cam_world=T)
    seen = Observations.from_pixels(bad, uv)
    assert not seen.seen[:, 4].any()
    refined = refine_poses(bad, seen, true_m, np.array([False, True, True, True, False]))
    assert refined.calibrated.tolist() == [True, True, True, True, False]
    mm = {}
    for name, rig in (("before", bad), ("after", refined)):
        four = rig.subset(range(4))
        joints = settle_points(four.T_cam_world, seen_by(seen, 4), true_m)
        mm[name], _ = errors(four, joints, true.subset(range(4)), true_m)
    assert mm["after"] < 0.5 * mm["before"]


def seen_by(seen: Observations, views: int) -> Observations:
    return Observations(seen.xy[:, :views], seen.seen[:, :views], seen.focal_px[:views])


@settings(deadline=None, max_examples=20)
@given(seed=integers(0, 2**32 - 1))
def test_laying_on_undoes_a_similarity(seed):
    rng = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (3, 1, 1))
    T[:, :3] = dome(3)
    points = rng.uniform(-0.1, 0.1, (20, 3))
    scale, shift = rng.uniform(0.97, 1.03), rng.normal(0, 0.01, 3)
    turn = Rotation.from_rotvec(rng.normal(0, 0.03, 3)).as_matrix()
    other = T.copy()
    other[:, :3, :3] = T[:, :3, :3] @ turn.T
    other[:, :3, 3] = scale * T[:, :3, 3] - np.einsum("vij,j->vi", other[:, :3, :3], shift)
    other_points = scale * points @ turn.T + shift
    # The images are the same ...
    np.testing.assert_allclose(rig_of(other).project(other_points), rig_of(T).project(points), atol=1e-6)
    # ... and a fifth of wrong joints does not keep the rig from coming back.
    wrong = other_points.copy()
    wrong[:3] += rng.normal(0, 1, (3, 3))
    np.testing.assert_allclose(lay_on(other, wrong, points), T, atol=1e-9)


def test_noise_is_a_standard_deviation():
    true, _, true_m, _ = scene(6, 500)
    rng = np.random.default_rng(0)
    uv = true.project(true_m) + rng.normal(0, 2.0, (6, 500, 2))
    seen = Observations.from_pixels(true, uv)
    assert noise_px(true.T_cam_world, seen, settle_points(true.T_cam_world, seen, true_m)) == pytest.approx(
        2.0, rel=0.1
    )
