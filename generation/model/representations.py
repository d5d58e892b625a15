"""The global and the local representation of two-hand motion (HandDiffuse, arXiv 2312.04867).

The mirror convention is defined here, in `_Layout.mirror_left`: the numbers of the left hand are those of its mirror
image (x -> -x: vectors v become M v, rotations R become M R M), so a network sees two right hands and shares its
weights.
Hence `pack(motion.mirrored(), ...) == pack(motion, ...).flip(-2)`.

Rotations that stay within half a turn (finger joints, increments) are rotation vectors. Those that go all around
(wrists) are unit quaternions w x y z relative to a typical orientation, continuous over time; numbers that are not of
unit length mean the quaternion of that direction. The motion that independent noise in these numbers means is as rough
as the noise. With six numbers per rotation (Zhou et al. 2019) it is four times as rough, because the columns of noisy
motion are often short and their directions then change fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, ClassVar, Protocol

import roma
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...core.hands import LEFT, NUM_JOINTS, NUM_MANO_JOINTS
from .motion import MIRROR, Motion
from .precision import full_precision

if TYPE_CHECKING:
    from .controls import Controls


@dataclass(frozen=True)
class Channels:
    """A group of channels that is observed together, or not."""

    name: str
    start: int
    stop: int

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)


_VECTOR = MIRROR
"""Signs of a vector's numbers in the mirror."""
_AXIS = (1.0, -1.0, -1.0)
"""Signs of a rotation vector's numbers in the mirror."""
_QUATERNION = (1.0, *_AXIS)
"""Signs of a quaternion's numbers, w x y z, in the mirror."""
PALM_DOWN = ((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
"""Orientation of a right wrist in the canonical frame, palm down and fingers forward (canonical_frame.py)."""
OPPOSITE = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
"""Orientation of one wrist as seen from the other when both are palm down and fingers forward."""
_FINGER_JOINTS = NUM_MANO_JOINTS - 1


TINY = 1e-20
"""Squared radians, so that an angle of zero has a gradient."""


class _Layout:
    """Groups of channels side by side, each known by the signs of its numbers in the mirror."""

    def __init__(self, **signs: tuple[float, ...]) -> None:
        stops = list(accumulate(map(len, signs.values())))
        self.groups = tuple(map(Channels, signs, [0, *stops], stops))
        self._signs = torch.tensor([*chain.from_iterable(signs.values())])

    def mirror_left(self, x: Tensor) -> Tensor:
        """(..., frame, hand, channel) numbers with the left hand's mirrored; doing it twice undoes it."""
        signs = torch.stack([self._signs, torch.ones_like(self._signs)]).to(x)
        return x * signs

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """The groups of (..., frame, hand, channel) numbers, each hand as it is and in at least single precision."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return self.mirror_left(x).split([group.stop - group.start for group in self.groups], dim=-1)


class Representation(Protocol):
    """A representation of two-hand motion. All tensors have any leading batch axes."""

    name: ClassVar[str]
    groups: ClassVar[tuple[Channels, ...]]
    """Its groups of channels, in order."""
    channels: ClassVar[int]
    """Their total number."""
    absolute: ClassVar[bool]
    """Whether a wrist's pose is among the numbers, so that observing it fixes them."""

    def pack(self, motion: Motion, joints_m: Tensor, like: Tensor | None = None) -> Tensor:
        """(..., frame, hand, channel) numbers of a motion and its (..., frame, hand, 21, 3) joints, metres.

        Of the two quaternions of each rotation, those nearer to the numbers `like` are taken.
        """
        ...

    def unpack(self, x: Tensor, betas: Tensor) -> Motion:
        """The motion that (..., frame, hand, channel) numbers mean, from their rotations; betas (..., hand, 10)."""
        ...

    def joints(self, x: Tensor) -> Tensor:
        """(..., frame, hand, 21, 3) the channels that are joints, as points in metres."""
        ...

    def observed(self, controls: Controls) -> Tensor:
        """(..., frame, hand, channel) bool: which numbers the controls determine."""
        ...


class GlobalRepresentation:
    """Wrists and their orientations in the motion's own frame, finger rotations, and joints in the wrist's frame.

    The paper has joints in the motion's frame, too. There, all 21 say again where the wrist is. The prior takes
    channels for independent, so it draws 22 different places, whose mean lies too near to the usual one.
    """

    _layout: ClassVar = _Layout(
        wrist=_VECTOR, orient=_QUATERNION, pose=_FINGER_JOINTS * _AXIS, joints=NUM_JOINTS * _VECTOR
    )
    name: ClassVar[str] = "global"
    groups: ClassVar[tuple[Channels, ...]] = _layout.groups
    channels: ClassVar[int] = groups[-1].stop
    absolute: ClassVar[bool] = True

    @full_precision
    def pack(self, motion: Motion, joints_m: Tensor, like: Tensor | None = None) -> Tensor:
        orient = to_quaternion(_typical(PALM_DOWN, motion.wrist_m).mT @ motion.R_world_wrist)
        pose = unwrapped(roma.rotmat_to_rotvec(motion.R_pose)).flatten(-2)
        joints = _in_wrist(motion, joints_m).flatten(-2)
        x = self._layout.mirror_left(torch.cat([motion.wrist_m, orient, pose, joints], dim=-1))
        return _continuous(x, self.groups[1].slice, like)

    @full_precision
    def unpack(self, x: Tensor, betas: Tensor) -> Motion:
        wrist, orient, pose, _ = self._layout.split(x)
        R_wrist = _typical(PALM_DOWN, wrist) @ from_quaternion(orient)
        return Motion(wrist, R_wrist, from_rotvec(pose.unflatten(-1, (-1, 3))), betas)

    def joints(self, x: Tensor) -> Tensor:
        """(..., frame, hand, 21, 3) metres, in each hand's wrist frame."""
        return self._layout.split(x)[-1].unflatten(-1, (-1, 3))

    def observed(self, controls: Controls) -> Tensor:
        pose = controls.has_pose
        return _widened(self.groups, controls.has_wrist, controls.has_orient, pose, pose)


class LocalRepresentation:
    """Each hand as seen from its own wrist: nothing changes when the whole motion is moved.

    The step is the wrist's increment and the turn its rotation, both in the wrist's previous frame; frame 0 has none
    and holds zero and the identity. `other` is the other hand's wrist, place and orientation, in this wrist's frame.
    """

    _layout: ClassVar = _Layout(
        step=_VECTOR,
        turn=_AXIS,
        other=_VECTOR + _QUATERNION,
        pose=_FINGER_JOINTS * _AXIS,
        joints=NUM_JOINTS * _VECTOR,
    )
    name: ClassVar[str] = "local"
    groups: ClassVar[tuple[Channels, ...]] = _layout.groups
    channels: ClassVar[int] = groups[-1].stop
    absolute: ClassVar[bool] = False

    @full_precision
    def pack(self, motion: Motion, joints_m: Tensor, like: Tensor | None = None) -> Tensor:
        wrist, R = motion.wrist_m, motion.R_world_wrist
        # Frame 0 is its own predecessor, which makes its step zero and its turn the identity.
        R_before = torch.cat([R[..., :1, :, :, :], R[..., :-1, :, :, :]], dim=-4)
        wrist_before = torch.cat([wrist[..., :1, :, :], wrist[..., :-1, :, :]], dim=-3)
        numbers = [
            _into(R_before, wrist - wrist_before),
            roma.rotmat_to_rotvec(R_before.mT @ R),
            _into(R, wrist.flip(-2) - wrist),
            to_quaternion(_typical(OPPOSITE, wrist).mT @ R.mT @ R.flip(-3)),
            unwrapped(roma.rotmat_to_rotvec(motion.R_pose)).flatten(-2),
            _in_wrist(motion, joints_m).flatten(-2),
        ]
        other = self.groups[2]
        x = self._layout.mirror_left(torch.cat(numbers, dim=-1))
        return _continuous(x, slice(other.start + len(_VECTOR), other.stop), like)

    @full_precision
    def unpack(self, x: Tensor, betas: Tensor) -> Motion:
        """The motion in the frame of the left wrist at frame 0.

        The left hand's increments are summed up and the right hand is placed by the left one's `other`; the right
        hand's own step, turn and `other` say the same again and are not asked.
        """
        step, turn, other, pose, _ = self._layout.split(x)
        R_turn = from_rotvec(turn[..., 1:, LEFT, :])
        start = torch.eye(3, dtype=x.dtype, device=x.device).expand(*R_turn.shape[:-3], 1, 3, 3)
        R_left = cumulative_rotation(torch.cat([start.to(R_turn), R_turn], dim=-3))
        moved = (R_left[..., :-1, :, :] @ step[..., 1:, LEFT, :, None])[..., 0]
        left = torch.cat([torch.zeros_like(step[..., :1, LEFT, :]), moved.cumsum(-2)], dim=-2)
        right = left + (R_left @ other[..., LEFT, :3, None])[..., 0]
        R_right = R_left @ _typical(OPPOSITE, step)[LEFT] @ from_quaternion(other[..., LEFT, 3:])
        return Motion(
            torch.stack([left, right], dim=-2),
            torch.stack([R_left, R_right], dim=-3),
            from_rotvec(pose.unflatten(-1, (-1, 3))),
            betas,
        )

    def joints(self, x: Tensor) -> Tensor:
        """(..., frame, hand, 21, 3) metres, in each hand's wrist frame."""
        return self._layout.split(x)[-1].unflatten(-1, (-1, 3))

    def observed(self, controls: Controls) -> Tensor:
        placed = controls.has_wrist & controls.has_orient
        step = placed.clone()
        step[..., 1:, :] &= placed[..., :-1, :]
        step[..., 0, :] = False
        both = placed.all(dim=-1, keepdim=True).expand_as(placed)
        return _widened(self.groups, step, step, both, controls.has_pose, controls.has_pose)


REPRESENTATIONS: dict[str, Representation] = {
    representation.name: representation for representation in (GlobalRepresentation(), LocalRepresentation())
}


def to_quaternion(R: Tensor) -> Tensor:
    """(..., 4) unit quaternion w x y z of (..., 3, 3) rotations, either of the two."""
    return roma.rotmat_to_unitquat(R).roll(1, -1)


@full_precision
def from_quaternion(q: Tensor) -> Tensor:
    """(..., 3, 3) rotations of (..., 4) numbers w x y z of any length but zero."""
    return roma.unitquat_to_rotmat(normalize(q, dim=-1).roll(-1, -1))


@full_precision
def from_rotvec(v: Tensor) -> Tensor:
    """(..., 3, 3) rotations of (..., 3) rotation vectors, radians (Rodrigues); the gradient is finite at zero too."""
    angle = (v.square().sum(-1) + TINY).sqrt()[..., None, None] / torch.pi
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=v.dtype, device=v.device)
    # sin(a) / a and (1 - cos(a)) / a^2, which divide by no zero.
    return eye + torch.sinc(angle) * K + 0.5 * torch.sinc(angle / 2).square() * (K @ K)


def unwrapped(v: Tensor) -> Tensor:
    """Rotation vectors (..., frame, hand, joint, 3) that mean the same and do not jump over time by a full turn."""
    if not (v.diff(dim=-4).norm(dim=-1) > torch.pi).any():
        return v
    frames = list(v.unbind(-4))
    for f in range(1, len(frames)):
        turn = 2 * torch.pi * normalize(frames[f], dim=-1)
        choices = torch.stack([frames[f] + k * turn for k in (-1, 0, 1)])
        nearest = (choices - frames[f - 1]).norm(dim=-1).argmin(0)
        frames[f] = choices.gather(0, nearest[None, ..., None].expand(1, *v.shape[:-4], *v.shape[-3:])).squeeze(0)
    return torch.stack(frames, dim=-4)


def _typical(R: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """(hand, 3, 3) a right hand's rotation, and its mirror image for the left hand."""
    right = torch.tensor(R, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
    mirror = right.new_tensor(MIRROR)
    return torch.stack([right * mirror[:, None] * mirror, right])


def _continuous(x: Tensor, quaternion: slice, like: Tensor | None) -> Tensor:
    """Numbers (..., frame, hand, channel) with the signs of the quaternions such that they do not jump over time.

    What is left open, one sign for each hand and motion, is that of the numbers `like`, or brings the quaternions
    nearer to no rotation.
    """
    q = x[..., quaternion]
    turned = (q[..., 1:, :, :] * q[..., :-1, :, :]).sum(-1) < 0
    sign = 1 - 2 * torch.nn.functional.pad(turned.cumsum(-2) % 2, (0, 0, 1, 0)).to(x.dtype)
    toward = q[..., 0] if like is None else (q * like[..., quaternion]).sum(-1)
    sign = sign * torch.where((sign * toward).sum(-2, keepdim=True) < 0, -1.0, 1.0)
    q = q * sign[..., None]
    return torch.cat([x[..., : quaternion.start], q, x[..., quaternion.stop :]], dim=-1)


def cumulative_rotation(R: Tensor) -> Tensor:
    """(..., frame, 3, 3) the products R_0 R_1 ... R_f, in log2(frame) batched steps (Hillis and Steele 1986)."""
    reach = 1
    while reach < R.shape[-3]:
        R = torch.cat([R[..., :reach, :, :], R[..., :-reach, :, :] @ R[..., reach:, :, :]], dim=-3)
        reach *= 2
    return R


def _into(R: Tensor, v: Tensor) -> Tensor:
    """(..., 3) vectors v in the frames whose axes are the columns of (..., 3, 3) R: R^T v."""
    return (v[..., None, :] @ R)[..., 0, :]


def _in_wrist(motion: Motion, joints_m: Tensor) -> Tensor:
    """(..., joint, 3) points in their hand's wrist frame."""
    return (joints_m - motion.wrist_m[..., None, :]) @ motion.R_world_wrist


def _widened(groups: tuple[Channels, ...], *seen: Tensor) -> Tensor:
    """(..., channel) bool from one (...) bool for each group."""
    parts = [mask[..., None].expand(*mask.shape, g.stop - g.start) for g, mask in zip(groups, seen, strict=True)]
    return torch.cat(parts, dim=-1)
