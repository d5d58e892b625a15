"""The timeline of a recording: which frames of the clips belong to the same instant."""

# Ring 2: reads and writes.

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.errors import SessionError
from ..core.recording import Timeline

COLUMNS = ("sync_index", "cam_id", "frame_index", "frame_time")

Row = tuple[int, str, int, float]


def read_timestamps(path: Path, clip_frames: Mapping[str, int], left_out: Sequence[str] = ()) -> Timeline:
    """Timeline of a `timestamps.csv`: sync_index, cam_id, frame_index, frame_time (seconds).

    `frame_index` may count from the start of a longer recording the clips were cut from: when it runs past a clip,
    the first index of the file stands for the clip's first frame.

    Args:
        path: the file.
        clip_frames: number of frames of each view's clip, by view name, in the session's order.
        left_out: further cameras whose rows do not matter.

    Raises:
        SessionError: columns, numbers, cameras or frame indices do not fit the session.
    """
    names = list(clip_frames)
    view_of: dict[str, str] = {}
    rows = []
    for row in _read_rows(path):
        cam = row[1]
        if cam not in view_of:
            view_of[cam] = _view_of(path, cam, [*names, *left_out])
        if view_of[cam] in clip_frames:
            rows.append(row)
    silent = sorted(set(names) - set(view_of.values()))
    if silent:
        raise SessionError(
            f"{path}: expected rows for every clip, but found none for {', '.join(silent)}. "
            "Add rows for these clips, or remove the clips."
        )
    first_sync, offset = min(row[0] for row in rows), _clip_start(path, rows, view_of, clip_frames)
    instants = max(row[0] for row in rows) - first_sync + 1
    if instants > 10 * len(rows):
        raise SessionError(
            f"{path}: expected sync_index to count instants, but {len(rows)} rows spread it over {instants}. "
            "Number the instants 0, 1, 2, ..."
        )
    source = np.full((len(names), instants), -1, np.int64)
    time_s = np.full(source.shape, np.nan)
    for sync, cam, frame, time in rows:
        at = names.index(view_of[cam]), sync - first_sync
        if source[at] not in (-1, frame - offset):
            raise SessionError(
                f"{path}: expected one frame for camera {cam} at sync_index {sync}, but found {source[at] + offset} "
                f"and {frame}. Remove one of the rows."
            )
        source[at], time_s[at] = frame - offset, time
    for name, frames, times in zip(names, source, time_s, strict=True):
        if (np.diff(frames[frames >= 0]) < 0).any() or (np.diff(times[frames >= 0]) < 0).any():
            raise SessionError(
                f"{path}: expected frame_index and frame_time of {name} to increase with sync_index, but one "
                "decreases. Correct the rows of this camera."
            )
    return Timeline(source, time_s - np.nanmin(time_s), timestamps=True)


def _clip_start(path: Path, rows: Sequence[Row], view_of: Mapping[str, str], clip_frames: Mapping[str, int]) -> int:
    """The frame_index of the clips' first frame: 0, or the file's first where they were cut from a longer recording."""
    highest = {name: max(row[2] for row in rows if view_of[row[1]] == name) for name in clip_frames}
    offset = min(row[2] for row in rows) if any(highest[name] >= n for name, n in clip_frames.items()) else 0
    for name, frames in clip_frames.items():
        if highest[name] - offset >= frames:
            raise SessionError(
                f"{path}: expected frame_index to stay below the {frames} frames of clip {name}, but found "
                f"{highest[name]} (counting from {offset}). Use the file and the clip of the same recording."
            )
    return offset


def _read_rows(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = tuple(reader.fieldnames or ())
            if not set(COLUMNS) <= set(found):
                raise SessionError(
                    f"{path}: expected the columns {', '.join(COLUMNS)}, but found {', '.join(found) or 'nothing'}. "
                    "Rename or add the columns."
                )
            rows = [_row(path, line, row) for line, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SessionError(
            f"{path}: expected a text file with one row per frame, but it cannot be read ({error}). "
            "Save it as UTF-8 text with commas."
        ) from error
    if not rows:
        raise SessionError(f"{path}: expected at least one row, but found none. Remove the file or add rows.")
    return rows


def _row(path: Path, line: int, row: Mapping[str, str]) -> Row:
    sync, cam, frame, time = (str(row[column]).strip() for column in COLUMNS)
    try:
        seconds = float(time)
    except ValueError:
        seconds = math.nan
    if not (sync.isdecimal() and frame.isdecimal() and cam and math.isfinite(seconds)):
        raise SessionError(
            f"{path}, line {line}: expected sync_index and frame_index as whole numbers from 0 on, a cam_id, "
            f"and a time in seconds, but found {[sync, cam, frame, time]}. Correct or remove that line."
        )
    return int(sync), cam, int(frame), seconds


def _view_of(path: Path, cam: str, names: Sequence[str]) -> str:
    """The view that a `cam_id` refers to: the view with this name, or the one whose name ends in this number."""
    if cam in names:
        return cam
    if cam.isdigit():
        ending = [n for n in names if (m := re.search(r"(\d+)$", n)) is not None and int(m.group(1)) == int(cam)]
        if len(ending) == 1:
            return ending[0]
    raise SessionError(
        f"{path}: expected cam_id to name a clip ({', '.join(names)}) or to be the number its name ends in, but found "
        f"'{cam}'. Rename the clip or the id."
    )
