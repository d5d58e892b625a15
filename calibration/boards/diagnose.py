"""Why a clip does not show the board that was described: mirrored, inverted, or another board.

Looked into only where the board was hardly found, on a few images; the answer is a guess for a message, never used.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
from numpy import ndarray

from ...core.errors import CalibrationError
from ...core.recording import Clip, ReadFrames
from ...core.settings import DICTIONARY_SIZES, Board, Dictionary
from ..board import detect_board, gray_image, is_usable
from .april_grid import find_tags

MAX_HINTS = 3
"""Clips that are looked at again to say why the board was not found."""
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


def why_not_seen(
    board: Board, clips: Mapping[str, Clip], sightings: ndarray, min_frames: int, read: ReadFrames
) -> dict[str, str]:
    """Why views hardly saw the board, as far as their clips tell; the first of many.

    Args:
        board: as it is described.
        clips: of the board, by view.
        sightings: (view,) frames of each in which it was found.
        min_frames: fewer are hardly any.
        read: decodes a clip.
    """
    hints = {}
    poor = [view for view, n in zip(clips, sightings, strict=True) if n < min_frames]
    for view in poor[:MAX_HINTS]:
        clip = clips[view]
        frames = np.unique(np.linspace(0, clip.frames - 1, IMAGES).astype(int)).tolist()
        hint = diagnose(board, list(read(clip, frames)))
        if hint is not None:
            hints[view] = hint
    return hints


def another_board(where: str, view: str, hint: str) -> CalibrationError:
    """The clips show another board than the one that is described."""
    return CalibrationError(
        f"{where}: expected the board that `board` in session.yaml describes, but in {view} {hint}. "
        "Correct `board`, or the clips."
    )


def diagnose(board: Board, images: Sequence[ndarray]) -> str | None:
    """What would explain that the board is not found in these images; None where nothing does."""
    grays = [gray_image(image) for image in images]
    if _sightings(board, [cv2.flip(gray, 1) for gray in grays]):
        return "the clip is mirrored: record it as the camera sees it, or flip it back"
    right = _april_grid(board, grays)
    if right is not None:
        return f"the board is found with {_differences(board, right)}"
    if board.type == "chessboard":
        other = replace(board, inverted=not board.inverted)
        return f"the board is found with inverted: {_yaml(other.inverted)}" if _sightings(other, grays) else None
    described = replace(board, type="grid", dictionary="DICT_APRILTAG_36h11") if board.type == "aprilgrid" else board
    right = _other_board(described, grays)
    if right is None and described != board and _sightings(described, grays):
        right = described
    if right is None:
        return None
    settings = _differences(board, right)
    if right.first_marker == board.first_marker:
        return f"the board is found with {settings}"
    seen, expected = (f"{each.first_marker} to {each.first_marker + each.num_markers - 1}" for each in (right, board))
    return f"markers {seen} of {right.dictionary} are seen where {expected} are expected: set {settings}"


def _differences(board: Board, right: Board) -> str:
    """The keys in which a board is not the described one, as YAML."""
    keys = ("type", "columns", "rows", "dictionary", "inverted", "legacy", "first_marker")
    found = {key: getattr(right, key) for key in keys if getattr(right, key) != getattr(board, key)}
    return ", ".join(f"{key}: {_yaml(value)}" for key, value in found.items())


def _april_grid(board: Board, grays: Sequence[ndarray]) -> Board | None:
    """The AprilGrid in the images that is not the described board: as few rows as its tags need."""
    for inverted in (board.inverted, not board.inverted):
        tags = [find_tags(255 - gray if inverted else gray) for gray in grays]
        shown = max(tags, key=len)
        if len(shown) < MIN_MARKERS:
            continue
        numbers = sorted({number for found in tags for number in found})
        last = numbers[-1]
        described = (board.columns, board.rows, board.first_marker) if board.type == "aprilgrid" else (0, 0, 0)
        first = described[2] if described[2] <= numbers[0] else 0
        columns = _columns(shown, first, described[0])
        rows = (last - first) // columns + 1
        if columns == described[0] and rows < described[1]:
            rows = described[1]  # A tag that was never seen says nothing.
        # The message tells no sizes; those of a chessboard need not do for tags.
        sizes = {"marker_m": 0.77 * board.square_m} if board.type == "chessboard" else {}
        right = replace(
            board,
            **{"type": "aprilgrid", "columns": columns, "rows": max(rows, 2), "first_marker": first},
            **{"inverted": inverted, **sizes},
        )
        return right if right != board else None
    return None


def _columns(tags: Mapping[int, ndarray], first: int, described: int) -> int:
    """Number of columns that lays the middles of the tags on a grid; the described number where it does."""
    number = np.array([*tags]) - first
    middle = np.array([quad.mean(0) for quad in tags.values()])
    errors = {}
    for columns in range(2, MAX_SQUARES + 1):
        grid = np.stack([number % columns, -(number // columns)], axis=-1).astype(float)
        H, _ = cv2.findHomography(grid, middle) if np.linalg.matrix_rank(grid - grid.mean(0)) == 2 else (None, None)
        if H is not None:
            put = cv2.perspectiveTransform(grid[:, None], H)[:, 0]
            errors[columns] = float(np.median(np.linalg.norm(put - middle, axis=1)))
    if not errors:
        return max(described, 2)
    best = min(errors, key=errors.__getitem__)
    return described if errors.get(described, np.inf) <= 2 * errors[best] + 0.5 else best


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
