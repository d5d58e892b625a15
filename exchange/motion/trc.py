"""Track Row Column (TRC), the marker format of Motion Analysis that OpenSim reads: joints over time as text, and back.

Six lines of header, tabs between columns: what the columns of the third line are, their values, the markers' names
over three columns each, X1 Y1 Z1 X2 ..., an empty line. A marker that was not seen has three empty fields.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from ...core.errors import SessionError
from ...core.files import read_text
from ...core.hands import JOINTS
from ...hand.frame_times import frame_grid
from ...hand.keypoints import Keypoints, where_seen
from ..recording import Recording
from .format import FITTED_FROM, ONLY_JOINTS, MotionFormat
from .joint_names import points_by_name
from .upright import upright

UNITS_M: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}

KEYS = (
    *("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"),
    *("OrigDataRate", "OrigDataStartFrame", "OrigNumFrames"),
)

_REMEDY = "Export it again as TRC"


@dataclass(frozen=True, eq=False)
class Trc:
    """One TRC file."""

    names: tuple[str, ...]
    points: ndarray
    """(row, marker, 3) in the file's unit, NaN where missing."""
    units: str
    """As the file states it: m, cm or mm."""
    fps: float
    """What the header says, DataRate."""
    times: ndarray | None = None
    """(row,) seconds, NaN where the field is empty; None for rows at that rate, without gaps."""
    numbers: ndarray | None = None
    """(row,) frame numbers, alike."""


def trc_text(name: str, trc: Trc) -> str:
    """The text of a file called `name`."""
    frames, markers = trc.points.shape[:2]
    rate = f"{trc.fps:.10g}"
    numbers = "\t".join(f"{axis}{marker + 1}" for marker in range(markers) for axis in "XYZ")
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{name}",
        "\t".join(KEYS),
        "\t".join((rate, rate, str(frames), str(markers), trc.units, rate, "1", str(frames))),
        "Frame#\tTime\t" + "\t\t\t".join(trc.names) + "\t\t",
        "\t\t" + numbers,
        "",
    ]
    for frame, row in enumerate(trc.points):
        values = (f"{value:.5f}" if np.isfinite(value) else "" for value in row.reshape(-1))
        lines.append("\t".join((str(frame + 1), f"{frame / trc.fps:.6f}", *values)))
    return "\n".join(lines) + "\n"


def parse_trc(text: str, where: str = "TRC") -> Trc:
    """The markers in a TRC file's text.

    Raises:
        SessionError: it is not TRC, truncated, or its numbers do not fit its header.
    """
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or not lines[0].startswith("PathFileType") or len(lines) < 6:
        raise SessionError(
            f"{where}: expected a TRC file, PathFileType and six lines of header, but found "
            f"'{lines[0][:40] if lines else ''}'. {_REMEDY}."
        )
    header = _header(lines, where)
    names = tuple(name.strip() for name in lines[3].split("\t")[2:] if name.strip())
    if len(names) != header["NumMarkers"]:
        raise SessionError(
            f"{where}: expected the names of {header['NumMarkers']} markers, but found {len(names)}. {_REMEDY}."
        )
    rows = [(number, line) for number, line in enumerate(lines[5:], start=6) if line.strip()]
    if not rows:
        raise SessionError(f"{where}: expected {header['NumFrames']} frames, but found 0. {_REMEDY}.")
    table = np.array([_row(line, len(names), f"{where}: line {number}") for number, line in rows])
    numbers, times, points = table[:, 0], table[:, 1], table[:, 2:].reshape(len(rows), len(names), 3)
    # Frames may be left out: then the numbers span as many as the header says.
    if header["NumFrames"] not in (len(rows), numbers[-1] - numbers[0] + 1):
        raise SessionError(
            f"{where}: expected {header['NumFrames']} frames, but found {len(rows)}. It may be truncated: export it "
            "again."
        )
    return Trc(names, points, header["Units"], header["DataRate"], times, numbers)


def _header(lines: Sequence[str], where: str) -> dict:
    found = dict(zip(lines[1].split(), lines[2].split(), strict=False))
    try:
        header = {
            "DataRate": float(found["DataRate"]),
            "NumFrames": int(found["NumFrames"]),
            "NumMarkers": int(found["NumMarkers"]),
            "Units": found["Units"],
        }
    except (KeyError, ValueError) as error:
        raise SessionError(
            f"{where}: expected {', '.join(KEYS[:5])} in lines 2 and 3, but they cannot be read ({error}). {_REMEDY}."
        ) from error
    if header["Units"] not in UNITS_M or not 0 < header["DataRate"] < np.inf:
        raise SessionError(
            f"{where}: expected Units m, cm or mm and a DataRate above zero, but found {header['Units']} and "
            f"{header['DataRate']:g}. Correct line 3."
        )
    return header


def _row(line: str, markers: int, where: str) -> list[float]:
    """Frame number, time, and the markers' numbers; NaN for an empty field."""
    fields = line.split("\t")
    used = 2 + 3 * markers
    try:
        values = [float(field) if field.strip() else np.nan for field in fields[:used]]
    except ValueError as error:
        raise SessionError(f"{where}: expected numbers, but {error}. {_REMEDY}.") from error
    if len(values) != used or any(field.strip() for field in fields[used:]):
        raise SessionError(
            f"{where}: expected {3 * markers} numbers after frame and time, but found {len(fields) - 2}. {_REMEDY}."
        )
    if np.isinf(values).any():
        raise SessionError(f"{where}: expected finite numbers or empty fields, but found infinity. {_REMEDY}.")
    return values


def _write(recording: Recording, out: Path) -> list[str]:
    """One file with the joints of both hands as markers, in millimetres; a joint that is missing has empty fields."""
    motion = recording.motion_of_some_hand()
    names = tuple(f"{hand}_{joint}" for _, hand in motion.there for joint in JOINTS)
    R_up, messages = upright(recording, "TRC does not store this turn; csv keeps the axes.")
    points = motion.seen_joints[:, [index for index, _ in motion.there]].astype(np.float64) @ R_up.T / UNITS_M["mm"]
    points = points.reshape(len(points), len(names), 3)
    out.write_text(trc_text(out.name, Trc(names, points, "mm", recording.fps)), encoding="utf-8")
    return [ONLY_JOINTS, FITTED_FROM, *messages]


def _read(path: Path, sigma_m: float, fps: float | None, unit_m: float | None) -> Keypoints:
    """Keypoints of the markers with names like left_index_mcp or LeftHandIndex1; arguments as for `KeypointReader`.

    Raises:
        SessionError: not TRC, without the joints of a hand, or Time contradicts DataRate.
    """
    trc = parse_trc(read_text(path, "a TRC file"), str(path))
    points = points_by_name(trc.names, trc.points, str(path))
    if not np.isfinite(points).any():
        raise SessionError(
            f"{path}: expected markers called like a hand's joints, left_index_mcp or LeftHandIndex1, but found "
            f"{', '.join(trc.names[:8])}. Rename the markers."
        )
    grid = frame_grid(str(path), len(points), trc.times, trc.numbers, trc.fps, fps)
    points = grid.spread(points) * (unit_m or UNITS_M[trc.units])
    return where_seen(points, np.full(points.shape[:3], sigma_m), grid.fps, grid.messages)


FORMAT = MotionFormat(
    name="trc",
    title="Markers in TRC, for OpenSim",
    suffixes=(".trc",),
    write=_write,
    read=_read,
    keeps_axes=False,
    within=1e-7,
    reads="markers with names like left_index_mcp or LeftHandIndex1",
    writes="the joints of both hands as markers, in millimetres, y up",
    loses="shape, rotations, the session's axes",
    read_back="keypoints FILE OUT",
)
