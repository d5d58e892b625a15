"""Layers that the denoisers share.

Norms have no parameters and activations keep the dtype of the matrix products, so that under autocast the elementwise
work, which takes as long as the products at these widths, moves half the bytes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusion import TIMESTEPS, Schedule

FREQUENCIES = 128


def sinusoids(position: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """(..., width) cosines and sines of positions (...,) (Vaswani et al. 2017, section 3.5)."""
    half = width // 2
    rate = torch.exp(torch.arange(half, device=position.device) * (-math.log(longest) / half))
    angle = position[..., None].float() * rate
    return torch.cat((angle.cos(), angle.sin()), -1)


LOG_SNR_UNIT = 30.0
"""Positions for each unit of log(alpha / sigma): the sinusoids tell small differences, and see the whole range."""

LEAST_LOG_SNR = -7.0
"""The cosine schedule's last timesteps have nothing but noise, and any log(alpha / sigma) below this."""


class TimestepEmbedding(nn.Module):
    """(batch,) timesteps to (batch, width), by their log(alpha / sigma).

    What a network has to do changes as much from timestep 950 to 990 as from 200 to 700.
    """

    log_snr: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        log_snr = Schedule().log_snr(torch.arange(TIMESTEPS)).clamp_min(LEAST_LOG_SNR)
        self.register_buffer("log_snr", log_snr, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        return self.layers(sinusoids(LOG_SNR_UNIT * self.log_snr[t], 2 * FREQUENCIES))


def rotary(frames: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """(frame, 1, width) cosines and signed sines for `rotate` (Su et al. 2021, eq. 34), in the dtype of `like`."""
    angle = sinusoids(torch.arange(frames, device=like.device), width, longest=1000.0).chunk(2, -1)
    cos, sin = angle
    return (
        torch.cat((cos, cos), -1)[:, None].to(like.dtype),
        torch.cat((-sin, sin), -1)[:, None].to(like.dtype),
    )


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """(..., frame, head, width) with the pair of halves of each head turned by an angle proportional to the frame."""
    cos, sin = table
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm whose affine part comes from the conditioning (adaLN, Peebles and Xie 2023)."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), scale + 1)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention: (batch, position, width) each, positions of q and of k, v apart."""
    if not q.is_cpu:
        return F.scaled_dot_product_attention(q, k, v)
    # On the CPU the fused kernel's backward takes three times as long as this one, at a hundred frames.
    weights = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2)).softmax(-1)
    return torch.bmm(weights, v)


class FeedForward(nn.Sequential):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that starts as zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
