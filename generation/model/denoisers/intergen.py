"""InterGen (Liang et al. 2024) for two hands: the baseline of two cooperating streams with shared weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import FeedForward, TimestepEmbedding, attend, modulated_norm, sinusoids, zero_linear
from .conditioning import Denoiser, DenoiserSettings


class InterGen(Denoiser):
    """Each hand attends to itself, then to the other hand; the timestep shifts and scales each norm; predicts x0."""

    def __init__(self, settings: DenoiserSettings, channels: int, groups: int, uses_prior: bool) -> None:
        super().__init__(uses_prior)
        width = settings.width
        self.input = nn.Linear(self.inputs(channels, groups, uses_prior), width)
        self.timestep = TimestepEmbedding(width)
        self.shape = nn.Linear(10, width)
        self.blocks = nn.ModuleList(InterGenBlock(settings) for _ in range(settings.blocks))
        self.norm = nn.LayerNorm(width)
        self.output = (zero_linear if uses_prior else nn.Linear)(width, channels)

    def network(self, inputs: Tensor, t: Tensor, betas: Tensor) -> Tensor:
        x = self.input(inputs).transpose(1, 2)
        x = x + sinusoids(torch.arange(x.shape[2], device=x.device), x.shape[3]).to(x.dtype)
        condition = (self.timestep(t)[:, None] + self.shape(betas))[:, :, None]
        for block in self.blocks:
            x = block(x, condition)
        return self.output(self.norm(x)).transpose(1, 2)


class InterGenBlock(nn.Module):
    def __init__(self, settings: DenoiserSettings) -> None:
        super().__init__()
        width = settings.width
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.own = Attention(width, settings.heads)
        self.other = Attention(width, settings.heads)
        self.feed_forward = FeedForward(width, settings.hidden)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x is (batch, hand, frame, width), condition (batch, hand, 1, width)."""
        shifts_scales = self.modulation(condition).to(x.dtype).chunk(6, -1)
        normed = modulated_norm(x, *shifts_scales[:2])
        x = x + self.own(normed, normed)
        normed = modulated_norm(x, *shifts_scales[2:4])
        x = x + self.other(normed, normed.flip(1))
        return x + self.feed_forward(modulated_norm(x, *shifts_scales[4:]))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.joined = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q = self.queries(x)
        k, v = self.keys_values(context).chunk(2, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(2, 3).flatten(0, 2) for part in (q, k, v))
        out = attend(q, k, v).unflatten(0, (*x.shape[:2], self.heads))
        return self.joined(out.transpose(2, 3).flatten(-2))
