"""Which frames of which clips belong to the same instant."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from ..core.errors import SessionError

COLUMNS = ("sync_index", "cam_id", "frame_index", "frame_time")


@dataclass(frozen=True)
class Timeline:
    """For every instant of the session, the frame each view took."""

    source_frame: ndarray
    """(view, frame) int64, index into the view's clip; -1 where the view has no frame for this instant."""
    time_s: ndarray
    """(view, frame) float64, capture time in seconds since the first frame; NaN where there is none."""

    @property
    def frames(self) -> int:
        return self.source_frame.shape[1]

    def digest(self) -> str:
        """SHA-256 of the whole."""
        return hashlib.sha256(self.source_frame.tobytes() + self.time_s.tobytes()).hexdigest()

    def first(self, frames: int) -> Timeline:
        """The first instants only."""
        return Timeline(self.source_frame[:, :frames], self.time_s[:, :frames])


def regular(views: int, frames: int, fps: float) -> Timeline:
    """Clips that started together and dropped nothing: frame n of every clip is instant n."""
    index = np.broadcast_to(np.arange(frames), (views, frames))
    return Timeline(index.copy(), index / fps)


def read_timestamps(path: Path, clip_frames: Mapping[str, int]) -> Timeline:
    """Timeline of a `timestamps.csv`: sync_index, cam_id, frame_index, frame_time (seconds).

    `frame_index` may count from the start of a longer recording the clips were cut from: when it runs past a clip,
    the first index of the file stands for the clip's first frame.

    Args:
        path: the file.
        clip_frames: number of frames of each view's clip, by view name, in the session's order.

    Raises:
        SessionError: columns, numbers, cameras or frame indices do not fit the session.
    """
    rows = _read_rows(path)
    names = list(clip_frames)
    view_of = {cam: _view_of(path, cam, names) for cam in dict.fromkeys(row[1] for row in rows)}
    silent = sorted(set(names) - set(view_of.values()))
    if silent:
        raise SessionError(
            f"{path}: expected rows for every clip, but found none for {', '.join(silent)}. "
            "Add their rows, or take the clips away."
        )
    instants = {sync: i for i, sync in enumerate(sorted({row[0] for row in rows}))}
    lowest = min(row[2] for row in rows)
    highest = {name: max(row[2] for row in rows if view_of[row[1]] == name) for name in names}
    cut = any(highest[name] >= clip_frames[name] for name in names)
    offset = lowest if cut else 0
    for name in names:
        if highest[name] - offset >= clip_frames[name]:
            raise SessionError(
                f"{path}: expected frame_index to stay below the {clip_frames[name]} frames of clip {name}, but found "
                f"{highest[name]} (counting from {offset}). The file and the clip belong to different recordings."
            )
    source = np.full((len(names), len(instants)), -1, np.int64)
    time_s = np.full(source.shape, np.nan)
    for sync, cam, frame, time in rows:
        at = names.index(view_of[cam]), instants[sync]
        # A duplicated row keeps the first: the later one repeats the same picture.
        if source[at] < 0:
            source[at], time_s[at] = frame - offset, time
    for view, name in enumerate(names):
        taken = source[view][source[view] >= 0]
        if (np.diff(taken) < 0).any():
            raise SessionError(
                f"{path}: expected frame_index of {name} to grow with sync_index, but it goes back. "
                "Sort out the rows of this camera."
            )
    return Timeline(source, time_s - np.nanmin(time_s))


def _read_rows(path: Path) -> list[tuple[int, str, int, float]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        found = tuple(reader.fieldnames or ())
        if not set(COLUMNS) <= set(found):
            raise SessionError(
                f"{path}: expected the columns {', '.join(COLUMNS)}, but found {', '.join(found) or 'nothing'}."
            )
        rows = []
        for line, row in enumerate(reader, start=2):
            try:
                rows.append(
                    (int(row["sync_index"]), row["cam_id"].strip(), int(row["frame_index"]), float(row["frame_time"]))
                )
            except (ValueError, AttributeError, TypeError):
                raise SessionError(
                    f"{path}, line {line}: expected three whole numbers and a time in seconds, but found "
                    f"{list(row.values())}. Mend or remove that line."
                ) from None
    if not rows:
        raise SessionError(f"{path}: expected at least one row, but there is none. Remove the file or fill it.")
    return rows


def _view_of(path: Path, cam: str, names: Sequence[str]) -> str:
    """The view a `cam_id` means: its name, or the one view whose name ends in that number."""
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
