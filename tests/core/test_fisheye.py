"""Fisheye lenses: OpenCV's model, given in a file or estimated from the board."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from calibration_scenes import BOARD, NOISE_PX, center_errors_m, fisheye_rig, waved_board
from hand_scenes import detect, dome, interaction
from hypothesis import given
from hypothesis.strategies import integers
from old_stores import as_before_checksums
from scipy.spatial.transform import Rotation
from stored_detections import triangulated

from handpipe.calibration import bundle
from handpipe.calibration.board import corner_positions, is_usable, num_corners
from handpipe.calibration.calibrate import Calibration, calibrate
from handpipe.calibration.initial import first_fisheye
from handpipe.calibration.quality import board_distance_errors
from handpipe.calibration.quality_gate import Judge
from handpipe.calibration.settings import CalibrationSettings
from handpipe.calibration.stage import SolveCameras
from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import match_views, write_cameras
from handpipe.core.errors import CalibrationError
from handpipe.core.fisheye import MAX_ANGLE_RAD, max_angle_rad
from handpipe.core.storage.schema import BOARD as BOARD_ARRAYS
from handpipe.core.storage.schema import CAMERAS, group_spec, read_cameras
from handpipe.core.storage.store import Store
from handpipe.exchange.cameras.formats import WRITTEN, read_camera_file, write_camera_file
from handpipe.exchange.datasets.common.labels import _rectified
from handpipe.exchange.datasets.hub import reader as hub_reading
from handpipe.exchange.datasets.hub import writer as hub

seeds = integers(0, 2**32 - 1)
K = np.array([[490.0, 0, 640], [0, 480, 470], [0, 0, 1]])


def lens(k: np.ndarray) -> Cameras:
    """One fisheye at the world's origin, coefficients (4,)."""
    one = (K[None], np.append(k, 0.0)[None], np.eye(4)[None], np.array([[1280, 960]]))
    return Cameras(("a",), *one, np.array([True]))


def rays(rng: np.random.Generator, count: int, widest_rad: float) -> np.ndarray:
    """(count, 3) points in front of the camera, at most this far from the axis; the first is on it."""
    theta, phi = rng.uniform(0, widest_rad, count), rng.uniform(-np.pi, np.pi, count)
    theta[0] = 0
    across = np.sin(theta)[:, None] * np.stack([np.cos(phi), np.sin(phi)], -1)
    return np.column_stack([across, np.cos(theta)]) * rng.uniform(0.3, 3, (count, 1))


# The lens


@given(seeds)
def test_projection_is_opencvs(seed):
    rng = np.random.default_rng(seed)
    k = rng.normal(0, [0.03, 0.01, 0.003, 0.001])
    points = rays(rng, 20, 0.95 * float(max_angle_rad(k)))
    expected = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), K, k)[0][:, 0]
    np.testing.assert_allclose(lens(k).project(points)[0], expected, atol=1e-9)


@given(seeds)
def test_undistort_inverts_project_in_the_range_and_is_nan_beyond(seed):
    """Lenses that turn back at 50 degrees are among these."""
    rng = np.random.default_rng(seed)
    k = rng.normal(0, [0.2, 0.1, 0.03, 0.01])
    widest = float(max_angle_rad(k))
    points = rays(rng, 50, 0.97 * widest)
    camera = lens(k)
    back = camera.undistort(camera.project(points))[0]
    np.testing.assert_allclose(back, points[:, :2] / points[:, 2:], rtol=1e-6, atol=1e-9)
    theta = widest + np.array([-1e-9, 1e-6])
    edge = camera.project(np.column_stack([np.sin(theta), 0 * theta, np.cos(theta)]))[0]
    assert np.isfinite(edge[0]).all()
    assert np.isnan(edge[1]).all()
    assert np.isnan(camera.undistort(edge[None, :1] + [1.0, 0.0])).all()


def test_a_lens_that_turns_back():
    """theta - theta^3 / 3 turns back at 1 rad, where it is 2/3; OpenCV answers there, we do not."""
    camera = lens(np.array([-1 / 3, 0, 0, 0]))
    assert float(max_angle_rad(camera.distortion)[0]) == pytest.approx(1, abs=0.003)
    u = 640 + 490 * np.array([0.5, 0.66, 0.67, 2.0])
    xy = camera.undistort(np.stack([u, 0 * u + 470], -1)[None])[0]
    assert np.isfinite(xy[:2]).all()
    assert np.isnan(xy[2:]).all()
    assert float(max_angle_rad(np.zeros(4))) == MAX_ANGLE_RAD


def test_every_view_has_its_own_lens():
    rng = np.random.default_rng(0)
    rig = fisheye_rig(4, rng)
    rig = replace(rig, fisheye=np.array([True, False, True, False]), distortion=0.1 * rig.distortion)
    points = rng.uniform(-0.3, 0.3, (5, 7, 3))
    uv = rig.project(points)
    for view in range(4):
        alone = rig.subset([view])
        np.testing.assert_array_equal(alone.project(points)[0], uv[view])
        np.testing.assert_array_equal(alone.undistort(uv[view : view + 1])[0], rig.undistort(uv)[view])
    P = rig.P_cam_world
    straight = np.einsum("vij,abj->vabi", P[:, :, :3], points) + P[:, None, None, :, 3]
    np.testing.assert_allclose(rig.undistort(uv), straight[..., :2] / straight[..., 2:], atol=1e-9)
    assert not Cameras(rig.names, rig.K, rig.distortion, rig.T_cam_world, rig.size_px).fisheye.any()


# From the board


@pytest.fixture(scope="module")
def scene() -> tuple[Cameras, np.ndarray]:
    """Corners up to 80 degrees from the axes."""
    rng = np.random.default_rng(0)
    rig = fisheye_rig(8, rng)
    return rig, waved_board(rig, 80, rng, reach_m=0.9)


@pytest.fixture(scope="module")
def result(scene) -> Calibration:
    rig, corners_px = scene
    return calibrate(BOARD, corners_px, rig.names, rig.size_px, fisheye=True)


def rotation_errors_deg(estimate: Cameras, truth: Cameras) -> np.ndarray:
    """Angles between the cameras' directions after the best turn of the world."""
    turn = np.swapaxes(truth.T_cam_world[:, :3, :3], 1, 2) @ estimate.T_cam_world[:, :3, :3]
    turn = Rotation.from_matrix(turn)
    return np.rad2deg((turn * turn.mean().inv()).magnitude())


def test_jacobian_agrees_with_differences():
    rng = np.random.default_rng(1)
    rig = fisheye_rig(3, rng)
    free = np.column_stack([rig.K[:, 0, 0], rig.K[:, 1, 1], rig.K[:, :2, 2], rng.normal(0, 0.03, (3, 5))])
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.3, (2, 3))).as_matrix()
    poses[:, :3, 3] = [[0.0, 0.0, 0.0], [0.6, -0.3, -0.2]]
    corners = corner_positions(BOARD)
    corners = corners - corners[7]  # one of them on the axes
    start = bundle.RigEstimate(free, rig.T_cam_world, poses, fisheye=True)
    sightings = bundle.Sightings.from_grid(np.zeros((3, 2, num_corners(BOARD), 2)))
    camera, board = bundle._jacobian(start, sightings, corners)
    step = 1e-6
    for columns, count, which in ((camera, bundle.NUM_CAMERA, 0), (board, bundle.NUM_BOARD, 1)):
        for parameter in range(count):
            values = []
            for sign in (1, -1):
                steps = np.zeros((3, bundle.NUM_CAMERA)), np.zeros((2, bundle.NUM_BOARD))
                steps[which][:, parameter] = sign * step
                values.append(bundle.project(bundle._moved(start, *steps), sightings, corners))
            difference = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(columns[..., parameter], difference, rtol=1e-5, atol=1e-4)


def test_recovers_a_simulated_rig_which_a_pinhole_cannot(scene, result):
    rig, corners_px = scene
    seen_deg = np.rad2deg(np.arctan(np.linalg.norm(rig.undistort(corners_px), axis=-1)))
    assert np.nanmax(seen_deg) > 75
    assert result.left_out == {}
    assert result.cameras.fisheye.all()
    assert center_errors_m(result.cameras, rig).max() < 1e-3
    assert rotation_errors_deg(result.cameras, rig).max() < 0.05
    np.testing.assert_allclose(result.cameras.focal_px, rig.focal_px, rtol=2e-3)
    assert 0.9 < result.total_rms_px / (np.sqrt(2) * NOISE_PX) < 1.02
    assert result.held_out.rms_px < 1.1 * np.sqrt(2) * NOISE_PX
    ideal = board_distance_errors(rig, corners_px, BOARD)
    assert board_distance_errors(result.cameras, corners_px, BOARD).all_rmse_mm < 1.1 * ideal.all_rmse_mm
    pinhole = calibrate(BOARD, corners_px, rig.names, rig.size_px)
    assert pinhole.held_out.rms_px > 20 * result.held_out.rms_px
    assert center_errors_m(pinhole.cameras, rig).max() > 20 * center_errors_m(result.cameras, rig).max()


@pytest.mark.parametrize(
    ("k", "across_deg"),
    [
        ([-1 / 24, 1 / 1920, 0, 0], 170),  # equisolid
        ([1 / 12, 1 / 120, 17 / 20160, 0], 150),  # stereographic
        ([-0.1, 0.01, 0, 0], 120),
        ([0, 0, 0, 0], 70),
    ],
)
def test_first_guess_of_one_view(k, across_deg):
    rng = np.random.default_rng(2)
    rig = fisheye_rig(4, rng)
    focal = np.tile(np.diag([1280 / np.deg2rad(across_deg)] * 2 + [1.0]), (4, 1, 1))
    focal[:, :2, 2] = rig.K[:, :2, 2]
    rig = replace(rig, K=focal, distortion=np.tile([*k, 0.0], (4, 1)))
    corners_px = waved_board(rig, 60, rng, reach_m=0.7)[1]
    found = first_fisheye(corner_positions(BOARD), corners_px, is_usable(BOARD, corners_px), rig.size_px[1])
    assert found is not None
    assert found[0] == pytest.approx(focal[0, 0, 0], rel=0.05)


# In the store and in files


def no_clip(clip, frames):
    raise AssertionError("the board was found: no clip has to be looked at")


def test_the_setting_reaches_the_store(tmp_path, scene):
    rig, corners_px = scene
    store = Store(str(tmp_path / "s.zarr"))
    store.open()
    sizes = {"view": 8, "board_frame": 80, "corner": num_corners(BOARD), "rig": 1}
    names = {"view": (("view",), np.array(rig.names, object))}
    make = partial(group_spec, sizes=sizes, unit={"rig": 1}, fingerprint={}, attrs={}, coords=names)
    store.create(make("board", BOARD_ARRAYS))
    store.write("board", (0,), {"corners": corners_px})
    options = CalibrationSettings(lens="fisheye")
    time_s = np.zeros((8, 80)) + np.arange(80)
    clips: Any = dict.fromkeys(rig.names)
    judge = Judge("here", 0.0, "Show them the board", options)
    task = SolveCameras(store, BOARD, rig.names, rig.size_px, time_s, clips, no_clip, options, judge)
    ((unit, blocks),) = task.run([(0,)])
    store.create(make("cameras", CAMERAS))
    store.write("cameras", unit, blocks)
    found = read_cameras(store)
    assert found.fisheye.all()
    assert center_errors_m(found, rig).max() < 1e-3
    # A store of before there were fisheyes, and checksums; with them, the array would be missed.
    as_before_checksums(store)
    shutil.rmtree(tmp_path / "s.zarr" / "cameras" / "fisheye")
    assert not read_cameras(Store(store.url)).fisheye.any()


@pytest.mark.parametrize("format", [format for format in WRITTEN if format not in ("interhand", "dlt")])
def test_files_keep_each_views_lens(tmp_path, format):
    rig = fisheye_rig(4, np.random.default_rng(3))
    rig = replace(rig, names=tuple(f"cam_{i}" for i in range(4)), fisheye=np.array([True, False, True, False]))
    path = tmp_path / ("cameras.xml" if format == "opencv" else "cameras")
    write_camera_file(path, rig, format)
    back = read_camera_file(str(path))
    assert back.format == format
    np.testing.assert_array_equal(back.cameras.fisheye, rig.fisheye)
    np.testing.assert_array_equal(back.cameras.distortion, rig.distortion)
    np.testing.assert_allclose(back.cameras.K, rig.K, rtol=1e-15)
    matched = match_views(back.cameras, ["none", "cam_2", "cam_1"], np.tile([1280, 960], (3, 1)))
    assert matched.fisheye.tolist() == [False, True, False]


def test_what_a_pinhole_format_loses_is_said(tmp_path):
    rig = fisheye_rig(2, np.random.default_rng(3))
    said = write_camera_file(tmp_path / "c.json", rig, "interhand")
    assert "lenses: that they are fisheyes is lost; undistort the images before use" in said


def test_opencvs_own_file_of_a_fisheye(tmp_path):
    """As OpenCV's calibration program writes it: `fisheye_model: 1` and four rows of coefficients."""
    rig, path = fisheye_rig(1, np.random.default_rng(3)), tmp_path / "cam.yml"
    out = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    out.write("fisheye_model", 1)
    for key, value in {
        **{"camera_matrix": rig.K[0], "distortion_coefficients": rig.distortion[0, :4, None]},
        **{"R": rig.T_cam_world[0, :3, :3], "T": rig.T_cam_world[0, :3, 3:]},
    }.items():
        out.write(key, value)
    out.release()
    back = read_camera_file(str(path)).cameras
    assert back.fisheye.tolist() == [True]
    np.testing.assert_array_equal(back.distortion, rig.distortion)
    path.write_text(path.read_text().replace("fisheye_model: 1", "fisheye_model: 0"))
    assert read_camera_file(str(path)).cameras.fisheye.tolist() == [False]


def test_five_coefficients_are_no_fisheye(tmp_path):
    path = tmp_path / "cameras.toml"
    write_cameras(path, fisheye_rig(1, np.random.default_rng(3)))
    path.write_text(path.read_text().replace("distortions = [", "distortions = [0.1, "))
    with pytest.raises(CalibrationError, match=r"\[cam_0\] distortions: expected 4 finite numbers"):
        read_camera_file(str(path))


def test_aniposelib_loads_our_file_and_puts_points_where_we_do(tmp_path):
    peers = pytest.importorskip("aniposelib.cameras", reason="aniposelib is not installed")
    rig = fisheye_rig(3, np.random.default_rng(3))
    write_cameras(tmp_path / "cameras.toml", rig)
    group = peers.CameraGroup.load(str(tmp_path / "cameras.toml"))
    points = np.random.default_rng(4).uniform(-0.3, 0.3, (9, 3))
    for view, camera in enumerate(group.cameras):
        assert isinstance(camera, peers.FisheyeCamera)
        np.testing.assert_allclose(camera.project(points)[:, 0], rig.project(points)[view], atol=1e-6)


def test_colmap_puts_points_where_we_do(tmp_path):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    rig = fisheye_rig(1, np.random.default_rng(3))
    write_camera_file(tmp_path / "model", rig, "colmap")
    camera = next(iter(pycolmap.Reconstruction(str(tmp_path / "model")).cameras.values()))
    assert camera.model.name == "OPENCV_FISHEYE"
    points = rays(np.random.default_rng(4), 9, 1.2)
    there = replace(rig, T_cam_world=np.eye(4)[None])
    np.testing.assert_allclose(camera.img_from_cam(points) - 0.5, there.project(points)[0], atol=1e-6)


def test_a_published_folder_keeps_the_lenses_and_older_ones_are_read(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    rig = replace(fisheye_rig(3, np.random.default_rng(3)), fisheye=np.array([True, False, True]))
    recording: Any = SimpleNamespace(name="s", cameras=lambda: rig)
    table = hub._table(list(hub._cameras(recording)), hub.cameras_schema())
    for columns, expected in ((table, rig.fisheye), (table.drop_columns(["fisheye"]), np.zeros(3, bool))):
        parquet.write_table(columns, tmp_path / hub.CAMERAS)
        rows = hub_reading._rows(tmp_path / hub.CAMERAS, hub.cameras_schema(), optional=("fisheye",))
        back = hub_reading._cameras(tmp_path, rows)
        assert back is not None
        np.testing.assert_array_equal(back.fisheye, expected)
        np.testing.assert_array_equal(back.distortion, rig.distortion)


# Downstream


def test_a_rectified_image_has_things_where_a_pinhole_has_them():
    rig = fisheye_rig(1, np.random.default_rng(0))
    point = rig.centers_m[0] + [0.5, -0.3, 1.0] @ rig.T_cam_world[0, :3, :3]
    straight = replace(rig, fisheye=np.zeros(1, bool), distortion=np.zeros((1, 5))).project(point)[0]
    y, x = np.mgrid[:960, :1280]
    spot = np.exp(-(((x - rig.project(point)[0, 0]) ** 2 + (y - rig.project(point)[0, 1]) ** 2) / 20))
    image = _rectified(np.tile((255 * spot[..., None]).astype(np.uint8), 3), rig)[..., 0].astype(float)
    found = np.array([(image * x).sum(), (image * y).sum()]) / image.sum()
    assert np.linalg.norm(straight - rig.project(point)[0]) > 10
    assert np.linalg.norm(found - straight) < 0.5


def test_hands_are_triangulated_as_through_pinholes(tmp_path):
    """The hands 50 degrees off the axes, no noise: other pixels, the same rays, the same hands."""
    pinhole, motion = dome(5), interaction(6)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0, np.deg2rad(50), 0]).as_matrix()
    pinhole = replace(pinhole, T_cam_world=turn @ pinhole.T_cam_world)
    k = np.tile([-0.03, 0.004, -0.001, 0.0, 0.0], (5, 1))
    bent = replace(pinhole, distortion=k, fisheye=np.ones(5, bool))
    stores = []
    for name, rig in (("pinhole", pinhole), ("bent", bent)):
        (tmp_path / name).mkdir()
        stores.append(triangulated(tmp_path / name, rig, *detect(rig, motion, noise_px=0.0)[:3]))
    straight, through = (store.read("keypoints", "points") for store in stores)
    np.testing.assert_allclose(through, straight, atol=1e-6)
    np.testing.assert_allclose(through, motion, atol=1e-5)
    assert read_cameras(stores[1]).fisheye.all()
