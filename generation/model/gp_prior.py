"""The Gaussian-process prior of motion, conditioned exactly on the observed entries.

Every channel of packed, normalised motion is modelled as a stationary Gaussian process (Rasmussen & Williams 2006,
chapter 2). Its temporal correlation, one per channel group, is that of the training data (normalization.py); its speed
is a level of liveliness (liveliness.py), one per hand and group; its mean level follows from the observed entries.
Conditioned on these entries it has a mean, `base`, that meets them, and a covariance that is zero there. Given a noisy
x_t = alpha x0 + sigma eps it has the exact posterior of x0 (the Wiener filter).

Shapes: packed motion x is (batch, frame, hand, channel). Smooth kernels are nearly singular, so whatever is factored is
factored in float64; what is handed out is float32. Nothing here is differentiated, and autocast does not reach it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .liveliness import Liveliness
from .normalization import Statistics, fitted_correlation
from .precision import full_precision

LEVEL_VARIANCE = 3.0
"""How far, squared, the level of a recording may lie from that of the training data, beside the variance inside them.
An observed frame determines the level (universal kriging, Cressie 1993, section 3.4): frames far from every observed
frame then return to the level of the observed frames and not to that of the training data."""

REST_FLOOR = 1e-8
"""Least variance of white noise, whatever the liveliness: a hand at rest still has a kernel that float64 factors."""

TELLING_FRAMES = 10
"""Frames between two observed ones at which their displacement tells as much of the liveliness as one independent
number. It tells in proportion to the square of the frames: successive displacements of smooth motion are the same
number again, and what matters is how far the hand comes, not how it jitters. Chosen on one sequence,
docs/evaluation.md."""

NOISE_FLOOR = 1e-10
"""Least variance of the noise in x_t, so that sigma = 0 is answered too."""

_SYSTEMS_AT_ONCE = 32


@dataclass(frozen=True)
class Prior:
    """The Gaussian process of normalised packed motion over a number of frames; its mean is 0."""

    kernels: Tensor
    """(group, frame, frame) positive definite with unit diagonal, float64; all channels of a group share it."""
    sizes: tuple[int, ...]
    """Channels in each group."""
    liveliness: Liveliness
    shares: Tensor
    """(channel,) the share of each channel in its group's variance."""

    @classmethod
    def of(cls, statistics: Statistics, frames: int) -> Prior:
        """The prior of motions of that many frames, also of more than the statistics saw."""
        measured = statistics.correlation
        fitted = np.stack([fitted_correlation(row, frames) for row in measured.double().cpu().numpy()])
        frame = torch.arange(frames)
        toeplitz = torch.from_numpy(fitted)[:, (frame[:, None] - frame).abs()]
        variances = statistics.std.double().square().split(statistics.sizes)
        shares = torch.cat([part / part.sum() for part in variances])
        return cls(toeplitz.to(measured.device), statistics.sizes, statistics.liveliness, shares)

    def to(self, device: torch.device | str) -> Prior:
        return Prior(self.kernels.to(device), self.sizes, self.liveliness.to(device), self.shares.to(device))

    def kernel(self, level: Tensor, group: Tensor) -> Tensor:
        """(..., frame, frame) kernels of groups (...) at levels of liveliness (...), float64.

        Changes scale with the liveliness; a hand that moves less than the average stays where it is, wherever in the
        usual range that may be.
        """
        square = self.liveliness.levels[group, level].square()[..., None, None]
        kernel = square * self.kernels[group] + (1 - square).clamp_min(0)
        kernel.diagonal(dim1=-2, dim2=-1).add_(REST_FLOOR)
        return kernel

    @property
    def spread(self) -> Tensor:
        """(group, lag) mean squared difference between frames that are `lag` apart, at the average liveliness."""
        return 2 * (1 - self.kernels[:, 0])

    def mean_square(self, x: Tensor) -> Tensor:
        """(..., group) of numbers (..., channel): their squares, each channel by its share in the group's variance."""
        square = x.square() * self.shares.to(x)
        return torch.stack([part.sum(-1) for part in square.split(self.sizes, -1)], -1)

    def usual_std(self, conditional: Conditional, log_liveliness: Tensor) -> Tensor:
        """(batch, frame, hand, group) standard deviations as they would be at the average liveliness."""
        return self.of_groups(conditional.std) / log_liveliness.exp()[:, None]

    def of_groups(self, x: Tensor) -> Tensor:
        """(..., group) of numbers (..., channel) that are the same within each group."""
        return torch.stack([part[..., 0] for part in x.split(self.sizes, -1)], -1)

    @torch.no_grad()
    @full_precision
    def belief(self, mask: Tensor, values: Tensor, before: Tensor) -> Tensor:
        """(batch, hand, group, level) how probable each level of liveliness is after the observed entries.

        The likelihood is that of the displacements from each observed frame to the next one. Where all frames are
        observed, it is the level of these. Otherwise it is wanted for the other frames, and the likelihood is composite
        (Varin et al. 2011) with the weights of `TELLING_FRAMES`.

        Args:
            mask, values: as for `condition`; values relative to the mean.
            before: (..., group, level) probabilities before, broadcastable.
        """
        observed, frames = self.of_groups(mask), mask.shape[1]
        frame = torch.arange(frames, device=mask.device)[:, None, None]
        last = torch.where(observed, frame, -1).cummax(1).values
        last = torch.cat([torch.full_like(last[:, :1], -1), last[:, :-1]], 1)  # the observed frame before each
        pair = observed & (last >= 0)
        sizes = torch.tensor(self.sizes, device=mask.device)
        origin = torch.where(mask, values, 0).gather(1, last.clamp_min(0).repeat_interleave(sizes, -1))
        square = self.mean_square((torch.where(mask, values, 0) - origin).double())
        lag = (frame - last).clamp(0, frames - 1)
        spread = self.spread.T.gather(0, lag.flatten(0, 2)).view(square.shape)
        variance = self.liveliness.levels.square() * spread[..., None] + 2 * REST_FLOOR
        log_likelihood = -0.5 * (square[..., None] / variance + variance.log())
        telling = torch.where(observed.all(1, keepdim=True), 1.0, (lag / TELLING_FRAMES).square())
        total = (torch.where(pair, telling, 0.0)[..., None] * log_likelihood).sum(1)
        return (before.log() + total).softmax(-1)

    def nearest(self, belief: Tensor) -> Tensor:
        """(..., group) the levels that are nearest to what is expected by probabilities (..., group, level)."""
        levels = self.liveliness.levels
        return ((belief * levels.square()).sum(-1).sqrt()[..., None] - levels).abs().argmin(-1)

    @torch.no_grad()
    @full_precision
    def condition(
        self,
        mask: Tensor,
        values: Tensor,
        mean: Tensor | None = None,
        level: Tensor | None = None,
        recorded: Tensor | None = None,
    ) -> Conditional:
        """The process given `values` where `mask`, both (batch, frame, hand, channel); mask is bool.

        `mask` is constant within each channel group; `values` are normalised and may be anything where unobserved.
        `mean`, broadcastable to them, is what it has where nothing is observed: 0 by default. The level that the
        observed values have relative to it moves all frames (`LEVEL_VARIANCE`). `level` (batch, hand, group) is that
        of the liveliness: by default the one next to the average. `recorded` (batch,) says whether the observed values
        are of a recording: by default they are.
        """
        frames = self.kernels.shape[-1]
        assert mask.shape == values.shape == (len(mask), frames, mask.shape[2], sum(self.sizes))
        observed = self.of_groups(mask).permute(0, 2, 3, 1)  # (batch, hand, group, frame)
        batch, hands, groups, _ = observed.shape
        if level is None:
            level = self.nearest(self.liveliness.after(None, 0)).expand(batch, hands, groups)
        group = torch.arange(groups, device=mask.device, dtype=torch.uint8).expand(batch, hands, groups)[..., None]
        speed = level.to(torch.uint8)[..., None]
        if recorded is None:
            recorded = torch.ones(batch, dtype=torch.bool, device=mask.device)
        elsewhere = recorded.to(torch.uint8)[:, None, None, None].expand(batch, hands, groups, 1)
        known = observed.sum(-1, dtype=torch.uint8 if frames < 256 else torch.int32, keepdim=True)
        keys = torch.cat([known, group, speed, elsewhere, observed], -1)
        systems, index = keys.flatten(0, 2).unique(dim=0, return_inverse=True)
        parts = (systems[:, 2].long(), systems[:, 1].long(), systems[:, 3].double(), systems[:, 4:].bool())
        weights, covariances = _kriging(self, *parts)
        index = index.view(batch, hands, groups)
        seen = torch.where(mask, values if mean is None else values - mean, 0)
        base = _apply(weights, index, seen, self.sizes)
        if mean is not None:
            base += mean
        base = torch.where(mask, values, base)
        return Conditional(base, covariances, index, self.sizes)


@dataclass(frozen=True)
class Conditional:
    """A Gaussian over normalised packed motion: independent channels, correlated frames.

    Batch entries, hands and groups with the same kernel and observed frames share one covariance.
    """

    base: Tensor
    """(batch, frame, hand, channel) its mean; the observed values where there are any."""
    covariances: Tensor
    """(system, frame, frame) float64, the different ones; rows and columns of observed frames are 0."""
    index: Tensor
    """(batch, hand, group) which of them holds."""
    sizes: tuple[int, ...]
    """Channels in each group."""

    @property
    def covariance(self) -> Tensor:
        """(batch, hand, group, frame, frame), float64."""
        return self.covariances[self.index]

    @property
    def std(self) -> Tensor:
        """(batch, frame, hand, channel) before any noisy sample is seen; 0 where observed."""
        variance = self.covariances.diagonal(dim1=-2, dim2=-1).clamp_min(0)[self.index]
        return _per_channel(variance.sqrt().to(self.base.dtype), self.sizes)

    @torch.no_grad()
    @full_precision
    def posterior(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x0 given x_t = alpha x0 + sigma eps; all (batch, frame, hand, channel).

        `alpha` and `sigma` are (batch,). Observed entries come out as the observed values with a deviation of 0,
        whatever x_t holds there. With S = alpha^2 C + sigma^2 I and the Wiener filter W = S^-1 C, the mean is
        base + alpha W (x_t - alpha base) and the covariance C - alpha^2 C S^-1 C = sigma^2 W.
        """
        assert x_t.shape == self.base.shape
        assert alpha.shape == sigma.shape == x_t.shape[:1]
        signal, noise = alpha.double().square(), sigma.double().square().clamp_min(NOISE_FLOOR)
        levels = [self.index.double(), *(part[:, None, None].expand(self.index.shape) for part in (signal, noise))]
        keys, index = torch.stack(levels, -1).flatten(0, 2).unique(dim=0, return_inverse=True)
        index = index.view(self.index.shape)
        wiener, variance = _wiener(self.covariances, keys[:, 0].long(), keys[:, 1], keys[:, 2])
        scale = alpha.to(self.base)[:, None, None, None]
        residual = torch.addcmul(x_t.to(self.base), scale, self.base, value=-1)
        mean = _apply(wiener, index, residual, self.sizes).mul_(scale).add_(self.base)
        return mean, _per_channel(variance[index].sqrt().to(self.base), self.sizes)

    @torch.no_grad()
    @full_precision
    def smooth(self, gradient: Tensor) -> Tensor:
        """C @ gradient (batch, frame, hand, channel): the step of steepest ascent in the metric of this Gaussian.

        It is smooth over time, and 0 where observed.
        """
        return _apply(self.covariances, self.index, gradient.to(self.base.dtype), self.sizes)

    @torch.no_grad()
    def scaled(self, scale: Tensor) -> Conditional:
        """The same with standard deviations multiplied by `scale` (batch, frame, hand, group)."""
        each = scale.detach().permute(0, 2, 3, 1).flatten(0, 2).double()
        # What is not scaled differently keeps its common covariance: without gaps, nothing is.
        keys, index = torch.cat([self.index.flatten()[:, None], each], -1).unique(dim=0, return_inverse=True)
        factor = keys[:, 1:]
        covariances = self.covariances[keys[:, 0].long()] * factor[:, :, None] * factor[:, None]
        return replace(self, covariances=covariances, index=index.view(self.index.shape))

    def restrict(self, frames: slice) -> Conditional:
        """The marginal over some of the frames; what was observed outside them still counts."""
        covariances = self.covariances[:, frames, frames]
        return Conditional(self.base[:, frames], covariances, self.index, self.sizes)


def _kriging(prior: Prior, level: Tensor, group: Tensor, recorded: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
    """Weights of the observed frames in each frame's mean, float32, and covariances, float64, (system, frame, frame).

    `level`, `group` and `recorded` are (system,), `observed` (system, frame), with the systems of few observed frames
    first. The equations of a block are as many as its fullest system's; an identity fills the others up.
    """

    def some(level: Tensor, group: Tensor, recorded: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        seen = observed.to(prior.kernels.dtype)
        kernel = prior.kernel(level, group) + LEVEL_VARIANCE * (recorded * seen.amax(dim=1))[:, None, None]
        frames = kernel.shape[-1]
        order = seen.argsort(dim=1, descending=True, stable=True)[:, : max(1, int(seen[-1].sum()))]
        held = seen.gather(1, order)
        rows = order[:, :, None].expand(-1, -1, frames)
        across = kernel.gather(1, rows) * held[:, :, None]  # (observed frame, frame)
        known = (across * seen[:, None]).gather(2, order[:, None].expand(-1, order.shape[1], -1))
        known.diagonal(dim1=-2, dim2=-1).add_(1 - held)
        half, weights = _solve(_factor(known), across)
        covariance = torch.baddbmm(kernel, half.mT, half, alpha=-1)
        hidden = 1 - seen
        covariance.mul_(hidden[:, :, None]).mul_(hidden[:, None])
        spread = torch.zeros_like(kernel, dtype=torch.float32)
        return spread.scatter(1, rows, weights.float()).mT, covariance

    return _in_blocks(some, level, group, recorded, observed)


def _wiener(covariances: Tensor, system: Tensor, signal: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """S^-1 C (pair, frame, frame) with S = signal C + noise I, float32, and the posterior variance (pair, frame)."""

    def some(system: Tensor, signal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        covariance = covariances[system]
        S = covariance * signal[:, None, None]
        S.diagonal(dim1=-2, dim2=-1).add_(noise[:, None])
        _, wiener = _solve(_factor(S), covariance)
        variance = noise[:, None] * wiener.diagonal(dim1=-2, dim2=-1).clamp_min(0)
        return wiener.float(), variance

    return _in_blocks(some, system, signal, noise)


def _in_blocks(function: Callable[..., tuple[Tensor, ...]], *arguments: Tensor) -> tuple[Tensor, ...]:
    """`function` of few systems at a time: intermediate results that stay in the cache halve the time on a CPU."""
    blocks = zip(*(argument.split(_SYSTEMS_AT_ONCE) for argument in arguments), strict=True)
    return tuple(torch.cat(parts) for parts in zip(*(function(*block) for block in blocks), strict=True))


def _factor(A: Tensor) -> Tensor:
    """Lower Cholesky factor, without waiting for the device to say whether there is one: the floors make it sure."""
    return torch.linalg.cholesky_ex(A, check_errors=False).L


def _solve(factor: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """L^-1 right and (L L^T)^-1 right; on CPUs two triangular solves are faster than `cholesky_solve`."""
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    return half, torch.linalg.solve_triangular(factor.mT, half, upper=True)


def _apply(matrices: Tensor, index: Tensor, x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """matrices[index[batch, hand, group]] @ x over frames; x is (batch, frame, hand, channel)."""
    matrices, x = matrices.to(x.dtype), x.transpose(1, 2)
    out = torch.empty_like(x.transpose(1, 2), memory_format=torch.contiguous_format)
    for group, (part, into) in enumerate(zip(x.split(sizes, -1), out.transpose(1, 2).split(sizes, -1), strict=True)):
        into.copy_(matrices[index[:, :, group]] @ part)
    return out


def _per_channel(values: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(batch, frame, hand, channel) of values (batch, hand, group, frame)."""
    each = values.permute(0, 3, 1, 2)[..., None]  # (batch, frame, hand, group, 1)
    return torch.cat([each[..., group, :].expand(*each.shape[:3], size) for group, size in enumerate(sizes)], -1)
