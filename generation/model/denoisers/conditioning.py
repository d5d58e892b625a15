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

LEAST_NEWS = 1e-6
"""Least variance that x_t is taken to explain."""


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
    log_liveliness: Tensor | None = None
    """(batch, hand, group) logarithm of the liveliness, where there is a prior."""


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
    """Predicts the clean motion x0 from x_t = alpha x0 + sigma noise. All tensors normalised.

    With the Gaussian-process prior, x0 = posterior mean + posterior standard deviation * network: the prior gives
    smooth motion through the observed entries, and the network adds a correction. Where the deviation is zero nothing
    is added, so constraints hold without a seam, and the untrained denoiser is the prior. Without it, x0 is the
    network's output, also at the observed entries, so that what is missing there can be spread over time afterwards.
    """

    moves_mean: ClassVar[bool] = False
    """Whether, with a prior, a network of the expected motion (expectation.py) belongs to it."""

    def __init__(self, uses_prior: bool) -> None:
        super().__init__()
        self.uses_prior = uses_prior
        """Whether `Conditioning.conditional` has to be there."""

    @staticmethod
    def inputs(channels: int, groups: int, uses_prior: bool) -> int:
        """Numbers per frame and hand that `network` gets."""
        return (2 + uses_prior) * channels + (1 + uses_prior) * groups

    def forward(self, x_t: Tensor, t: Tensor, conditioning: Conditioning, posterior: Posterior | None = None) -> Tensor:
        """(batch, frame, hand, channel) float32.

        x_t is (batch, frame, hand, channel), t (batch,) long; `posterior` is the prior's mean and standard deviation of
        x0 after x_t, for denoisers with `uses_prior`. Runs under autocast too.
        """
        if not self.uses_prior:
            x_t = torch.where(conditioning.mask, conditioning.values, x_t)
            inputs = torch.cat((x_t, conditioning.values, conditioning.group_mask), -1)
            return self.network(inputs, t, conditioning.betas).float()
        assert posterior is not None, "the denoiser needs the prior's posterior"
        assert conditioning.conditional is not None, "the denoiser needs the prior"
        assert conditioning.log_liveliness is not None
        mean, std = posterior
        lively = conditioning.log_liveliness[:, None].expand(-1, mean.shape[1], -1, -1).to(mean.dtype)
        # Per channel, the mean contains all information of x_t about x0; x_t itself would only add noise. What it adds
        # to what was known before is small in much noise; scaled by its standard deviation, the network sees it there.
        base, before = conditioning.conditional.base, conditioning.conditional.std
        news = (mean - base) * (before.square() - std.square()).clamp_min(LEAST_NEWS).rsqrt()
        inputs = torch.cat((mean, news, base, conditioning.group_mask, lively), -1)
        x0 = torch.addcmul(mean, std, self.network(inputs, t, conditioning.betas).float())
        return torch.where(conditioning.mask, conditioning.values, x0)

    @abstractmethod
    def network(self, inputs: Tensor, t: Tensor, betas: Tensor) -> Tensor:
        """(batch, frame, hand, channel) from inputs (batch, frame, hand, number) and hand shapes (batch, hand, 10)."""

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
