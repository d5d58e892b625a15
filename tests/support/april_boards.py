"""Kalibr's AprilGrid as `kalibr_create_target_pdf` draws it, for the tests of boards and of sessions."""

from __future__ import annotations

import cv2
import numpy as np

from handpipe.core.settings import Board

FIRST_TAGS = (0xD5D628584, 0xD97F18B49)
"""Tags 0 and 1 of Kalibr's list, from the upper left of the print; a white bit is 1."""


def tag_bits(number: int) -> np.ndarray:
    """(6, 6) bits of a tag as Kalibr prints it, 1 is white."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)

    def bits(n: int) -> np.ndarray:
        return (cv2.aruco.generateImageMarker(dictionary, n, 8, borderBits=1)[1:-1, 1:-1] > 0).astype(int)

    first = np.array([FIRST_TAGS[0] >> k & 1 for k in reversed(range(36))]).reshape(6, 6)
    turns = next(k for k in range(4) if np.array_equal(np.rot90(bits(0), k), first))
    return np.rot90(bits(number), turns)


def april_picture(board: Board, tag_px: int = 100, margin_px: int = 60) -> np.ndarray:
    """The print from straight ahead; its first tag's upper left corner is at pixel `margin_px` - 0.5."""
    spacing = board.square_m / board.marker_m - 1
    pitch, square, bit = round(tag_px * (1 + spacing)), round(tag_px * spacing), tag_px // 10
    height, width = (n * pitch - square + 2 * margin_px for n in (board.rows, board.columns))
    picture = np.full((height, width), 255, np.uint8)
    for n in range(board.num_markers):
        x, y = margin_px + n % board.columns * pitch, margin_px + (board.rows - 1 - n // board.columns) * pitch
        for dx in (-square, tag_px):
            for dy in (-square, tag_px):
                picture[y + dy : y + dy + square, x + dx : x + dx + square] = 0
        picture[y : y + tag_px, x : x + tag_px] = 0
        bits = np.kron(tag_bits(board.first_marker + n), np.ones((bit, bit), int))
        picture[y + 2 * bit : y + 8 * bit, x + 2 * bit : x + 8 * bit] = 255 * bits
    return picture
