"""Motion of two hands as rotations, in PyTorch: the input of representations and controls, the output of samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .precision import full_precision

MIRROR = (-1.0, 1.0, 1.0)
"""The mirror that turns a left hand into a right one: x changes its sign."""


@dataclass(frozen=True)
class Motion:
    """Both hands, any leading batch axes; metres. Joints follow from it by `Kinematics.joints`."""

    wrist_m: Tensor
    """(..., frame, hand, 3) joint 0 of each hand in the world (smplx's `transl` plus the shaped hand's root joint)."""
    R_world_wrist: Tensor
    """(..., frame, hand, 3, 3) smplx's global_orient."""
    R_pose: Tensor
    """(..., frame, hand, 15, 3, 3) smplx's hand_pose: each finger joint in its parent's frame, MANO's order."""
    betas: Tensor
    """(..., hand, 10)"""

    @property
    def frames(self) -> int:
        return self.wrist_m.shape[-3]

    def over_time(self, change: Callable[[Tensor], Tensor]) -> Motion:
        """The motion whose per-frame tensors, brought to (..., frame, hand, numbers), went through `change`."""
        parts = (self.wrist_m, self.R_world_wrist.flatten(-2), self.R_pose.flatten(-3))
        wrist, orient, pose = (change(part) for part in parts)
        return Motion(wrist, orient.unflatten(-1, (3, 3)), pose.unflatten(-1, (15, 3, 3)), self.betas)

    def window(self, frames: slice) -> Motion:
        """Some of the frames."""
        return self.over_time(lambda part: part[..., frames, :, :])

    @full_precision
    def moved(self, R: Tensor, t_m: Tensor) -> Motion:
        """The motion seen in another frame: x' = R x + t. R is (..., 3, 3), t_m (..., 3), one for each motion."""
        wrist = torch.einsum("...ij,...fhj->...fhi", R, self.wrist_m) + t_m[..., None, None, :]
        orient = torch.einsum("...ij,...fhjk->...fhik", R, self.R_world_wrist)
        return Motion(wrist, orient, self.R_pose, self.betas)

    def mirrored(self) -> Motion:
        """In the mirror x -> -x: left and right change places."""
        sign = self.wrist_m.new_tensor(MIRROR)
        flip = sign[:, None] * sign
        return Motion(
            (self.wrist_m * sign).flip(-2),
            (self.R_world_wrist * flip).flip(-3),
            (self.R_pose * flip).flip(-4),
            self.betas.flip(-2),
        )
