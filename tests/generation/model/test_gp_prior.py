"""The Gaussian-process prior: what it measures, what it concludes from observations, and what it makes of noise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.core.errors import HandpipeError
from handpipe.generation.model.gp_prior import LEVEL_VARIANCE, REST_FLOOR, Conditional, Prior
from handpipe.generation.model.liveliness import Liveliness
from handpipe.generation.model.normalization import RELATIVE_STD_FLOOR, Statistics, fitted_correlation, statistics

GROUPS = (slice(0, 3), slice(3, 5))
SIZES = (3, 2)
FRAMES, HANDS, CHANNELS = 20, 2, 5


def matern(lag, length):
    """Of smoothness 7/2."""
    r = np.sqrt(7) * np.abs(lag) / length
    return (1 + r + 2 * r**2 / 5 + r**3 / 15) * np.exp(-r)


LEVELS = torch.tensor([0.1, 0.6, 1.0, 1.595], dtype=torch.float64)
CHAIN = Liveliness(LEVELS.expand(2, 4), (0.1 + 0.6 * torch.eye(4, dtype=torch.float64)).expand(2, 4, 4))
AVERAGE = 2
"""The level whose liveliness is 1."""


def prior(frames: int = FRAMES) -> Prior:
    lag = np.arange(60)
    rows = torch.tensor(np.stack([0.7 * matern(lag, 12.0) + 0.3, matern(lag, 5.0)]))
    return Prior.of(Statistics(torch.zeros(CHANNELS), torch.ones(CHANNELS), rows, SIZES, CHAIN), frames)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def observations(batch: int, generator: torch.Generator, share: float = 0.3, frames: int = FRAMES):
    """A mask that is one for each group, and values that a person could move through: draws of the prior itself."""
    chosen = torch.rand(batch, frames, HANDS, len(SIZES), generator=generator) < share
    mask = chosen.repeat_interleave(torch.tensor(SIZES), dim=-1)
    noise = torch.randn(batch, frames, HANDS, CHANNELS, generator=generator).double()
    factors = torch.linalg.cholesky(prior(frames).kernels)
    parts = [torch.einsum("fg,bghc->bfhc", L, part) for L, part in zip(factors, noise.split(SIZES, -1), strict=True)]
    return mask, torch.cat(parts, -1).float()


def each_channel():
    """(batch entry, hand, channel, its group) of two batch entries."""
    group = [g for g, size in enumerate(SIZES) for _ in range(size)]
    return [(b, h, c, group[c]) for b in range(2) for h in range(HANDS) for c in range(CHANNELS)]


def naive_conditional(K, observed, values):
    """Textbook Gaussian of all frames given some: mean and covariance."""
    K_o = K[:, observed]
    gain = K_o @ np.linalg.inv(K[np.ix_(observed, observed)])
    return gain @ values[observed], K - gain @ K_o.T


def kernel_of(g, observed, level=AVERAGE):
    """What a group's observed frames make of its kernel: changes scale, and the level is unknown."""
    square = float(LEVELS[level]) ** 2
    K = square * prior().kernels[g].numpy() + max(1 - square, 0) + REST_FLOOR * np.eye(FRAMES)
    return K + LEVEL_VARIANCE if observed.any() else K


# What is measured


def test_statistics_are_those_of_a_loop_over_frames(rng):
    windows = rng.normal(size=(4, 9, HANDS, CHANNELS)).cumsum(1) * [1, 2, 3, 4, 5] + 7
    found = statistics([torch.tensor(windows[:1]), torch.tensor(windows[1:])], GROUPS)
    np.testing.assert_allclose(found.mean, windows.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.std, windows.std((0, 1, 2)), rtol=1e-5)
    x = windows[:, 1:]  # the first frame is none for the correlation
    assert found.correlation.shape == (2, 7)  # a quarter of the 8 frames' pairs at least
    for g, group in enumerate(GROUPS):
        for lag in range(7):
            differences = x[:, lag:, :, group] - x[:, : 8 - lag, :, group]
            share = (differences**2).mean((0, 1, 2)).sum() / 2 / windows[..., group].var((0, 1, 2)).sum()
            assert found.correlation[g, lag] == pytest.approx(1 - share, abs=1e-9)


def test_windows_of_different_lengths_count_by_their_frames(rng):
    short, long = (torch.tensor(rng.normal(size=(n, frames, HANDS, CHANNELS))) for n, frames in ((3, 5), (2, 40)))
    a, b = statistics([short, long], GROUPS), statistics(iter([long, short]), GROUPS)
    pooled = torch.cat([short.flatten(0, 2), long.flatten(0, 2)])
    torch.testing.assert_close(a.mean.double(), pooled.mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(a.correlation, b.correlation)


def test_normalised_training_data_have_zero_mean_and_unit_spread(rng):
    windows = torch.tensor(rng.normal(3.0, 0.1, size=(8, 30, HANDS, CHANNELS))).float()
    found = statistics([windows], GROUPS)
    x = found.normalise(windows)
    torch.testing.assert_close(x.mean((0, 1, 2)), torch.zeros(CHANNELS), rtol=0, atol=1e-4)
    torch.testing.assert_close(x.std((0, 1, 2)), torch.ones(CHANNELS), rtol=0, atol=2e-3)
    torch.testing.assert_close(found.denormalise(x), windows)


def test_a_channel_that_never_changes_is_not_blown_up(rng):
    windows = torch.tensor(rng.normal(size=(4, 30, HANDS, CHANNELS))).cumsum(1)
    alone = statistics([windows], GROUPS)
    windows[..., 1] = 2.0  # one of a group
    windows[..., 3:] = 5.0  # a whole group
    found = statistics([windows], GROUPS)
    assert found.std[1] > 0.5 * RELATIVE_STD_FLOOR * found.std[0]
    assert (found.std > 0).all()
    assert found.normalise(windows)[..., [1, 3, 4]].abs().max() < 1e-3
    # It says nothing about how the others are correlated, and a still group is correlated at any lag.
    group = statistics([windows[..., [0, 2]]], [slice(0, 2)])
    torch.testing.assert_close(found.correlation[0], group.correlation[0])
    assert not torch.allclose(found.correlation[0], alone.correlation[0])
    torch.testing.assert_close(Prior.of(found, 40).kernels[1], torch.ones(40, 40).double(), rtol=0, atol=1e-5)


def test_no_training_data_is_said():
    with pytest.raises(HandpipeError, match="at least one window"):
        statistics([], GROUPS)


def test_the_kernel_of_a_known_process_is_found(generator):
    truth = torch.tensor(matern(np.arange(240), 10.0))
    frame = torch.arange(240)
    factor = torch.linalg.cholesky(truth[(frame[:, None] - frame).abs()] + 1e-9 * torch.eye(240))
    x = torch.einsum("fg,nghc->nfhc", factor, torch.randn(100, 240, HANDS, 8, generator=generator).double())
    kernel = Prior.of(statistics([x], [slice(0, 8)]), 40).kernels[0]
    torch.testing.assert_close(kernel[0], truth[:40], rtol=0, atol=0.04)
    exact = torch.from_numpy(fitted_correlation(truth[:180].numpy(), 40))
    torch.testing.assert_close(exact, truth[:40], rtol=0, atol=0.01)


def test_a_fitted_kernel_has_the_jerk_of_the_data():
    """Of which correlations at whole lags say next to nothing: it is a small difference of large numbers."""
    lag = np.arange(90)
    measured = 0.6 * matern(lag, 25.0) + 0.3999 * matern(lag, 8.0) + 1e-4 * matern(lag, 1.5)
    fitted = fitted_correlation(measured, 60)
    for order, coefficients in ((1, [2, -2]), (2, [6, -8, 2]), (3, [20, -30, 12, -2])):
        ours, theirs = (np.dot(coefficients, rho[: order + 1]) for rho in (fitted, measured))
        assert ours == pytest.approx(theirs, rel=0.05)


def test_a_measured_correlation_becomes_a_kernel_whatever_it_is(rng):
    """Also of few frames, for many: no eigenvalue may be negative or so small that float64 cannot factor it."""
    for lags in (1, 2, 30):
        rough = np.cos(np.arange(lags) / 3) + 0.2 * rng.normal(size=(2, lags))
        rough[:, 0] = 1
        found = Statistics(torch.zeros(CHANNELS), torch.ones(CHANNELS), torch.tensor(rough), SIZES, CHAIN)
        kernels = Prior.of(found, 120).kernels
        torch.testing.assert_close(kernels.diagonal(dim1=1, dim2=2), torch.ones(2, 120).double())
        assert torch.linalg.eigvalsh(kernels).min() > 5e-8


# What is concluded from observations


def test_condition_is_the_textbook_gaussian(generator):
    mask, values = observations(2, generator)
    given_values = prior().condition(mask, values)
    for b, h, c, g in each_channel():
        observed = mask[b, :, h, c].numpy()
        K = kernel_of(g, observed)
        mean, covariance = naive_conditional(K, observed, values[b, :, h, c].double().numpy())
        np.testing.assert_allclose(given_values.base[b, :, h, c], mean, atol=1e-4)
        np.testing.assert_allclose(given_values.covariance[b, h, g], covariance, atol=1e-6)
        np.testing.assert_allclose(
            given_values.std[b, :, h, c] ** 2, np.where(observed, 0, np.diag(covariance)), atol=1e-6
        )


def test_one_observed_frame_by_hand():
    """Far from it the motion keeps most of its level, of which 3 is unknown; so it does whatever the liveliness, but a
    hand at rest stays just where it is."""
    mask = torch.zeros(1, FRAMES, HANDS, CHANNELS, dtype=torch.bool)
    mask[:, 0] = True
    values = torch.full(mask.shape, 6.0)
    rho = prior().kernels[:, 0]  # (group, frame)
    for level, square in enumerate(LEVELS.square()):
        found = prior().condition(mask, values, level=torch.full((1, HANDS, 2), level))
        shared = 3 + square * rho + (1 - square).clamp_min(0)
        expected = 6 * shared / shared[:, :1]
        torch.testing.assert_close(found.base[0, :, 0, [0, 4]].T.double(), expected, rtol=0, atol=1e-5)
        variance = (shared[:, :1] - shared**2 / shared[:, :1]).clamp_min(0)
        torch.testing.assert_close(found.std[0, :, 0, [0, 4]].T.double() ** 2, variance, rtol=0, atol=1e-5)
    resting = prior().condition(mask, values, level=torch.zeros(1, HANDS, 2, dtype=torch.long))
    assert (resting.base - 6).abs().max() < 0.02
    assert resting.std.max() < 0.2


def test_the_covariance_never_depends_on_the_values(generator):
    """Else motion that goes on from generated motion would grow with it."""
    mask, values = observations(3, generator)
    level = torch.randint(4, (3, HANDS, 2), generator=generator)
    once, thrice = (prior().condition(mask, factor * values, level=level) for factor in (1, 3))
    assert torch.equal(once.covariance, thrice.covariance)
    torch.testing.assert_close(thrice.base, 3 * once.base, rtol=1e-4, atol=1e-4)


def test_generated_motion_goes_on_as_the_process_itself(generator):
    """Nothing is added to its variance; of recordings, the level is unknown."""
    mask, values = observations(2, generator)
    recorded = torch.tensor([True, False])
    found, plain = (prior().condition(mask, values, recorded=which) for which in (recorded, None))
    assert torch.equal(found.covariance[0], plain.covariance[0])
    for b, h, c, g in each_channel()[-HANDS * CHANNELS :]:
        observed = mask[b, :, h, c].numpy()
        K = kernel_of(g, np.zeros(1, bool))
        mean, covariance = naive_conditional(K, observed, values[b, :, h, c].double().numpy())
        np.testing.assert_allclose(found.base[b, :, h, c], mean, atol=1e-4)
        np.testing.assert_allclose(found.covariance[b, h, g], covariance, atol=1e-6)


def test_changes_scale_with_the_liveliness(generator):
    mask, values = observations(2, generator, share=0.0)
    frame = torch.arange(FRAMES)
    steps = {}
    for level in range(len(LEVELS)):
        C = prior().condition(mask, values, level=torch.full((2, HANDS, 2), level)).covariance
        steps[level] = C[0, 0, :, frame[:-1], frame[:-1]] - C[0, 0, :, frame[:-1], frame[1:]]
        assert (C.diagonal(dim1=-2, dim2=-1) >= 1).all()
    for level in range(len(LEVELS)):
        torch.testing.assert_close(steps[level], LEVELS[level].square() * steps[AVERAGE], rtol=1e-3, atol=1e-7)


def drawn_motion(level: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """(count, frame, hand, channel) of a liveliness, at any place."""
    group = torch.arange(2)
    factors = torch.linalg.cholesky(prior().kernel(torch.full((2,), level), group) + LEVEL_VARIANCE)
    noise = torch.randn(count, FRAMES, HANDS, CHANNELS, generator=generator).double()
    parts = [torch.einsum("fg,bghc->bfhc", L, part) for L, part in zip(factors, noise.split(SIZES, -1), strict=True)]
    return torch.cat(parts, -1).float()


@pytest.mark.parametrize(("every", "least"), [(1, 0.6), (5, 0.35), (10, 0.35)])
def test_the_liveliness_of_observed_motion_is_found(generator, every, least):
    """Also, less surely, from a few of its frames, where chance is a quarter; elsewhere anything may stand."""
    before = prior().liveliness.after(None, 0)
    for level in range(len(LEVELS)):
        values = drawn_motion(level, 200, generator)
        mask = torch.zeros(values.shape, dtype=torch.bool)
        mask[:, ::every] = True
        belief = prior().belief(mask, values.masked_fill(~mask, torch.nan), before)
        torch.testing.assert_close(belief.sum(-1), torch.ones(200, HANDS, 2).double())
        assert belief[..., level].mean() > least


def test_a_short_step_tells_less_of_a_gap_than_the_way_across(generator):
    """Frames 0, 1 and 19: a lively step at first, and then no way at all."""
    values = drawn_motion(len(LEVELS) - 1, 200, generator)
    values[:, 19] = values[:, 1]
    mask = torch.zeros(values.shape, dtype=torch.bool)
    mask[:, [0, 1, 19]] = True
    belief = prior().belief(mask, values, prior().liveliness.after(None, 0))
    assert belief[..., 0].mean() > 0.9


def test_what_is_believed_of_nothing_is_what_was_believed_before():
    mask = torch.zeros(3, FRAMES, HANDS, CHANNELS, dtype=torch.bool)
    mask[1, 4] = True  # a single frame moves nowhere
    before = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    belief = prior().belief(mask, torch.zeros(mask.shape), before)
    torch.testing.assert_close(belief, before.expand_as(belief))
    average = prior().nearest(prior().belief(mask, torch.zeros(mask.shape), prior().liveliness.after(None, 0)))
    assert (average == AVERAGE).all()


@pytest.mark.parametrize(("alpha", "sigma"), [(0.8, 0.6), (0.05, 0.99875), (1e-4, 1.0), (0.9999, 0.014), (1.0, 1e-3)])
def test_posterior_is_the_textbook_gaussian(generator, alpha, sigma):
    mask, values = observations(2, generator)
    x_t = alpha * values + sigma * torch.randn(values.shape, generator=generator)
    given_values = prior().condition(mask, values)
    # One of the two at another noise level: each answers to its own.
    mean, std = given_values.posterior(x_t, torch.tensor([alpha, 0.5]), torch.tensor([sigma, 0.75**0.5]))
    for b, h, c, g in each_channel():
        a, s = ((alpha, sigma), (0.5, 0.75**0.5))[b]
        # Directly: the observed entries and the noisy ones are measurements of the process.
        observed = mask[b, :, h, c].numpy()
        K = kernel_of(g, observed)
        measure = np.where(observed, 1.0, a)
        y = np.where(observed, values[b, :, h, c].double(), x_t[b, :, h, c].double())
        across = K * measure
        gain = across @ np.linalg.inv(measure[:, None] * across + np.diag(np.where(observed, 0, s**2)))
        np.testing.assert_allclose(mean[b, :, h, c], gain @ y, atol=2e-4)
        variance = np.diag(K - gain @ across.T)
        np.testing.assert_allclose(std[b, :, h, c] ** 2, np.maximum(variance, 0), atol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.9, 1.0])
def test_observed_entries_are_met_to_the_bit(generator, share):
    """Also where so many frames in a row are observed that the system is nearly singular, and whatever x_t says."""
    mask, values = observations(4, generator, share, frames=60)
    mask[:, :40, 0] = True
    hint = torch.randn(values.shape, generator=generator)
    given_values = prior(60).condition(mask, values, hint)
    x_t = 5 * torch.randn(values.shape, generator=generator)
    mean, std = given_values.posterior(x_t, torch.full((4,), 0.9), torch.full((4,), 0.19**0.5))
    for found in (given_values.base, mean):
        assert torch.equal(found[mask], values[mask])
        assert found.isfinite().all()
    assert (std[mask] == 0).all()
    assert (given_values.std[mask] == 0).all()
    assert (std[~mask] > 0).all()


def test_without_noise_the_sample_is_the_answer(generator):
    mask, values = observations(2, generator)
    mean, std = prior().condition(mask, values).posterior(values, torch.ones(2), torch.zeros(2))
    torch.testing.assert_close(mean, values, rtol=0, atol=1e-3)
    assert std.max() < 1e-4


def test_there_is_no_seam_next_to_observed_frames(generator):
    """A gap of a length that the kernel spans is filled as smoothly as the motion is around it."""
    frame = torch.arange(60.0)
    values = torch.sin(frame / 15)[None, :, None, None].expand(1, 60, HANDS, CHANNELS)
    mask = torch.ones_like(values, dtype=torch.bool)
    mask[:, 25:35] = False
    base, values = prior(60).condition(mask, values).base[..., 0], values[..., 0]  # the kernel of 12 frames
    assert (base - values).abs().max() < 0.1
    assert base.diff(n=2, dim=1).abs().max() < 3 * values.diff(n=2, dim=1).abs().max()


def test_where_nothing_is_observed_the_mean_function_is_left(generator):
    mask, values = observations(2, generator, share=0.0)
    values[:] = torch.nan  # unobserved values may be anything
    hint = torch.randn(values.shape, generator=generator)
    given_nothing = prior().condition(mask, values, hint)
    assert torch.equal(given_nothing.base, hint)
    expected = prior().kernels + REST_FLOOR * torch.eye(FRAMES)
    torch.testing.assert_close(given_nothing.covariance[1, 0], expected, rtol=0, atol=1e-12)
    assert torch.equal(prior().condition(mask, values).base, torch.zeros_like(values))


def test_a_mean_function_shifts_what_is_observed_and_what_comes_out(generator):
    mask, values = observations(2, generator)
    hint = torch.randn(values.shape, generator=generator)
    a = prior().condition(mask, values).base + torch.where(mask, 0, hint)
    b = prior().condition(mask, values + hint, hint).base - torch.where(mask, hint, 0)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_each_sample_and_hand_is_answered_for_itself(generator):
    mask, values = observations(6, generator)
    mask[3:] = mask[:3]  # shared systems
    alpha, sigma = torch.linspace(0.1, 0.9, 6), torch.linspace(0.9, 0.1, 6)
    order = torch.tensor([4, 2, 0, 5, 1, 3])

    def answer(order: torch.Tensor, hands: list[int]):
        given_values = prior().condition(mask[order][:, :, hands], values[order][:, :, hands])
        return given_values.base, *given_values.posterior(values[order][:, :, hands], alpha[order], sigma[order])

    for a, b in zip(answer(torch.arange(6), [0, 1]), answer(order, [1, 0]), strict=True):
        torch.testing.assert_close(a[order].flip(2), b, rtol=0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=FRAMES, max_size=FRAMES), st.integers(0, FRAMES - 1), st.floats(0.01, 0.99))
def test_another_observation_never_raises_the_variance(frames, another, alpha):
    """The first one may: the level is known until there is one."""
    mask = torch.tensor(frames)[None, :, None, None].expand(1, FRAMES, HANDS, CHANNELS).clone()
    mask[:, 0] = True
    values = torch.zeros(mask.shape)
    before = prior().condition(mask, values)
    mask[:, another] = True
    after = prior().condition(mask, values)
    assert (after.std <= before.std + 1e-6).all()
    noise = torch.tensor([alpha]), torch.tensor([(1 - alpha**2) ** 0.5])
    assert (after.posterior(values, *noise)[1] <= before.posterior(values, *noise)[1] + 1e-6).all()
    assert (before.posterior(values, *noise)[1] <= before.std + 1e-6).all()


def test_a_part_of_the_frames_keeps_what_was_observed_elsewhere(generator):
    mask, values = observations(2, generator)
    whole = prior().condition(mask, values)
    part = whole.restrict(slice(5, 12))
    assert torch.equal(part.base, whole.base[:, 5:12])
    assert torch.equal(part.covariance, whole.covariance[..., 5:12, 5:12])
    mean, std = part.posterior(values[:, 5:12], torch.tensor([0.5, 0.6]), torch.tensor([0.5, 0.6]))
    assert torch.equal(mean[mask[:, 5:12]], values[:, 5:12][mask[:, 5:12]])
    assert std.shape == mean.shape == (2, 7, HANDS, CHANNELS)


def test_deviations_are_scaled_frame_by_frame(generator):
    """Correlations and observed frames stay as they are."""
    mask, values = observations(2, generator)
    before = prior().condition(mask, values)
    scale = 0.5 + torch.rand(2, FRAMES, HANDS, len(SIZES), generator=generator)
    after = before.scaled(scale)
    torch.testing.assert_close(after.std, before.std * scale.repeat_interleave(torch.tensor(SIZES), dim=-1))
    each = scale.double().permute(0, 2, 3, 1)
    torch.testing.assert_close(after.covariance, before.covariance * each[..., :, None] * each[..., None, :])
    assert torch.equal(after.base, before.base)


def test_what_is_scaled_alike_keeps_a_common_covariance():
    """Without anything observed, a batch has as many covariances as one motion."""
    mask = torch.zeros(6, FRAMES, HANDS, CHANNELS, dtype=torch.bool)
    before = prior().condition(mask, torch.zeros(mask.shape))
    after = before.scaled(torch.ones(6, FRAMES, HANDS, len(SIZES)))
    assert len(after.covariances) == len(before.covariances) == len(SIZES)
    torch.testing.assert_close(after.covariance, before.covariance)


def test_gradients_are_smoothed_by_the_covariance(generator):
    mask, values = observations(2, generator)
    given_values = prior().condition(mask, values)
    gradient = torch.randn(values.shape, generator=generator)
    smooth = given_values.smooth(gradient)
    assert (smooth[mask] == 0).all()
    for b, h, c, g in each_channel():
        expected = given_values.covariance[b, h, g].float() @ gradient[b, :, h, c]
        torch.testing.assert_close(smooth[b, :, h, c], expected, rtol=0, atol=1e-5)


def test_autocast_and_gradients_do_not_reach_it(generator):
    mask, values = observations(2, generator)
    noise = torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.8])
    plain = prior().condition(mask, values).posterior(values, *noise)
    with torch.autocast("cpu", torch.bfloat16):
        inside = prior().condition(mask, values).posterior(values.clone().requires_grad_(), *noise)
    for a, b in zip(plain, inside, strict=True):
        assert torch.equal(a, b)
        assert not b.requires_grad


# What it makes of noise


def ddim(conditional: Conditional, noise: torch.Tensor, steps: int) -> torch.Tensor:
    """Deterministic DDIM (Song et al. 2021) with the exact denoiser, cosine schedule."""
    x = noise
    angles = torch.linspace(1.5607, 0.0, steps + 1, dtype=torch.float64)
    for now, after in pairwise(angles):
        batch = torch.ones(len(x), dtype=torch.float64)
        x0, _ = conditional.posterior(x, now.cos() * batch, now.sin() * batch)
        eps = (x - now.cos() * x0) / now.sin()
        x = (after.cos() * x0 + after.sin() * eps).float()
    return x


def test_samples_have_the_mean_and_the_covariance_of_the_conditional(generator):
    """Sampling is linear in the noise here, so unit vectors as noise give the covariance without chance."""
    mask, values = observations(1, generator, share=0.2, frames=12)
    batch = 13
    units = torch.cat([torch.zeros(1, 12), torch.eye(12)])[:, :, None, None].expand(batch, 12, HANDS, CHANNELS)
    conditional = prior(12).condition(*(part.expand(batch, -1, -1, -1) for part in (mask, values)))
    samples = ddim(conditional, units, steps=200)
    torch.testing.assert_close(samples[0], conditional.base[0], rtol=0, atol=0.02)
    response = (samples[1:] - samples[0]).double()  # (noise frame, frame, hand, channel)
    for h in range(HANDS):
        for c, g in ((0, 0), (4, 1)):
            covariance = response[:, :, h, c].T @ response[:, :, h, c]
            torch.testing.assert_close(covariance, conditional.covariance[0, h, g], rtol=0, atol=0.025)
