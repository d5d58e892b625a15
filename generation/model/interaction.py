"""The Interaction Loss: a comparison of contact over all pairs of joints of the two hands.

HandDiffuse (arXiv 2312.04867) adds an Interaction Loss to the diffusion of two-hand motion, so that the hands touch as
in the recording. Its exact formula is not public; this module is our interpretation and can be replaced as a whole.
Every pair of a left and a right joint with distance d has the contact potential

    phi = exp(-d^2 / 2 sigma^2),    sigma = 2 cm.

- **contact** compares the potentials: whether each pair is near, wherever and however turned the hands are.
- **shape** compares the offset vectors between the hands, weighted by the true potential: how they are near.

Both are sums over the 441 pairs divided by 1 + the sum of the true potentials: about a mean over the pairs that touch,
and it fades to the plain sum, without a step, when the hands part. Hands that are and should be far apart cost nothing.
"""

from __future__ import annotations

from math import exp

import torch
from torch import Tensor

from .precision import as_float32

SIGMA_M = 0.02
"""Joints this far apart have potential 0.61: about what two fingers that touch have."""

REACH = 6.0
"""The potential is set to zero beyond this many sigmas (12 cm), where it is 1.5e-8."""


def contact_potential(joints_m: Tensor, sigma_m: float = SIGMA_M) -> Tensor:
    """The contact potential of each left joint with each right joint.

    Args:
        joints_m: (..., hand, joint, 3) metres.
        sigma_m: the distance at which the potential has fallen to exp(-1/2).

    Returns:
        (..., left joint, right joint) in 0..1 up to rounding; smooth, also where joints coincide; 0 beyond `REACH`.
    """
    with as_float32(joints_m) as (joints,):
        # The square is expanded into a product, which needs the origin to be near: the distances do not depend on it.
        origin = joints.detach().mean(dim=(-3, -2), keepdim=True)
        left, right = ((joints - origin) / (sigma_m * 2**0.5)).unbind(-3)
        ones = torch.ones_like(left[..., :1])
        a = torch.cat([2 * left, -left.square().sum(-1, keepdim=True), ones], dim=-1)
        b = torch.cat([right, ones, -right.square().sum(-1, keepdim=True)], dim=-1)
        # Numbers too small for float32's normal range would make every later step several times slower.
        return torch.exp((a @ b.mT).clamp(min=-(REACH**2) / 2)) - exp(-(REACH**2) / 2)


def interaction_loss(predicted_m: Tensor, true_m: Tensor, sigma_m: float = SIGMA_M) -> dict[str, Tensor]:
    """The two terms of every frame.

    Args:
        predicted_m: (..., hand, joint, 3) metres.
        true_m: as `predicted_m`.
        sigma_m: the width of the potential.

    Returns:
        `contact` (...,): 1 for one lost contact among none others, half of it for one of two.
        `shape` (...,): the weighted mean squared error of the offsets in units of sigma^2: 1 is 2 cm off.
        Neither changes when prediction and truth move rigidly together; `contact` not even when only one of them does.
    """
    with as_float32(predicted_m, true_m) as (predicted, true):
        phi = contact_potential(true, sigma_m)
        near = 1 + phi.sum(dim=(-2, -1))
        contact = (contact_potential(predicted, sigma_m) - phi).square().sum(dim=(-2, -1))
        # The error of an offset is the difference of two joints' errors, so the sum over pairs is the quadratic form
        # of a graph's Laplacian. What all joints share drops out, and is taken out first for the digits it would cost.
        error = (predicted - true) / sigma_m
        error = error - error.detach().mean(dim=(-3, -2), keepdim=True)
        left, right = error.unbind(-3)
        shape = (
            (phi.sum(-1) * left.square().sum(-1)).sum(-1)
            + (phi.sum(-2) * right.square().sum(-1)).sum(-1)
            - 2 * (left * (phi @ right)).sum(dim=(-2, -1))
        )
        return {"contact": contact / near, "shape": shape / near}
