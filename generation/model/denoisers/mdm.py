"""The human motion diffusion model (Tevet et al. 2023) for two hands: the single-stream baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import TimestepEmbedding, sinusoids, zero_linear
from .conditioning import Denoiser, DenoiserSettings


class MDM(Denoiser):
    """Both hands in one token per frame, after a token for the timestep (and here the shape); predicts x0 itself.

    A standard encoder, but with the norms before the layers, so that it trains at the others' learning rate.
    """

    def __init__(self, settings: DenoiserSettings, channels: int, groups: int, uses_prior: bool) -> None:
        super().__init__(uses_prior)
        width = settings.width
        self.input = nn.Linear(2 * self.inputs(channels, groups, uses_prior), width)
        self.timestep = TimestepEmbedding(width)
        self.shape = nn.Linear(20, width)
        # Not nn.TransformerEncoder: it copies one layer, so all would start with the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, settings.heads, settings.hidden, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(settings.blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.output = (zero_linear if uses_prior else nn.Linear)(width, 2 * channels)

    def network(self, inputs: Tensor, t: Tensor, betas: Tensor) -> Tensor:
        frames = self.input(inputs.flatten(-2))
        first = self.timestep(t) + self.shape(betas.flatten(1))
        x = torch.cat((first[:, None].to(frames.dtype), frames), 1)
        x = x + sinusoids(torch.arange(x.shape[1], device=x.device), x.shape[2]).to(x.dtype)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x[:, 1:])).unflatten(-1, (inputs.shape[2], -1))
