"""The timeline of a recording: which frames of the clips belong to the same instant."""

# Ring 2: reads and writes.

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from ..core.errors import SessionError
from ..core.files import MAX_TEXT_BYTES, check_file, same_name, shorten
from ..core.recording import Clip, Timeline, regular
from .time_units import NAMES, SECONDS, doubt, step_per_frame

COLUMNS = ("sync_index", "cam_id", "frame_index", "frame_time")

MAX_DIGITS = 15
"""Of a sync_index or frame_index: more is not a count, and does not fit in 64 bits."""

MAX_APART_S = 1.0
"""Cameras whose times for the same sync_index are further apart, and by more than MAX_APART_STEPS, share no clock."""

MAX_APART_STEPS = 10

MISSING = -1
"""frame_index of a row that says that a frame is missing: its cell is empty."""

Row = tuple[int, str, int, float]


def read_timestamps(
    path: Path,
    clip_frames: Mapping[str, int],
    left_out: Sequence[str] = (),
    clip_fps: Mapping[str, float] | None = None,
    unit: str | None = None,
) -> Timeline:
    """Timeline of a `timestamps.csv`: sync_index, cam_id, frame_index, frame_time.

    `frame_index` may count from the start of a longer recording the clips were cut from: when it runs past a clip,
    the first index of the file stands for the clip's first frame. An empty `frame_index` says that the camera's frame
    of this instant is missing, as an absent row does.

    Args:
        path: the file.
        clip_frames: number of frames of each view's clip, by view name, in the session's order.
        left_out: further cameras whose rows do not matter.
        clip_fps: frames per second of each view's clip, against which the unit of the times is checked.
        unit: of frame_time, one of `SECONDS`. None: seconds, unless the rates say otherwise, which is an error.

    Raises:
        SessionError: columns, numbers, cameras, frame indices or the unit of the times do not fit the session.
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
        if frame == MISSING:
            continue
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
        _check_unit(path, name, frames, times, (clip_fps or {}).get(name, math.nan), unit)
    # A difference of large numbers: absolute times keep their precision only when they are subtracted before scaling.
    time_s = time_s - np.nanmin(time_s)
    if unit not in (None, "s"):
        time_s = time_s * SECONDS[unit]
    _check_one_clock(path, names, time_s)
    said = [
        f"{path}: the camera {cam} is taken for the view {view}. Give both the same name."
        for cam, view in view_of.items()
        if cam != view and cam.casefold() == view.casefold()
    ]
    return Timeline(source, time_s, timestamps=True, warnings=tuple(said))


def presented(clips: Mapping[str, Clip]) -> Timeline:
    """Timeline of clips with a variable rate: frame n of every clip is instant n, at its presentation time.

    Args:
        clips: by view name; their first frames are simultaneous.
    """
    frames = min(clip.frames for clip in clips.values())
    source = regular(len(clips), frames, 1.0).source_frame
    rows = [clip.uneven_s[:frames] if clip.uneven_s else np.arange(frames) / clip.fps for clip in clips.values()]
    time_s = np.array(rows, np.float64)
    apart = np.abs(time_s - np.median(time_s, axis=0)).max(axis=1)
    step = time_s[:, -1].mean() / max(frames - 1, 1)
    said = tuple(
        f"{clip.path}: its presentation times differ from the other clips' by up to {1000 * away:.0f} ms. Frames of "
        "one number are taken as simultaneous; if they are not, add a timestamps.csv."
        for clip, away in zip(clips.values(), apart.tolist(), strict=True)
        if away > step / 2
    )
    return Timeline(source, time_s, timestamps=True, warnings=said)


def _check_unit(path: Path, name: str, frames: ndarray, times: ndarray, clip_fps: float, unit: str | None) -> None:
    """Raise an error when one view's times, (instant,) as written, are not in the unit."""
    has = frames >= 0
    wrong = doubt(step_per_frame(frames[has], times[has]), clip_fps, unit or "s", certain=unit is not None)
    if wrong is None:
        return
    expected = NAMES[unit or "s"]
    looks = ""
    if wrong.unit is not None:
        looks = f" The times look like {NAMES[wrong.unit]}."
        advice = f"Set `capture.timestamps_unit: {wrong.unit}`"
        if unit is None:
            advice += f", or divide frame_time by {wrong.divisor:.0f}"
        if wrong.possible:
            advice += f". If they are {expected}, set `capture.timestamps_unit: {unit or 's'}`"
    elif math.isnan(wrong.divisor):
        advice = "Write the capture time of each frame in seconds"
    else:
        advice = f"Write the times in seconds: divide frame_time by {wrong.divisor:.4g}"
    raise SessionError(
        f"{path}: expected frame_time of {name} in {expected}, but found {wrong.found}.{looks} {advice}."
    )


def _check_one_clock(path: Path, names: Sequence[str], time_s: ndarray) -> None:
    """Raise an error when a view's times, (view, instant) seconds, are not of the clock that most others share."""
    step = np.nanmedian(np.diff(time_s, axis=1)) if np.isfinite(np.diff(time_s, axis=1)).any() else 0.0
    together = np.isfinite(time_s).any(axis=0)
    apart = time_s[:, together] - np.nanmedian(time_s[:, together], axis=0)
    for name, seconds in zip(names, apart, strict=True):
        # A camera all of whose frames are missing has no time.
        away = float(np.nanmedian(seconds)) if np.isfinite(seconds).any() else 0.0
        if abs(away) > max(MAX_APART_S, MAX_APART_STEPS * step):
            raise SessionError(
                f"{path}: expected the times of one sync_index to be close to each other, but those of {name} are "
                f"{away:.6g} s from the other cameras'. Write the times of all cameras by one clock."
            )


def _clip_start(path: Path, rows: Sequence[Row], view_of: Mapping[str, str], clip_frames: Mapping[str, int]) -> int:
    """The frame_index of the clips' first frame: 0, or the file's first where they were cut from a longer recording."""
    highest = {name: max(row[2] for row in rows if view_of[row[1]] == name) for name in clip_frames}
    numbers = [row[2] for row in rows if row[2] != MISSING]
    offset = min(numbers, default=0) if any(highest[name] >= n for name, n in clip_frames.items()) else 0
    for name, frames in clip_frames.items():
        if highest[name] - offset >= frames:
            raise SessionError(
                f"{path}: expected frame_index to stay below the {frames} frames of clip {name}, but found "
                f"{highest[name]} (counting from {offset}). Use the file and the clip of the same recording."
            )
    return offset


def _read_rows(path: Path) -> list[Row]:
    check_file(path, "a table with one row per frame", MAX_TEXT_BYTES)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = tuple(reader.fieldnames or ())
            if not set(COLUMNS) <= set(found):
                raise SessionError(
                    f"{path}: expected the columns {', '.join(COLUMNS)}, but found "
                    f"{shorten(', '.join(found)) or 'nothing'}. Rename or add the columns."
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
    counts = all(text.isdecimal() and len(text) <= MAX_DIGITS for text in (sync, frame or "0"))
    if not (counts and cam.isprintable() and cam and math.isfinite(seconds)):
        raise SessionError(
            f"{path}, line {line}: expected sync_index and frame_index as whole numbers from 0 on, a cam_id, "
            f"and a time in seconds, but found {[shorten(text) for text in (sync, cam, frame, time)]}. "
            "Correct or remove that line."
        )
    return int(sync), cam, int(frame) if frame else MISSING, seconds


def _view_of(path: Path, cam: str, names: Sequence[str]) -> str:
    """The view that a `cam_id` refers to: by its name, whatever the case, or by the number its name ends in."""
    if (same := same_name(cam, names)) is not None:
        return same
    if cam.isdecimal() and len(cam) <= MAX_DIGITS:
        ending = [n for n in names if (m := re.search(r"(\d+)$", n)) is not None and int(m.group(1)) == int(cam)]
        if len(ending) == 1:
            return ending[0]
    raise SessionError(
        f"{path}: expected cam_id to name a clip ({', '.join(names)}) or to be the number its name ends in, but found "
        f"'{shorten(cam)}'. Rename the clip or the id."
    )
