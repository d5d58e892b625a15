"""HandDiffuse's denoiser: a transformer for each hand that attends to both hands, on top of the Gaussian-process prior.

The left hand is mirrored, so both hands are right hands for the network, without a flag for the side: swapping the
hands of the input swaps those of the output. The prior gives smooth motion through the observed entries; the network
adds a correction, scaled by the standard deviation of the prior. Where that is zero nothing is added, so constraints
hold without a seam. The untrained network equals the prior.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import FeedForward, TimestepEmbedding, attend, modulated_norm, rotary, rotate, zero_linear
from .conditioning import Denoiser, DenoiserSettings

MODULATIONS = 6
"""Shift, scale and gate of a block's attention and of its feed-forward layer."""


class HandDiffuse(Denoiser):
    """One token per hand and frame, see the module."""

    moves_mean = True

    def __init__(self, settings: DenoiserSettings, channels: int, groups: int, uses_prior: bool) -> None:
        super().__init__(uses_prior)
        width = settings.width
        self.settings = settings
        self.input = nn.Linear(self.inputs(channels, groups, uses_prior), width)
        self.timestep = TimestepEmbedding(width)
        self.shape = nn.Linear(10, width)
        # One projection for all blocks (adaLN-single, Chen et al. 2023): far fewer parameters than one for each.
        self.modulation = nn.Sequential(nn.SiLU(), zero_linear(width, MODULATIONS * width))
        self.blocks = nn.ModuleList(HandDiffuseBlock(settings) for _ in range(settings.blocks))
        self.final_modulation = nn.Sequential(nn.SiLU(), zero_linear(width, 2 * width))
        self.output = zero_linear(width, channels)

    def network(self, inputs: Tensor, t: Tensor, betas: Tensor) -> Tensor:
        x = self.input(inputs).transpose(1, 2)  # from here on (batch, hand, frame, width)
        condition = self.timestep(t)[:, None] + self.shape(betas)
        modulation = self.modulation(condition)[:, :, None].to(x.dtype)
        table = rotary(x.shape[2], self.settings.width // self.settings.heads, x)
        for block in self.blocks:
            x = block(x, modulation, table)
        shift, scale = self.final_modulation(condition)[:, :, None].to(x.dtype).chunk(2, -1)
        return self.output(modulated_norm(x, shift, scale)).transpose(1, 2)


class HandDiffuseBlock(nn.Module):
    """Attention of each hand's frames to its own and the other hand's frames at once, then a feed-forward layer.

    Own and other frames compete in one softmax but have their own keys and values, which tells them apart. The heads
    share them (multi-query attention, Shazeer 2019): all heads' queries of a hand make one long product without a
    single transposed copy, which saves a sixth of a training step on a CPU.
    """

    def __init__(self, settings: DenoiserSettings) -> None:
        super().__init__()
        width = settings.width
        self.heads, self.head_width = settings.heads, width // settings.heads
        self.modulation = nn.Parameter(torch.zeros(MODULATIONS * width))
        self.queries_keys_values = nn.Linear(width, width + 4 * self.head_width)
        self.joined = nn.Linear(width, width)
        self.feed_forward = FeedForward(width, settings.hidden)

    def forward(self, x: Tensor, modulation: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        parts = (modulation + self.modulation.to(x.dtype)).chunk(MODULATIONS, -1)
        attention_shift, attention_scale, attention_gate, shift, scale, gate = parts
        x = torch.addcmul(x, attention_gate, self.attention(modulated_norm(x, attention_shift, attention_scale), table))
        return torch.addcmul(x, gate, self.feed_forward(modulated_norm(x, shift, scale)))

    def attention(self, x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        heads = self.queries_keys_values(x).unflatten(-1, (-1, self.head_width))
        turned, v_own, v_other = heads.split((self.heads + 2, 1, 1), -2)
        q, k_own, k_other = rotate(turned, table).split((self.heads, 1, 1), -2)
        k = torch.cat((k_own, k_other.flip(1)), 2)
        v = torch.cat((v_own, v_other.flip(1)), 2)
        # Without a mask the queries' order does not matter: frames and heads become one axis of (batch * hand, ...).
        out = attend(q.flatten(2, 3).flatten(0, 1), k.squeeze(3).flatten(0, 1), v.squeeze(3).flatten(0, 1))
        return self.joined(out.view(x.shape))
