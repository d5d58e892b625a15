"""Training of the network of the expected motion."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from untrained import BOTH, WINDOW, clips, untrained

from handpipe.generation.model.canonical_frame import home_rotation
from handpipe.generation.model.expectation import Expectation
from handpipe.generation.model.motion_model import MotionModel
from handpipe.generation.training.step import Batch, TrainingState, clip_gradients, expected_loss, train_step


def with_expectation(representation: str) -> tuple[MotionModel, TrainingState]:
    model = untrained(representation)
    torch.manual_seed(0)
    networks = {"denoiser": deepcopy(model.denoiser), "expectation": Expectation(len(model.representation.groups))}
    return model.with_networks(networks), TrainingState.start(torch.nn.ModuleDict(networks), 1e-3)


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
    assert before == loss(replace(model, expectation=None)), "at first it is the prior"
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


@pytest.mark.parametrize("frames", [2, 3])
def test_windows_without_a_gap_have_no_loss(frames):
    model, _ = with_expectation("global")
    windows = batch()
    found = expected_loss(model, windows.motion.window(slice(frames)), windows.R_home, torch.Generator().manual_seed(0))
    assert found.isfinite()
    assert frames > 2 or found == 0
