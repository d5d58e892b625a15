"""Kalibr's AprilGrid: tags of the family 36h11 with a black border of two bits, and black squares at their corners.

Corner 4 n + i is corner i (upper left, upper right, lower right, lower left) of the n-th tag. Kalibr counts the tags
along the rows from the lower left, upward. The board's frame is that of the other boards: its origin is the upper left
corner of the upper left tag, y points down; Kalibr's own has its origin at the lower left, y upward.

The squares touch the tags. So a tag is looked for in a picture in which black shrinks, which parts the two; its corners
are then found in the picture itself, where tag and square meet in a saddle.

Source: kalibr_create_target_pdf and ethz_apriltag2 of https://github.com/ethz-asl/kalibr.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from functools import cache
from itertools import combinations

import cv2
import numpy as np
from numpy import ndarray

from ...core.settings import Board
from .marker_grid import OFFSETS

FAMILY = cv2.aruco.DICT_APRILTAG_36h11
BORDER_BITS, TAG_BITS = 2, 10
FIRST_TAG = 0xD5D628584
"""Bits of tag 0 as Kalibr prints it, from the upper left, white is 1."""
SHRINK_PX = (1, 2, 4)
"""By how much black shrinks, one after the other: little for small tags, more for blurred ones."""
MIN_SIDE_PX = 16
MAX_BORDER_ERRORS = 4
"""White cells in the border that are let pass, of 64: a shadow or a highlight."""
MAX_ERRORS = 2
"""Wrong bits of a tag that are let pass; two tags differ in eleven or more."""
SAME_PX = 3.0
"""Nearer than this, two findings are the same tag."""


def april_corners(board: Board) -> ndarray:
    """(corner, 3) corners of all tags in the board's frame, metres."""
    n = np.arange(board.num_markers)
    first = np.stack([n % board.columns, board.rows - 1 - n // board.columns], axis=-1)[:, None] * board.square_m
    corners = (first + OFFSETS * board.marker_m).reshape(-1, 2)
    return np.append(corners, np.zeros((len(corners), 1)), axis=1)


def detect_april(board: Board, gray: ndarray) -> ndarray:
    """(corner, 2) float32 pixels, NaN where a tag was not found."""
    found = np.full((board.num_markers, 4, 2), np.nan, np.float32)
    spacing = (board.square_m - board.marker_m) / board.marker_m
    for number, quad in find_tags(gray, spacing).items():
        if 0 <= number - board.first_marker < board.num_markers:
            found[number - board.first_marker] = quad
    return found.reshape(-1, 2)


def find_tags(gray: ndarray, spacing: float = 0.3) -> dict[int, ndarray]:
    """The tags in an image by their numbers: (4, 2) pixels from the upper left corner of the print, clockwise.

    Args:
        gray: (height, width) uint8.
        spacing: side of a black square by that of a tag, Kalibr's `tagSpacing`.
    """
    found: dict[int, list[ndarray]] = {}
    for shrink in SHRINK_PX:
        kernel = np.ones((2 * shrink + 1, 2 * shrink + 1), np.uint8)
        decoded, _, others = _detector().detectMarkers(cv2.dilate(gray, kernel))
        for quad in (*decoded, *others):
            corners = _refined(gray, quad.reshape(4, 2), shrink, spacing)
            tag = None if corners is None else _decoded(gray, corners)
            if corners is not None and tag is not None:
                places = found.setdefault(tag[0], [])
                corners = np.roll(corners, -tag[1], axis=0)
                if all(np.abs(corners - known).max() > SAME_PX for known in places):
                    places.append(corners)
    # A tag that is seen twice is on none of them.
    return {number: places[0] for number, places in found.items() if len(places) == 1}


def _refined(gray: ndarray, quad: ndarray, shrink_px: int, spacing: float) -> ndarray | None:
    """The corners where tag and squares meet; None where one of them is not near where the shrunken tag has it."""
    side_px = float(np.min(np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1))) + 2 * shrink_px
    if side_px < MIN_SIDE_PX:
        return None
    middle = quad.mean(0)
    start = (middle + (quad - middle) * side_px / (side_px - 2 * shrink_px)).astype(np.float32)
    if (start < 0).any() or (start > np.array(gray.shape[::-1]) - 1).any():
        return None  # a corner outside of the image
    # Within the border of the tag, the square and the white between.
    reach = int(np.clip(min(BORDER_BITS / TAG_BITS, spacing) * side_px * 0.5, 2, 8))
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 40, 0.005)
    corners = cv2.cornerSubPix(gray, start[:, None].copy(), (reach, reach), (-1, -1), stop)[:, 0]
    return corners if np.abs(corners - start).max() <= reach + shrink_px else None


def _decoded(gray: ndarray, corners: ndarray) -> tuple[int, int] | None:
    """Number of the tag between these corners, and by how many of them its print is turned; None if it is no tag."""
    cell = 8
    size = TAG_BITS * cell
    flat = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32) - 0.5
    picture = cv2.warpPerspective(gray, cv2.getPerspectiveTransform(corners.astype(np.float32), flat), (size, size))
    _, binary = cv2.threshold(picture, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    middle = binary.reshape(TAG_BITS, cell, TAG_BITS, cell)[:, 2:-2, :, 2:-2].mean((1, 3)) > 0.5
    bits = middle[BORDER_BITS:-BORDER_BITS, BORDER_BITS:-BORDER_BITS]
    if middle.sum() - bits.sum() > MAX_BORDER_ERRORS:
        return None
    for turn in range(4):
        number = _numbers().get(_code(np.rot90(bits, turn)))
        if number is not None:
            return number, turn
    return None


@cache
def _detector() -> cv2.aruco.ArucoDetector:
    options = cv2.aruco.DetectorParameters()
    options.markerBorderBits = BORDER_BITS
    options.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_NONE
    return cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(FAMILY), options)


def tag_bits(number: int) -> ndarray:
    """(6, 6) bool bits of a tag as Kalibr prints it, from the upper left; white is True.

    Versions of OpenCV differ: some have these tags upside down.
    """
    return np.rot90(_opencv_bits(number), _turn())


def _opencv_bits(number: int) -> ndarray:
    side = TAG_BITS - 2 * BORDER_BITS
    dictionary = cv2.aruco.getPredefinedDictionary(FAMILY)
    return cv2.aruco.generateImageMarker(dictionary, number, side + 2, borderBits=1)[1:-1, 1:-1] > 0


def _code(bits: ndarray) -> int:
    return int("".join("1" if bit else "0" for bit in bits.ravel()), 2)


@cache
def _turn() -> int:
    """By how many quarters OpenCV's tags are turned."""
    return next(k for k in range(4) if _code(np.rot90(_opencv_bits(0), k)) == FIRST_TAG)


@cache
def _numbers() -> dict[int, int]:
    """Numbers of the tags by their bits as Kalibr prints them, and with up to `MAX_ERRORS` of them wrong."""
    wrong = [0, *(1 << k for k in range((TAG_BITS - 2 * BORDER_BITS) ** 2))]
    wrong += [sum(pair) for pair in combinations(wrong[1:], MAX_ERRORS)]
    count = len(cv2.aruco.getPredefinedDictionary(FAMILY).bytesList)
    codes = [_code(tag_bits(number)) for number in range(count)]
    return {right ^ bits: number for number, right in enumerate(codes) for bits in wrong}
