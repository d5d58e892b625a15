"""Motions of any length, drawn from a model before any training: its prior."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from untrained import BOTH, LONG, WINDOW, assert_alike, assert_meets, clips, masked, some, steps_m, untrained

from handpipe.core.hands import LEFT, RIGHT
from handpipe.generation.model.canonical_frame import home_rotation
from handpipe.generation.model.controls import Controls
from handpipe.generation.model.diffusion import SamplerSettings
from handpipe.generation.model.penetration import penetration_energy
from handpipe.generation.sampling.windows import SamplingOptions, noise_for, sample_motion, window_starts

# diffusers 0.42 asks NumPy for an array in a way that NumPy 2 will stop to serve.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FEW = SamplingOptions(SamplerSettings("dpm", 8))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.integers(2, 80), st.integers(1, 90))
def test_windows_cover_everything_and_share_frames(length, window, context):
    starts = window_starts(length, window, context)
    assert starts[0] == 0
    assert starts[-1] == max(length - window, 0)
    for before, after in pairwise(starts):
        assert after > before
        assert before + window - after >= min(context, window - 1)


def test_noise_is_each_samples_own():
    noise = noise_for(5, range(4), 1, (30, 7))
    assert torch.equal(noise_for(5, [3, 1], 1, (30, 7)), noise[[3, 1]])
    for other in (noise_for(6, [3], 1, (30, 7)), noise_for(5, [3], 2, (30, 7)), noise[2:3]):
        assert (other - noise[3]).abs().max() > 1
    assert noise.mean().abs() < 0.15
    assert 0.9 < noise.std() < 1.1


def sampled(model, controls, options=FEW, seed=0, samples=None):
    samples = range(len(controls.motion.wrist_m)) if samples is None else samples
    home = home_rotation(clips(WINDOW))
    return sample_motion(model, controls, home, WINDOW, options, seed, samples)


@BOTH
@pytest.mark.parametrize("keyframes", [[], [0, 40, 149], [70, 110], [0, 60, 61, 100]])
def test_a_long_motion_has_no_seams_and_meets_its_keyframes(representation, keyframes):
    """Also where a keyframe is the first frame beyond a window: 60, 110."""
    model = untrained(representation)
    controls = masked(some(clips(LONG), 0, 1), keyframes)
    motion = sampled(model, controls)
    assert motion.frames == LONG
    assert_meets(motion, controls)
    starts = window_starts(LONG, WINDOW, FEW.context)
    assert starts == [0, 50, 90]
    seams = [start + WINDOW - 1 for start in starts[:-1]]  # steps from the last frame of one window to the next
    elsewhere = torch.ones(LONG - 1, dtype=torch.bool)
    elsewhere[seams] = False
    steps = steps_m(model, motion)
    assert (steps[:, seams].amax(1) < 1.5 * steps[:, elsewhere].amax(1)).all()


@BOTH
def test_paths_are_met(representation):
    model, motion = untrained(representation), some(clips(LONG), 0, 1)
    dense = masked(motion, list(range(LONG)), path=True, hands=(RIGHT,))
    assert_meets(sampled(model, dense), dense)
    both = masked(motion, [0], hands=(LEFT,)).merged(masked(motion, list(range(5, LONG, 20)), path=True))
    assert_meets(sampled(model, both), both)


def test_the_same_seed_gives_the_same_bits_and_another_another_motion():
    model, controls = untrained("global"), masked(some(clips(LONG), 0), [0, 149])
    motion = sampled(model, controls)
    assert_alike(sampled(model, controls), motion, atol=0)
    joints = model.kinematics.joints(motion)
    for other in (sampled(model, controls, seed=1), sampled(model, controls, samples=[1])):
        assert (model.kinematics.joints(other) - joints).norm(dim=-1).max() > 0.02
    # Without noise it is the most typical motion, whatever the seed.
    still = replace(FEW, temperature=0.0)
    assert_alike(sampled(model, controls, still, seed=1), sampled(model, controls, still), atol=0)


@BOTH
def test_the_expected_motion_is_the_mean_of_the_prior(representation):
    """Whatever the network says, and whatever the seed."""
    model, motion = untrained(representation), some(clips(LONG), 0, 1).window(slice(WINDOW))
    controls = masked(motion, [0, 1, 40])

    def other(x_t, t, given, posterior):
        return posterior[0] + 3 * posterior[1]

    expected = sampled(model, controls, SamplingOptions.expected())
    assert_alike(
        sampled(replace(model, denoiser=other), controls, SamplingOptions.expected(), seed=1), expected, atol=0
    )
    assert_meets(expected, controls)
    error = (model.kinematics.joints(expected) - model.kinematics.joints(motion)).norm(dim=-1)[:, :40].mean()
    drawn = (model.kinematics.joints(sampled(model, controls)) - model.kinematics.joints(motion)).norm(dim=-1)
    assert error < drawn[:, :40].mean()


@BOTH
@pytest.mark.parametrize("sampler", [SamplerSettings("dpm", 8), SamplerSettings("ddpm", 10)], ids=lambda s: s.name)
def test_a_sample_is_the_same_alone_and_in_a_batch(representation, sampler):
    """Also where other samples have other controls."""
    model, motion = untrained(representation), some(clips(LONG), 0, 1, 0).window(slice(70))
    controls = masked(motion, [3, 66])
    for has in (controls.has_wrist, controls.has_orient, controls.has_pose):
        has[1] = False
    options = SamplingOptions(sampler)
    together = sampled(model, controls, options)
    for sample in range(3):
        has = (controls.has_wrist, controls.has_orient, controls.has_pose)
        mine = Controls(some(controls.motion, sample), *(each[[sample]] for each in has))
        assert_alike(sampled(model, mine, options, samples=[sample]), some(together, sample), atol=1e-4)


def test_every_window_draws_noise_of_its_own():
    """In every step: from the same start and with nothing to go on from, the motion would be the same twice."""
    model = untrained("global")
    controls = masked(some(clips(LONG), 0, 1, 2, 3).window(slice(2 * WINDOW - 1)), [])
    motion = sampled(model, controls, SamplingOptions(SamplerSettings("ddpm", 20), temperature=0.0, context=1))
    first, second = (motion.R_pose[:, start + 30 : start + WINDOW] for start in (0, WINDOW - 1))
    apart, samples_apart = (roma.rotmat_geodesic_distance(first, x).mean() for x in (second, first.roll(1, 0)))
    assert apart > 0.8 * samples_apart


@BOTH
def test_guidance_keeps_the_hands_apart(representation):
    model = untrained(representation)
    controls = masked(some(clips(WINDOW), *range(0, 24, 3)), [0, 59])
    free, guided = (sampled(model, controls, replace(FEW, clearance=strength)) for strength in (0.0, 1.0))
    assert_meets(guided, controls)
    before, after = (penetration_energy(model.kinematics.joints(motion)).sum() for motion in (free, guided))
    assert before > 1
    assert after < 0.5 * before


def test_steps_are_told():
    told = []
    controls = masked(some(clips(LONG), 0), [0])
    home = home_rotation(clips(WINDOW))
    sample_motion(untrained("global"), controls, home, WINDOW, FEW, 0, [0], on_step=lambda: told.append(1))
    assert len(told) == 8 * 3
