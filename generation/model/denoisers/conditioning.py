"""The inputs of every denoiser, and the denoiser protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..gp_prior import Conditional

Posterior = tuple[Tensor, Tensor]
"""Mean and standard deviation of x0, (batch, frame, hand, channel) each."""

TIMESTEPS = 1000
"""Noise levels of the diffusion; a timestep is 0 (almost no noise) ... 999 (only noise)."""


@dataclass(frozen=True)
class Conditioning:
    """The conditioning of each motion, in addition to the noisy motion."""

    mask: Tensor
    """(batch, frame, hand, channel) bool: observed entries. All channels of a group are observed, or none."""
    values: Tensor
    """(batch, frame, hand, channel) normalised; 0 where not observed."""
    group_mask: Tensor
    """(batch, frame, hand, group) float: 1 where the group is observed."""
    betas: Tensor
    """(batch, hand, 10) MANO shape."""
    conditional: Conditional | None
    """The Gaussian process given the observed entries; for denoisers with `uses_prior`."""


@dataclass(frozen=True)
class DenoiserSettings:
    """Size of a denoiser."""

    width: int
    """Numbers per token; a multiple of twice the heads."""
    blocks: int
    heads: int
    expansion: float = 4.0
    """Hidden width of the feed-forward layers over `width`."""

    def __post_init__(self) -> None:
        assert self.width % (2 * self.heads) == 0
        assert (self.width * self.expansion).is_integer()

    @property
    def hidden(self) -> int:
        return int(self.width * self.expansion)


class Denoiser(nn.Module, ABC):
    """Predicts the clean motion x0 from x_t = alpha x0 + sigma noise. All tensors normalised."""

    uses_prior: ClassVar[bool]
    """Whether `Conditioning.conditional` has to be there."""

    def forward(self, x_t: Tensor, t: Tensor, conditioning: Conditioning, posterior: Posterior | None = None) -> Tensor:
        """(batch, frame, hand, channel) float32; observed entries are exactly the observed values.

        x_t is (batch, frame, hand, channel), t (batch,) long; `posterior` is the prior's mean and standard deviation of
        x0 after x_t, for denoisers with `uses_prior`. Runs under autocast too.
        """
        x_t = torch.where(conditioning.mask, conditioning.values, x_t)
        x0 = self.predict(x_t, t, conditioning, posterior)
        return torch.where(conditioning.mask, conditioning.values, x0.float())

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning, posterior: Posterior | None) -> Tensor:
        """x0 with anything at the observed entries; x_t has the observed values there."""

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
