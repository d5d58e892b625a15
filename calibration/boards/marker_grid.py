"""A grid of markers, OpenCV's GridBoard: every marker gives its own four corners.

Corner 4 n + i is corner i (upper left, upper right, lower right, lower left) of the n-th marker, markers counted along
the rows from the upper left. The board's frame is that of the other boards; its origin is the upper left corner of the
first marker.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy import ndarray

from ...core.settings import Board

OFFSETS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
"""Of a marker's corners from its first, sides of a marker."""


def grid_corners(board: Board) -> ndarray:
    """(corner, 3) corners of all markers in the board's frame, metres."""
    y, x = np.mgrid[0 : board.rows, 0 : board.columns]
    first = np.stack([x, y], axis=-1).reshape(-1, 1, 2) * board.square_m
    corners = (first + OFFSETS * board.marker_m).reshape(-1, 2)
    return np.append(corners, np.zeros((len(corners), 1)), axis=1)


def detect_grid(board: Board, gray: ndarray) -> ndarray:
    """(corner, 2) float32 pixels, NaN where a marker was not found.

    A marker that is seen twice in an image is on none of them.
    """
    found = np.full((board.num_markers, 4, 2), np.nan, np.float32)
    corners, ids, _ = _detector(board).detectMarkers(gray)
    if ids is None:
        return found.reshape(-1, 2)
    number = ids.ravel().astype(int) - board.first_marker
    for n, quad in zip(number.tolist(), corners, strict=True):
        if 0 <= n < board.num_markers and (number == n).sum() == 1:
            found[n] = quad.reshape(4, 2)
    return found.reshape(-1, 2)


@lru_cache(maxsize=64)
def _detector(board: Board) -> cv2.aruco.ArucoDetector:
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    options = cv2.aruco.DetectorParameters()
    # Without it corners are whole pixels.
    options.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    return cv2.aruco.ArucoDetector(dictionary, options)
