"""Ways to fill a gap without a network: the baselines of in-betweening in benchmarks/generation.py."""

from __future__ import annotations

from collections.abc import Callable

import roma
import torch
from _generation_subject import Subject, real_motion, rows
from torch import Tensor

from handpipe.generation.model.canonical_frame import canonical_frame
from handpipe.generation.model.controls import Controls
from handpipe.generation.model.interpolation import impose, interpolate
from handpipe.generation.model.motion import Motion

BLEND_FRAMES = 15
"""Frames in which inertialisation lets the velocity at the start die away: half a second."""

NEIGHBOUR_STRIDE = 3
"""Frames from one training window to the next among which the nearest one is looked for."""


def hermite(motion: Motion, before: int, after: int) -> Motion:
    """Cubic Hermite curves from the last frame before the gap, with its velocity, to the target, at rest."""

    def curve(share: Tensor, frames: int, step: Tensor, velocity: Tensor) -> Tensor:
        rise = 3 * share**2 - 2 * share**3
        return rise * step + share * (1 - share) ** 2 * frames * velocity

    return _bridged(motion, before, after, curve)


def inertialised(motion: Motion, before: int, after: int) -> Motion:
    """Linear interpolation and SLERP, plus what is left of the velocity at the start, which dies away (Bollo 2016)."""

    def curve(share: Tensor, frames: int, step: Tensor, velocity: Tensor) -> Tensor:
        blend = min(BLEND_FRAMES, frames)
        frame = share * frames
        fading = frame * (1 - frame / blend).clamp_min(0) ** 2
        return share * step + fading * (velocity - step / frames)

    return _bridged(motion, before, after, curve)


def _bridged(motion: Motion, before: int, after: int, curve: Callable[[Tensor, int, Tensor, Tensor], Tensor]) -> Motion:
    """A motion whose gap is filled by a curve of each quantity; `curve(share, frames, step, velocity)` is the
    displacement from the frame before the gap. Rotations are taken as rotation vectors from there."""
    frames = after - before
    share = torch.arange(1, frames, device=motion.wrist_m.device) / frames

    def placed(x: Tensor) -> Tensor:
        start, velocity = x[:, before], x[:, before] - x[:, before - 1]
        shape = (1, -1, *[1] * (start.ndim - 1))
        inside = start[:, None] + curve(share.view(shape), frames, (x[:, after] - start)[:, None], velocity[:, None])
        return torch.cat([x[:, : before + 1], inside, x[:, after:]], 1)

    def turned(R: Tensor) -> Tensor:
        start = R[:, before]
        step = roma.rotmat_to_rotvec(start.mT @ R[:, after])[:, None]
        velocity = roma.rotmat_to_rotvec(R[:, before - 1].mT @ start)[:, None]
        shape = (1, -1, *[1] * (step.ndim - 2))
        inside = start[:, None] @ roma.rotvec_to_rotmat(curve(share.view(shape), frames, step, velocity))
        return torch.cat([R[:, : before + 1], inside, R[:, after:]], 1)

    return Motion(placed(motion.wrist_m), turned(motion.R_world_wrist), turned(motion.R_pose), motion.betas)


def constant(subject: Subject, controls: Controls, before: int) -> Motion:
    """The last pose before the gap held, then brought through the controls by kriging, as every sampled motion is."""
    held = interpolate(Controls(controls.motion, *(_only(has, before) for has in _masks(controls))))
    return _kriged(subject, held, controls)


def nearest(subject: Subject, controls: Controls) -> Motion:
    """The training window whose observed frames are nearest (joints in the canonical frame), by kriging as above."""
    loaded, frames = subject.loaded, controls.motion.frames
    kinematics = loaded.model.kinematics
    learnt = real_motion(kinematics, subject.scene.learnt, loaded.fps, frames, NEIGHBOUR_STRIDE)
    mask = controls.has_wrist[0].any(-1)
    has = [part[:1].expand(len(learnt.betas), -1, -1) for part in _masks(controls)]
    learnt = learnt.moved(*canonical_frame(Controls(learnt, *has), loaded.R_home))
    R, t_m = canonical_frame(controls, loaded.R_home)
    wanted = kinematics.joints(controls.motion.moved(R, t_m))[:, mask].flatten(1)
    found = torch.cdist(wanted, kinematics.joints(learnt)[:, mask].flatten(1)).argmin(-1)
    taken = rows(learnt, found).moved(R.mT, -(R.mT @ t_m[..., None])[..., 0])
    motion = Motion(taken.wrist_m, taken.R_world_wrist, taken.R_pose, controls.motion.betas)
    return _kriged(subject, motion, controls)


def _kriged(subject: Subject, motion: Motion, controls: Controls) -> Motion:
    kernel = subject.loaded.model.prior(motion.frames).kernels.mean(dim=0).to(motion.wrist_m)
    return impose(motion, controls, kernel)


def _masks(controls: Controls) -> tuple[Tensor, Tensor, Tensor]:
    return controls.has_wrist, controls.has_orient, controls.has_pose


def _only(has: Tensor, frame: int) -> Tensor:
    one = torch.zeros_like(has)
    one[:, frame] = has[:, frame]
    return one
