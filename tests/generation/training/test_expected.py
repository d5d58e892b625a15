"""Training of the network of the expected motion."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from untrained import BOTH, WINDOW, clips, untrained

from handpipe.generation.model.canonical_frame import canonical_frame, home_rotation
from handpipe.generation.model.controls import Controls
from handpipe.generation.model.expectation import Expectation
from handpipe.generation.model.motion import Motion
from handpipe.generation.model.motion_model import MotionModel
from handpipe.generation.training.step import Batch, TrainingState, clip_gradients, expected_loss, train_step


def with_expectation(representation: str) -> tuple[MotionModel, TrainingState]:
    model = untrained(representation)
    torch.manual_seed(0)
    networks = {"denoiser": deepcopy(model.denoiser), "expectation": Expectation(len(model.representation.groups))}
    return model.with_networks(networks), TrainingState.start(torch.nn.ModuleDict(networks), 1e-3)


def controls_of(motion: Motion) -> Controls:
    """Ten frames and the last one of all."""
    has = torch.zeros(motion.wrist_m.shape[:-1], dtype=torch.bool)
    has[:, [*range(10), -1]] = True
    return Controls(motion, has, has, has)


def batch() -> Batch:
    motion = clips(WINDOW)
    count = len(motion.wrist_m)
    return Batch(motion, home_rotation(motion).expand(count, 3, 3), torch.zeros(count, dtype=torch.bool))


@BOTH
def test_gaps_are_filled_better_than_by_the_prior(representation):
    """On the clips that were trained on, with other gaps."""
    model, state = with_expectation(representation)
    windows = batch()

    def loss(model: MotionModel) -> float:
        with torch.no_grad():
            return float(expected_loss(model, windows.motion, windows.R_home, torch.Generator().manual_seed(1)))

    before = loss(model)
    for step in range(40):
        generator = torch.Generator().manual_seed(100 + step)
        state.optimizer.zero_grad()
        expected_loss(model, windows.motion, windows.R_home, generator).backward()
        clip_gradients(state.networks)
        state.optimizer.step()
    assert loss(model) < 0.97 * before


def test_it_takes_nothing_from_the_denoiser():
    """The same step with and without it gives the denoiser the same gradient."""
    gradients = []
    for alone in (True, False):
        model, state = with_expectation("global")
        if alone:
            model = replace(model, expectation=None)
        train_step(model, state, batch(), {"x0": 1.0, "joints": 1.0}, seed=3)
        parameters = state.networks["denoiser"].parameters()
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    torch.testing.assert_close(*gradients, atol=0, rtol=0)


@BOTH
def test_before_training_it_is_the_prior(representation):
    model, _ = with_expectation(representation)
    controls = controls_of(batch().motion)
    found, prior = (m.conditioning(controls, WINDOW).conditional for m in (model, replace(model, expectation=None)))
    assert found is not None
    assert prior is not None
    torch.testing.assert_close(found.base, prior.base, atol=0, rtol=0)
    torch.testing.assert_close(found.covariance, prior.covariance, atol=0, rtol=0)


def test_draws_learn_how_far_motion_is_from_what_is_expected():
    """On the clips that were trained on: the deviation becomes the mean distance, in every group of channels."""
    model, state = with_expectation("global")
    windows = batch()
    controls = controls_of(windows.motion)
    controls = controls.moved(*canonical_frame(controls, windows.R_home, fallback=True))
    packed, prior = model.pack(controls.motion), model.prior(WINDOW)

    def ratio() -> Tensor:
        """(group,) mean distance in the gap over the mean deviation."""
        found = model.conditioning(controls, WINDOW, packed).conditional
        assert found is not None
        distance = prior.mean_square(found.base - packed).sqrt()
        return distance.mean((0, 1, 2)) / prior.of_groups(found.std).mean((0, 1, 2))

    with torch.no_grad():
        before = ratio()
    for step in range(60):
        state.optimizer.zero_grad()
        generator = torch.Generator().manual_seed(100 + step)
        expected_loss(model, windows.motion, windows.R_home, generator).backward()
        clip_gradients(state.networks)
        state.optimizer.step()
    with torch.no_grad():
        after = ratio()
    assert after.log().abs().max() < 0.5 * before.log().abs().max()


@pytest.mark.parametrize("frames", [2, 3])
def test_windows_without_a_gap_have_no_loss(frames):
    model, _ = with_expectation("global")
    windows = batch()
    found = expected_loss(model, windows.motion.window(slice(frames)), windows.R_home, torch.Generator().manual_seed(0))
    assert found.isfinite()
    assert frames > 2 or found == 0
