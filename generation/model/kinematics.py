"""Forward kinematics in PyTorch: batched, differentiable, always in full precision.

The hand model is that of `hand.model`. Here, its arrays are reduced to what 21 joints need: the kinematic chain and
five skinned fingertip vertices. Everything is computed in the wrist's frame and transformed to the world last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import roma
import torch
from torch import Tensor

from ...core.errors import ModelError
from ...core.hands import BONES, HANDS, MANO_JOINT, MANO_TIP_VERTEX
from ...hand.model import HandModel
from .motion import Motion
from .precision import full_precision

_MANO_FINGER = ((MANO_JOINT[1::4] - 1) // 3).tolist()
"""For each of our fingers, its place among MANO's five chains."""

MotionArrays = dict[Literal["betas", "global_orient", "hand_pose", "transl"], Tensor]
"""smplx's parameters of both hands; axes as in the session's `mano` group, with any leading batch axes."""


@dataclass(frozen=True, eq=False)
class Kinematics:
    """Both hands' kinematic trees and fingertips. The buffers have a leading axis `hand`; their dtype (float32) and
    device are those of the joints."""

    rest_m: Tensor
    """(hand, 16, 3) joints of the mean hand, MANO's order."""
    rest_dirs: Tensor
    """(hand, 16, 3, 10) metres per unit of beta."""
    tips_m: Tensor
    """(hand, 5, 3) fingertip vertices of the mean hand, our order of fingers."""
    tip_dirs: Tensor
    """(hand, 5, 3, 10) metres per unit of beta."""
    tip_correctives: Tensor
    """(hand, 5, 3, 135) metres per unit of (R - I) of the fifteen finger joints."""
    tip_weights: Tensor
    """(hand, 5, 16) skinning weights."""

    @classmethod
    def of_models(cls, models: Sequence[HandModel]) -> Kinematics:
        """The kinematics of a left and a right hand, float32 on the CPU.

        Raises:
            ModelError: the models are not one left and one right hand, in this order.
        """
        sides = tuple(model.side for model in models)
        if sides != HANDS:
            raise ModelError(
                f"hand models: expected one of each of {HANDS}, got {sides}. Give both, the left one first."
            )

        def stacked(arrays: list[np.ndarray]) -> Tensor:
            return torch.tensor(np.stack(arrays), dtype=torch.float32)

        tips = MANO_TIP_VERTEX
        return cls(
            stacked([model.rest_joints for model in models]),
            stacked([model.rest_joint_dirs for model in models]),
            stacked([model.v_template[tips] for model in models]),
            stacked([model.shapedirs[tips] for model in models]),
            stacked([model.posedirs[tips] for model in models]),
            stacked([model.weights[tips] for model in models]),
        )

    @property
    def device(self) -> torch.device:
        return self.rest_m.device

    def to(self, target: torch.device | torch.dtype | str) -> Kinematics:
        """On another device, or in another precision."""
        return replace(self, **{name: buffer.to(target) for name, buffer in vars(self).items()})

    @full_precision
    def joints(self, motion: Motion) -> Tensor:
        """(..., frame, hand, 21, 3) joints in the motion's frame, metres: exactly `HandModel.joints`.

        Forward kinematics of MANO (Romero et al. 2017); the five fingers go through their three joints in parallel.
        Of `motion.mirrored()` the joints are mirrored and change hands, where the two models are mirror images.
        """
        wrist, R_wrist, R_pose, betas = (
            part.to(self.rest_m.dtype) for part in (motion.wrist_m, motion.R_world_wrist, motion.R_pose, motion.betas)
        )
        in_wrist = self._joints_in_wrist(R_pose, betas)
        return torch.cat([wrist[..., None, :], in_wrist @ R_wrist.mT + wrist[..., None, :]], dim=-2)

    def _joints_in_wrist(self, R_pose: Tensor, betas: Tensor) -> Tensor:
        """(..., frame, hand, 20, 3) all joints but the wrist, in its frame and from it."""
        rest, tips = (part[..., None, :, :, :] for part in self._shaped(betas))
        chain = rest[..., 1:, :].unflatten(-2, (5, 3))
        step = torch.cat([chain[..., :1, :], chain.diff(dim=-2)], dim=-2)
        R_first, *R_rest = R_pose.unflatten(-3, (5, 3)).unbind(-3)
        R, center = [R_first], [step[..., 0, :].expand(*R_first.shape[:-1])]
        for level, R_local in enumerate(R_rest, start=1):
            center.append(center[-1] + (R[-1] @ step[..., level, :, None])[..., 0])
            R.append(R[-1] @ R_local)
        R_wrist_joint, centers = torch.stack(R, -3), torch.stack(center, -2)

        # Linear blend skinning of five vertices; the wrist, which stays put here, is the first of the 16 joints.
        eye = torch.eye(3, dtype=R_pose.dtype, device=R_pose.device)
        correction = torch.einsum("hvik,...hk->...hvi", self.tip_correctives, (R_pose - eye).flatten(-3))
        shift = centers - (R_wrist_joint @ chain[..., None])[..., 0]
        rigid = torch.cat([R_wrist_joint, shift[..., None]], -1).flatten(-4, -3).flatten(-2)
        blended = torch.einsum("hvj,...hjx->...hvx", self.tip_weights[..., 1:], rigid).unflatten(-1, (3, 4))
        still = torch.cat([eye, eye.new_zeros(3, 1)], -1) * self.tip_weights[..., 0, None, None]
        blended = blended + still
        skinned = (blended[..., :3] @ (tips + correction)[..., None])[..., 0] + blended[..., 3]
        return torch.cat([centers[..., _MANO_FINGER, :, :], skinned[..., None, :]], dim=-2).flatten(-3, -2)

    def _shaped(self, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (..., hand, 16, 3) and fingertips (..., hand, 5, 3) of the shaped hand, unposed, from its wrist."""
        rest = self.rest_m + torch.einsum("hjik,...hk->...hji", self.rest_dirs, betas)
        tips = self.tips_m + torch.einsum("hvik,...hk->...hvi", self.tip_dirs, betas)
        wrist = rest[..., :1, :]
        return rest - wrist, tips - wrist

    @full_precision
    def root_m(self, betas: Tensor) -> Tensor:
        """(..., hand, 3) where the wrist of the shaped hand rests when `transl` is zero, of (..., hand, 10) betas."""
        dirs = self.rest_dirs[:, 0]
        return self.rest_m[:, 0] + torch.einsum("hik,...hk->...hi", dirs, betas.to(dirs.dtype))

    @full_precision
    def bone_lengths_m(self, betas: Tensor) -> Tensor:
        """(..., hand, 20) lengths of `core.hands.BONES`, of (..., hand, 10) betas.

        Posing keeps fifteen of them; each finger's last bone ends in skin, and its length is that of the zero pose.
        """
        rest, tips = self._shaped(betas.to(self.rest_m.dtype))
        fingers = torch.cat([rest[..., 1:, :].unflatten(-2, (5, 3))[..., _MANO_FINGER, :, :], tips[..., None, :]], -2)
        points = torch.cat([rest[..., :1, :], fingers.flatten(-3, -2)], -2)
        return (points[..., BONES[:, 1], :] - points[..., BONES[:, 0], :]).norm(dim=-1)

    @full_precision
    def from_mano(self, betas: Tensor, global_orient: Tensor, hand_pose: Tensor, transl: Tensor) -> Motion:
        """The motion of smplx's parameters (`flat_hand_mean=True`).

        Args:
            betas: (..., hand, 10) shapes.
            global_orient: (..., frame, hand, 3) axis-angle, radians.
            hand_pose: (..., frame, hand, 45) axis-angles, radians.
            transl: (..., frame, hand, 3) metres.
        """
        wrist = transl + self.root_m(betas)[..., None, :, :].to(transl.dtype)
        pose = roma.rotvec_to_rotmat(hand_pose.unflatten(-1, (15, 3)))
        return Motion(wrist, roma.rotvec_to_rotmat(global_orient), pose, betas)

    @full_precision
    def to_mano(self, motion: Motion) -> MotionArrays:
        """smplx's parameters of a motion, shapes as in `from_mano`: its inverse, with angles of at most pi."""
        root = self.root_m(motion.betas)[..., None, :, :].to(motion.wrist_m.dtype)
        return {
            "betas": motion.betas,
            "global_orient": roma.rotmat_to_rotvec(motion.R_world_wrist),
            "hand_pose": roma.rotmat_to_rotvec(motion.R_pose).flatten(-2),
            "transl": motion.wrist_m - root,
        }
