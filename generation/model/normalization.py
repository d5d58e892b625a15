"""Statistics of packed motion in the training data: mean and spread of channels, temporal correlation, liveliness.

The temporal correlation, one per channel group, is measured by the variogram (Matheron 1963) and fitted with kernels
(Rasmussen & Williams 2006, chapter 4) for the Gaussian-process prior (gp_prior.py). Within a group, channels count by
their variance: a wrist that moves far has the kernel of its motion, not that of the noise in its still channels.

Liveliness (liveliness.py) is how fast a hand moves in a window, relative to the average.

Shapes: packed motion x is (..., frame, hand, channel).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from ...core.errors import HandpipeError
from .liveliness import Liveliness, energies

RELATIVE_STD_FLOOR = 1e-2
"""A channel that varies less than this part of its group's typical spread counts as varying that much: a finger joint
that never twists must not be blown up to the importance of one that bends."""

STD_FLOOR = 1e-4
"""The same for a group that never varies, in the channel's own unit."""

LEAST_PAIRS = 0.25
"""A lag is measured where there are at least this many pairs of frames for each frame; fewer tell mostly noise."""

LENGTHS = 2.0 ** np.arange(0, 9.1, 0.25)
"""Length scales of the kernels of which a correlation is made up, frames."""

WHITE_FLOOR = 1e-7
"""Least share of white noise in a kernel: 0.03 mm for wrists that roam 0.1 m, below what any capture resolves; its jerk
is a tenth of that of real motion. No eigenvalue is smaller, so float64 factors all kernels with digits to spare."""

DIFFERENCES = (2, 3)
"""Orders of the differences over time whose variances a fitted kernel reproduces: these make acceleration and jerk."""


_FRAMES_AT_ONCE = 4096


class Span(Protocol):
    """A channel group: any object with the first channel and the one after the last (`Channels`, `slice`)."""

    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int: ...


@dataclass(frozen=True)
class Statistics:
    """Statistics of each channel of packed motion in the training data."""

    mean: Tensor
    """(channel,)"""
    std: Tensor
    """(channel,) positive."""
    correlation: Tensor
    """(group, lag) between values of a channel that are `lag` frames apart, as measured; 1 at lag 0. float64."""
    sizes: tuple[int, ...]
    """Channels in each group; the groups follow one another."""
    liveliness: Liveliness

    def normalise(self, x: Tensor) -> Tensor:
        """Packed motion (..., channel) in standard deviations from the mean."""
        return (x - self.mean) / self.std

    def denormalise(self, x: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return x * self.std + self.mean

    def to(self, device: torch.device | str) -> Statistics:
        tensors = (self.mean.to(device), self.std.to(device), self.correlation.to(device))
        return Statistics(*tensors, self.sizes, self.liveliness.to(device))


def statistics(windows: Iterable[Tensor], groups: Sequence[Span], lags: int = 512) -> Statistics:
    """Mean, spread and temporal correlation, at up to `lags` lags, of packed motion.

    `windows` are tensors (window, frame, hand, channel), each of any number of windows and frames: longer runs tell of
    longer lags. Hands are pooled, because packing mirrors the left one. The correlation is 1 - gamma / v with the
    variogram gamma(lag) = mean((x[f + lag] - x[f])^2) / 2 and the variance v, sums over a group's channels; what
    differs from window to window but not inside one therefore stays correlated at every lag. The first frame of each
    window does not count for the correlation: increments have a value of their own there.
    """
    sizes = _sizes(groups)
    nothing = torch.zeros(0, dtype=torch.float64)
    shift, moments, pairs, squares = None, nothing, nothing, nothing
    moved = []
    for tensor in windows:
        for part in tensor.detach().split(max(1, _FRAMES_AT_ONCE // tensor.shape[1])):
            x = part.double().transpose(1, 2).flatten(0, 1)  # (window and hand, frame, channel)
            shift = x.mean((0, 1)) if shift is None else shift
            centred = (x - shift).flatten(0, 1)
            inner = x[:, 1:] if x.shape[1] > 2 else x
            count = torch.full_like(shift, len(centred))
            moments = _plus(moments, torch.stack([count, centred.sum(0), centred.square().sum(0)]))
            pairs = _plus(pairs, len(x) * torch.arange(inner.shape[1], 0, -1, dtype=torch.float64, device=x.device))
            squares = _plus(squares, _squared_differences(inner))
            moved.append(energies(part, sizes).cpu())
    if shift is None or not len(pairs):
        raise HandpipeError(
            "statistics of motion: expected at least one window of training data, found none. Add sessions."
        )
    count, total, total_squared = moments
    deviation = total / count
    variance = (total_squared / count - deviation.square()).clamp_min(0)
    std = torch.cat([_floored(part) for part in variance.sqrt().split(sizes)])
    return Statistics(
        mean=(shift + deviation).float(),
        std=std.float(),
        correlation=_correlation(squares, pairs, variance, sizes)[:, :lags],
        sizes=sizes,
        liveliness=Liveliness.of(torch.cat(moved)),
    )


def _sizes(groups: Sequence[Span]) -> tuple[int, ...]:
    starts, stops = [group.start for group in groups], [group.stop for group in groups]
    assert starts == [0, *stops[:-1]], "channel groups follow one another"
    return tuple(stop - start for start, stop in zip(starts, stops, strict=True))


def _plus(a: Tensor, b: Tensor) -> Tensor:
    """Sum of two tensors over the first axis' common beginning; the longer one's rest is kept."""
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    return torch.cat([long[: len(short)] + short, long[len(short) :]]) if len(short) else long


def _squared_differences(x: Tensor) -> Tensor:
    """Sums of (x[f + lag] - x[f])^2 of windows (window, frame, channel), as (lag, channel), by the FFT."""
    frames = x.shape[1]
    y = x - x.mean(1, keepdim=True)
    power = torch.fft.rfft(y, n=2 * frames, dim=1).abs().square().sum(0)
    products = torch.fft.irfft(power, n=2 * frames, dim=0)[:frames]
    energy = y.square().sum(0)
    without_end = energy.cumsum(0).flip(0)
    without_start = energy.flip(0).cumsum(0).flip(0)
    return (without_end + without_start - 2 * products).clamp_min(0)


def _floored(std: Tensor) -> Tensor:
    typical = std.square().mean().sqrt()
    return std.clamp_min(max(RELATIVE_STD_FLOOR * float(typical), STD_FLOOR))


def _correlation(squares: Tensor, pairs: Tensor, variance: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(group, lag) from sums of squared differences (lag, channel) over `pairs` (lag,) pairs of frames and hands."""
    measured = int((pairs >= LEAST_PAIRS * pairs[0]).sum())
    gamma = squares[:measured] / pairs[:measured, None] / 2
    rows = []
    for part, v in zip(gamma.split(sizes, dim=-1), variance.split(sizes), strict=True):
        ratio = part.sum(-1) / v.sum() if v.sum() > 0 else torch.zeros_like(part[:, 0])
        rows.append(1 - ratio)
    return torch.stack(rows)


def fitted_correlation(correlation: NDArray[np.float64], lags: int) -> NDArray[np.float64]:
    """(lags,) the positive definite correlation next to a measured one (lag,), at as many lags as wanted.

    A sum of Matérn 7/2 kernels (their samples have a jerk), a constant and white noise, with non-negative weights by
    least squares on the relative error of the variogram, each octave of lags counting alike, and of the variances of
    the second and third differences. The measured one is no correlation of anything: its eigenvalues err to either side
    of zero, and clipping them leaves kernels that overshoot in gaps between observations.
    """
    lag = np.arange(1, len(correlation))
    gamma = np.maximum(1 - correlation[1:], WHITE_FLOOR)
    weight = 1 / (gamma * np.sqrt(lag))
    kernels = _kernels(np.arange(len(correlation)))
    rows, wanted = [(1 - kernels[1:]) * weight[:, None]], [gamma * weight]
    for order in DIFFERENCES:
        if len(correlation) > order:
            measured = _difference_variance(correlation[:, None], order)
            wanted.append(np.ones(1))
            rows.append(_difference_variance(kernels, order)[None] / max(measured[0], WHITE_FLOOR))
    A = np.vstack(rows)
    sure = 1e3 * max(1.0, float(np.abs(A).max(initial=0.0)))  # the shares add up to 1
    shares, _ = nnls(np.vstack([A, np.full(A.shape[1], sure)]), np.concatenate([*wanted, [sure]]))
    shares[-1] += WHITE_FLOOR * shares.sum()
    return _kernels(np.arange(lags)) @ (shares / shares.sum())


def _difference_variance(correlation: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Variance (...) of the differences of some order of processes with correlations (lag, ...)."""
    both_sides = np.array([(-1) ** k * comb(2 * order, order + k) * (1 if k == 0 else 2) for k in range(order + 1)])
    return both_sides @ correlation[: order + 1]


def _kernels(lag: NDArray[np.int_]) -> NDArray[np.float64]:
    """(lag, kernel) correlations: constant, Matérn 7/2 of each length, white noise."""
    r = np.sqrt(7) * lag[:, None] / LENGTHS
    matern = (1 + r + 2 * r**2 / 5 + r**3 / 15) * np.exp(-r)
    return np.column_stack([np.ones(len(lag)), matern, lag == 0])
