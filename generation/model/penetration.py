"""Penetration of two hands, measured with spheres that fill each hand, and guidance that moves the hands apart.

The spheres sit on the bones. Their radii are those of an adult's hand, measured on the procedural hand: in the palm as
large as the mesh leaves room for, in a finger, whose bone is not always in its middle, half-way between the least and
the median distance of the skin around. They do not follow `betas`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...core.hands import BONES, NUM_JOINTS
from .precision import as_float32

_PALM = ((0.25, 0.0170), (0.5, 0.0150), (0.75, 0.0145), (1.0, 0.0140))
SPHERES = (
    *(((0.5, 0.0150), (1.0, 0.0145)), ((0.5, 0.0135), (1.0, 0.0115)), ((0.5, 0.0100), (1.0, 0.0100))),
    ((0.4, 0.0100), (0.75, 0.0085)),
    *(_PALM, ((0.5, 0.0100), (1.0, 0.0100)), ((0.5, 0.0090), (1.0, 0.0090)), ((0.4, 0.0080), (0.75, 0.0065))),
    *(_PALM, ((0.5, 0.0105), (1.0, 0.0105)), ((0.5, 0.0090), (1.0, 0.0090)), ((0.4, 0.0080), (0.75, 0.0065))),
    *(_PALM, ((0.5, 0.0100), (1.0, 0.0100)), ((0.5, 0.0085), (1.0, 0.0085)), ((0.4, 0.0075), (0.75, 0.0060))),
    *(_PALM, ((0.5, 0.0095), (1.0, 0.0090)), ((0.5, 0.0080), (1.0, 0.0080)), ((0.4, 0.0070), (0.75, 0.0060))),
)
"""For each of `hands.BONES` its spheres: how far along the bone, radius in metres. Two on a bone, four on the long ones
of the palm; the tip itself lies on the skin and has none."""

ENERGY_UNIT_M = 0.01
_DISTANCE_FLOOR_M = 1e-4
"""Centres that coincide have no direction to part in, and must not have an infinite gradient."""


def sphere_centers(joints_m: Tensor) -> Tensor:
    """(..., 48, 3) centres of the spheres of (..., 21, 3) joints, metres; radii in `RADIUS_M`."""
    return torch.as_tensor(_PLACE, dtype=joints_m.dtype, device=joints_m.device) @ joints_m


def penetration_depth_m(joints_m: Tensor) -> Tensor:
    """Penetration depth: the deepest overlap of a sphere of the left hand with one of the right hand.

    Args:
        joints_m: (..., frame, hand, 21, 3) metres.

    Returns:
        (..., frame) metres, 0 where they are apart; differentiable.
    """
    return _where_near(joints_m, lambda depth: depth.amax(dim=(-2, -1)))


def penetration_energy(joints_m: Tensor) -> Tensor:
    """Half the squared depth in centimetres, summed over all pairs of spheres and all frames.

    Args:
        joints_m: (..., frame, hand, 21, 3) metres.

    Returns:
        (...,) differentiable; 0 without a gradient where the hands are apart.
    """
    return _where_near(joints_m, lambda depth: 0.5 * (depth / ENERGY_UNIT_M).square().sum(dim=(-2, -1))).sum(dim=-1)


def guided(
    x0: Tensor,
    to_joints: Callable[[Tensor], Tensor],
    smooth: Callable[[Tensor], Tensor],
    weight: float = 1.0,
    steps: int = 4,
    limit: float = 0.5,
    energy: Callable[[Tensor], Tensor] = penetration_energy,
) -> Tensor:
    """x0 moved a few steps down the energy's gradient, in the metric of the prior.

    The direction is C g: g the gradient with respect to x0 and C the prior's covariance, so what is observed stays
    (C is 0 there) and what moves, moves smoothly with its neighbours in time. The length is what a single squared
    residual would need to vanish, 2 E / (g^T C g): Polyak's step. A step that does not lower the sample's energy is
    taken back and tried again with half its length, so the energy never grows.

    Args:
        x0: (batch, frame, hand, channel) normalised.
        to_joints: x0 to (batch, frame, hand, 21, 3) metres; differentiable.
        smooth: applies C, a symmetric positive semidefinite operator, to a tensor of x0's shape.
        weight: the share of the full step: 1 takes it, less is gentler, 0 changes nothing.
        steps: evaluations of the gradient after the first.
        limit: most that any number of x0 may change in one step, standard deviations.
        energy: (batch, frame, hand, 21, 3) to (batch,), at least 0.

    Returns:
        As x0; the samples without overlap are unchanged to the bit.
    """
    if weight == 0 or steps == 0:
        return x0

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        """Each sample's energy, and the step to subtract from x."""
        with torch.enable_grad():
            inner = x.detach().requires_grad_()
            cost = energy(to_joints(inner))
            (slope,) = torch.autograd.grad(cost.sum(), inner)
        cost, tiny = cost.detach(), torch.finfo(x.dtype).tiny
        way = smooth(slope)
        share = 2 * weight * cost / (slope * way).flatten(1).sum(dim=1).clamp(min=tiny)
        share = torch.minimum(share, limit / way.abs().flatten(1).amax(dim=1).clamp(min=tiny))
        return cost, _each(share) * way

    with torch.no_grad(), as_float32(x0) as (best,):
        cost, step = evaluate(best)
        length = torch.ones_like(cost)
        for _ in range(steps):
            if not bool((cost > 0).any()):
                break
            trial = best - _each(length) * step
            new_cost, new_step = evaluate(trial)
            better = new_cost < cost
            best, step = torch.where(_each(better), trial, best), torch.where(_each(better), new_step, step)
            cost, length = torch.where(better, new_cost, cost), torch.where(better, 1.0, 0.5 * length)
        return best


def _each(per_sample: Tensor) -> Tensor:
    return per_sample[:, None, None, None]


def _where_near(joints_m: Tensor, per_frame: Callable[[Tensor], Tensor]) -> Tensor:
    """`per_frame` of the (n, left sphere, right sphere) depths of those frames whose hands' boxes meet; 0 elsewhere."""
    with as_float32(joints_m) as (joints,):
        low, high = joints.detach().aminmax(dim=-2)
        apart = torch.maximum(low[..., 0, :] - high[..., 1, :], low[..., 1, :] - high[..., 0, :]).amax(dim=-1)
        near = apart < 2 * RADIUS_M.max()
        found = per_frame(_overlap_m(joints[near])) if bool(near.any()) else joints.new_zeros(0)
        # Adding 0 of the joints keeps a gradient where no hand is near.
        return (0 * joints.square().sum(dim=(-3, -2, -1))).masked_scatter(near, found)


def _overlap_m(joints_m: Tensor) -> Tensor:
    """(n, left sphere, right sphere) depth, 0 where a pair is apart, of (n, hand, 21, 3) joints."""
    # The square is expanded into a product, which needs the origin to be near: the distances do not depend on it.
    origin = joints_m.detach().mean(dim=(-3, -2), keepdim=True)
    left, right = sphere_centers(joints_m - origin).unbind(-3)
    ones = torch.ones_like(left[..., :1])
    a = torch.cat([-2 * left, left.square().sum(-1, keepdim=True), ones], dim=-1)
    b = torch.cat([right, ones, right.square().sum(-1, keepdim=True)], dim=-1)
    distance = ((a @ b.mT).clamp(min=0) + _DISTANCE_FLOOR_M**2).sqrt()
    radius = torch.as_tensor(RADIUS_M, dtype=joints_m.dtype, device=joints_m.device)
    reach = radius[:, None] + radius
    return (reach - distance).relu()


def _place() -> np.ndarray:
    """(sphere, 21) each centre as a combination of the joints."""
    eye = np.eye(NUM_JOINTS)
    rows = zip(BONES, SPHERES, strict=True)
    return np.stack([(1 - t) * eye[parent] + t * eye[child] for (parent, child), own in rows for t, _ in own])


_PLACE = _place()
RADIUS_M = np.array([radius for own in SPHERES for _, radius in own])
"""(48,) of the spheres, in the order of `sphere_centers`."""
