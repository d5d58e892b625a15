"""Joints as comma-separated values: `frame`, `time_s`, and columns that say hand, joint, axis and unit; and back."""

# Ring 2: reads and writes.

from __future__ import annotations

import csv
import io
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from ...core.errors import SessionError
from ...core.files import read_text
from ...core.hands import HANDS, JOINTS, NUM_JOINTS
from ...hand.frame_times import frame_grid
from ...hand.keypoints import Keypoints, where_seen
from ..recording import Recording
from .format import FITTED_FROM, ONLY_JOINTS, MotionFormat
from .trc import UNITS_M

_POINT = re.compile(rf"({'|'.join(HANDS)})_({'|'.join(JOINTS)})_([xyz])_({'|'.join(UNITS_M)})")
_REMEDY = "The header must be like frame,time_s,left_wrist_x_m,left_wrist_y_m"


def csv_text(columns: Sequence[tuple[str, ndarray]]) -> str:
    """The text of a table of named columns; integers as they are, floats to a hundredth of a micrometre, or empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    for row in zip(*(values for _, values in columns), strict=True):
        writer.writerow([_field(value) for value in row])
    return text.getvalue()


def _field(value: float | int | bool) -> str:
    if isinstance(value, np.floating):
        return f"{value:.8f}" if np.isfinite(value) else ""
    return str(int(value))


def point_columns(points_m: ndarray) -> list[tuple[str, ndarray]]:
    """The columns of (frame, hand, joint, 3) points in metres; of a hand that never was there none."""
    return [
        (f"{hand}_{joint}_{axis}_m", points_m[:, h, j, a].astype(np.float64))
        for h, hand in enumerate(HANDS)
        if np.isfinite(points_m[:, h]).any()
        for j, joint in enumerate(JOINTS)
        for a, axis in enumerate("xyz")
    ]


def parse_csv(
    text: str, where: str = "CSV", unit_m: float | None = None
) -> tuple[ndarray, ndarray | None, ndarray | None]:
    """The points of a table with columns like left_index_mcp_x_mm; other columns are passed over.

    Args:
        text: the file's content.
        where: its name, for messages.
        unit_m: metres in one unit, in place of what the columns say.

    Returns:
        (row, hand, joint, 3) metres, NaN where a field or a column is missing; `time_s` (row,) and `frame` (row,), or
        None without such a column.

    Raises:
        SessionError: no such columns, rows of other lengths, or fields that are not numbers.
    """
    reader = csv.reader(io.StringIO(text.lstrip("\ufeff")), strict=True)
    header = [name.strip() for name in _next(reader, where) or []]
    found = {column: match for column, name in enumerate(header) if (match := _POINT.fullmatch(name))}
    if len({header[column] for column in found}) < len(found):
        raise SessionError(f"{where}: expected every column once, but some are there twice. Remove one of each.")
    extra = [name for name in ("time_s", "frame") if name in header]
    wanted = [*found, *map(header.index, extra)]
    table = _table(reader, header, wanted, where) if found else np.empty((0, 0))
    if not len(table):
        what = "no rows" if found else f"columns {', '.join(header[:4])}" if header else "nothing"
        raise SessionError(f"{where}: expected columns of joints with their unit, but found {what}. {_REMEDY}.")
    points = np.full((len(table), len(HANDS), NUM_JOINTS, 3), np.nan)
    for values, match in zip(table.T, found.values(), strict=False):
        hand, joint, axis, unit = match.groups()
        points[:, HANDS.index(hand), JOINTS.index(joint), "xyz".index(axis)] = (unit_m or UNITS_M[unit]) * values
    rows_of = dict(zip(extra, table.T[len(found) :], strict=True))
    return points, rows_of.get("time_s"), rows_of.get("frame")


def _next(reader: Iterator[list[str]], where: str) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise SessionError(f"{where}: expected comma-separated values, but {error}. {_REMEDY}.") from error


def _table(reader: Iterator[list[str]], header: Sequence[str], wanted: Sequence[int], where: str) -> ndarray:
    """(row, column) numbers of the columns that are wanted, NaN where a field is empty."""
    values, number = array("d"), 1
    while (row := _next(reader, where)) is not None:
        number += 1
        if not row:
            continue
        if len(row) != len(header):
            raise SessionError(
                f"{where}: row {number}: expected {len(header)} fields, as in the header, but found {len(row)}. "
                "The file may be truncated: export it again."
            )
        for column in wanted:
            values.append(_number(row[column], f"{where}: row {number}: {header[column]}"))
    return np.frombuffer(values).reshape(-1, len(wanted)) if values else np.empty((0, len(wanted)))


def _number(field: str, where: str) -> float:
    try:
        value = float(field) if field.strip() else math.nan
    except ValueError as error:
        raise SessionError(f"{where}: expected a number or an empty field, but {error}. {_REMEDY}.") from error
    if math.isinf(value):
        raise SessionError(f"{where}: expected an empty field where a joint is missing, but found infinity.")
    return value


def _write(recording: Recording, out: Path) -> list[str]:
    """One row per frame: `frame`, `time_s`, and the joints in metres; a joint that is missing has empty fields."""
    motion = recording.motion()
    frames = np.arange(len(motion.valid))
    columns = [("frame", frames), ("time_s", frames / recording.fps), *point_columns(motion.seen_joints)]
    out.write_text(csv_text(columns), encoding="utf-8")
    return [ONLY_JOINTS, FITTED_FROM]


def _read(path: Path, sigma_m: float, fps: float | None, unit_m: float | None) -> Keypoints:
    """Keypoints of columns like left_index_mcp_x_mm; arguments as for `KeypointReader`.

    Args:
        unit_m: metres in one unit, whatever the columns' names say it is.

    Raises:
        SessionError: not such a table, times that are not even, or none where no `fps` is given.
    """
    points, times, numbers = parse_csv(read_text(path, "a CSV file"), str(path), unit_m)
    grid = frame_grid(str(path), len(points), times, numbers, fps=fps)
    points = grid.spread(points)
    return where_seen(points, np.full(points.shape[:3], sigma_m), grid.fps, grid.messages)


FORMAT = MotionFormat(
    name="csv",
    title="Joints in CSV, for spreadsheets and statistics",
    suffixes=(".csv",),
    reads="columns like left_index_mcp_x_mm, time_s and frame",
    writes="a row for each frame: frame, time_s, and the joints of both hands in metres",
    loses="shape, rotations; the frame rate of a single frame",
    write=_write,
    read=_read,
    read_back="keypoints FILE OUT",
    within=1e-7,
)
