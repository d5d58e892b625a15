"""The account of a recording: for each camera and instant the frame that shows it, or an entry that it is missing.

Cameras count their frames, so that a gap in a camera's numbers is a frame that was lost, and each number has a time on
the common clock. Instants are the triggers, or a regular grid of times where handpipe does not trigger.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy import ndarray

from .clock import ClockFit, fit_clock

LOST = "lost by the camera"
NOT_CONNECTED = "not connected"
STARTED_LATE = "started late"
STOPPED_EARLY = "stopped early"
SLOWER = "slower than the other cameras"
NOTHING = "no frame arrived"

SLIP = 0.75
"""A camera's frames follow its own count until they are so many instants away from the grid: clocks that differ drift,
and a camera that is half an instant off the grid must not flip from one instant to the other."""

MAX_JITTER = 0.25
"""Of a period. Arrivals spread wider are no regular rate: a camera without a clock has times that follow them."""

MARGIN_S = 0.1
"""Frames that were due less than this and one period before the end may be on their way."""


@dataclass(frozen=True)
class Run:
    """One camera from connecting to disconnecting."""

    device_id: ndarray
    """(frame,) int64, ascending: numbers of the frames that were kept, counted by the camera."""
    frame: ndarray
    """(frame,) int64, index into the clip."""
    host_s: ndarray
    """(frame,) arrival on the computer's clock, seconds."""
    device_s: ndarray
    """(frame,) time on the camera's clock, seconds; NaN where it has none."""
    lost: Mapping[int, str] = field(default_factory=dict)
    """Numbers of the frames that are known to be lost, and why."""
    first_id: int | None = None
    """Number of the first frame that there should be; None: that of the first that was kept or is known to be lost."""


@dataclass(frozen=True)
class Entries:
    """Rows of one camera, by ascending instant."""

    instant: ndarray
    """(row,) int64."""
    frame: ndarray
    """(row,) int64, index into the clip; -1 where the frame is missing."""
    time_s: ndarray
    """(row,) on the common clock, which is the computer's, seconds."""
    host_s: ndarray
    """(row,) arrival; NaN where the frame is missing."""
    device_s: ndarray
    """(row,) on the camera's clock; NaN where it has none, or the frame is missing."""
    reason: tuple[str, ...]
    """(row,) why the frame is missing; empty where it is not."""

    def missing(self) -> dict[str, int]:
        """Number of missing frames for each reason."""
        counts: dict[str, int] = {}
        for reason in self.reason:
            if reason:
                counts[reason] = counts.get(reason, 0) + 1
        return counts


@dataclass(frozen=True)
class Numbered:
    """A run in which every number has a time, those of lost frames too."""

    run: Run
    number: ndarray
    """(number,) int64, without gaps."""
    time_s: ndarray
    """(number,) on the common clock, seconds."""
    fit: ClockFit


@dataclass(frozen=True)
class Grid:
    """Regular instants."""

    start_s: float
    period_s: float


def numbered(run: Run, period_s: float, shared: ClockFit | None = None) -> Numbered:
    """Put a run on the common clock.

    Args:
        run: with a frame or more.
        period_s: nominal time between two frames, for what cannot be measured.
        shared: of the clock that this camera shares with others.
    """
    has_clock = bool(np.isfinite(run.device_s).all())
    fit = shared if shared and has_clock else fit_clock(run.device_s if has_clock else run.device_id, run.host_s)
    time_s = fit(run.device_s if has_clock else run.device_id)
    if not has_clock and fit.jitter_s > MAX_JITTER * period_s:
        # No frame is exposed after it arrives, nor sooner after the one before than the rate allows: those of a burst
        # have waited. How late they are beyond that is unknown.
        late_s = run.host_s - run.device_id * period_s
        fit = replace(fit, sigma_s=math.inf)
        time_s = np.minimum.accumulate(late_s[::-1])[::-1] + run.device_id * period_s
    known = [*run.device_id[[0, -1]].tolist(), *run.lost]
    first = min(known) if run.first_id is None else min(run.first_id, *known)
    number = np.arange(first, max(known) + 1)
    step_s = period(run.device_id, time_s, period_s)
    times = np.interp(number, run.device_id, time_s)
    times += step_s * (np.minimum(number - run.device_id[0], 0) + np.maximum(number - run.device_id[-1], 0))
    return Numbered(run, number, times, fit)


def shared_clock(cameras: Sequence[Sequence[Run]]) -> ClockFit | None:
    """The clock of cameras that share one (PTP), by the frames of all of them; None where none has times."""
    runs = [run for camera in cameras for run in camera if np.isfinite(run.device_s).all()]
    if not runs:
        return None
    device_s = np.concatenate([run.device_s for run in runs])
    order = np.argsort(device_s, kind="stable")
    return fit_clock(device_s[order], np.concatenate([run.host_s for run in runs])[order])


def period(number: ndarray, time_s: ndarray, nominal_s: float) -> float:
    """Seconds from one number to the next; the nominal time where one frame does not tell."""
    return float((time_s[-1] - time_s[0]) / (number[-1] - number[0])) if len(number) > 1 else nominal_s


def common_grid(cameras: Sequence[Sequence[Numbered]], nominal_s: float) -> Grid:
    """The instants of cameras that were not triggered by us: those of the fastest, if their rates differ.

    Raises:
        ValueError: no camera has a frame.
    """
    if not any(cameras):
        raise ValueError("no camera has a frame")
    longest = [max(camera, key=lambda run: len(run.number)) for camera in cameras if camera]
    most = max(len(run.number) for run in longest)
    # A run of a few frames measures no rate.
    steps = np.array([period(run.number, run.time_s, nominal_s) for run in longest if 2 * len(run.number) > most])
    together = np.ptp(steps) * most < 0.5 * np.median(steps)
    step_s = float(np.median(steps) if together else steps.min())
    # In the middle of what the cameras are apart, so that frames that belong together are on the same side of it.
    first_s = np.array([camera[0].time_s[0] for camera in cameras if camera])
    turns = np.exp(2j * np.pi * (first_s - first_s.min()) / step_s)
    return Grid(float(first_s.min() + np.angle(turns.sum()) / (2 * np.pi) * step_s), step_s)


def instants(run: Numbered, grid: Grid, after: int = -1) -> ndarray:
    """(number,) int64 ascending: the instant of each number of a run; all of them later than the instant `after`."""
    place = (run.time_s - grid.start_s) / grid.period_s
    first = max(round(float(place[0])), after + 1)
    slot = first + np.arange(len(place))
    if np.abs(place - slot).max() <= SLIP:
        return slot
    ahead = 0
    for at, where in enumerate(place.tolist()):
        # Instants are only ever passed over: two frames in one instant would lose one of them.
        if where - slot[at] - ahead > SLIP:
            ahead = round(where) - int(slot[at])
        slot[at] += ahead
    return slot


def all_timed_entries(cameras: Sequence[Sequence[Numbered]], grid: Grid, end_s: float) -> list[Entries]:
    """The account of every camera, up to the same instant: the last one may have been cut off by the end."""
    found = [timed_entries(runs, grid, end_s) for runs in cameras]
    last = max((int(each.instant[-1]) for each in found if len(each.instant)), default=0) - 1
    return [timed_entries(runs, grid, end_s, last) for runs in cameras]


def timed_entries(runs: Sequence[Numbered], grid: Grid, end_s: float, at_least: int = -1) -> Entries:
    """The account of one camera that was not triggered by us.

    Args:
        runs: of the camera, in order.
        grid: the instants.
        end_s: end of the recording on the common clock.
        at_least: an instant up to which there are rows, whatever the end.
    """
    rows: list[tuple[int, int, float, float, float, str]] = []
    last = -1
    for at, each in enumerate(runs):
        slots = instants(each, grid, last)
        # The first instant is that of the quickest camera: being one later is no loss.
        if at > 0 or slots[0] > 1:
            gap = range(last + 1, int(slots[0]))
            rows += [_missing(slot, grid, NOT_CONNECTED if at else STARTED_LATE) for slot in gap]
        rows += _rows_of(each, slots, grid)
        last = int(slots[-1])
    jitter_s = max((run.fit.jitter_s for run in runs), default=0.0)
    due = end_s - MARGIN_S - grid.period_s - 3 * jitter_s
    final = max(math.floor((due - grid.start_s) / grid.period_s), at_least)
    rows += [_missing(slot, grid, STOPPED_EARLY if runs else NOTHING) for slot in range(last + 1, final + 1)]
    return entries_of(rows)


def _rows_of(each: Numbered, slots: ndarray, grid: Grid) -> list[tuple[int, int, float, float, float, str]]:
    kept = {number: at for at, number in enumerate(each.run.device_id.tolist())}
    rows, before = [], int(slots[0]) - 1
    for slot, number, time_s in zip(slots.tolist(), each.number.tolist(), each.time_s.tolist(), strict=True):
        rows += [_missing(passed, grid, SLOWER) for passed in range(before + 1, slot)]
        before = slot
        if (at := kept.get(number)) is None:
            rows.append((slot, -1, time_s, math.nan, math.nan, each.run.lost.get(number, LOST)))
        else:
            run = each.run
            rows.append((slot, int(run.frame[at]), time_s, float(run.host_s[at]), float(run.device_s[at]), ""))
    return rows


def _missing(slot: int, grid: Grid, reason: str) -> tuple[int, int, float, float, float, str]:
    return slot, -1, grid.start_s + slot * grid.period_s, math.nan, math.nan, reason


def entries_of(rows: Sequence[tuple[int, int, float, float, float, str]]) -> Entries:
    """The rows of one camera as arrays; there may be none."""
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), (), (), ()]
    instant, frame = (np.array(column, np.int64) for column in columns[:2])
    time_s, host_s, device_s = (np.array(column, np.float64) for column in columns[2:5])
    return Entries(instant, frame, time_s, host_s, device_s, tuple(str(each) for each in columns[5]))


@dataclass(frozen=True)
class Triggered:
    """What is known of one camera that was triggered by us."""

    instant: ndarray
    """(frame,) int64, ascending: triggers whose frames were kept."""
    frame: ndarray
    """(frame,) int64, index into the clip."""
    trigger_s: ndarray
    """(frame,) when the camera was triggered, seconds."""
    host_s: ndarray
    device_s: ndarray
    """(frame,) as in `Run`."""
    lost: Mapping[int, str]
    """Triggers whose frame is known to be missing, and why."""


def trigger_times(cameras: Sequence[Triggered], rate: float) -> ndarray:
    """(instant,) time of each trigger on the computer's clock: the median of the cameras, interpolated between.

    Args:
        cameras: all of them.
        rate: triggers per second, beyond the first and the last that is known.
    """
    number = 1 + max((max([-1, *each.instant[-1:].tolist(), *each.lost]) for each in cameras), default=-1)
    at = np.concatenate([each.instant for each in cameras])
    times = np.concatenate([each.trigger_s for each in cameras])
    order = np.lexsort((times, at))
    at, times = at[order], times[order]
    known, first, count = np.unique(at, return_index=True, return_counts=True)
    if not len(known):
        return np.arange(number) / rate
    middle = times[first + count // 2]
    index = np.arange(number)
    beyond = (np.minimum(index - known[0], 0) + np.maximum(index - known[-1], 0)) / rate
    return np.interp(index, known, middle) + beyond


def last_instant(cameras: Sequence[Triggered], not_taken: Collection[str]) -> int:
    """The last trigger that a camera took, -1 if there is none.

    Args:
        cameras: all of them.
        not_taken: reasons of missing frames that say that the camera did not take the trigger.
    """
    taken = [at for each in cameras for at, why in each.lost.items() if why not in not_taken]
    return max([-1, *taken, *(int(each.instant[-1]) for each in cameras if len(each.instant))])


def triggered_entries(camera: Triggered, time_s: ndarray) -> Entries:
    """The account of one camera that was triggered by us.

    Args:
        camera: what is known of it.
        time_s: (instant,) when each trigger was, for the frames that are missing.
    """
    instant = np.arange(len(time_s))
    assert not len(camera.instant) or camera.instant[-1] < len(time_s)
    frame = np.full(len(time_s), -1, np.int64)
    host_s, device_s = np.full((2, len(time_s)), np.nan)
    times = time_s.copy()
    frame[camera.instant], times[camera.instant] = camera.frame, camera.trigger_s
    host_s[camera.instant], device_s[camera.instant] = camera.host_s, camera.device_s
    reason = tuple("" if has >= 0 else camera.lost.get(at, LOST) for at, has in enumerate(frame.tolist()))
    return Entries(instant, frame, times, host_s, device_s, reason)


@dataclass(frozen=True)
class Skew:
    """How far apart the exposures of one instant are, seconds."""

    median_s: float
    largest_s: float


def skew(cameras: Sequence[Entries]) -> Skew | None:
    """Of every instant that two cameras or more show, the time from the first to the last; None if there is none."""
    shown = [(each.instant[each.frame >= 0], each.time_s[each.frame >= 0]) for each in cameras]
    at = np.concatenate([instant for instant, _ in shown])
    times = np.concatenate([time_s for _, time_s in shown])
    order = np.lexsort((times, at))
    at, times = at[order], times[order]
    _, first, count = np.unique(at, return_index=True, return_counts=True)
    several = count > 1
    if not several.any():
        return None
    spread = times[first[several] + count[several] - 1] - times[first[several]]
    return Skew(float(np.median(spread)), float(spread.max()))
