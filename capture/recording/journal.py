"""What happened to each frame of one camera, written while it is recorded: a line follows its frame onto the disk.

From the journals of all cameras the account is made when the recording ends, or later if the process was killed.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy import ndarray

from ...core.errors import SessionError
from ...core.files import read_text, shorten
from .accounts import Run, Triggered
from .frame_queue import Kept, Lost

SUFFIX = ".journal"

MAX_NUMBER = 1 << 62
"""Cameras may count from any number that fits into 64 bits, and clocks from any time."""

MAX_LOST = 1 << 20
"""Frames of one camera that may be lost: ten hours at 30 frames per second."""

DISK_FULL = "disk full"
"""Why a frame is missing that the disk refused."""


class Journal:
    """The journal of a camera that is being recorded."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("x", encoding="utf-8")
        self._waiting: deque[str] = deque()
        """Lines of frames that are not in the clip's file yet."""
        self._written = 0

    def starts(self, run: int, first_id: int) -> None:
        """The number that the first frame of a run has, if none is lost."""
        self._file.write(f"S,{run},{first_id}\n")

    def frame(self, item: Kept) -> None:
        """A frame that was encoded; frames are numbered in the order of these calls."""
        stamp = item.stamp
        device = "" if stamp.device_s is None else f"{stamp.device_s:.9f}"
        trigger = "" if item.trigger_s is None else f"{item.trigger_s:.6f}"
        instant = "" if item.instant is None else str(item.instant)
        self._waiting.append(f"F,{item.run},{stamp.device_id},{instant},{stamp.host_s:.6f},{device},{trigger}\n")

    def lost(self, item: Lost) -> None:
        """Frames that are missing."""
        number = "" if item.device_id is None else str(item.device_id)
        instant = "" if item.instant is None else str(item.instant)
        self._file.write(f"L,{item.run},{number},{instant},{item.count},{item.reason}\n")

    def flush(self, safe: int) -> None:
        """Write the lines of the first `safe` frames, which are in the clip. Raises OSError if the disk is full."""
        while self._waiting and self._written < safe:
            self._file.write(self._waiting.popleft())
            self._written += 1
        self._file.flush()

    def unsafe(self) -> list[Lost]:
        """Frames that were encoded and never reached the disk, after it refused; they are not waited for any more."""
        found = []
        while self._waiting:
            _, run, number, instant, *_ = self._waiting.popleft().split(",")
            found.append(Lost(DISK_FULL, int(run), int(number), int(instant) if instant else None))
        return found

    def close(self) -> None:
        self._file.close()


class CameraLog:
    """A journal that was read."""

    def __init__(self, path: Path, clip_frames: int | None = None) -> None:
        """Read it; a line that was not written to its end is left out.

        Args:
            path: the journal.
            clip_frames: number of frames that the clip has, where that was counted; lines beyond them are left out.

        Raises:
            SessionError: it is not there, or a line is none that `Journal` writes.
        """
        lines = read_text(path, "the journal of a recording").split("\n")[:-1]
        self._first: dict[int, int] = {}
        self._lost: dict[int, dict[int, str]] = {}
        self.lost_instants: dict[int, str] = {}
        self._lost_count = 0
        frames: list[tuple[int, int, float, float, float, float]] = []
        for at, line in enumerate(lines, start=1):
            try:
                kind, run, number, *rest = line.split(",")
                if kind == "S":
                    self._first[_count(run)] = _count(number)
                elif kind == "F":
                    instant, host_s, device_s, trigger_s = rest
                    device, trigger = (_seconds(each) if each else math.nan for each in (device_s, trigger_s))
                    at_instant = _count(instant) if instant else math.nan
                    frames.append((_count(run), _count(number), at_instant, _seconds(host_s), device, trigger))
                elif kind == "L":
                    instant, count, reason = rest
                    self._read_lost(_count(run), number, instant, _count(count), reason)
                else:
                    raise ValueError("another kind of line")
            except ValueError as error:
                raise _unreadable(path, at, shorten(line)) from error
        table = np.array(frames[:clip_frames], np.float64).reshape(-1, 6)
        self._run, self._id, self._instant, self.host_s, self.device_s, self.trigger_s = table.T
        again = self._run[1:] == self._run[:-1]
        back = (np.diff(self._run) < 0) | (again & (np.diff(self._id) <= 0))
        if back.any() or (np.diff(self._instant[np.isfinite(self._instant)]) <= 0).any():
            raise _unreadable(path, len(lines), "frames that are not in order")

    @property
    def frames(self) -> int:
        """Frames that were kept."""
        return len(self._run)

    def move(self, clock: Callable[[ndarray], ndarray]) -> None:
        """Put the times of this computer on another clock."""
        self.host_s, self.trigger_s = clock(self.host_s), clock(self.trigger_s)

    def _read_lost(self, run: int, number: str, instant: str, count: int, reason: str) -> None:
        self._lost_count += count
        if self._lost_count > MAX_LOST:
            raise ValueError("more than a recording can lose")
        for each in range(count):
            if number:
                self._lost.setdefault(run, {})[_count(number) + each] = reason
            if instant:
                self.lost_instants[_count(instant) + each] = reason

    def runs(self) -> list[Run]:
        """For the triggers that are not ours: the camera from connecting to disconnecting, each time."""
        found = []
        for run in np.unique(self._run).astype(int).tolist():
            at = np.flatnonzero(self._run == run)
            lost = self._lost.get(run, {})
            ids = self._id[at].astype(np.int64)
            found.append(Run(ids, at, self.host_s[at], self.device_s[at], lost, self._first.get(run)))
        return found

    def triggered(self) -> Triggered:
        """For our own triggers."""
        at = np.flatnonzero(np.isfinite(self._instant))
        return Triggered(
            self._instant[at].astype(np.int64), at, self.trigger_s[at], self.host_s[at], self.device_s[at],
            self.lost_instants,
        )  # fmt: skip


def _count(text: str) -> int:
    """A whole number that the journal's numbers may be. Raises ValueError."""
    number = int(text)
    if not 0 <= number < MAX_NUMBER:
        raise ValueError(f"{number} counts nothing")
    return number


def _seconds(text: str) -> float:
    """A time on some clock. Raises ValueError."""
    seconds = float(text)
    if not abs(seconds) < MAX_NUMBER:
        raise ValueError(f"{seconds} is no time")
    return seconds


def _unreadable(path: Path, line: int, found: str) -> SessionError:
    return SessionError(
        f"{path}: line {line}: expected what `handpipe record` writes, but found '{found}'. Remove {path.parent} and "
        "the recording.json beside it to use the clips as they are."
    )
