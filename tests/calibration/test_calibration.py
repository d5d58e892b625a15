"""Calibration: the board in an image, the joint adjustment, and the figures that judge it."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from calibration_scenes import BOARD, NOISE_PX, arc_rig, center_errors_m, waved_board
from paths import WEBCAMS as RECORDING
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from handpipe.calibration import bundle
from handpipe.calibration.board import corner_positions, detect_board, is_usable, num_corners
from handpipe.calibration.calibrate import calibrate
from handpipe.calibration.initial import slow_sightings
from handpipe.calibration.quality import board_distance_errors, triangulate_corners
from handpipe.core.cameras import Cameras
from handpipe.core.errors import CalibrationError
from handpipe.core.settings import Board
from handpipe.exchange.cameras.caliscope import read_caliscope_cameras


@pytest.fixture(scope="module")
def scene() -> tuple[Cameras, np.ndarray]:
    rng = np.random.default_rng(5)
    rig = arc_rig(8, rng)
    return rig, waved_board(rig, 60, rng)


@pytest.fixture(scope="module")
def perfect() -> tuple[Cameras, np.ndarray]:
    rng = np.random.default_rng(6)
    rig = arc_rig(5, rng)
    return rig, waved_board(rig, 20, rng, noise_px=0.0)


# The board


def board_picture(board: Board, square_px: int = 60, margin_px: int = 50) -> np.ndarray:
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    charuco = cv2.aruco.CharucoBoard((board.columns, board.rows), board.square_m, board.marker_m, dictionary)
    charuco.setLegacyPattern(bool(board.legacy))
    size = (board.columns * square_px, board.rows * square_px)
    return np.pad(charuco.generateImage(size), margin_px, constant_values=255)


def test_corner_positions_are_opencvs():
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    charuco = cv2.aruco.CharucoBoard((7, 5), 0.04, 0.03, dictionary)
    np.testing.assert_allclose(corner_positions(BOARD), charuco.getChessboardCorners(), atol=1e-7)
    assert num_corners(BOARD) == 24


def test_detects_corners_at_pixel_centres_convention():
    """Squares of 60 pixels from pixel 50 meet at 50 + 60 k - 0.5, because pixel 0 spans -0.5 to 0.5."""
    found = detect_board(BOARD, board_picture(BOARD))
    expected = corner_positions(BOARD)[:, :2] / BOARD.square_m * 60 + 50 - 0.5
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.25
    assert np.abs((found - expected).mean(0)).max() < 0.1


@pytest.mark.parametrize("legacy", [False, True])
def test_inverted_and_legacy_boards(legacy: bool):
    board = replace(BOARD, rows=6, legacy=legacy)
    picture = board_picture(board)
    plain = detect_board(board, picture)
    assert np.isfinite(plain).all()
    np.testing.assert_array_equal(detect_board(replace(board, inverted=True), 255 - picture), plain)
    np.testing.assert_allclose(detect_board(board, cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)), plain, atol=0.05)
    assert np.isnan(detect_board(replace(board, legacy=not legacy), picture)).all()


def test_nothing_found_is_nan():
    assert np.isnan(detect_board(BOARD, np.full((240, 320), 255, np.uint8))).all()


@pytest.mark.parametrize(
    ("corners", "usable"),
    [
        ([0, 1, 2], False),  # three
        ([0, 1, 2, 3, 4, 5], False),  # a row
        ([0, 6, 12, 18], False),  # a column
        ([0, 7, 14, 21], False),  # a diagonal
        ([0, 1, 2, 6], True),
        ([0, 5, 18, 23], True),
    ],
)
def test_a_sighting_needs_four_corners_off_one_line(corners: list[int], usable: bool):
    seen = np.full((24, 2), np.nan)
    seen[corners] = 100.0
    assert is_usable(BOARD, seen) == usable


@pytest.mark.parametrize(
    "wrong", [{"marker_m": 0.04}, {"columns": 2, "rows": 2}, {"dictionary": "DICT_3X3"}, {"square_m": -1.0}]
)
def test_impossible_boards_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        Board(**wrong)


# The adjustment


def test_jacobian_agrees_with_differences(perfect):
    rig, _ = perfect
    rng = np.random.default_rng(1)
    lens = np.column_stack([rig.K[:, 0, 0], rig.K[:, 1, 1], rig.K[:, :2, 2], rng.normal(0, 0.05, (len(rig), 5))])
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.3, (3, 3))).as_matrix()
    poses[:, :3, 3] = rng.normal(0, 0.1, (3, 3))
    scene = bundle.RigEstimate(lens, rig.T_cam_world, poses)
    sightings = bundle.Sightings.from_grid(np.zeros((len(rig), 3, num_corners(BOARD), 2)))
    camera, board = bundle._jacobian(scene, sightings, corner_positions(BOARD))
    step = 1e-6
    for columns, count, moves_camera in ((camera, bundle.NUM_CAMERA, True), (board, bundle.NUM_BOARD, False)):
        for parameter in range(count):
            values = []
            for sign in (1, -1):
                steps = np.zeros((len(rig), bundle.NUM_CAMERA)), np.zeros((3, bundle.NUM_BOARD))
                steps[0 if moves_camera else 1][:, parameter] = sign * step
                values.append(bundle.project(bundle._moved(scene, *steps), sightings, corner_positions(BOARD)))
            difference = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(columns[..., parameter], difference, rtol=1e-5, atol=1e-4)


def test_recovers_a_simulated_rig(scene):
    rig, corners_px = scene
    result = calibrate(BOARD, corners_px, rig.names, rig.size_px)
    assert result.left_out == {}
    assert np.array_equal(result.cameras.T_cam_world[0], np.eye(4))
    error_m = center_errors_m(result.cameras, rig)
    assert error_m.max() < 2e-3
    # The standard errors are honest: the errors found are of their size, neither hidden nor exaggerated.
    assert 0.4 < np.sqrt((error_m**2).mean()) / np.sqrt((result.sigma.center_m**2).mean()) < 2
    # Both coordinates err by the noise that was added; the fit takes a little of it away.
    assert 0.9 < result.total_rms_px / (np.sqrt(2) * NOISE_PX) < 1.02
    np.testing.assert_allclose(result.cameras.focal_px, rig.focal_px, rtol=5e-3)
    measured = board_distance_errors(result.cameras, corners_px, BOARD)
    ideal = board_distance_errors(rig, corners_px, BOARD)
    assert measured.adjacent_rmse_mm < 1.02 * ideal.adjacent_rmse_mm
    assert abs(measured.scale - 1) < 1e-3


def test_perfect_sightings_give_the_exact_rig(perfect):
    rig, corners_px = perfect
    result = calibrate(BOARD, corners_px, rig.names, rig.size_px)
    assert result.total_rms_px < 1e-4
    assert center_errors_m(result.cameras, rig).max() < 1e-5


def test_same_input_same_bits_and_order_of_views_is_no_matter(scene):
    rig, corners_px = scene
    first = calibrate(BOARD, corners_px, rig.names, rig.size_px)
    again = calibrate(BOARD, corners_px, rig.names, rig.size_px)
    assert first.cameras.T_cam_world.tobytes() == again.cameras.T_cam_world.tobytes()
    order = np.array([3, 0, 7, 1, 6, 2, 5, 4])
    names = [rig.names[i] for i in order]
    shuffled = calibrate(BOARD, corners_px[order], names, rig.size_px[order])
    assert center_errors_m(shuffled.cameras, first.cameras.subset(order)).max() < 1e-5


def test_wrong_corners_are_rejected(scene):
    rig, corners_px = scene
    rng = np.random.default_rng(2)
    wrong = (rng.uniform(size=corners_px.shape[:3]) < 0.02) & np.isfinite(corners_px[..., 0])
    spoiled = corners_px + np.where(wrong[..., None], rng.choice([-1, 1], corners_px.shape) * 15.0, 0.0)
    result = calibrate(BOARD, spoiled, rig.names, rig.size_px)
    assert result.rejected[wrong].all()
    assert result.rejected[~wrong].mean() < 1e-3
    assert center_errors_m(result.cameras, rig).max() < 2e-3


def test_held_out_frames_are_not_fitted_but_judged(scene):
    rig, corners_px = scene
    result = calibrate(BOARD, corners_px, rig.names, rig.size_px, max_frames=40)
    assert result.adjusted.sum() == 40
    assert result.frames_used.min() >= 15  # the choice of frames starves no view
    assert np.isfinite(result.T_world_board).all()
    assert result.held_out.frames == 7
    assert 0.85 < result.held_out.rms_px / (np.sqrt(2) * NOISE_PX) < 1.1
    only = np.where(result.adjusted[:, None, None], corners_px, np.nan)
    np.testing.assert_allclose(calibrate(BOARD, only, rig.names, rig.size_px).cameras.K, result.cameras.K, atol=1e-3)


def test_of_many_sightings_the_slow_ones_are_kept(scene):
    """The board rests for three frames in each place, and every fourth frame is taken on the way."""
    _, corners_px = scene
    rests = np.repeat(corners_px[3], 4, axis=0)
    way = np.arange(len(rests)) % 4 == 3
    rests[way] += 20.0
    usable = is_usable(BOARD, rests)
    slow = slow_sightings(rests, usable, 40)
    assert 40 < slow.sum() < usable.sum()
    assert not slow[way].any()
    assert slow_sightings(rests, usable, int(usable.sum())) is usable


def test_views_without_support_are_left_out_with_a_reason(scene):
    rig, corners_px = scene
    poor = corners_px.copy()
    poor[2, 6:] = np.nan  # too few sightings
    poor[5, ::2] = np.nan  # the others see the board in even frames, c5 in odd ones
    poor[np.arange(8) != 5, 1::2] = np.nan
    result = calibrate(BOARD, poor, rig.names, rig.size_px)
    assert list(result.left_out) == ["c2", "c5"]
    assert "found in" in result.left_out["c2"]
    assert "shares no 3 consistent frames" in result.left_out["c5"]
    np.testing.assert_array_equal(result.cameras.calibrated, ~np.isin(np.arange(8), [2, 5]))
    assert np.isnan(result.rms_px[[2, 5]]).all()
    assert center_errors_m(result.cameras, rig).max() < 5e-3


def test_a_clip_out_of_step_is_left_out(scene):
    rig, corners_px = scene
    shifted = corners_px.copy()
    shifted[4] = np.roll(shifted[4], 7, axis=0)
    result = calibrate(BOARD, shifted, rig.names, rig.size_px)
    assert list(result.left_out) == ["c4"]
    assert center_errors_m(result.cameras, rig).max() < 2e-3


def test_a_camera_that_was_moved_is_left_out(scene):
    """Enough frames agree to connect it, but most contradict: it was knocked early in the recording."""
    rig, corners_px = scene
    moved = corners_px.copy()
    moved[4, 20:] += [0.0, 25.0]
    moved[4, 40:] += [-40.0, 0.0]
    result = calibrate(BOARD, moved, rig.names, rig.size_px)
    assert list(result.left_out) == ["c4"]
    assert center_errors_m(result.cameras, rig).max() < 2e-3


def test_no_board_anywhere_says_what_to_do(scene):
    rig, corners_px = scene
    with pytest.raises(CalibrationError, match=r"found in none of the 8 views\. Check `board` in session\.yaml"):
        calibrate(BOARD, np.full_like(corners_px, np.nan), rig.names, rig.size_px)


def test_views_that_never_share_a_board_say_what_to_do(scene):
    rig, corners_px = scene
    turns = np.where((np.arange(60) % 8 == np.arange(8)[:, None])[..., None, None], corners_px, np.nan)
    with pytest.raises(CalibrationError, match="Move the board through the volume"):
        calibrate(BOARD, turns, rig.names, rig.size_px)


# The figures


def test_board_distances_of_the_true_rig_are_zero_and_scale_shows(perfect):
    rig, corners_px = perfect
    exact = board_distance_errors(rig, corners_px, BOARD)
    assert exact.all_rmse_mm < 1e-4
    assert exact.num_frames == 20
    # A rig that is 1 % too large makes squares of 40 mm measure 40.4 mm.
    T = rig.T_cam_world.copy()
    T[:, :3, 3] *= 1.01
    scaled = board_distance_errors(replace(rig, T_cam_world=T), corners_px, BOARD)
    assert scaled.scale == pytest.approx(1.01, abs=1e-6)
    assert scaled.adjacent_rmse_mm == pytest.approx(0.4, abs=1e-3)


def test_triangulation_needs_two_calibrated_views(perfect):
    rig, corners_px = perfect
    lens = rig.K.copy()
    lens[2:] = np.nan
    two = replace(rig, K=lens)
    seen = np.isfinite(corners_px[:2]).all(-1).sum(0) == 2
    assert 0 < seen.mean() < 1
    np.testing.assert_array_equal(np.isfinite(triangulate_corners(two, corners_px)).all(-1), seen)
    assert np.isnan(board_distance_errors(rig.subset([0]), corners_px[:1], BOARD).all_rmse_mm)


# A real recording


@pytest.mark.skipif(not RECORDING.exists(), reason="the four-camera recording is not on this machine")
def test_real_recording_is_as_good_as_its_own_calibration():
    """Its cameras are up to 22 ms apart, so this is about robustness; 1.5 mm is the promise."""
    info = tomllib.loads((RECORDING / "charuco.toml").read_text())
    square_m = info["square_size_override_cm"] / 100
    board = Board(
        columns=info["columns"],
        rows=info["rows"],
        square_m=square_m,
        marker_m=info["aruco_scale"] * square_m,
        dictionary=info["dictionary"],
        inverted=info["inverted"],
    )
    shipped = read_caliscope_cameras(RECORDING / "camera_array.toml")
    corners_px = np.stack([corners_of_clip(board, RECORDING / f"{name}.mp4") for name in shipped.names])
    result = calibrate(board, corners_px, shipped.names, shipped.size_px)
    ours, theirs = (board_distance_errors(cameras, corners_px, board) for cameras in (result.cameras, shipped))
    assert result.left_out == {}
    assert ours.num_frames > 40
    assert ours.adjacent_rmse_mm < 1.5
    assert ours.all_rmse_mm < 1.5
    assert ours.all_rmse_mm < 1.1 * theirs.all_rmse_mm


def corners_of_clip(board: Board, path: Path) -> np.ndarray:
    """(frame, corner, 2) of the second part of the clip, in which the board is shown."""
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 64)
    corners = []
    while True:
        ok, image = capture.read()
        if not ok:
            return np.stack(corners)
        corners.append(detect_board(board, image))
