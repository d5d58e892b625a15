"""TRC and CSV: joints over time as tables, for OpenSim, spreadsheets and statistics; and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy import ndarray

from ...core.errors import ExportError, SessionError
from ...core.files import read_text
from ...core.hands import JOINTS
from ...hand.keypoints import Keypoints, where_seen
from ..exporting import Recording, hands_there, seen_joints
from .bvh.keypoints import points_by_name
from .csv import csv_text, parse_csv, point_columns
from .trc import UNITS_M, Trc, parse_trc, trc_text
from .upright import upright

LOST = [
    "The shape of the hands and the rotations of their joints: only places of joints are kept.",
    "What the joints were fitted from: keypoints with their errors, cameras and detections.",
]


def write_trc(recording: Recording, out: Path) -> list[str]:
    """One file with the joints of both hands as markers, in millimetres; a joint that is missing has empty fields."""
    motion = recording.motion()
    there = hands_there(motion)
    if not there:
        raise ExportError(f"{recording.source}: expected a hand in some frame, but there is none. Leave it out.")
    names = tuple(f"{hand}_{joint}" for _, hand in there for joint in JOINTS)
    R_up, messages = upright(recording, "Nothing turns them back; csv keeps them.")
    points = seen_joints(motion)[:, [index for index, _ in there]].astype(np.float64) @ R_up.T / UNITS_M["mm"]
    points = points.reshape(len(points), len(names), 3)
    out.write_text(trc_text(out.name, Trc(names, points, "mm", recording.fps)))
    return [*LOST, *messages]


def write_csv(recording: Recording, out: Path) -> list[str]:
    """One row per frame: `frame`, `time_s`, and the joints in metres; a joint that is missing has empty fields."""
    motion = recording.motion()
    frames = np.arange(len(motion.valid))
    columns = [("frame", frames), ("time_s", frames / recording.fps), *point_columns(seen_joints(motion))]
    out.write_text(csv_text(columns))
    return LOST


def read_trc(path: Path, sigma_m: float, fps: float | None, unit_m: float | None) -> Keypoints:
    """Keypoints of the markers with names like left_index_mcp or LeftHandIndex1; arguments as for `read_keypoints`.

    Raises:
        SessionError: not TRC, or without the joints of a hand.
    """
    trc = parse_trc(read_text(path, "a TRC file"), str(path))
    points = points_by_name(trc.names, trc.points, str(path))
    if not np.isfinite(points).any():
        raise SessionError(
            f"{path}: expected markers called like a hand's joints, left_index_mcp or LeftHandIndex1, but found "
            f"{', '.join(trc.names[:8])}. Rename the markers."
        )
    points *= unit_m or UNITS_M[trc.units]
    return where_seen(points, np.full(points.shape[:3], sigma_m), fps or trc.fps)


def read_csv(path: Path, sigma_m: float, fps: float | None, unit_m: float | None) -> Keypoints:
    """Keypoints of columns like left_index_mcp_x_mm; arguments as for `read_keypoints`.

    Args:
        unit_m: metres in one unit, whatever the columns' names say it is.

    Raises:
        SessionError: not such a table, or without times where no `fps` is given.
    """
    points, times = parse_csv(read_text(path, "a CSV file"), str(path), unit_m)
    return where_seen(points, np.full(points.shape[:3], sigma_m), fps or _rate(path, times))


def _rate(path: Path, times: ndarray | None) -> float:
    steps = np.diff(times) if times is not None else np.zeros(0)
    if len(steps) == 0 or not (steps > 0).all():
        raise SessionError(
            f"{path}: expected a column time_s with two or more increasing times, but found none. Say the frames per "
            "second with --fps."
        )
    if not 0.9 < np.median(steps) / np.mean(steps) < 1.1:
        raise SessionError(
            f"{path}: expected times evenly apart in time_s, but their steps are {np.mean(steps):.3g} s on average and "
            f"{np.median(steps):.3g} s in the middle. Bring the rows to an even rate."
        )
    rate = float(1 / np.mean(steps))
    return float(round(rate)) if abs(rate - round(rate)) < 0.01 else rate
