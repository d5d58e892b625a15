"""One clock for all cameras: a line from each camera's own time to the computer's, and how well it is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

BLOCKS = 64
"""A recording is cut into so many parts; the frame that arrived quickest stands for each."""

MIN_BLOCK = 4
"""Frames of such a part, at the least."""

HUBER = 1.345
"""Residuals beyond so many standard deviations count less."""


@dataclass(frozen=True)
class ClockFit:
    """host = offset_s + slope * (device - origin)."""

    slope: float
    offset_s: float
    origin: float
    sigma_s: float
    """Standard error of the line where it is least known, seconds. What all frames of a camera are late by is not part
    of it: it cannot be known from arrival times."""
    jitter_s: float
    """Spread of the arrivals around the line, seconds (1.48 median absolute deviations)."""

    def __call__(self, device: ndarray) -> ndarray:
        """The computer's time of instants of the device, seconds."""
        return self.offset_s + self.slope * (np.asarray(device, np.float64) - self.origin)


def fit_clock(device: ndarray, host_s: ndarray) -> ClockFit:
    """Fit a line to arrival times, robustly.

    Arrivals are late, never early. So the line goes through the frames that arrived quickest: one for each of up to
    `BLOCKS` parts of the recording; among these, Huber's weights take outliers out.

    Args:
        device: (frame,) ascending; seconds of the camera's clock, or its frame numbers.
        host_s: (frame,) arrival, seconds.
    """
    (frames,) = device.shape
    assert host_s.shape == (frames,)
    assert frames > 0
    origin, start = float(device.mean()), float(host_s[0])
    x, y = device.astype(np.float64) - origin, host_s - start
    if frames == 1 or np.ptp(x) == 0:
        return ClockFit(1.0, start + float(y.mean()), origin, np.inf, 0.0)
    slope, offset, _ = _huber(x, y)
    blocks = min(BLOCKS, frames // MIN_BLOCK)
    if blocks >= MIN_BLOCK:
        late = y - slope * x
        quickest = np.array([part[late[part].argmin()] for part in np.array_split(np.arange(frames), blocks)])
        x_fit, y_fit = x[quickest], y[quickest]
        slope, offset, weight = _huber(x_fit, y_fit)
    else:
        x_fit, y_fit, (slope, offset, weight) = x, y, _huber(x, y)
    residual = y_fit - offset - slope * x_fit
    free = max(len(x_fit) - 2, 1)
    variance = float((weight * residual**2).sum() / free)
    middle = float((weight * x_fit).sum() / weight.sum())
    spread = float((weight * (x_fit - middle) ** 2).sum())
    farthest = max(abs(x[0] - middle), abs(x[-1] - middle))
    sigma = np.sqrt(variance * (1 / weight.sum() + farthest**2 / spread)) if spread > 0 else np.inf
    jitter = y - offset - slope * x
    return ClockFit(
        float(slope),
        start + float(offset),
        origin,
        float(sigma),
        float(1.4826 * np.median(np.abs(jitter - np.median(jitter)))),
    )


def _huber(x: ndarray, y: ndarray) -> tuple[float, float, ndarray]:
    """Slope, offset and weights of a line, by iteratively reweighted least squares from the medians' line."""
    third = max(len(x) // 3, 1)
    run = np.median(x[-third:]) - np.median(x[:third])
    slope = (np.median(y[-third:]) - np.median(y[:third])) / run if run > 0 else 0.0
    offset = np.median(y - slope * x)
    weight = np.ones(len(x))
    for _ in range(20):
        residual = y - offset - slope * x
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-9)
        weight = np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residual), 1e-12))
        middle_x, middle_y = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = (weight * (x - middle_x) ** 2).sum()
        if spread <= 0:
            break
        before = slope
        slope = (weight * (x - middle_x) * (y - middle_y)).sum() / spread
        offset = middle_y - slope * middle_x
        if abs(slope - before) <= 1e-14 * max(abs(slope), 1e-12):
            break
    return float(slope), float(offset), weight
