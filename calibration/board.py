"""The calibration board: what it is and where its corners are in an image.

The board's frame is OpenCV's: the origin is the outer corner of the first square, x runs along the columns, y along
the rows, both in the plane of the board, and z points into the board, away from a camera that sees its front.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy import ndarray

from ..core.settings import Board
from .boards.april_grid import april_corners, detect_april
from .boards.marker_grid import detect_grid, grid_corners

MIN_CORNERS = 4
"""A pose needs four corners; fewer say nothing about the camera."""
IN_TURN, CONTRAST = 0.95, 0.2
"""Share of a chessboard's neighbouring squares of which the white one must be the brighter, by this part of the usual
difference: glare may spoil a few."""


def num_corners(board: Board) -> int:
    """Number of inner corners, or of corners of a grid's markers: the `corner` axis of every array."""
    if board.is_grid:
        return 4 * board.num_markers
    return (board.columns - 1) * (board.rows - 1)


def corner_positions(board: Board) -> ndarray:
    """(corner, 3) inner corners in the board's frame, metres; x runs fastest, as OpenCV numbers them.

    Of a grid or aprilgrid, the corners of its markers.
    """
    if board.type == "grid":
        return grid_corners(board)
    if board.type == "aprilgrid":
        return april_corners(board)
    y, x = np.mgrid[1 : board.rows, 1 : board.columns]
    return np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3) * board.square_m


def detect_board(board: Board, image: ndarray) -> ndarray:
    """Where the board's corners are in an image.

    Args:
        image: (height, width) gray or (height, width, 3) BGR, uint8.

    Returns:
        (corner, 2) float32 pixels, NaN where a corner was not found. All NaN when fewer than four corners were found,
        or when those found lie on one line of the board: such a sighting does not fix a pose.
    """
    gray = gray_image(image)
    if board.inverted:
        gray = 255 - gray
    find = {"charuco": _charuco, "chessboard": _chessboard, "grid": detect_grid, "aprilgrid": detect_april}[board.type]
    found = find(board, gray)
    if not is_usable(board, found):
        found[:] = np.nan
    return found


def gray_image(image: ndarray) -> ndarray:
    """(height, width) uint8 of a gray or BGR image."""
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image


def _charuco(board: Board, gray: ndarray) -> ndarray:
    """Corners by their markers; in the old layout where the new one fits none and nobody said which it is."""
    found = np.full((num_corners(board), 2), np.nan, np.float32)
    legacy = bool(board.legacy)
    corners, ids, markers, marker_ids = _detector(board, legacy).detectBoard(gray)
    if board.legacy is None and board.rows % 2 == 0 and (ids is None or not len(ids)) and len(markers):
        # The markers are the same; only which corner lies between which of them is not.
        corners, ids, _, _ = _detector(board, True).detectBoard(gray, None, None, markers, marker_ids)
    if ids is not None and len(ids):
        found[ids.ravel().astype(int)] = corners.reshape(-1, 2)
    return found


def _chessboard(board: Board, gray: ndarray) -> ndarray:
    """All corners or none, numbered from the corner next to the black square at an end.

    OpenCV may number them from either end, and along either side; which square is black and that the board is seen
    from its front tell them apart. On boards of few squares it sometimes leaves out a row and goes on beyond the edge:
    such a grid is none, because its squares are not black and white in turn.
    """
    columns, rows = board.columns - 1, board.rows - 1
    ok, corners = cv2.findChessboardCornersSB(gray, (columns, rows), flags=cv2.CALIB_CB_ACCURACY)
    if not ok:
        return np.full((num_corners(board), 2), np.nan, np.float32)
    grid = corners.reshape(rows, columns, 2).astype(np.float32)
    along, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    if along[0] * down[1] - along[1] * down[0] < 0:
        grid = grid[:, ::-1]
    steps = _steps_to_white(board, gray, grid)
    if np.mean(steps > 0) < 0.5:
        grid, steps = grid[::-1, ::-1], -steps
    if np.mean(steps > CONTRAST * np.median(steps)) < IN_TURN:
        return np.full((num_corners(board), 2), np.nan, np.float32)
    return np.ascontiguousarray(grid.reshape(-1, 2))


def _steps_to_white(board: Board, gray: ndarray, grid: ndarray) -> ndarray:
    """How much brighter each white square is than each neighbouring black one, if (row, column, 2) corners start at a
    black square; of the squares whose centres are in the image."""
    H, _ = cv2.findHomography(corner_positions(board)[:, :2] / board.square_m, grid.reshape(-1, 2))
    y, x = np.mgrid[0 : board.rows, 0 : board.columns]
    centres = cv2.perspectiveTransform(np.stack([x, y], -1).reshape(-1, 1, 2) + 0.5, H).reshape(*x.shape, 2)
    pixel = np.rint(centres).astype(int)
    inside = ((pixel >= 0) & (pixel < np.array(gray.shape)[::-1])).all(-1)
    clipped = np.clip(pixel, 0, np.array(gray.shape)[::-1] - 1)
    value = np.where(inside, gray[clipped[..., 1], clipped[..., 0]].astype(float), np.nan)
    white = (x + y) % 2 == 1
    value = np.where(white, value, -value)
    steps = np.concatenate([(value[1:] + value[:-1]).ravel(), (value[:, 1:] + value[:, :-1]).ravel()])
    return steps[np.isfinite(steps)]


def is_usable(board: Board, corners_px: ndarray) -> ndarray:
    """THE rule for when a sighting (..., corner, 2) counts: four corners or more, not all on one line of the board.

    Returns:
        (...) bool.
    """
    seen = np.all(np.isfinite(corners_px), axis=-1)
    xy = corner_positions(board)[:, :2] / board.square_m
    count = seen.sum(-1)
    mean = (seen[..., None] * xy).sum(-2) / np.maximum(count, 1)[..., None]
    centred = (xy - mean[..., None, :]) * seen[..., None]
    scatter = np.einsum("...ci,...cj->...ij", centred, centred)
    # Three corners off one line already scatter by 1/3 square²; the bound only absorbs rounding.
    return (count >= MIN_CORNERS) & (np.linalg.eigvalsh(scatter)[..., 0] > 0.05)


@lru_cache(maxsize=64)
def _detector(board: Board, legacy: bool) -> cv2.aruco.CharucoDetector:
    """Building a detector costs more than a small image; a clip uses one board."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    ids = np.arange(board.first_marker, board.first_marker + board.num_markers)
    charuco = cv2.aruco.CharucoBoard((board.columns, board.rows), board.square_m, board.marker_m, dictionary, ids)
    charuco.setLegacyPattern(legacy)
    return cv2.aruco.CharucoDetector(charuco)
