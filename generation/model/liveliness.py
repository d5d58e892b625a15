"""Liveliness: how fast a hand moves in a window, relative to the average; a latent variable with its own dynamics.

Real motion alternates rest and action: a quarter of the windows of captured manipulation hardly move at all. The
fingers may move while the wrist rests. Within a window, displacements of a group's channels scale alike, so each group
of a hand has one factor per window, on a small set of levels that are equally frequent in the training data. A Markov
chain carries it from one stretch of time to the next. The chain is drawn; it never depends on generated motion, so
motion of any length stays as lively as the data.
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
    """(group, level) float64 ascending factors of the speed; the mean of their squares is 1."""
    transition: Tensor
    """(group, level, level) float64: how probable each level is half a window after each; rows sum to 1."""

    @classmethod
    def constant(cls, groups: int) -> Liveliness:
        """Always the average."""
        return cls(torch.ones(groups, 1, dtype=torch.float64), torch.ones(groups, 1, 1, dtype=torch.float64))

    @classmethod
    def of(cls, energy: Tensor) -> Liveliness:
        """Measured from `energies` (window, half, hand, group)."""
        groups = energy.shape[-1]
        if not len(energy):
            return cls.constant(groups)
        found = [_measured(energy[..., group].double()) for group in range(groups)]
        return cls(*(torch.stack(part) for part in zip(*found, strict=True)))

    def to(self, device: torch.device | str) -> Liveliness:
        return Liveliness(self.levels.to(device), self.transition.to(device))

    def of_level(self, level: Tensor) -> Tensor:
        """(..., group) factors of the speed at levels (..., group)."""
        return self.levels[torch.arange(len(self.levels), device=level.device), level]

    def after(self, level: Tensor | None, halves: int) -> Tensor:
        """(..., group, level) probabilities some half windows after levels (..., group); of any if there were none."""
        if level is None:
            return torch.full_like(self.levels, 1 / self.levels.shape[-1])
        groups = torch.arange(len(self.levels), device=level.device)
        return torch.linalg.matrix_power(self.transition, halves)[groups, level]


def _measured(square: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (level,) and transitions (level, level) of one group's energies (window, half, hand)."""
    whole = square.mean(1).flatten().sort().values
    count = min(LEVELS, len(whole))
    if whole[-1] == 0:  # a group that never moves
        return square.new_ones(count), square.new_full((count, count), 1 / count)
    parts = (whole / whole.mean()).tensor_split(count)
    levels = torch.stack([part.mean() for part in parts]).sqrt().clamp_min(LEAST)
    levels = levels / levels.square().mean().sqrt()
    # Halves are compared with halves: they vary more than whole windows.
    ranks = square.flatten().argsort().argsort().view(square.shape)
    level = ranks * count // square.numel()
    counts = torch.full((count, count), DOUBT, dtype=torch.float64)
    pairs = level[:, 0].flatten() * count + level[:, 1].flatten()
    counts += torch.bincount(pairs, minlength=counts.numel()).view(counts.shape)
    counts = counts + counts.mT  # the same forwards and backwards, so that all levels stay equally frequent
    return levels, counts / counts.sum(1, keepdim=True)


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
