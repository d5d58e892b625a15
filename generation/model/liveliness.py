"""Liveliness: how fast a hand moves in a window, relative to the average; a latent variable with its own dynamics.

Real motion alternates rest and action: a quarter of the windows of captured manipulation hardly move at all. Within a
window, displacements of all channels scale alike, so a hand has one factor per window, on a small set of levels that
are equally frequent in the training data. A Markov chain carries it from one stretch of time to the next. The chain is
drawn; it never depends on generated motion, so motion of any length stays as lively as the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = 8
"""Number of levels; each holds an eighth of the training data."""

LEAST = 0.05
"""Least liveliness: below a twentieth of the average speed a hand is at rest, and what moves is noise."""

DOUBT = 0.5
"""Transitions added to each count, so that no transition is impossible because few were seen."""


@dataclass(frozen=True)
class Liveliness:
    """The levels of liveliness and how they follow one another."""

    levels: Tensor
    """(level,) float64 ascending factors of the speed; the mean of their squares is 1."""
    transition: Tensor
    """(level, level) float64: how probable each level is half a window after each; rows sum to 1."""

    @classmethod
    def constant(cls) -> Liveliness:
        """Always the average."""
        return cls(torch.ones(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))

    @classmethod
    def of(cls, energy: Tensor) -> Liveliness:
        """Measured from `energies` (window, half, hand, group)."""
        total = energy.double().mean((0, 1, 2))
        if not len(energy) or not (total > 0).all():
            return cls.constant()
        square = (energy.double() / total).mean(-1)  # (window, half, hand)
        whole = square.mean(1).flatten().sort().values
        parts = whole.tensor_split(min(LEVELS, len(whole)))
        levels = torch.stack([part.mean() for part in parts]).sqrt().clamp_min(LEAST)
        levels = levels / levels.square().mean().sqrt()
        # Halves are compared with halves: they vary more than whole windows.
        ranks = square.flatten().argsort().argsort().view(square.shape)
        level = ranks * len(levels) // square.numel()
        counts = torch.full((len(levels), len(levels)), DOUBT, dtype=torch.float64)
        pairs = level[:, 0].flatten() * len(levels) + level[:, 1].flatten()
        counts += torch.bincount(pairs, minlength=counts.numel()).view(counts.shape)
        counts = counts + counts.mT  # the same forwards and backwards, so that all levels stay equally frequent
        return cls(levels, counts / counts.sum(1, keepdim=True))

    def to(self, device: torch.device | str) -> Liveliness:
        return Liveliness(self.levels.to(device), self.transition.to(device))

    def after(self, level: Tensor | None, halves: int) -> Tensor:
        """(..., level) probabilities some half windows after a level (...); of any level if there was none."""
        if level is None:
            return torch.full_like(self.levels, 1 / len(self.levels))
        return torch.linalg.matrix_power(self.transition, halves)[level]


def energies(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(window, half, hand, group) mean squared change per frame in both halves of windows (window, frame, hand,
    channel) of packed motion in the channels' own units. The first frame does not count: increments are 0 there."""
    inner = x[:, 1:] if x.shape[1] > 2 else x
    steps = inner.double().diff(dim=1).square()
    halves = [part.mean(1) if part.shape[1] else torch.zeros_like(x[:, 0]).double() for part in steps.chunk(2, 1)]
    halves = [*halves, halves[-1]] if len(halves) < 2 else halves
    return torch.stack([torch.stack([p.sum(-1) for p in half.split(sizes, -1)], -1) for half in halves], 1)


def draw(probability: Tensor, uniform: Tensor) -> Tensor:
    """(...) indices drawn with probabilities (..., level) by uniform numbers (...) in 0 ... 1."""
    edges = probability.cumsum(-1) / probability.sum(-1, keepdim=True)
    return (uniform[..., None] > edges[..., :-1]).sum(-1)
