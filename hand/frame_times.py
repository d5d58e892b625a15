"""Which frames the rows of a table are, and at which rate, by their times and frame numbers. Pure math."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..core.errors import SessionError

MAX_FRAMES = 250_000
"""Two hours at 30 frames per second. A single wrong time must not fill the memory with missing frames."""

OFF_STEPS = 0.25
"""Tolerated distance of a time from its place in an even sequence, in steps: the jitter of a camera's clock."""

SPARSE_OFF_STEPS = 0.05
"""The same where more than half of the frames are missing."""

MANY_KEYS = 10
"""With fewer keys, even ones may be what is left of a still motion."""

SAME_RATE = 0.01
"""Relative difference below which two rates mean the same, such as 30 and 29.97."""


@dataclass(frozen=True, eq=False)
class FrameGrid:
    """Frames at an even rate, and which of them the rows of a file are."""

    index: ndarray
    """(row,) int, increasing from 0."""
    fps: float
    start_s: float = 0.0
    """What the file has as the time of the first row."""

    @property
    def frames(self) -> int:
        """Number of frames, with those that have no row."""
        return int(self.index[-1]) + 1

    @property
    def messages(self) -> tuple[str, ...]:
        """What a user should know of missing frames."""
        missing = self.frames - len(self.index)
        said = [f"{missing} of {self.frames} frames have no row in the file: no hand in them"] if missing else []
        if abs(self.start_s) * self.fps > 0.5:
            said.append(f"the first row is at {self.start_s:.10g} s: it becomes frame 0")
        return tuple(said)

    def spread(self, rows: ndarray) -> ndarray:
        """(row, ...) values to (frame, ...), NaN in frames without a row."""
        out = np.full((self.frames, *rows.shape[1:]), np.nan)
        out[self.index] = rows
        return out


def frame_grid(
    where: str,
    rows: int,
    times: ndarray | None,
    numbers: ndarray | None,
    declared_fps: float | None = None,
    fps: float | None = None,
) -> FrameGrid:
    """The frames of a table, from its first row to its last.

    Missing rows are missing frames: times and frame numbers that skip some say so. A column of numbers that only counts
    the rows says nothing, then the times decide. Times may be rounded, for example to 0.03, 0.07, 0.10 s.

    Args:
        where: the file, for messages.
        rows: number of rows, at least 1.
        times: (row,) seconds, NaN where a field is empty; None without such a column.
        numbers: (row,) frame numbers, alike.
        declared_fps: what the file's header says.
        fps: frames per second in place of everything that the file says of its rate.

    Raises:
        SessionError: times or numbers that do not increase, are not even, or contradict each other or the header.
    """
    numbers, times = _column(where, "frame numbers", numbers), _column(where, "times", times)
    index = None if numbers is None else _numbered(where, numbers)
    if times is None or rows == 1:
        index = np.arange(rows) if index is None else index
        rate = fps or declared_fps
        if rate is None:
            raise SessionError(
                f"{where}: expected two or more times, to know the frame rate, but found {0 if times is None else 1}. "
                "Say the frames per second with --fps."
            )
        return _limited(where, index, times, rate)
    rounding = _rounding(times)
    if declared_fps is not None:
        index_there = _at_declared(index, times, declared_fps, rounding)
        if index_there is not None:
            return _limited(where, index_there, times, fps or declared_fps)
    counts_rows = index is None or index[-1] == rows - 1
    if index is None or (counts_rows and not _even(index, times, _slope(index, times), rounding, jitter=0.0)):
        index = _timed(times, rounding)
    else:
        index = index // np.gcd.reduce(np.diff(index))
    step = _slope(index, times)
    if not step > 0 or not _even(index, times, step, rounding):
        raise SessionError(_uneven(where, times, index, skips=not counts_rows))
    rate = _common_rate(1 / step, index, times, rounding)
    if fps is None and declared_fps is not None and abs(rate / declared_fps - 1) > SAME_RATE:
        raise SessionError(
            f"{where}: expected times and frame rate that agree, but the header says {declared_fps:g} frames per "
            f"second and the times are those of {rate:.4g}. Say which is right: --fps {declared_fps:g} or "
            f"--fps {rate:.4g}."
        )
    return _limited(where, index, times, fps or rate)


def _at_declared(index: ndarray | None, times: ndarray, fps: float, rounding: float) -> ndarray | None:
    """(row,) frames at the declared rate, where the times are those of this rate."""
    if index is not None and _even(index, times, 1 / fps, rounding):
        return index
    by_time = np.round((times - times[0]) * fps).astype(int)
    # Under a rate that is declared twice too high, every second frame would be missing.
    counts_rows = index is None or index[-1] == len(times) - 1
    if counts_rows and np.gcd.reduce(np.diff(by_time)) == 1 and _even(by_time, times, 1 / fps, rounding):
        return by_time
    return None


def even_rate(times: ndarray) -> float:
    """The rate of (frame,) times that are an even sequence, 2 or more; common rates exactly."""
    index = np.arange(len(times))
    return _common_rate(1 / _slope(index, times), index, times, _rounding(times))


def even_times(keys: ndarray, declared_fps: float | None) -> ndarray:
    """(frame,) evenly spaced times over the span of the keys of an animation.

    Args:
        keys: (key,) increasing seconds at which anything has a value; tools drop those that interpolation gives.
        declared_fps: what the file says. It counts if all keys are at whole frames; else the shortest step does that
            is common between keys.

    Raises:
        SessionError: so many frames that a time must be wrong.
    """
    if len(keys) < 2:
        return keys
    span = keys[-1] - keys[0]
    frames = 0.0
    if declared_fps is not None:
        place = (keys - keys[0]) * declared_fps
        whole = np.round(place)
        every = np.gcd.reduce(whole.astype(int))
        # Every second frame of a rate that is declared twice too high.
        too_high = every > 1 and len(keys) == whole[-1] // every + 1 > MANY_KEYS
        if whole[-1] > 0 and not too_high and (np.abs(place - whole) < SPARSE_OFF_STEPS).all():
            frames = whole[-1] + 1
    if not frames:
        index = _timed(keys, 0.0)
        step = _slope(index, keys)
        even = _even(index, keys, step, 0.0)
        frames = index[-1] + 1 if even else np.round(span / _shortest_step(np.diff(keys), 0.0)) + 1
    if frames > MAX_FRAMES:
        raise SessionError(f"expected at most {MAX_FRAMES} frames, but found keys for {frames:.0f}.")
    return keys[0] + span * np.arange(int(frames)) / max(int(frames) - 1, 1)


def _column(where: str, name: str, values: ndarray | None) -> ndarray | None:
    """Finite values that never decrease, or None for a column without a value."""
    if values is None or np.isnan(values).all():
        return None
    wrong = ~np.isfinite(values)
    wrong[1:] |= np.diff(values) < 0
    if wrong.any():
        row = int(wrong.argmax())
        before = f" after {values[row - 1]:g}" if row else ""
        raise SessionError(
            f"{where}: expected {name} in every row, increasing, but row {row + 1} of the data has {values[row]:g}"
            f"{before}. Sort the rows, or correct the column."
        )
    return values


def _numbered(where: str, numbers: ndarray) -> ndarray:
    """(row,) frames by their numbers, from 0."""
    steps = np.diff(numbers)
    if (numbers != np.round(numbers)).any() or (steps <= 0).any():
        raise SessionError(
            f"{where}: expected whole frame numbers, each once, but found {_some(numbers, steps <= 0)}. "
            "Correct the column, or remove it."
        )
    return (numbers - numbers[0]).astype(int)


def _some(values: ndarray, wrong: ndarray) -> str:
    row = int(wrong.argmax()) if wrong.any() else int((values != np.round(values)).argmax())
    return ", ".join(f"{value:g}" for value in values[row : row + 2])


def _rounding(times: ndarray) -> float:
    """Seconds to which times are rounded: a power of ten, or 0 for all their digits."""
    for digits in range(7):
        scaled = times * 10.0**digits
        if (np.abs(scaled - np.round(scaled)) < 1e-6 * np.maximum(np.abs(scaled), 1)).all():
            return 10.0**-digits
    return 0.0


def _timed(times: ndarray, rounding: float) -> ndarray:
    """(row,) frames by the times alone: the shortest step that is common is one frame."""
    steps = np.diff(times)
    step = _shortest_step(steps, rounding)
    if not step > 0:
        return np.arange(len(times))
    index = np.concatenate([[0.0], np.cumsum(np.maximum(np.round(steps / step), 1))])
    for _ in range(3):
        step = _slope(index, times)
        index = np.concatenate([[0.0], np.cumsum(np.maximum(np.round(steps / step), 1))])
    return index.astype(int)


def _shortest_step(steps: ndarray, rounding: float) -> float:
    """Mean of those steps that are one frame."""
    shortest = np.quantile(steps, 0.05, method="lower")
    # Rounded steps of 1/60 s are 0.01 and 0.02 s; a gap is longer than one and a half steps.
    return float(np.mean(steps[steps < max(1.5 * shortest, shortest + 1.5 * rounding)]))


def _slope(index: ndarray, times: ndarray) -> float:
    """Seconds of a frame, by least squares."""
    centred = index - index.mean()
    return float(centred @ (times - times.mean()) / (centred @ centred))


def _even(index: ndarray, times: ndarray, step: float, rounding: float, jitter: float = OFF_STEPS) -> bool:
    """Whether every row is at its place in an even sequence, and has a place of its own."""
    off = times - index * step
    off = np.abs(off - 0.5 * (off.max() + off.min())).max()
    if index[-1] > 2 * len(index):
        # Any times fit an even sequence of which most frames are missing.
        jitter = min(jitter, SPARSE_OFF_STEPS)
    return bool(
        (np.diff(index) > 0).all() and off <= max(jitter * step, 0.51 * rounding + 1e-7 * max(abs(times).max(), 1))
    )


def _common_rate(rate: float, index: ndarray, times: ndarray, rounding: float) -> float:
    """The rate, or a common one from which the times differ only by rounding."""
    for common in _common(rate):
        if common > 0 and np.ptp(times - index / common) <= 1.02 * rounding + 2e-7 * abs(times).max():
            return common
    return float(round(rate)) if abs(rate - round(rate)) < 0.01 else rate


def _common(rate: float) -> Iterator[float]:
    yield float(round(rate))
    yield round(rate) * 1000 / 1001
    yield round(rate, 2)


def _uneven(where: str, times: ndarray, index: ndarray, skips: bool) -> str:
    steps = np.diff(times)
    if skips:
        return (
            f"{where}: expected frame numbers and times that agree, but the numbers skip frames that the times do not. "
            "Correct the times, or remove one of the two columns."
        )
    return (
        f"{where}: expected times evenly apart, or with whole frames missing, but their steps are {steps.min():.3g} to "
        f"{steps.max():.3g} s, {np.median(steps):.3g} s in the middle. Bring the rows to an even rate."
    )


def _limited(where: str, index: ndarray, times: ndarray | None, fps: float) -> FrameGrid:
    frames = int(index[-1]) + 1
    if frames > MAX_FRAMES:
        raise SessionError(
            f"{where}: expected at most {MAX_FRAMES} frames, but from the first row to the last there are {frames}. "
            "Check the times, or cut the file into parts."
        )
    return FrameGrid(index, fps, 0.0 if times is None else float(times[0]))
