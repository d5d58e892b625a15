"""The calibration board: what it is and where its corners are in an image.

The board's frame is OpenCV's: the origin is the outer corner of the first square, x runs along the columns, y along
the rows, both in the plane of the board, and z points into the board, away from a camera that sees its front.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy import ndarray

from ..core.board import Board

MIN_CORNERS = 4
"""A pose needs four corners; fewer say nothing about the camera."""


def num_corners(board: Board) -> int:
    """Number of inner corners, the `corner` axis of every array."""
    return (board.columns - 1) * (board.rows - 1)


def corner_positions(board: Board) -> ndarray:
    """(corner, 3) inner corners in the board's frame, metres; x runs fastest, as OpenCV numbers them."""
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
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    if board.inverted:
        gray = 255 - gray
    corners, ids, _, _ = _detector(board).detectBoard(gray)
    found = np.full((num_corners(board), 2), np.nan, np.float32)
    if ids is not None and len(ids):
        found[ids.ravel().astype(int)] = corners.reshape(-1, 2)
    if not is_usable(board, found):
        found[:] = np.nan
    return found


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


@lru_cache(maxsize=8)
def _detector(board: Board) -> cv2.aruco.CharucoDetector:
    """Building a detector costs more than a small image; a clip uses one board."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    charuco = cv2.aruco.CharucoBoard((board.columns, board.rows), board.square_m, board.marker_m, dictionary)
    charuco.setLegacyPattern(board.legacy)
    return cv2.aruco.CharucoDetector(charuco)
