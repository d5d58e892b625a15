"""Why a clip does not show the board that was described: mirrored, inverted, or another board.

Looked into only where the board was hardly found, on a few images; the answer is a guess for a message, never used.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
from numpy import ndarray

from ...core.settings import DICTIONARY_SIZES, Board, Dictionary
from ..board import detect_board, gray_image, is_usable

IMAGES = 16
"""Images to look at, spread over a clip."""
FAMILIES: tuple[Dictionary, ...] = (
    *("DICT_4X4_1000", "DICT_5X5_1000", "DICT_6X6_1000", "DICT_7X7_1000", "DICT_ARUCO_ORIGINAL"),
    *("DICT_APRILTAG_16h5", "DICT_APRILTAG_25h9", "DICT_APRILTAG_36h10", "DICT_APRILTAG_36h11"),
)
"""The largest dictionary of each kind: the smaller ones are its first markers."""
MIN_MARKERS = 4
"""In one image; fewer may be chance."""
MAX_SQUARES = 20
MIN_SEEN = 0.1
"""Of the sightings of the marker that was seen most."""
SPARE_FIRST = 3
"""Markers at the beginning of the board that were perhaps never seen."""
SPARE_MARKERS = 6
"""Markers at the end of the board that were perhaps never seen."""


def diagnose(board: Board, images: Sequence[ndarray]) -> str | None:
    """What would explain that the board is not found in these images; None where nothing does."""
    grays = [gray_image(image) for image in images]
    if _sightings(board, [cv2.flip(gray, 1) for gray in grays]):
        return "the clip is mirrored: record it as the camera sees it, or flip it back"
    if board.type == "chessboard":
        other = replace(board, inverted=not board.inverted)
        return f"the board is found with inverted: {_yaml(other.inverted)}" if _sightings(other, grays) else None
    right = _other_board(board, grays)
    if right is None:
        return None
    keys = ("columns", "rows", "dictionary", "inverted", "legacy", "first_marker")
    found = {key: getattr(right, key) for key in keys if getattr(right, key) != getattr(board, key)}
    settings = ", ".join(f"{key}: {_yaml(value)}" for key, value in found.items())
    if "first_marker" not in found:
        return f"the board is found with {settings}"
    seen, expected = (f"{each.first_marker} to {each.first_marker + each.num_markers - 1}" for each in (right, board))
    return f"markers {seen} of {right.dictionary} are seen where {expected} are expected: set {settings}"


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sightings(board: Board, grays: Sequence[ndarray]) -> int:
    return sum(bool(is_usable(board, detect_board(board, gray))) for gray in grays)


def _other_board(board: Board, grays: Sequence[ndarray]) -> Board | None:
    """The board that explains most of the markers in the images."""
    best, best_ids = None, np.zeros(0, int)
    for inverted in (board.inverted, not board.inverted):
        pictures = [255 - gray for gray in grays] if inverted else grays
        for family in FAMILIES:
            ids = _marker_ids(family, pictures)
            if len(ids) > len(best_ids):
                best, best_ids = (inverted, family), ids
        if best is not None:
            break
    if best is None:
        return None
    inverted, family = best
    # As described, where that dictionary has these markers too; else the smallest of the kind that has them.
    kind = family.removesuffix("1000")
    names = [name for name in get_args(Dictionary) if name.startswith(kind)]
    large_enough = [name for name in names if DICTIONARY_SIZES[name] > best_ids.max()]
    dictionary = board.dictionary if board.dictionary in large_enough else large_enough[0]
    candidates = _candidates(board, dictionary, inverted, best_ids)
    corners = [_corners(candidate, grays) for candidate in candidates]
    right = candidates[int(np.argmax(corners))]
    if not max(corners) or right == board:
        return None
    layouts = (replace(right, legacy=legacy) for legacy in (board.legacy, False, True))
    return next(layout for layout in layouts if _corners(layout, grays))


def _candidates(board: Board, dictionary: Dictionary, inverted: bool, ids: ndarray) -> list[Board]:
    """Boards that may have these markers, the most like the described one first."""
    often, count = np.unique(ids, return_counts=True)
    often = often[count >= MIN_SEEN * count.max()]  # a marker that was misread once is on no board
    low, spread = int(often[0]), int(often[-1] - often[0]) + 1
    described = (board.columns, board.rows)
    # The markers of a grid fit every size, so they do not tell it.
    is_grid = board.type == "grid"
    from_zero = [] if is_grid else [(columns, rows, 0) for columns, rows in _sizes(int(often[-1]) + 1)]
    # Other boards of a set: from the first marker seen, or from a few before it.
    sizes = [described] * (board.num_markers >= spread) + ([] if is_grid else _sizes(spread))
    of_a_set = [(*size, first) for size in sizes for first in range(low, max(low - SPARE_FIRST, 1) - 1, -1)]
    same_size = of_a_set[: SPARE_FIRST + 1] if low and board.num_markers >= spread else []
    found = [(*described, board.first_marker), (*described, 0), *same_size]
    found += [*of_a_set, *from_zero] if low > SPARE_FIRST else [*from_zero, *of_a_set]
    boards = []
    for columns, rows, first in dict.fromkeys(found):
        if first + columns * rows // (1 if is_grid else 2) <= DICTIONARY_SIZES[dictionary]:
            keys = {"columns": columns, "rows": rows, "first_marker": first}
            boards.append(replace(board, dictionary=dictionary, inverted=inverted, legacy=None, **keys))
    return boards


def _marker_ids(dictionary: Dictionary, grays: Sequence[ndarray]) -> ndarray:
    """Markers seen, with repetition, over images that show several."""
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary)))
    found = [detector.detectMarkers(gray)[1] for gray in grays]
    return np.concatenate(
        [np.zeros(0, int), *(ids.ravel() for ids in found if ids is not None and len(ids) >= MIN_MARKERS)]
    )


def _sizes(markers: int) -> list[tuple[int, int]]:
    """Columns and rows of boards with so many markers, or a few more."""
    sides = range(3, MAX_SQUARES + 1)
    return [(c, r) for c in sides for r in sides if markers <= c * r // 2 <= markers + SPARE_MARKERS]


def _corners(board: Board, grays: Sequence[ndarray]) -> int:
    return sum(int(np.isfinite(detect_board(board, gray)[:, 0]).sum()) for gray in grays)
