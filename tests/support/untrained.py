"""A model as a training starts from, which is its prior, and controls for it from procedural clips."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import pytest
import torch
from random_motion import hidden
from torch import Tensor

from handpipe.core.hands import LEFT, RIGHT
from handpipe.generation.model.canonical_frame import home_rotation
from handpipe.generation.model.controls import Controls, draw_controls
from handpipe.generation.model.denoisers import DenoiserSettings, make_denoiser
from handpipe.generation.model.diffusion import Schedule
from handpipe.generation.model.kinematics import Kinematics
from handpipe.generation.model.motion import Motion
from handpipe.generation.model.motion_model import MotionModel
from handpipe.generation.model.normalization import statistics
from handpipe.generation.model.representations import REPRESENTATIONS
from handpipe.generation.training.step import Batch, canonical_windows
from handpipe.generation.training.windows import Windows, open_sources
from handpipe.hand.loading import hand_models

BOTH = pytest.mark.parametrize("representation", REPRESENTATIONS)
WINDOW = 60
LONG = 150


@cache
def clips(frames: int) -> Motion:
    """Some windows of two procedural clips."""
    windows = Windows(open_sources(["procedural:2"], 30.0, frames, None), frames, 30.0)
    read = next(windows.every(10))
    arrays = (read.betas, read.global_orient, read.hand_pose, read.transl)
    return Kinematics.of_models(hand_models(None)).from_mano(*map(torch.from_numpy, arrays))


def some(motion: Motion, *samples: int) -> Motion:
    return Motion(*(getattr(motion, field.name)[list(samples)] for field in fields(Motion)))


@cache
def untrained(representation: str, name: str = "handdiffuse") -> MotionModel:
    """What a training starts from."""
    shape, kinematics = REPRESENTATIONS[representation], Kinematics.of_models(hand_models(None))
    motion = clips(WINDOW)
    count = len(motion.wrist_m)
    batch = Batch(motion, home_rotation(motion).expand(count, 3, 3), torch.zeros(count, dtype=torch.bool))
    canonical = canonical_windows(batch)
    stats = statistics([shape.pack(canonical, kinematics.joints(canonical))], shape.groups, lags=2 * WINDOW)
    torch.manual_seed(0)
    network = make_denoiser(name, DenoiserSettings(32, 1, 2), shape.channels, len(shape.groups)).eval()
    return MotionModel(network, network.uses_prior, shape, stats, kinematics, Schedule())


def masked(
    motion: Motion, frames: list[int], *, path: bool = False, hands: tuple[int, ...] = (LEFT, RIGHT)
) -> Controls:
    """Keyframes, or points of a path, with nothing but NaN beside them."""
    has = torch.zeros(motion.wrist_m.shape[:-1], dtype=torch.bool)
    for hand in hands:
        has[:, frames, hand] = True
    no = torch.zeros_like(has)
    return hidden(Controls(motion, has, no, no) if path else Controls(motion, has, has, has))


def drawn(kind: str, seed: int = 0, frames: int = 20) -> Controls:
    """Controls of one kind for three windows."""
    motion = some(clips(WINDOW), 0, 7, 14).window(slice(frames))
    return hidden(Controls(motion, *draw_controls({kind: 1.0}, 3, frames, torch.Generator().manual_seed(seed))))


def assert_meets(motion: Motion, controls: Controls) -> None:
    """To a micrometre and a hundred-thousandth of a radian."""
    wanted = controls.motion
    assert not any(getattr(motion, field.name).isnan().any() for field in fields(Motion))
    off = (motion.wrist_m - wanted.wrist_m)[controls.has_wrist]
    assert (off.abs() <= 1e-6).all()
    for mine, theirs, has in (
        (motion.R_world_wrist, wanted.R_world_wrist, controls.has_orient),
        (motion.R_pose, wanted.R_pose, controls.has_pose),
    ):
        # |A - B| of rotations is sqrt(2) times the angle between them, where it is small.
        assert ((mine - theirs)[has].flatten(-2).norm(dim=-1) <= 1e-5).all()
    assert torch.equal(motion.betas, wanted.betas)


def assert_alike(a: Motion, b: Motion, atol: float) -> None:
    for field in fields(Motion):
        torch.testing.assert_close(getattr(a, field.name), getattr(b, field.name), atol=atol, rtol=0)


def steps_m(model: MotionModel, motion: Motion) -> Tensor:
    """(sample, frame - 1) how far the joint goes that goes farthest."""
    return model.kinematics.joints(motion).diff(dim=1).norm(dim=-1).amax((-1, -2))
