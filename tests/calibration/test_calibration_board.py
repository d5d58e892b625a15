"""Kinds of boards, and what a wrong description of one looks like."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from april_boards import FIRST_TAGS, april_picture, tag_bits
from pydantic import ValidationError

from handpipe.calibration.board import corner_positions, detect_board, num_corners
from handpipe.calibration.boards.diagnose import diagnose
from handpipe.core.settings import Board

CHARUCO = Board(columns=6, rows=8, square_m=0.04, marker_m=0.03, legacy=False)
CHESS = Board(type="chessboard", columns=8, rows=5, square_m=0.03)
GRID = Board(type="grid", columns=4, rows=3, square_m=0.04, marker_m=0.03, first_marker=5)
APRIL = Board(type="aprilgrid", columns=5, rows=4, square_m=0.039, marker_m=0.03)
SQUARE_PX, MARGIN_PX = 28, 40


def printed(board: Board) -> np.ndarray:
    """The board from straight ahead, black on white."""
    if board.type == "chessboard":
        y, x = np.mgrid[0 : board.rows, 0 : board.columns]
        squares = np.where((x + y) % 2 == 0, 0, 255).astype(np.uint8)
        flat = np.kron(squares, np.ones((SQUARE_PX, SQUARE_PX), np.uint8))
    else:
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
        ids = np.arange(board.first_marker, board.first_marker + board.num_markers)
        charuco = cv2.aruco.CharucoBoard((board.columns, board.rows), board.square_m, board.marker_m, dictionary, ids)
        charuco.setLegacyPattern(bool(board.legacy))
        flat = charuco.generateImage((board.columns * SQUARE_PX, board.rows * SQUARE_PX))
    return np.pad(flat, MARGIN_PX, constant_values=255)


def expected_px(board: Board) -> np.ndarray:
    return corner_positions(board)[:, :2] / board.square_m * SQUARE_PX + MARGIN_PX - 0.5


@pytest.mark.parametrize("legacy", [False, True])
def test_the_order_of_a_charuco_board_is_found_out(legacy: bool):
    board = replace(CHARUCO, legacy=legacy)
    found = detect_board(replace(board, legacy=None), printed(board))
    np.testing.assert_array_equal(found, detect_board(board, printed(board)))
    assert np.abs(found - expected_px(board)).max() < 0.25


@pytest.mark.parametrize("angle_deg", [0, 40, 90, 135, 180, 250])
def test_a_chessboard_keeps_its_corners_however_it_is_held(angle_deg: float):
    """Numbered from the same end, whichever way OpenCV found it."""
    picture = printed(CHESS)
    middle = (picture.shape[1] / 2, picture.shape[0] / 2)
    turn = cv2.getRotationMatrix2D(middle, angle_deg, 1.0)
    turn[:, 2] += 200 - np.array(middle)
    turned = cv2.warpAffine(picture, turn, (400, 400), borderValue=255)
    found = detect_board(CHESS, turned)
    assert np.abs(found - (expected_px(CHESS) @ turn[:, :2].T + turn[:, 2])).max() < 0.3
    np.testing.assert_allclose(detect_board(replace(CHESS, inverted=True), 255 - turned), found)


def test_a_chessboard_of_few_squares_is_found_rightly_or_not_at_all():
    """OpenCV leaves out a row of some of them, and goes on beyond the edge."""
    board = Board(type="chessboard", columns=5, rows=4, square_m=0.05)
    picture, rng, found = printed(board), np.random.default_rng(0), 0
    for _ in range(40):
        turn = cv2.getRotationMatrix2D((picture.shape[1] / 2, picture.shape[0] / 2), rng.uniform(0, 360), 0.6)
        turn[:, 2] += rng.uniform(40, 120, 2)
        bent = np.vstack([turn, [*rng.normal(0, 4e-4, 2), 1.0]])
        drawn = cv2.warpPerspective(picture, bent, (480, 360), flags=cv2.INTER_AREA, borderValue=(110,))
        drawn = cv2.GaussianBlur(drawn, (3, 3), 0.6) + rng.normal(0, 2, drawn.shape)
        corners = detect_board(board, np.clip(drawn, 0, 255).astype(np.uint8))
        if np.isfinite(corners).all():
            found += 1
            expected = cv2.perspectiveTransform(expected_px(board)[:, None], bent)[:, 0]
            assert np.abs(corners - expected).max() < 1.0
    assert found >= 20


@pytest.mark.parametrize("angle_deg", [0, 35, 90, 200])
def test_a_grid_of_markers_gives_the_corners_of_its_markers(angle_deg: float):
    size_px = 80 * np.array([GRID.columns, GRID.rows]) - 20  # a marker of 60 pixels and a gap of 20
    picture = np.pad(_opencv_grid(GRID).generateImage(tuple(size_px.tolist()), marginSize=0), 40, constant_values=255)
    turn = cv2.getRotationMatrix2D((size_px / 2 + 40).tolist(), angle_deg, 1.0)
    turn[:, 2] += 300 - (size_px / 2 + 40)
    turned = cv2.GaussianBlur(cv2.warpAffine(picture, turn, (600, 600), borderValue=255), (3, 3), 0.7)
    found = detect_board(GRID, turned)
    expected = corner_positions(GRID)[:, :2] / GRID.square_m * 80 + 39.5
    assert np.abs(found - (expected @ turn[:, :2].T + turn[:, 2])).max() < 0.4
    # Other markers of the same dictionary are not the board's.
    assert np.isnan(detect_board(replace(GRID, first_marker=20), turned)).all()
    turned[:, 300:] = 255
    part = detect_board(GRID, turned)
    assert 0 < np.isfinite(part[:, 0]).sum() < len(part)


def _opencv_grid(board: Board) -> cv2.aruco.GridBoard:
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    ids = np.arange(board.first_marker, board.first_marker + board.num_markers)
    gap_m = board.square_m - board.marker_m
    return cv2.aruco.GridBoard((board.columns, board.rows), board.marker_m, gap_m, dictionary, ids)


def test_a_grid_is_as_opencv_has_it():
    points_m = np.concatenate(_opencv_grid(GRID).getObjPoints())  # pyright: ignore[reportArgumentType, reportCallIssue]
    np.testing.assert_allclose(corner_positions(GRID), points_m, atol=1e-7)
    assert num_corners(GRID) == len(points_m)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"first_marker": 22},
            "markers 5 to 16 of DICT_4X4_50 are seen where 22 to 33 are expected: set first_marker: 5",
        ),
        ({"dictionary": "DICT_5X5_50"}, "the board is found with dictionary: DICT_4X4_50"),
    ],
)
def test_the_likely_right_grid_is_named(said: dict, expected: str):
    size = tuple((80 * np.array([GRID.columns, GRID.rows]) - 20).tolist())
    picture = np.pad(_opencv_grid(GRID).generateImage(size, marginSize=0), 40, constant_values=255)
    hint = diagnose(replace(GRID, **said), [picture])
    assert hint is not None
    assert expected in hint


def test_a_chessboard_that_is_not_there_is_nan():
    assert np.isnan(detect_board(CHESS, np.full((300, 400), 200, np.uint8))).all()


def test_a_chessboard_that_looks_the_same_upside_down_is_refused():
    with pytest.raises(ValidationError, match="upside down"):
        Board(type="chessboard", columns=8, rows=6)


@pytest.mark.parametrize(
    ("real", "said", "expected"),
    [
        (CHARUCO, {"columns": 8, "rows": 6}, "columns: 6, rows: 8"),
        (CHARUCO, {"columns": 5, "rows": 7}, "columns: 6, rows: 8"),
        (CHARUCO, {"dictionary": "DICT_5X5_100"}, "dictionary: DICT_4X4_50"),
        (CHARUCO, {"legacy": True}, "legacy: false"),
        (replace(CHARUCO, dictionary="DICT_APRILTAG_36h11"), {"dictionary": "DICT_6X6_250"}, "APRILTAG_36h11"),
    ],
)
def test_the_likely_right_board_is_named(real: Board, said: dict, expected: str):
    board = replace(real, **said)
    assert np.isnan(detect_board(board, printed(real))).all()
    hint = diagnose(board, [printed(real)])
    assert hint is not None
    assert expected in hint


@pytest.mark.parametrize(
    ("real", "said", "expected"),
    [
        (
            {"first_marker": 26},
            {},
            "markers 26 to 49 of DICT_4X4_50 are seen where 0 to 23 are expected: set first_marker: 26",
        ),
        (
            {},
            {"first_marker": 26},
            "markers 0 to 23 of DICT_4X4_50 are seen where 26 to 49 are expected: set first_marker: 0",
        ),
        ({"first_marker": 60, "dictionary": "DICT_4X4_100"}, {}, "set dictionary: DICT_4X4_100, first_marker: 60"),
        ({"first_marker": 24}, {"columns": 5, "rows": 4}, "set columns: 6, rows: 8, first_marker: 24"),
        ({"first_marker": 9, "dictionary": "DICT_5X5_100"}, {}, "set dictionary: DICT_5X5_50, first_marker: 9"),
    ],
)
def test_a_board_of_a_set_is_named_by_its_first_marker(real: dict, said: dict, expected: str):
    board = Board(**{"columns": 6, "rows": 8, **real})
    described = Board(**{"columns": 6, "rows": 8, **said})
    assert np.isnan(detect_board(described, printed(board))).all()
    hint = diagnose(described, [printed(board)])
    assert hint is not None
    assert expected in hint
    assert np.abs(detect_board(board, printed(board)) - expected_px(board)).max() < 0.25


def test_an_inverted_board_is_named():
    assert diagnose(CHARUCO, [255 - printed(CHARUCO)]) == "the board is found with inverted: true"
    assert diagnose(replace(CHARUCO, inverted=True), [printed(CHARUCO)]) == "the board is found with inverted: false"


def test_a_mirrored_clip_is_named():
    hint = diagnose(CHARUCO, [printed(CHARUCO)[:, ::-1].copy()])
    assert hint is not None
    assert "mirrored" in hint


def test_nothing_explains_an_empty_picture():
    assert diagnose(CHARUCO, [np.full((300, 400), 200, np.uint8)]) is None
    assert diagnose(CHESS, [np.full((300, 400), 200, np.uint8)]) is None


# AprilGrid


def test_the_first_tags_are_those_of_kalibr():
    for number, code in enumerate(FIRST_TAGS):
        assert int("".join(map(str, tag_bits(number).ravel())), 2) == code


def test_an_april_grid_is_counted_from_the_lower_left():
    corners = corner_positions(APRIL)
    assert len(corners) == num_corners(APRIL) == 80
    np.testing.assert_allclose(corners[0], [0.0, 3 * 0.039, 0.0], atol=1e-9)
    np.testing.assert_allclose(corners[-3], [4 * 0.039 + 0.03, 0.0, 0.0], atol=1e-9)


def seen_by_a_camera(board: Board, turn_rad: float, distance_m: float, blur_px: float) -> tuple[np.ndarray, ...]:
    """A rendered image of an AprilGrid, where its corners are in it, and the camera's matrix and pose."""
    metres_per_px = board.marker_m / 100
    K = np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]])
    R = cv2.Rodrigues(np.array([0.0, 0.0, turn_rad]))[0] @ cv2.Rodrigues(np.array([0.45, 0.25, 0.0]))[0]
    corners = corner_positions(board)
    t = np.array([0.02, 0.01, distance_m]) - R @ corners.mean(0)
    to_board = np.diag([metres_per_px, metres_per_px, 1.0])
    to_board[:2, 2] = -59.5 * metres_per_px
    H = K @ np.column_stack([R[:, 0], R[:, 1], t]) @ to_board
    finer = np.array([[3.0, 0, 1], [0, 3, 1], [0, 0, 1]])
    image = cv2.warpPerspective(april_picture(board), finer @ H, (3840, 2160), borderValue=170)
    image = cv2.GaussianBlur(cv2.resize(image, (1280, 720), interpolation=cv2.INTER_AREA), (0, 0), blur_px)
    noisy = image + np.random.default_rng(0).normal(0, 3, image.shape)
    points = (corners @ R.T + t) @ K.T
    return np.clip(noisy, 0, 255).astype(np.uint8), points[:, :2] / points[:, 2:], K, R, t


@pytest.mark.parametrize(("turn_rad", "distance_m", "blur_px"), [(0.2, 0.4, 1.5), (1.7, 0.6, 1.0), (3.5, 0.8, 0.7)])
def test_an_april_grid_is_found_where_it_is(turn_rad: float, distance_m: float, blur_px: float):
    image, expected, K, R, t = seen_by_a_camera(APRIL, turn_rad, distance_m, blur_px)
    found = detect_board(APRIL, image)
    seen = np.isfinite(found[:, 0])
    assert seen.sum() >= 0.8 * len(found)
    error = np.linalg.norm(found - expected, axis=1)[seen]
    assert np.sqrt((error**2).mean()) < 0.12
    assert error.max() < 0.5
    # OpenCV's own solution for the pose of what was found is the pose that was rendered.
    ok, rotation, shift = cv2.solvePnP(corner_positions(APRIL)[seen], found[seen].astype(float), K, None)
    assert ok
    assert np.linalg.norm(cv2.Rodrigues(cv2.Rodrigues(rotation)[0] @ R.T)[0]) < 2e-3
    assert np.linalg.norm(shift[:, 0] - t) < 1.5e-3
    np.testing.assert_allclose(detect_board(replace(APRIL, inverted=True), 255 - image), found)
    image[:, 640:] = 170
    part = detect_board(APRIL, image)
    assert 0 < np.isfinite(part[:, 0]).sum() < seen.sum()


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        (Board(), "type: aprilgrid, columns: 5, rows: 4"),
        (Board(type="chessboard", columns=8, rows=5, square_m=0.03), "type: aprilgrid, columns: 5, rows: 4"),
        (Board(type="grid", columns=5, rows=4), "found with type: aprilgrid"),
        (replace(APRIL, columns=4, rows=5), "found with columns: 5, rows: 4"),
        (replace(APRIL, inverted=True), "found with inverted: false"),
    ],
)
def test_an_april_grid_that_is_not_the_described_board_is_named(described: Board, expected: str):
    hint = diagnose(described, [seen_by_a_camera(APRIL, 0.2, 0.5, 0.8)[0]])
    assert hint is not None
    assert expected in hint


def test_tags_with_a_border_of_one_bit_are_no_april_grid():
    tags = replace(GRID, dictionary="DICT_APRILTAG_36h11", first_marker=0)
    picture = np.pad(_opencv_grid(tags).generateImage((300, 220), marginSize=0), 40, constant_values=255)
    hint = diagnose(replace(APRIL, columns=4, rows=3), [picture])
    assert hint == "the board is found with type: grid, dictionary: DICT_APRILTAG_36h11"


def test_more_tags_than_the_family_has_are_refused():
    with pytest.raises(ValidationError, match="DICT_APRILTAG_36h11 ends at 586"):
        Board(type="aprilgrid", columns=25, rows=24)
