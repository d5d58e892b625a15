"""The landmark network of a rig's detector: a crop around a hand to its 21 joints, each with an uncertainty.

An hourglass of residual blocks ends in one heatmap per joint. A joint's position is the mean of its heatmap (Sun et
al., Integral Human Pose Regression, ECCV 2018), which is differentiable and finer than a cell. The uncertainty is the
scale of a Laplace distribution about that position (Kendall and Gal, NeurIPS 2017). Left hands are shown mirrored, so
that the network learns right hands only; one of its outputs says whether that choice was right.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ...core.hands import NUM_JOINTS

CROP_PX = 128
"""Side of the crop that the network sees, pixels."""
CELLS = 32
"""Side of a heatmap, cells."""
CHANNELS = (24, 32, 64, 128)
"""Channels at a half, a quarter, an eighth and a sixteenth of the crop's side."""
FEATURES = 2 * CHANNELS[-1]
"""Mean and maximum of each channel of the coarsest level."""
LOG_SCALE = (-6.0, 0.0)
"""Limits of the logarithm of an uncertainty, in sides of the crop: from 0.3 pixels to the whole crop."""


@dataclass(frozen=True)
class Prediction:
    """What the network says about crops, in sides of the crop: (0, 0) is its middle, (0.5, 0.5) a corner."""

    xy: Tensor
    """(crop, joint, 2)"""
    log_scale: Tensor
    """(crop, joint) logarithm of the Laplace distribution's scale."""
    log_heat: Tensor
    """(crop, joint, cell) logarithm of the probability of each cell, row by row."""
    right: Tensor
    """(crop,) log-odds that the hand looks like a right hand."""
    present: Tensor
    """(crop,) log-odds that there is a hand in the middle."""


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class HandNetwork(nn.Module):
    """0.6 million parameters; 0.12 billion multiplications per crop."""

    cells: Tensor

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = CHANNELS
        self.stem = _convolution(3, half, size=5, stride=2)
        self.down_quarter = nn.Sequential(_convolution(half, quarter, stride=2), nn.ReLU(), Residual(quarter))
        self.down_eighth = nn.Sequential(_convolution(quarter, eighth, stride=2), nn.ReLU(), Residual(eighth))
        self.down_sixteenth = nn.Sequential(_convolution(eighth, sixteenth, stride=2), nn.ReLU(), Residual(sixteenth))
        self.to_eighth, self.up_eighth = nn.Conv2d(sixteenth, eighth, 1), Residual(eighth)
        self.to_quarter, self.up_quarter = nn.Conv2d(eighth, quarter, 1), Residual(quarter)
        self.heat = nn.Conv2d(quarter, NUM_JOINTS, 1)
        self.whole = nn.Linear(FEATURES, NUM_JOINTS + 2)
        centers = (torch.arange(CELLS) + 0.5) / CELLS - 0.5
        y, x = torch.meshgrid(centers, centers, indexing="ij")
        self.register_buffer("cells", torch.stack([x.flatten(), y.flatten()], dim=-1), persistent=False)

    def hidden(self) -> Iterator[nn.Parameter]:
        """The weights of all convolutions but the first and the last, for the optimiser."""
        for name, weight in self.named_parameters():
            if weight.ndim == 4 and not name.startswith(("stem.", "heat.")):
                yield weight

    def forward(self, crops: Tensor) -> Prediction:
        """Joints in crops.

        Args:
            crops: (crop, 3, CROP_PX, CROP_PX) BGR, 0 to 1.
        """
        quarter = self.down_quarter(F.relu(self.stem(2 * crops - 1)))
        eighth = self.down_eighth(quarter)
        sixteenth = self.down_sixteenth(eighth)
        eighth = self.up_eighth(eighth + F.interpolate(self.to_eighth(sixteenth), scale_factor=2))
        quarter = self.up_quarter(quarter + F.interpolate(self.to_quarter(eighth), scale_factor=2))
        log_heat = F.log_softmax(self.heat(quarter).flatten(2), dim=-1)
        heat = log_heat.exp()
        xy = heat @ self.cells
        # A heatmap that is spread out says a part of the uncertainty by itself.
        spread = ((heat @ self.cells**2) - xy**2).sum(-1).clamp(min=1e-6)
        pooled = torch.cat([sixteenth.mean((2, 3)), sixteenth.amax((2, 3))], dim=-1)
        whole = self.whole(pooled)
        log_scale = (whole[:, :NUM_JOINTS] + 0.5 * torch.log(spread)).clamp(*LOG_SCALE)
        return Prediction(xy, log_scale, log_heat, whole[:, NUM_JOINTS], whole[:, NUM_JOINTS + 1])


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs, momentum=0.05)
    )


def fused(network: HandNetwork) -> HandNetwork:
    """A copy for evaluation, with every normalisation in the weights of its convolution: 7 % faster."""
    found = deepcopy(network).eval()
    for parent in list(found.modules()):
        for name, child in parent.named_children():
            match list(child.children()):
                case [nn.Conv2d() as convolution, nn.BatchNorm2d() as norm]:
                    setattr(parent, name, fuse_conv_bn_eval(convolution, norm))
    return found
