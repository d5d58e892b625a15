"""A board as it is printed: its black areas to scale, and a PDF page with rulers to check the print."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy import ndarray

from ...core.errors import ConfigError
from ...core.settings import Board
from ...core.storage.atomic import appearing
from .april_grid import BORDER_BITS, april_corners, tag_bits
from .marker_grid import grid_corners

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path as Outline

Page = Literal["auto", "a4", "a3", "a2", "a1", "a0", "fit"]

SHEETS_MM: Mapping[str, tuple[float, float]] = {
    **{"a4": (210, 297), "a3": (297, 420), "a2": (420, 594), "a1": (594, 841), "a0": (841, 1189)},
}
QUIET_MM = 12.0
"""Clear edge of the page; printers do not reach the edge of the paper either."""
RULER_MM = 100.0
RULER_ROOM_MM = 18.0
"""Left of and below the board."""
MM_PER_INCH = 25.4


@dataclass(frozen=True)
class Drawing:
    """The black areas of a board, millimetres, x to the right and y down; of an inverted board the white ones."""

    boxes_mm: ndarray
    """(box, 4): left, top, width, height."""
    left_mm: float
    top_mm: float
    width_mm: float
    height_mm: float
    """Of the board."""


def draw(board: Board) -> Drawing:
    """The black areas of a board in its own frame: the same corners that the detector numbers."""
    kind = {"charuco": _charuco, "chessboard": _chessboard, "grid": _grid, "aprilgrid": _april_grid}[board.type]
    boxes = 1e3 * np.array(list(kind(board)))
    if board.is_grid:
        left, top = boxes[:, :2].min(0)
        right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(0)
    else:
        left, top, right, bottom = 0.0, 0.0, 1e3 * board.columns * board.square_m, 1e3 * board.rows * board.square_m
    return Drawing(boxes, float(left), float(top), float(right - left), float(bottom - top))


Box = tuple[float, float, float, float]
"""Left, top, width, height; metres."""


def _chessboard(board: Board) -> Iterator[Box]:
    yield from _squares(board, {(x, y) for x in range(board.columns) for y in range(board.rows) if (x + y) % 2})


def _squares(board: Board, white: set[tuple[int, int]]) -> Iterator[Box]:
    side = board.square_m
    for y in range(board.rows):
        for x in range(board.columns):
            if (x, y) not in white:
                yield x * side, y * side, side, side


def _charuco(board: Board) -> Iterator[Box]:
    """OpenCV says where the markers are; they stand in the white squares."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    ids = np.arange(board.first_marker, board.first_marker + board.num_markers)
    charuco = cv2.aruco.CharucoBoard((board.columns, board.rows), board.square_m, board.marker_m, dictionary, ids)
    charuco.setLegacyPattern(bool(board.legacy))
    corners = np.array(charuco.getObjPoints())[..., :2]
    middle = np.floor(corners.mean(1) / board.square_m).astype(int)
    yield from _squares(board, {(int(x), int(y)) for x, y in middle})
    for number, (left, top) in zip(ids.tolist(), corners.min(1).tolist(), strict=True):
        yield from _cells(_marker(dictionary, number), left, top, board.marker_m)


def _grid(board: Board) -> Iterator[Box]:
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    for n, (left, top, _) in enumerate(grid_corners(board)[::4].tolist()):
        yield from _cells(_marker(dictionary, board.first_marker + n), left, top, board.marker_m)


def _april_grid(board: Board) -> Iterator[Box]:
    """Kalibr's: tags with a border of two bits, and black squares at their corners."""
    gap = board.square_m - board.marker_m
    places = set()
    for n, (left, top, _) in enumerate(april_corners(board)[::4].tolist()):
        tag = np.pad(tag_bits(board.first_marker + n), BORDER_BITS)
        yield from _cells(tag, left, top, board.marker_m)
        column, row = n % board.columns, board.rows - 1 - n // board.columns
        places |= {(column + x, row + y) for x in range(2) for y in range(2)}
    for column, row in sorted(places):
        yield column * board.square_m - gap, row * board.square_m - gap, gap, gap


def _marker(dictionary: cv2.aruco.Dictionary, number: int) -> ndarray:
    """(cell, cell) bool, white."""
    side = dictionary.markerSize + 2
    return cv2.aruco.generateImageMarker(dictionary, number, side, borderBits=1) > 0


def _cells(white: ndarray, left: float, top: float, side_m: float) -> Iterator[Box]:
    """The black cells of a marker, row by row, neighbours as one box."""
    cell = side_m / len(white)
    for y, row in enumerate(white):
        edges = np.flatnonzero(np.diff(np.r_[True, row, True].astype(int)))
        for start, end in edges.reshape(-1, 2).tolist():
            yield left + start * cell, top + y * cell, (end - start) * cell, cell


@dataclass(frozen=True)
class Sheet:
    """A page."""

    name: str
    width_mm: float
    height_mm: float


def sheet_for(board: Board, page: Page) -> Sheet:
    """The page for a board: the smallest standard one by default, turned as it fits better.

    Raises:
        ConfigError: the board does not fit on the page that was asked for.
    """
    drawing = draw(board)
    sizes = (max(size, RULER_MM) for size in (drawing.width_mm, drawing.height_mm))
    width, height = (size + 2 * QUIET_MM + RULER_ROOM_MM for size in sizes)
    fitting = {
        name: Sheet(name, *turned)
        for name, (short, long) in SHEETS_MM.items()
        for turned in ((short, long), (long, short))
        if width <= turned[0] and height <= turned[1]
    }
    if page == "auto" and fitting:
        return next(iter(fitting.values()))
    if page in ("auto", "fit"):
        return Sheet("fit", width, height)
    if page not in fitting:
        advice = f"Use --page {next(iter(fitting))}" if fitting else "Use --page fit"
        raise ConfigError(
            f"--page {page}: expected a page of {width:.0f} x {height:.0f} mm or more for a board of "
            f"{drawing.width_mm:.0f} x {drawing.height_mm:.0f} mm, but {page} is smaller. {advice}, or draw a smaller "
            "board with `--board.square-m` and `--board.marker-m`."
        )
    return fitting[page]


def describe(board: Board) -> str:
    """The board in one line, in the words of the settings."""
    parts = [f"{board.type} {board.columns} x {board.rows}", f"square_m {board.square_m:g}"]
    if board.num_markers:
        parts.append(f"marker_m {board.marker_m:g}")
        parts += [board.dictionary] if board.type != "aprilgrid" else []
        parts += [f"first_marker {board.first_marker}"] if board.first_marker else []
    return ", ".join([*parts, *(["inverted"] if board.inverted else []), *(["legacy"] if board.legacy else [])])


def write_pdf(board: Board, path: Path, page: Page = "auto") -> Sheet:
    """Write the board to scale, with rulers along its lower and left edge.

    Raises:
        ConfigError: it does not fit on the page.
        DiskError: the file cannot be written.
    """
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch

    sheet, drawing = sheet_for(board, page), draw(board)
    figure = Figure(figsize=(sheet.width_mm / MM_PER_INCH, sheet.height_mm / MM_PER_INCH))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, sheet.width_mm)
    axes.set_ylim(sheet.height_mm, 0)
    # The room for the rulers is to the left and below; the rest is shared out.
    left = RULER_ROOM_MM + (sheet.width_mm - RULER_ROOM_MM - drawing.width_mm) / 2
    top = (sheet.height_mm - RULER_ROOM_MM - drawing.height_mm) / 2
    shift = np.array([left - drawing.left_mm, top - drawing.top_mm])
    boxes = drawing.boxes_mm
    if board.inverted:
        edge = QUIET_MM / 2
        frame = (left - edge, top - edge, drawing.width_mm + 2 * edge, drawing.height_mm + 2 * edge)
        axes.add_patch(PathPatch(_outline(np.array([frame])), facecolor="black", linewidth=0))
    # One path: neighbouring boxes of several would show a hairline between them.
    boxes = boxes + np.r_[shift, 0, 0]
    axes.add_patch(PathPatch(_outline(boxes), facecolor="white" if board.inverted else "black", linewidth=0))
    _rulers(axes, sheet)
    text = f"{describe(board)}\nPrint at 100 %, then measure: the lines are {RULER_MM:g} mm long."
    axes.text(QUIET_MM / 2, sheet.height_mm - 4, text, fontsize=6, va="bottom", ha="left")
    with appearing(path) as place, place.open("wb") as file:
        FigureCanvasPdf(figure).print_pdf(file, metadata={"CreationDate": None, "Title": describe(board)})
    return sheet


def _outline(boxes: ndarray) -> Outline:
    """One path around boxes (box, 4): left, top, width, height."""
    from matplotlib.path import Path as Outline

    x, y, w, h = boxes.T
    corners = np.stack([x, y, x + w, y, x + w, y + h, x, y + h, x, y], axis=-1).reshape(-1, 5, 2)
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    return Outline(corners.reshape(-1, 2), codes * len(boxes))


def _rulers(axes: Axes, sheet: Sheet) -> None:
    """A line of 100 mm below the board and one to its left, with a tick every 10 mm."""
    left, top = RULER_ROOM_MM + QUIET_MM, QUIET_MM
    below, beside = sheet.height_mm - RULER_ROOM_MM, RULER_ROOM_MM
    style: dict[str, Any] = {"color": "black", "linewidth": 0.6, "solid_capstyle": "butt"}
    axes.plot([left, left + RULER_MM], [below, below], **style)
    axes.plot([beside, beside], [top, top + RULER_MM], **style)
    for mm in range(0, int(RULER_MM) + 1, 10):
        tick = 4.0 if mm % 50 == 0 else 2.0
        axes.plot([left + mm] * 2, [below, below + tick], **style)
        axes.plot([beside, beside - tick], [top + mm] * 2, **style)
        if mm % 50 == 0:
            axes.text(left + mm, below + tick + 0.5, f"{mm}", fontsize=6, va="top", ha="center")
            axes.text(beside - tick - 0.5, top + mm, f"{mm}", fontsize=6, va="center", ha="right")
