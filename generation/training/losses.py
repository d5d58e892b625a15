"""The terms of the training loss, each scaled so that weights near one are sensible.

| term | compares | 1 means |
| --- | --- | --- |
| x0 | the packed, normalised motion | a standard deviation, or what `x0_weight` makes of it |
| joints | joints by forward kinematics | every joint 1 cm off |
| velocity | their change from frame to frame | every joint 5 mm per frame off |
| bone | bone lengths between the joint channels with the true hand's | every bone 5 mm off |
| contact, shape | the hands with each other | see interaction.py |

All are squared errors, averaged over everything but the batch, times the sample's weight, averaged over the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.hands import BONES
from ..model.interaction import interaction_loss
from ..model.motion import Motion
from ..model.precision import as_float32

TERMS: tuple[str, ...] = ("x0", "joints", "velocity", "bone", "contact", "shape")

JOINT_UNIT_M = 0.01
VELOCITY_UNIT_M = 0.005
"""Per frame."""
BONE_UNIT_M = 0.005
_LENGTH_FLOOR_M = 1e-4
"""Lengths are taken as sqrt(d^2 + this^2): joints that coincide must not have an infinite gradient. In the shortest
bone it is a quarter of a micrometre, in prediction and truth alike."""


@dataclass(frozen=True)
class Prediction:
    """A motion in every form that a term compares; the truth has the same."""

    x0: Tensor
    """(batch, frame, hand, channel) normalised."""
    motion: Motion
    """The motion of x0, (batch, frame, hand, ...)."""
    joints_m: Tensor
    """(batch, frame, hand, 21, 3) its joints by forward kinematics."""
    channel_joints_m: Tensor
    """(batch, frame, hand, 21, 3) the joints that x0 itself holds, in the representation's frame."""


def losses(
    predicted: Prediction,
    truth: Prediction,
    weights: Mapping[str, float],
    sample_weight: Tensor | None = None,
    x0_weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """The terms that have a weight, not yet multiplied with it; see `total`.

    Computed in float32 whatever autocast says.

    Args:
        predicted: from the denoiser.
        truth: the target.
        weights: of the terms by name (`TERMS`). A term of weight 0 is left out: not computed and not in the result.
        sample_weight: (batch,) how much each sample counts, such as w(t); 1 by default.
        x0_weight: broadcast to x0, multiplies its squared error element by element, such as 1 / max(c_out, floor)^2,
            and 0 where x0 was observed. The mean stays one over all elements.

    Returns:
        A scalar for each term that has a weight.
    """
    asked = {name for name, weight in weights.items() if weight != 0}
    assert asked <= set(TERMS), f"no such terms: {sorted(asked - set(TERMS))}"
    assert predicted.x0.shape == truth.x0.shape
    assert predicted.joints_m.shape == truth.joints_m.shape
    parts = (predicted.x0, truth.x0, predicted.joints_m, truth.joints_m, predicted.channel_joints_m)
    with as_float32(*parts) as (x0, true_x0, joints, true_joints, channel_joints):
        per_sample: dict[str, Tensor] = {}
        if "x0" in asked:
            error = (x0 - true_x0).square()
            per_sample["x0"] = _mean(error if x0_weight is None else x0_weight * error)
        if "joints" in asked:
            per_sample["joints"] = _mean(_squared_distance(joints, true_joints, JOINT_UNIT_M))
        if "velocity" in asked:
            step, true_step = joints.diff(dim=1), true_joints.diff(dim=1)
            per_sample["velocity"] = _mean(_squared_distance(step, true_step, VELOCITY_UNIT_M))
        if "bone" in asked:
            error = (_bone_lengths(channel_joints) - _bone_lengths(true_joints)) / BONE_UNIT_M
            per_sample["bone"] = _mean(error.square())
        if asked & {"contact", "shape"}:
            terms = interaction_loss(joints, true_joints)
            per_sample |= {name: _mean(terms[name]) for name in terms if name in asked}
        if sample_weight is not None:
            per_sample = {name: sample_weight * term for name, term in per_sample.items()}
        return {name: term.mean() for name, term in per_sample.items()}


def total(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The number to minimise: the weighted sum of what `losses` returned for these weights."""
    asked = [name for name in TERMS if weights.get(name, 0)]
    assert asked, f"no weights in {dict(weights)}"
    assert set(terms) == set(asked), f"terms {sorted(terms)} for weights {dict(weights)}"
    return torch.stack([weights[name] * terms[name] for name in asked]).sum()


def _mean(error: Tensor) -> Tensor:
    """(batch,) over everything else."""
    return error.flatten(1).mean(dim=1)


def _squared_distance(a_m: Tensor, b_m: Tensor, unit_m: float) -> Tensor:
    return ((a_m - b_m) / unit_m).square().sum(dim=-1)


def _bone_lengths(joints_m: Tensor) -> Tensor:
    """(..., 21, 3) to (..., 20) metres, `hands.BONES`."""
    bones = joints_m[..., BONES[:, 1], :] - joints_m[..., BONES[:, 0], :]
    return (bones.square().sum(dim=-1) + _LENGTH_FLOOR_M**2).sqrt()
