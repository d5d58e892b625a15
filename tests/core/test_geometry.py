"""Rigid motions and the shared camera model, against OpenCV and against each other."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from handpipe.core.cameras import Cameras, distort, max_radius, undistort_normalised
from handpipe.core.geometry import align, align_rigid, transform

seeds = st.integers(0, 2**32 - 1)


def random_motion(rng):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_quat(rng.normal(size=4)).as_matrix(), rng.normal(size=3)
    return T


@given(seeds)
def test_align_finds_the_motion_and_never_a_reflection(seed):
    rng = np.random.default_rng(seed)
    T, points = random_motion(rng), rng.normal(size=(5, 3))
    found = align_rigid(points, transform(T, points))
    np.testing.assert_allclose(found, T, atol=1e-9)
    mirrored = align_rigid(points, points * [-1, 1, 1])
    assert np.linalg.det(mirrored[:3, :3]) > 0


@given(seeds)
def test_align_finds_a_similarity_in_every_batch_and_ignores_points_without_weight(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(7, 3))
    R = np.stack([random_motion(rng)[:3, :3] for _ in range(4)])
    scale, shift = rng.uniform(0.5, 2, 4), rng.normal(size=(4, 3))
    moved = scale[:, None, None] * np.einsum("fij,nj->fni", R, points) + shift[:, None]
    moved[:, 3] += 100
    weight = rng.uniform(0.5, 1, (4, 7))
    weight[:, 3] = 0
    found = align(points, moved, weight, scaled=True)
    np.testing.assert_allclose(found.R, R, atol=1e-9)
    np.testing.assert_allclose(found.scale, scale, atol=1e-9)
    np.testing.assert_allclose(np.delete(found.apply(points) - moved, 3, axis=1), 0, atol=1e-9)


def test_align_weighs():
    """Of two points 1 apart, drawn 3 apart, the middle goes to the weighted mean: 2.25 with weights 1 and 3."""
    found = align(np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[0.0, 0, 0], [3, 0, 0]]), np.array([1.0, 3.0]))
    np.testing.assert_allclose(found.apply(np.array([[0.75, 0, 0]])), [[2.25, 0, 0]], atol=1e-12)


def look_at_345() -> Cameras:
    """Two focal-1 cameras at (-3, 0, 0) and (3, 0, 0), turned toward (0, 0, 4): it is at depth 5 on both axes."""
    T = []
    for x in (-3.0, 3.0):
        z_axis = np.array([-x, 0.0, 4.0]) / 5
        y_axis = np.array([0.0, 1.0, 0.0])
        R = np.stack([np.cross(y_axis, z_axis), y_axis, z_axis])
        T.append(np.block([[R, (-R @ [x, 0.0, 0.0])[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]))
    return Cameras(("a", "b"), np.array([np.eye(3)] * 2), np.zeros((2, 5)), np.array(T), np.array([[2, 2]] * 2))


def test_three_four_five():
    rig = look_at_345()
    np.testing.assert_allclose(rig.P_cam_world @ [0, 0, 4, 1], [[0, 0, 5]] * 2, atol=1e-12)
    np.testing.assert_allclose(rig.project(np.array([0.0, 0, 4])), [[0, 0]] * 2, atol=1e-12)
    np.testing.assert_allclose(rig.centers_m, [[-3, 0, 0], [3, 0, 0]], atol=1e-12)
    assert np.isnan(rig.project(np.array([0.0, 0, -50]))).all(), "behind both cameras"


@given(seeds)
def test_projection_is_opencvs(seed):
    rng = np.random.default_rng(seed)
    K = np.array([[700.0, 0, 320], [0, 710, 250], [0, 0, 1]])
    distortion = rng.normal(0, [0.1, 0.05, 0.002, 0.002, 0.02])
    T = random_motion(rng)
    T[:3, 3] = [0, 0, 3]
    points = rng.uniform(-0.5, 0.5, (7, 3))
    rig = Cameras(("a",), K[None], distortion[None], T[None], np.array([[640, 512]]))
    expected = cv2.projectPoints(points, cv2.Rodrigues(T[:3, :3])[0], T[:3, 3], K, distortion)[0][:, 0]
    np.testing.assert_allclose(rig.project(points)[0], expected, atol=1e-6)


@given(seeds)
def test_undistort_inverts_distort(seed):
    rng = np.random.default_rng(seed)
    distortion = rng.normal(0, [0.1, 0.03, 0.002, 0.002, 0.01])
    xy = rng.uniform(-0.4, 0.4, (9, 2))
    np.testing.assert_allclose(undistort_normalised(distort(xy, distortion), distortion), xy, atol=1e-8)


def test_a_view_without_calibration_is_nan_and_says_so():
    rig = look_at_345()
    half = Cameras(rig.names, np.stack([rig.K[0], np.full((3, 3), np.nan)]), *vars_of(rig))
    assert half.calibrated.tolist() == [True, False]
    assert np.isnan(half.project(np.array([0.0, 0, 4]))[1]).all()
    assert half.subset([1, 0]).names == ("b", "a")


def vars_of(rig):
    return rig.distortion, rig.T_cam_world, rig.size_px


def lens(distortion) -> Cameras:
    """One camera at the origin, 640 by 480 pixels, 300 pixels of focal length."""
    K = np.array([[[300.0, 0, 319.5], [0, 300, 239.5], [0, 0, 1]]])
    return Cameras(("a",), K, np.array([distortion], float), np.eye(4)[None], np.array([[640, 480]]))


def at_angle(degrees) -> np.ndarray:
    """(n, 3) points one metre away, so far to the right of the axis."""
    angle = np.deg2rad(degrees)
    return np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=-1)


def test_a_lens_that_folds_back_puts_nothing_into_the_image():
    """r - 0.4 r^3 is largest where 1 = 1.2 r^2, at r = 0.913 or 42.4 degrees. At 60 degrees it has come back to -0.35,
    105 pixels left of the middle."""
    camera = lens([-0.4, 0, 0, 0, 0])
    assert np.isclose(np.rad2deg(np.arctan(max_radius(camera.distortion)[0])), 42.39, atol=0.01)
    folded = distort(np.array([np.tan(np.deg2rad(60)), 0]), camera.distortion[0])[0]
    assert -0.35 < folded < -0.34
    uv = camera.project(at_angle(np.array([0.0, 30, 42, 43, 60, 80])))[0]
    assert np.isfinite(uv[:3]).all()
    assert np.isnan(uv[3:]).all()
    assert (np.diff(uv[:3, 0]) > 0).all()


@given(seeds)
def test_the_image_moves_outward_up_to_the_fold_and_back_behind_it(seed):
    rng = np.random.default_rng(seed)
    k1, k2, k3 = rng.normal(0, [0.4, 0.3, 0.2])
    distortion = np.array([k1, k2, 0, 0, k3])
    fold = float(max_radius(distortion))
    r = np.linspace(0, min(fold, 50.0), 2000)
    image = distort(np.stack([r, 0 * r], -1), distortion)[:, 0]
    assert (np.diff(image) > -1e-9).all()
    if fold < 50:
        after = distort(np.array([[fold, 0], [fold * 1.001, 0]]), distortion)[:, 0]
        assert after[1] <= after[0] + 1e-9


def test_a_lens_without_distortion_never_folds_back():
    assert np.isinf(max_radius(np.zeros(5)))
    assert np.isinf(max_radius(np.array([0.1, 0, 0, 0, 0])))
    assert np.isfinite(lens(np.zeros(5)).project(at_angle(np.array([89.9])))).all()
