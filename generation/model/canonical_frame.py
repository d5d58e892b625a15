"""The canonical frame of a motion, defined by its observed parts, and rigid alignment of motion with observations.

In the canonical frame the person looks along +y, +x is to the right and +z is up, for hands held palm down in front:
x is lateral, y along the fingers, z out of the backs of the hands; the origin is between the wrists.
"""

from __future__ import annotations

from typing import cast

import roma
import torch
from torch import Tensor

from .controls import Controls
from .motion import Motion
from .precision import full_precision

AXES_WRIST_HAND = (
    ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
    ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (-1.0, 0.0, 0.0)),
)
"""(hand, 3, 3) columns: lateral to the person's right with the palm down, along the fingers, back of the hand, in
MANO's wrist frame, where a right hand's fingers rest along -x, its palm faces -y and its thumb is toward +z."""

ARM_M = 0.1
"""Distance of the points by which an orientation counts among positions."""

STILL_M = 1e-4
"""Distance of the points by which a motion resists turning: decides only what the controls leave open."""


@full_precision
def canonical_frame(controls: Controls, R_home: Tensor, *, fallback: bool = False) -> tuple[Tensor, Tensor]:
    """The transform to the canonical frame, from the observations in the reference frame only.

    The reference is the first frame in which a wrist position is observed, else an orientation. The origin is the
    midpoint of the wrists known there; the axes are the mean of the known hands' own axes and of the direction from
    the left wrist to the right one. A rigidly moved motion thus has the same canonical motion, a mirrored one the
    mirrored one. Where no orientation is known the turn is R_home; where no position is known the origin stays.

    Args:
        controls: observed parts of (..., frame, hand) motions.
        R_home: (..., 3, 3) the rotation if no orientation is observed, see `home_rotation`.
        fallback: the values are real though not observed (training): where neither position nor orientation is
            observed, frame 0 counts as if it was; where only orientations are, the origin is between the wrists.

    Returns:
        R (..., 3, 3) and t (..., 3) in metres, so that `motion.moved(R, t)` is canonical.
    """
    seen_wrist, seen_orient = controls.has_wrist.any(-1), controls.has_orient.any(-1)
    no_wrist = ~seen_wrist.any(-1, keepdim=True)
    seen = torch.where(no_wrist, seen_orient, seen_wrist)
    # argmax returns the first of equals: the first seen frame, or frame 0 if there is none.
    reference = seen.to(torch.uint8).argmax(-1)
    axis = reference.ndim
    wrist, R_wrist, has_wrist, has_orient = (
        part.take_along_dim(reference.reshape(*reference.shape, *[1] * (part.ndim - axis)), axis).squeeze(axis)
        for part in (controls.motion.wrist_m, controls.motion.R_world_wrist, controls.has_wrist, controls.has_orient)
    )
    if fallback:
        as_if = ~seen.any(-1, keepdim=True)
        has_wrist, has_orient = has_wrist | as_if, has_orient | as_if
    R_axes = axes_world(wrist, R_wrist, has_wrist, has_orient).mT
    R = torch.where(has_orient.any(-1)[..., None, None], R_axes, R_home.to(R_axes.dtype))
    known = (has_wrist | no_wrist if fallback else has_wrist)[..., None]
    total = torch.where(known, wrist, 0.0).double().sum(-2)
    origin = total / known.sum(-2).clamp(min=1)
    t = -_turned(R, origin)
    return R.to(wrist.dtype), t.to(wrist.dtype)


@full_precision
def home_rotation(motion: Motion) -> Tensor:
    """(3, 3) the turn to the canonical frame that fits a recording as a whole: the rotation nearest to the mean of its
    frames' own (chordal mean), over all leading axes."""
    known = torch.ones(motion.wrist_m.shape[:-1], dtype=torch.bool, device=motion.wrist_m.device)
    R = axes_world(motion.wrist_m, motion.R_world_wrist, known, known).mT
    return nearest_rotation(R.flatten(0, -3).mean(0)).to(motion.wrist_m.dtype)


def axes_world(wrist_m: Tensor, R_world_wrist: Tensor, has_wrist: Tensor, has_orient: Tensor) -> Tensor:
    """The canonical axes in the world, columns, from the known parts of a frame.

    Args:
        wrist_m: (..., hand, 3) metres.
        R_world_wrist: (..., hand, 3, 3)
        has_wrist: (..., hand) bool.
        has_orient: (..., hand) bool.

    Returns:
        (..., 3, 3) float64 rotation; any rotation where no orientation is known.
    """
    B = torch.tensor(AXES_WRIST_HAND, dtype=torch.float64, device=wrist_m.device)
    own = R_world_wrist.double() @ B
    M = torch.where(has_orient[..., None, None], own, 0.0).sum(-3)
    across = torch.nn.functional.normalize((wrist_m[..., 1, :] - wrist_m[..., 0, :]).double(), dim=-1)
    across = torch.where(has_wrist.all(-1, keepdim=True), across, 0.0)
    M = M + torch.stack([across, torch.zeros_like(across), torch.zeros_like(across)], dim=-1)
    nothing = ~has_orient.any(-1)[..., None, None]
    return nearest_rotation(torch.where(nothing, torch.eye(3, dtype=M.dtype, device=M.device), M))


@full_precision
def align(motion: Motion, controls: Controls) -> Motion:
    """Align each motion rigidly with its controls, in the least-squares sense (Kabsch 1976).

    The points are the observed wrist positions; an observed orientation counts as points 0.1 m along both ways of the
    wrist's axes, which turn the motion but do not shift it. What they leave open stays as it is: with one wrist
    position the motion is only shifted, with positions along a line it is not turned about that line, and with nothing
    observed it is unchanged.

    Args:
        motion: (..., frame, hand) motions.
        controls: of the same motions.
    """
    has_wrist, has_orient = controls.has_wrist[..., None], controls.has_orient[..., None, None]
    here, there = motion.wrist_m.double(), controls.motion.wrist_m.double()
    count = has_wrist.sum((-3, -2))
    # Where no position is observed, the motion turns about its own middle, which stays.
    middle = here.mean((-3, -2))
    center, center_there = (
        torch.where(count > 0, torch.where(has_wrist, p, 0.0).sum((-3, -2)) / count.clamp(min=1), middle)
        for p in (here, there)
    )
    a = torch.where(has_wrist, here - center[..., None, None, :], 0.0)
    b = torch.where(has_wrist, there - center_there[..., None, None, :], 0.0)
    own, given = (torch.where(has_orient, m.R_world_wrist, 0.0).double() for m in (motion, controls.motion))
    M = torch.einsum("...fhi,...fhj->...ij", b, a) + 2 * ARM_M**2 * torch.einsum("...fhik,...fhjk->...ij", given, own)
    # Towards the identity, as much as points a tenth of a millimetre apart would hold it.
    M = M + STILL_M**2 * count.clamp(min=1)[..., None] * torch.eye(3, dtype=M.dtype, device=M.device)
    R = nearest_rotation(M)
    exact = Motion(here, motion.R_world_wrist.double(), motion.R_pose, motion.betas)
    moved = exact.moved(R, center_there - _turned(R, center))
    dtype = motion.wrist_m.dtype
    return Motion(moved.wrist_m.to(dtype), moved.R_world_wrist.to(dtype), motion.R_pose, motion.betas)


def _turned(R: Tensor, x: Tensor) -> Tensor:
    """R x for (..., 3, 3) and (..., 3)."""
    return (R @ x[..., None])[..., 0]


def nearest_rotation(M: Tensor) -> Tensor:
    """(..., 3, 3) rotations nearest to matrices in the Frobenius norm."""
    return cast(Tensor, roma.special_procrustes(M))
