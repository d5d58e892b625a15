"""The unit of a table's times, from evidence: the rate that the clips declare, and the rates that cameras have."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""Length of each unit, seconds."""

NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}

MIN_FPS, MAX_FPS = 0.1, 2000.0
"""Rates outside this range are errors of the unit, not of the camera."""

MAX_FACTOR = 3.0
"""Largest ratio of two rates of the same clip that passes without a word."""


def plausible(fps: float) -> bool:
    """Whether a camera may have this rate; false for NaN."""
    return MIN_FPS <= fps <= MAX_FPS


def agree(a_fps: float, b_fps: float) -> bool:
    """Whether two rates may be of the same clip; true where one of them is implausible and so says nothing."""
    return not (plausible(a_fps) and plausible(b_fps)) or max(a_fps / b_fps, b_fps / a_fps) <= MAX_FACTOR


def step_per_frame(frame: ndarray, time: ndarray) -> float:
    """Median time from one frame of a clip to the next, in the unit of `time`; NaN where it cannot be told.

    Args:
        frame: (row,) frame index in the clip, ascending. Repeated frames are passed over.
        time: (row,) capture time.
    """
    frames, times = np.diff(frame), np.diff(time)
    moved = (frames > 0) & (times > 0)
    return float(np.median(times[moved] / frames[moved])) if moved.any() else math.nan


@dataclass(frozen=True)
class Doubt:
    """Why times are not in the expected unit."""

    unit: str | None
    """The unit that fits instead; None where none does."""
    found: str
    """What was found, for a message."""
    divisor: float
    """What the times must be divided by to be seconds."""
    possible: bool = False
    """Whether a camera can have the rate that the expected unit gives: then the clips may be wrong, not the times."""


def doubt(step: float, clip_fps: float, unit: str = "s", certain: bool = False) -> Doubt | None:
    """Why times are not in a unit, None where they may be.

    Args:
        step: time from one frame to the next, as written.
        clip_fps: rate that the clip declares; NaN where it is not known.
        unit: expected unit.
        certain: the user says so. Then only a rate that no camera has is doubted.
    """
    if not step > 0:
        return None
    rates = {name: 1 / (step * seconds) for name, seconds in SECONDS.items()}
    known = plausible(clip_fps)
    possible = [name for name, fps in rates.items() if plausible(fps)]
    if unit in possible and (certain or agree(rates[unit], clip_fps)):
        return None
    found = f"{rates[unit]:.4g} frames per second" + (f", where the clips declare {clip_fps:.4g}" if known else "")
    # Where no unit agrees with the clips, the clips may be wrong: slow motion is often written as 30 per second.
    usual = clip_fps if known else 30.0
    nearest = min(possible, key=lambda name: abs(math.log(rates[name] / usual)), default=None)
    if nearest == unit:
        counts_frames = known and step == 1.0
        return Doubt(None, f"frame numbers ({found})", clip_fps) if counts_frames else None
    if nearest is None or (known and not agree(rates[nearest], clip_fps) and unit not in possible):
        return Doubt(None, found, step * clip_fps if known else math.nan)
    return Doubt(nearest, found, 1 / SECONDS[nearest], possible=unit in possible)
