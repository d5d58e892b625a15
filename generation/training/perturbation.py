"""Variations of training windows: how far the hands are apart, and their shapes, where they do not touch.

A few recordings show few hands in few places. A network then tells from a hand's shape and pose which recording it
sees, and from that where the hands are, in place of looking where they are; motion that it generates collapses to
mean places. Perturbed windows break that link. What matters about hands that are near each other is kept: everything is
scaled by the distance between them, so hands that touch are left as they were recorded.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..model.motion import Motion

PLACE_STD = 0.25
"""Standard deviation of the shift of one hand relative to the other, of each coordinate, over the least distance."""

PLACE_LIMIT = 0.8
"""Longest shift over the least distance: hands do not get through each other."""

BETAS_STD = 0.5
"""Standard deviation of the change of betas, of which those of people have one of 1."""

FREE_M = 0.1
"""Hands whose joints come no nearer than this can have any shape."""


def least_distance_m(joints_m: Tensor) -> Tensor:
    """(batch,) the least distance between a joint of the left and one of the right hand, of (batch, frame, hand, joint,
    3)."""
    left, right = joints_m.flatten(0, 1).unbind(1)
    return torch.cdist(left, right).flatten(1).amin(1).view(len(joints_m), -1).amin(1)


def perturbed(motion: Motion, apart_m: Tensor, generator: torch.Generator) -> Motion:
    """Windows with hands shifted and reshaped.

    Args:
        motion: (batch, frame, hand, ...)
        apart_m: (batch,) least distance between the hands, metres.
        generator: of the numbers that are drawn; on the CPU, so that they do not depend on the device.
    """
    count = len(apart_m)
    place = torch.randn(count, 3, generator=generator).to(motion.wrist_m) * PLACE_STD
    place = place * (PLACE_LIMIT / place.norm(dim=-1, keepdim=True)).clamp_max(1) * apart_m[:, None]
    shift_m = torch.stack([place, -place], 1)[:, None] / 2  # (batch, 1, hand, 3)
    change = torch.randn(motion.betas.shape, generator=generator).to(motion.betas) * BETAS_STD
    betas = motion.betas + change * (apart_m / FREE_M).clamp_max(1)[:, None, None]
    return replace(motion, wrist_m=motion.wrist_m + shift_m, betas=betas)
