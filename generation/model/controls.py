"""Controls of the sampler (keyframes, wrist trajectories, a whole hand), and random controls for training.

Masks have one flag per frame, hand and quantity: wrist position, wrist orientation, finger pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ...core.hands import HANDS
from .motion import Motion

MAX_KEYFRAMES = 20

ONE_HAND_ONLY = 0.25
"""Share of the random controls with one hand only, for kinds that can have both."""

KINDS: Mapping[str, float] = {
    "none": 0.2,
    "ends": 0.1,
    "keyframes": 0.2,
    "start": 0.25,
    "path_dense": 0.1,
    "path_sparse": 0.05,
    "one_hand": 0.1,
}
"""The kinds of controls and how often each is drawn unless a setting says otherwise."""

Masks = tuple[Tensor, Tensor, Tensor]
"""has_wrist, has_orient, has_pose."""


@dataclass(frozen=True)
class Controls:
    """The observed parts of a motion, which a sampled motion must meet."""

    motion: Motion
    """The values; anything, NaN too, where nothing is observed. `betas` are always meant."""
    has_wrist: Tensor
    """(..., frame, hand) bool: `wrist_m` is observed."""
    has_orient: Tensor
    """(..., frame, hand) bool: `R_world_wrist` is observed."""
    has_pose: Tensor
    """(..., frame, hand) bool: all of `R_pose` is observed."""

    @classmethod
    def none(cls, motion: Motion) -> Controls:
        """Nothing of this motion is observed but the shape of the hands."""
        nothing = torch.zeros(motion.wrist_m.shape[:-1], dtype=torch.bool, device=motion.wrist_m.device)
        return cls(motion, nothing, nothing, nothing)

    @classmethod
    def all(cls, motion: Motion) -> Controls:
        """All of this motion is observed."""
        everything = torch.ones(motion.wrist_m.shape[:-1], dtype=torch.bool, device=motion.wrist_m.device)
        return cls(motion, everything, everything, everything)

    def any(self) -> Tensor:
        """(...) bool: whether anything of each motion is observed."""
        return (self.has_wrist | self.has_orient | self.has_pose).any(-1).any(-1)

    def moved(self, R: Tensor, t_m: Tensor) -> Controls:
        """The controls seen in another frame: x' = R x + t, arguments as for `Motion.moved`."""
        return Controls(self.motion.moved(R, t_m), self.has_wrist, self.has_orient, self.has_pose)

    def mirrored(self) -> Controls:
        """In the mirror x -> -x: left and right change places."""
        has = (mask.flip(-1) for mask in (self.has_wrist, self.has_orient, self.has_pose))
        return Controls(self.motion.mirrored(), *has)

    def window(self, frames: slice) -> Controls:
        """Some of the frames."""
        has = (mask[..., frames, :] for mask in (self.has_wrist, self.has_orient, self.has_pose))
        return Controls(self.motion.window(frames), *has)

    def merged(self, other: Controls) -> Controls:
        """The union of both controls. Where both observe, the other's value is used; the hand shape is this one's."""
        return Controls(
            other.over(self.motion),
            self.has_wrist | other.has_wrist,
            self.has_orient | other.has_orient,
            self.has_pose | other.has_pose,
        )

    def over(self, motion: Motion) -> Motion:
        """The motion with the observed values written over its own; `betas` stay the motion's."""
        return Motion(
            torch.where(self.has_wrist[..., None], self.motion.wrist_m, motion.wrist_m),
            torch.where(self.has_orient[..., None, None], self.motion.R_world_wrist, motion.R_world_wrist),
            torch.where(self.has_pose[..., None, None, None], self.motion.R_pose, motion.R_pose),
            motion.betas,
        )


def draw_controls(kinds: Mapping[str, float] | None, batch: int, frames: int, generator: torch.Generator) -> Masks:
    """Draw random masks of controls, one kind per sample; the same generator state gives the same masks.

    - none: nothing
    - ends: first and last frame
    - keyframes: 1 to 20 whole frames anywhere
    - start: the first 1 to 20 frames, and half of the time one frame later (continuation, in-betweening with context)
    - path_dense: wrist positions in all frames, half of the time with the whole first frame
    - path_sparse: wrist positions in 2 to 20 frames, half of the time with the whole first frame
    - one_hand: all of one hand and nothing of the other

    Args:
        kinds: how often each kind is drawn, in any unit; a kind left out is never drawn. None: `KINDS`.
        batch: number of samples.
        frames: number of frames of each.
        generator: random generator; the masks are on its device.

    Returns:
        has_wrist, has_orient, has_pose, each (batch, frame, hand) bool.

    Raises:
        ConfigError: a kind has an unknown name, or the weights are negative or all zero.
    """
    share = _shares(KINDS if kinds is None else kinds)
    chance = _Chance(batch, frames, generator)
    kind = torch.multinomial(share.to(generator.device), batch, replacement=True, generator=generator)
    hands = chance.hands(ONE_HAND_ONLY)[:, None]
    first, last = (chance.frame == f for f in (0, frames - 1))
    # Every kind is drawn for every sample, so that one sample's masks depend on no other's kind.
    keyframes = chance.keyframes(1)
    count = chance.integers(1, min(MAX_KEYFRAMES, frames))
    later = chance.frame == (count + chance.uniform() * (frames - count)).long()
    start = (chance.frame < count) | (later & chance.coin(0.5))
    posed = first & chance.coin(0.5)
    dense, sparse = torch.ones_like(first), chance.keyframes(2)
    path_whole = {"path_dense": posed, "path_sparse": posed}
    whole = {"ends": first | last, "keyframes": keyframes, "start": start, "one_hand": dense, **path_whole}
    path = {"path_dense": dense, "path_sparse": sparse}
    one = chance.hands(1.0)[:, None]

    names = tuple(KINDS)
    has_all = torch.zeros(batch, frames, len(HANDS), dtype=torch.bool, device=generator.device)
    has_wrist = has_all
    for name, which in whole.items():
        chosen = (kind == names.index(name))[:, None, None]
        has_all = has_all | (chosen & which[..., None] & (one if name == "one_hand" else hands))
    for name, which in path.items():
        chosen = (kind == names.index(name))[:, None, None]
        has_wrist = has_wrist | (chosen & which[..., None] & hands)
    return has_wrist | has_all, has_all, has_all.clone()


class _Chance:
    """Draws for each sample of a batch, all from one generator."""

    def __init__(self, batch: int, frames: int, generator: torch.Generator):
        self.batch, self.frames, self.generator = batch, frames, generator
        self.frame = torch.arange(frames, device=generator.device).expand(batch, frames)

    def uniform(self, *shape: int) -> Tensor:
        """(batch, *shape or 1) in [0, 1)."""
        return torch.rand(self.batch, *(shape or (1,)), generator=self.generator, device=self.generator.device)

    def coin(self, share: float) -> Tensor:
        """(batch, 1) bool, true in this share of the samples."""
        return self.uniform() < share

    def integers(self, low: int, high: int) -> Tensor:
        """(batch, 1) from low to high, both included."""
        return low + (self.uniform() * (high - low + 1)).long()

    def keyframes(self, least: int) -> Tensor:
        """(batch, frame) bool: `least` to 20 different frames of each sample."""
        order = self.uniform(self.frames).argsort(dim=-1).argsort(dim=-1)
        return order < self.integers(min(least, self.frames), min(MAX_KEYFRAMES, self.frames))

    def hands(self, one_only: float) -> Tensor:
        """(batch, hand) bool: both hands, or in this share of the samples one of them."""
        hand = (self.uniform() * len(HANDS)).long() == torch.arange(len(HANDS), device=self.generator.device)
        return hand | ~self.coin(one_only)


def _shares(kinds: Mapping[str, float]) -> Tensor:
    """(kind,) weights in the order of KINDS, whatever the order of the mapping."""
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ConfigError(
            f"controls: expected kinds among {', '.join(KINDS)}, got {', '.join(unknown)}. Correct the name."
        )
    share = torch.tensor([float(kinds.get(name, 0.0)) for name in KINDS], dtype=torch.float64)
    if not torch.isfinite(share).all() or (share < 0).any() or share.sum() <= 0:
        raise ConfigError(
            f"controls: expected a weight of zero or more for each kind and one above zero, got {dict(kinds)}. "
            "Give at least one kind a positive weight."
        )
    return share
