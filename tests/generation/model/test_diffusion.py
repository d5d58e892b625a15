"""Sampling: on Gaussian data, whose best denoiser is known, every sampler has an exact answer."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.core.errors import ConfigError
from handpipe.generation.model.diffusion import SamplerSettings, Schedule, dpm_timesteps, make_scheduler, sample

# diffusers 0.42 asks NumPy for an array in a way that NumPy 2 will stop to serve.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SAMPLERS = [SamplerSettings("dpm", 15), SamplerSettings("ddim", 50), SamplerSettings("ddpm", 1000)]

MEAN = torch.tensor([0.5, -1.0, 0.0, 1.0, 0.2, -0.3])
STD = torch.tensor([1.5, 1.0, 0.6, 0.4, 0.25, 0.15])
AXES = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]
COVARIANCE = AXES @ (STD.square()[:, None] * AXES.mT)


SCHEDULE = Schedule()


def denoise(x_t, t):
    """E[x0 | x_t] of the Gaussian."""
    alpha, sigma = SCHEDULE.alpha(t)[:, None], SCHEDULE.sigma(t)[:, None]
    gain = alpha * STD.square() / (alpha.square() * STD.square() + sigma.square())
    return MEAN + (gain * ((x_t - alpha * MEAN) @ AXES)) @ AXES.mT


def affine(sampler):
    """Mean and covariance of what a sampler without noise of its own makes of the Gaussian: it is an affine map."""
    out = sample(denoise, torch.cat((torch.zeros(1, 6), torch.eye(6))), sampler)
    linear = (out[1:] - out[0]).mT
    return out[0], linear @ linear.mT


def spread(covariance):
    """Its standard deviation along the Gaussian's axes, over the right one."""
    return (AXES.mT @ covariance @ AXES).diagonal().sqrt() / STD


# ---- exact answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "error"), [(SamplerSettings("dpm", 15), 0.03), (SamplerSettings("ddim", 50), 0.1)])
def test_samplers_without_noise_of_their_own_make_the_gaussian(sampler, error):
    mean, covariance = affine(sampler)
    torch.testing.assert_close(mean, MEAN, atol=0.02, rtol=0)
    torch.testing.assert_close(spread(covariance), torch.ones(6), atol=error, rtol=0)
    torch.testing.assert_close(covariance, COVARIANCE, atol=2.1 * error * STD.square().max().item(), rtol=0)


@pytest.mark.parametrize("name", ["dpm", "ddim"])
def test_more_steps_come_closer(name):
    few, many = (affine(SamplerSettings(name, steps))[1] for steps in (10, 100))
    assert (spread(many) - 1).abs().max() < 0.3 * (spread(few) - 1).abs().max()


@pytest.mark.parametrize("std", [1.0, 0.1, 0.04])
def test_small_movements_survive_fifteen_steps(std):
    """With timesteps spaced evenly in time, 0.1 becomes 0.066."""

    def narrow(x_t, t):
        alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
        return (alpha * std**2 / (alpha.square() * std**2 + sigma.square()))[:, None] * x_t

    assert sample(narrow, torch.ones(1, 1), SamplerSettings("dpm", 15)).item() == pytest.approx(std, rel=0.03)


def test_ddpm_makes_the_gaussian():
    generator = torch.Generator().manual_seed(1)
    number = 4000
    out = sample(denoise, torch.randn(number, 6, generator=generator), SAMPLERS[2], generator=generator)
    along = (out - MEAN) @ AXES / STD
    assert along.mean(0).abs().max() < 4 / math.sqrt(number)
    torch.testing.assert_close(along.mT.cov(), torch.eye(6), atol=5 * math.sqrt(2 / number), rtol=0)


def test_no_noise_is_the_mean():
    for sampler in SAMPLERS[:2]:
        torch.testing.assert_close(sample(denoise, torch.zeros(1, 6), sampler)[0], MEAN, atol=0.02, rtol=0)


# ---- laws --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SAMPLERS, ids=lambda s: s.name)
def test_the_same_noise_gives_the_same_bits_and_is_left_alone(settings):
    noise = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    before = noise.clone()
    first, second = (sample(denoise, noise, settings, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(noise, before)
    assert first.dtype == torch.float32


def test_ddpm_draws_from_its_generator_alone():
    noise = torch.zeros(2, 6)
    few = SamplerSettings("ddpm", 20)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    one, two = (sample(denoise, noise, few, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("settings", SAMPLERS, ids=lambda s: s.name)
def test_the_last_prediction_is_the_answer_to_the_bit(settings):
    """So what a denoiser knows exactly, the sample has exactly."""
    seen = []

    def known(x_t, t):
        seen.append(denoise(x_t, t).index_fill(1, torch.tensor([2]), 0.1))
        return seen[-1]

    out = sample(known, torch.randn(2, 6), settings, generator=torch.Generator())
    assert torch.equal(out, seen[-1])
    assert len(seen) == settings.steps


@pytest.mark.parametrize("settings", SAMPLERS, ids=lambda s: s.name)
def test_what_the_denoiser_is_told(settings):
    """Timesteps from noise to motion, one for each sample, all the same."""
    told = []

    def note(x_t, t):
        assert t.dtype == torch.long
        assert t.shape == (2,)
        assert t[0] == t[1]
        told.append(int(t[0]))
        return torch.zeros_like(x_t)

    sample(note, torch.randn(2, 6), settings, generator=torch.Generator())
    assert told == sorted(set(told), reverse=True)
    assert len(told) == settings.steps
    assert told[0] >= 990
    assert told[-1] == {"dpm": 0, "ddim": 19, "ddpm": 0}[settings.name]


def test_refine_acts_before_the_step_and_knows_how_far_it_is():
    heard, steps = [], []

    def refine(x0, progress):
        heard.append(progress)
        return x0 + 1

    sampler = SamplerSettings("dpm", 5)
    out = sample(denoise, torch.zeros(1, 6), sampler, refine=refine, on_step=lambda *step: steps.append(step))
    assert heard == [0, 0.25, 0.5, 0.75, 1]
    assert steps == [(i, 5) for i in range(1, 6)]
    same = sample(lambda *args: denoise(*args) + 1, torch.zeros(1, 6), sampler)
    assert torch.equal(out, same)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1000))
def test_dpm_timesteps_are_as_many_as_asked_and_all_different(steps):
    """diffusers confuses its steps where a timestep comes twice."""
    timesteps = dpm_timesteps(steps)
    assert len(set(timesteps)) == steps
    assert timesteps == sorted(timesteps, reverse=True)
    assert 990 <= timesteps[0] < 1000
    assert steps == 1 or timesteps[-1] == 0


def test_ddim_is_its_formula():
    """Song et al. 2021, eq. 12: keep the noise that the prediction implies, at the next timestep's level."""
    schedule, x = Schedule(), torch.randn(4, 6, generator=torch.Generator().manual_seed(5))
    expected, timesteps = x, make_scheduler(SamplerSettings("ddim", 25)).timesteps
    for now, later in pairwise(timesteps):
        t, s = now.expand(4), later.expand(4)
        x0 = denoise(expected, t)
        noise = (expected - schedule.alpha(now) * x0) / schedule.sigma(now)
        expected = schedule.add_noise(x0, noise, s)
    t = timesteps[-1].expand(4)
    expected = denoise(expected, t)
    torch.testing.assert_close(sample(denoise, x, SamplerSettings("ddim", 25)), expected, atol=1e-5, rtol=1e-4)


def test_the_schedule_keeps_the_variance_and_follows_the_cosine():
    schedule, t = Schedule(), torch.arange(1000)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(1000))
    assert (alpha.diff() < 0).all()
    cosine = torch.cos(((t.double() + 1) / 1000 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)
    torch.testing.assert_close(alpha[:990].double(), cosine[:990], atol=1e-5, rtol=0)
    x0, noise = torch.randn(2, 3, 2, 5, 4).unbind()
    steps = torch.tensor([0, 500, 999])
    noisy = schedule.add_noise(x0, noise, steps)
    for i, step in enumerate(steps):
        torch.testing.assert_close(noisy[i], alpha[step] * x0[i] + sigma[step] * noise[i])


@pytest.mark.parametrize(("name", "steps"), [("dpm", 0), ("ddpm", 1001), ("ddim", 15)])
def test_steps_that_cannot_be(name, steps):
    with pytest.raises(ConfigError, match=rf"sampler: expected .* but found {steps}\. Choose"):
        SamplerSettings(name, steps)
