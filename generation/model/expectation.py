"""The expected motion between observed frames: kriging whose weights adapt to how the hand moves.

The mean of the Gaussian-process prior weighs observed frames by their distances in time alone. Real hands are less
simple: a hand that comes to rest is not a slow hand, and one that turns back is not one that goes on. A small network
sees the observed motion on both sides of a gap and moves the mean.

Its correction of a channel is a sum of differences between frames of that channel, with weights that are the same for
all channels of a group and follow from inner products of these differences over the group. It therefore scales and
turns with the motion, as kriging does, and learns from every channel, so a few minutes of motion suffice. It is in
proportion to the prior's standard deviation: 0 at observed frames, without a seam there. Only frames that lie between
two observed ones are moved: beyond them, motion would be continued from what was itself generated. And only where
motion is observed on at least one side, as two frames in a row: between single keyframes nothing tells how the hand
moves there, and a network could only learn its training motion by heart.

Shapes: packed, normalised motion is (batch, frame, hand, channel).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAGS = (1, 3, 9)
"""Frames before the gap and after it, relative to its ends, of which displacements tell speed and acceleration."""

DIFFERENCES = 2 + 2 * len(LAGS)
"""To the frame before, to the frame after, and displacements on both sides."""

WIDTH = 96
LONG_GAP = 60.0
"""Frames of a gap beyond which length does not matter."""
LOG_SCALE = 2.0
"""Limit of the logarithm of a scale: motion that is drawn cannot become ever livelier by its own example."""
LEAST_SQUARE = 1e-8
"""Mean square, in standard deviations, below which differences are rounding."""


class Expectation(nn.Module):
    """What motion to expect between observed frames, and how surely; before training, no more than the prior says."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups
        inputs = DIFFERENCES * (DIFFERENCES + 1) // 2 + 2 * groups + 4 + groups
        self.weights = _perceptron(inputs, DIFFERENCES)
        self.scale = _perceptron(inputs, 1)

    def forward(
        self, base: Tensor, observed: Tensor, std: Tensor, spread: Tensor, shares: Tensor, sizes: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """What to add to the prior's mean, (batch, frame, hand, channel), and the logarithm of the motion's distance
        from this mean, relative to `std`, (batch, frame, hand, group). Both are 0 where `gaps` sees nothing.

        Args:
            base: (batch, frame, hand, channel) that mean.
            observed: (batch, frame, hand, group) bool.
            std: (batch, frame, hand, group) the prior's standard deviation at the average liveliness.
            spread: (group, lag) mean squared difference between frames that are `lag` apart, at the same liveliness.
            shares: (channel,) of each channel in its group's variance.
            sizes: channels in each group.
        """
        before, after, seen = gaps(observed)
        parts = base.split(sizes, -1)
        found = [_differences(part, before[..., g], after[..., g]) for g, part in enumerate(parts)]
        products = torch.stack([_products(v, share) for v, share in zip(found, shares.split(sizes), strict=True)], 3)
        length = (after - before).clamp_min(1)
        gap_square = spread.T.gather(0, length.clamp_max(len(spread[0]) - 1).flatten(0, 2)).view(std.shape)
        inputs = self._seen(products, before, length)
        weights = self.weights(inputs).mul(4 * (std / gap_square.sqrt())[..., None]) * seen[..., None]
        moved = [torch.einsum("bfhcd,bfhd->bfhc", v, weights[..., g, :]) for g, v in enumerate(found)]
        log_scale = LOG_SCALE * torch.tanh(self.scale(inputs)[..., 0] / LOG_SCALE)
        return torch.cat(moved, -1), log_scale * seen

    def _seen(self, products: Tensor, before: Tensor, length: Tensor) -> Tensor:
        """(batch, frame, hand, group, input) of the network: nothing depends on the place, the turn or, up to a
        logarithm, the size of the motion."""
        square = products.diagonal(dim1=-2, dim2=-1).sum(-1) + LEAST_SQUARE
        row, column = torch.triu_indices(DIFFERENCES, DIFFERENCES, device=products.device)
        relative = products[..., row, column] / square[..., None]
        relative = relative.sign() * relative.abs().sqrt()
        log_size = square.log() / 2
        sizes = torch.cat([log_size, log_size.flip(2)], -1)[:, :, :, None].expand(-1, -1, -1, self.groups, -1) / 3
        frame = torch.arange(before.shape[1], device=before.device)[None, :, None, None]
        share = (frame - before) / length
        times = torch.stack([share, share * (1 - share), length.log() / 4, (length / LONG_GAP).clamp_max(1)], -1)
        group = torch.eye(self.groups, device=products.device).expand(*relative.shape[:3], -1, -1)
        return torch.cat([relative, sizes, times, group], -1)


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Its output is 0 before training."""
    last = nn.Linear(WIDTH, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), last)


def gaps(observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The observed frames before and after each frame, and whether the motion between them can be told from them.

    It can be if the frame lies between two observed ones, is not observed itself, and one of the two is next to
    another observed frame. All (batch, frame, hand, group) like `observed`. Where no frame is observed, a frame of the
    motion stands there.
    """
    frames = observed.shape[1]
    frame = torch.arange(frames, device=observed.device)[None, :, None, None]
    before = torch.where(observed, frame, -1).cummax(1).values
    after = torch.where(observed, frame, frames).flip(1).cummin(1).values.flip(1)
    between = ~observed & (before >= 0) & (after < frames)
    before, after = before.clamp_min(0), after.clamp_max(frames - 1)
    in_a_row = observed[:, :-1] & observed[:, 1:]
    moving_before = nn.functional.pad(in_a_row, (0, 0, 0, 0, 1, 0)).gather(1, before)
    moving_after = nn.functional.pad(in_a_row, (0, 0, 0, 0, 0, 1)).gather(1, after)
    return before, after, between & (moving_before | moving_after)


def _differences(x: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """(batch, frame, hand, channel, difference) of one group; before and after are (batch, frame, hand)."""

    def at(frame: Tensor) -> Tensor:
        inside = frame.clamp(0, x.shape[1] - 1)
        return x.gather(1, inside[..., None].expand(-1, -1, -1, x.shape[-1]))

    left, right = at(before), at(after)
    sides = [left - x, *(at(before - lag) - left for lag in LAGS)]
    sides += [right - x, *(at(after + lag) - right for lag in LAGS)]
    return torch.stack(sides, -1)


def _products(differences: Tensor, shares: Tensor) -> Tensor:
    """(batch, frame, hand, difference, difference) inner products over the channels of a group."""
    return torch.einsum("bfhcd,bfhce,c->bfhde", differences, differences, shares.to(differences))
