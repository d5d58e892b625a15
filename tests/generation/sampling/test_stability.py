"""Motion of any length stays within the statistics of its beginning, whatever the network has learnt."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from untrained import BOTH, LONG, clips, masked, some, untrained

from handpipe.core.hands import RIGHT
from handpipe.generation.model.canonical_frame import home_rotation
from handpipe.generation.model.controls import Controls
from handpipe.generation.model.diffusion import SamplerSettings
from handpipe.generation.model.expectation import LOG_SCALE, Expectation, gaps
from handpipe.generation.model.motion import Motion
from handpipe.generation.model.motion_model import MotionModel
from handpipe.generation.sampling.windows import SamplingOptions, sample_motion, window_starts

# diffusers 0.42 asks NumPy for an array in a way that NumPy 2 will stop to serve.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WINDOWS = 20
WINDOW, CONTEXT = 20, 6
"""Frames; short ones, to be quick."""
SAMPLES = 8
LENGTH = WINDOW + (WINDOWS - 1) * (WINDOW - CONTEXT)
SAMPLERS = [SamplerSettings("dpm", 6), SamplerSettings("ddim", 8), SamplerSettings("ddpm", 8)]


@cache
def rough(representation: str) -> MotionModel:
    """A model whose network is wrong: it adds noise that depends on everything it is told."""
    model = untrained(representation)
    torch.manual_seed(1)
    network = model.denoiser

    def denoiser(x_t, t, given, posterior):
        mean, std = posterior
        wrong = torch.sin(40 * mean) * (mean.abs() > 0.1)
        return torch.where(given.mask, given.values, network(x_t, t, given, posterior) + 0.1 * std * wrong)

    return replace(model, denoiser=denoiser)


def blank(frames: int) -> Controls:
    start = some(clips(LONG), *range(SAMPLES))

    def wide(x: torch.Tensor) -> torch.Tensor:
        return x[:, :1].expand(-1, frames, *x.shape[2:])

    return Controls.none(Motion(wide(start.wrist_m), wide(start.R_world_wrist), wide(start.R_pose), start.betas))


def along_a_path(frames: int) -> Controls:
    """The right wrist goes around a circle of 10 cm once a second."""
    free = blank(frames)
    angle = 2 * torch.pi * torch.arange(frames) / 30
    circle = 0.1 * torch.stack([angle.cos(), angle.sin(), torch.zeros(frames)], dim=-1)
    wrist = free.motion.wrist_m.clone()
    wrist[:, :, RIGHT] = circle
    return masked(replace(free.motion, wrist_m=wrist), list(range(frames)), path=True, hands=(RIGHT,))


@cache
def greedy(representation: str) -> MotionModel:
    """A model that expects the more motion the more it has seen, generated motion included."""
    model = untrained(representation)
    torch.manual_seed(2)
    network = Expectation(len(model.representation.groups))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 10)

    def expectation(base, observed, *rest):
        moved, _ = network(base, observed, *rest)
        seen = (base.diff(dim=1).abs().amax(dim=(1, 3)) / 0.1).tanh()[:, None, :, None]
        return moved, LOG_SCALE * seen * gaps(observed)[-1]

    return replace(model, expectation=expectation)


def between_far_keyframes(frames: int) -> Controls:
    """All of both hands in every thirtieth frame of a clip that is shown forwards and backwards: in every other window
    at most."""
    clip = some(clips(LONG), *range(SAMPLES))
    shown = (torch.arange(frames) % (2 * LONG - 2) - (LONG - 1)).abs()

    def turned(x: torch.Tensor) -> torch.Tensor:
        return x[:, shown]

    motion = Motion(turned(clip.wrist_m), turned(clip.R_world_wrist), turned(clip.R_pose), clip.betas)
    return masked(motion, list(range(0, frames, 30)))


CASES = [*((untrained, sampler) for sampler in SAMPLERS), (rough, SAMPLERS[0])]


@BOTH
@pytest.mark.parametrize("steer", [blank, along_a_path], ids=["free", "path"])
@pytest.mark.parametrize(("model_of", "sampler"), CASES, ids=["dpm", "ddim", "ddpm", "wrong-network"])
def test_twenty_windows_move_as_the_first_ones(representation, sampler, steer, model_of):
    """Speed and jerk of each window, of the finger joints as seen from the wrist: the mean over the samples may vary by
    chance, since some hands rest; a factor per window would show after a few."""
    model = model_of(representation)
    options = SamplingOptions(sampler, context=CONTEXT)
    motion = sample_motion(model, steer(LENGTH), home_rotation(clips(WINDOW)), WINDOW, options, 3, range(SAMPLES))
    joints = model.kinematics.joints(motion)
    joints = joints - motion.wrist_m[..., None, :]
    assert joints.isfinite().all()
    starts = window_starts(LENGTH, WINDOW, CONTEXT)
    assert len(starts) == WINDOWS
    for order in (1, 3):
        change = joints.diff(n=order, dim=1).norm(dim=-1)
        per_window = torch.stack([change[:, start + CONTEXT : start + WINDOW].mean() for start in starts])
        first, last = per_window[1:6].mean(), per_window[-5:].mean()
        assert 0.6 < last / first < 1.6, per_window
        assert per_window[1:].max() < 2.2 * per_window.median(), per_window
    # Where the hands are relative to each other does not run away either.
    apart = (motion.wrist_m[..., 0, :] - motion.wrist_m[..., 1, :]).norm(dim=-1)
    real = clips(LONG)
    assert apart.median() < 3 * (real.wrist_m[..., 0, :] - real.wrist_m[..., 1, :]).norm(dim=-1).max()


@BOTH
def test_a_network_that_expects_ever_more_motion_does_not_get_it(representation):
    """Between far keyframes, where windows continue generated motion, it moves no more than the prior alone."""
    model, options = greedy(representation), SamplingOptions(SamplerSettings("dpm", 6), context=CONTEXT)
    controls, home = between_far_keyframes(LENGTH), home_rotation(clips(WINDOW))

    def speed(model: MotionModel) -> torch.Tensor:
        motion = sample_motion(model, controls, home, WINDOW, options, 3, range(SAMPLES))
        joints = model.kinematics.joints(motion) - motion.wrist_m[..., None, :]
        assert joints.isfinite().all()
        return torch.stack([part.mean() for part in joints.diff(dim=1).norm(dim=-1).split(LENGTH // 4, 1)[:4]])

    assert (speed(model) < 1.5 * speed(replace(model, expectation=None))).all()
