"""Rigid motions and the shared camera model, against OpenCV and against each other."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from handpipe.core.cameras import Cameras, distort, undistort_normalised
from handpipe.core.geometry import align_rigid, transform

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
