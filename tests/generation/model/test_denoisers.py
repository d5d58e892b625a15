"""The denoisers: what holds by construction, before any training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from handpipe.core.errors import ConfigError
from handpipe.generation.model.denoisers import DENOISERS, PRESETS, Conditioning, DenoiserSettings, make_denoiser
from handpipe.generation.model.denoisers.blocks import attend, rotary, rotate
from handpipe.generation.model.denoisers.conditioning import Denoiser, Posterior
from handpipe.generation.model.denoisers.handdiffuse import HandDiffuseBlock
from handpipe.generation.model.diffusion import Schedule

NAMES = list(DENOISERS)
TINY = DenoiserSettings(width=32, blocks=2, heads=2)
GROUPS = [(0, 3), (3, 9), (9, 14)]
CHANNELS = 14


@dataclass(frozen=True)
class Wiener:
    """A prior of independent entries: N(base, std^2), nothing uncertain where observed."""

    base: Tensor
    std: Tensor

    def posterior(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Posterior:
        alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
        variance = self.std.square()
        total = alpha.square() * variance + sigma.square()
        mean = self.base + alpha * variance / total * (x_t - alpha * self.base)
        return mean, sigma * self.std / total.sqrt()


def scene(batch=3, frames=7, seed=0):
    """x_t, t, given, posterior: some groups of some frames observed."""
    g = torch.Generator().manual_seed(seed)
    x_t = torch.randn(batch, frames, 2, CHANNELS, generator=g)
    group_mask = torch.rand(batch, frames, 2, len(GROUPS), generator=g) < 0.3
    mask = torch.cat([group_mask[..., i : i + 1].expand(-1, -1, -1, b - a) for i, (a, b) in enumerate(GROUPS)], -1)
    values = torch.where(mask, torch.randn(x_t.shape, generator=g), 0)
    base = torch.where(mask, values, torch.randn(x_t.shape, generator=g))
    prior: Any = Wiener(base, torch.where(mask, 0.0, 0.8))
    betas = torch.randn(batch, 2, 10, generator=g)
    t = torch.randint(0, 1000, (batch,), generator=g)
    lively = torch.randn(batch, 2, len(GROUPS), generator=g)
    given = Conditioning(mask, values, group_mask.float(), betas, prior, lively)
    return x_t, t, given, posterior(x_t, t, given)


def posterior(x_t, t, given) -> Posterior:
    """As the model asks for it."""
    schedule = Schedule()
    return given.conditional.posterior(torch.where(given.mask, given.values, x_t), schedule.alpha(t), schedule.sigma(t))


def swapped(x_t, t, given, posterior):
    """The same scene with the hands exchanged."""
    prior: Any = Wiener(given.conditional.base.flip(2), given.conditional.std.flip(2))
    parts = (given.mask.flip(2), given.values.flip(2), given.group_mask.flip(2), given.betas.flip(1))
    mean, std = posterior
    return x_t.flip(2), t, Conditioning(*parts, prior, given.log_liveliness.flip(1)), (mean.flip(2), std.flip(2))


def make(name, awake=True, settings=TINY, prior=None):
    """A denoiser; awake: with weights as if trained, so that nothing is zero."""
    torch.manual_seed(0)
    denoiser = make_denoiser(name, settings, CHANNELS, len(GROUPS), prior)
    if awake:
        with torch.no_grad():
            for parameter in denoiser.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return denoiser


# ---- all of them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_observed_entries_come_out_exactly_in_float32(name, prior, autocast):
    """On top of the prior; without it they are corrected after sampling, and the network's answer is left as it is."""
    x_t, t, given, posterior = scene()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        x0 = make(name, prior=prior)(x_t, t, given, posterior)
    assert x0.dtype == torch.float32
    assert x0.shape == x_t.shape
    assert torch.equal(x0[given.mask], given.values[given.mask]) == prior
    assert not torch.equal(x0, x_t)


@pytest.mark.parametrize("name", NAMES)
def test_noise_over_observed_entries_says_nothing(name):
    x_t, t, given, posterior = scene()
    other = torch.where(given.mask, torch.full_like(x_t, 1e3), x_t)
    denoiser = make(name)
    assert torch.equal(denoiser(x_t, t, given, posterior), denoiser(other, t, given, posterior))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", ["handdiffuse", "intergen"])
def test_swapping_the_hands_swaps_the_answer(name, autocast):
    denoiser, args = make(name), scene()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        there, back = denoiser(*args), denoiser(*swapped(*args)).flip(2)
    torch.testing.assert_close(back, there, atol=1e-5, rtol=1e-5)
    assert (denoiser(*swapped(*args)) - there).abs().max() > 0.1


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_everything_given_matters(name, prior):
    """Noisy motion at any frame of either hand, the timestep, both shapes, and what is observed."""
    x_t, t, given, prior_says = scene()
    denoiser = make(name, prior=prior)
    free = replace(given, mask=torch.zeros_like(given.mask))
    before = denoiser(x_t, t, given, prior_says)[:, 0, 0]
    before_free = denoiser(x_t, t, free, posterior(x_t, t, free))[:, 0, 0]
    for hand in (0, 1):
        moved = x_t.clone()
        moved[:, -1, hand] += 1
        assert (denoiser(moved, t, free, posterior(moved, t, free))[:, 0, 0] - before_free).abs().max() > 1e-4
        betas = given.betas.clone()
        betas[:, hand] += 1
        thicker = replace(given, betas=betas)
        assert (denoiser(x_t, t, thicker, prior_says)[:, 0, 0] - before).abs().max() > 1e-4
    assert (denoiser(x_t, (t + 300) % 1000, given, prior_says)[:, 0, 0] - before).abs().max() > 1e-4
    unseen = replace(given, group_mask=1 - given.group_mask)
    assert (denoiser(x_t, t, unseen, prior_says)[:, 0, 0] - before).abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_frames_matters(name):
    x_t, t, given, _ = scene()
    denoiser = make(name)
    prior: Any = Wiener(torch.zeros_like(x_t), torch.ones_like(x_t))
    nothing = (torch.zeros_like(given.mask), torch.zeros_like(x_t), torch.zeros_like(given.group_mask))
    free = Conditioning(*nothing, given.betas, prior, given.log_liveliness)
    order = torch.tensor([0, 3, 2, 1, 4, 5, 6])
    before, after = (denoiser(x, t, free, posterior(x, t, free)) for x in (x_t, x_t[:, order]))
    assert (after[:, order] - before).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_weights_follow_from_the_seed(name):
    one, two = make(name, awake=False), make(name, awake=False)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    torch.manual_seed(1)
    three = make_denoiser(name, TINY, CHANNELS, len(GROUPS))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), three.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_reached(name):
    denoiser = make(name)
    denoiser(*scene()).square().sum().backward()
    for key, parameter in denoiser.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_a_motion_by_heart(name):
    x_t, t, given, posterior = scene()
    truth = torch.where(given.mask, given.values, torch.linspace(-1, 1, 7)[:, None, None].expand_as(x_t))
    denoiser = make(name, awake=False)
    optimizer = torch.optim.AdamW(denoiser.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = F.mse_loss(denoiser(x_t, t, given, posterior), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("frames", [1, 2, 75])
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_frames(name, frames):
    assert make(name)(*scene(batch=1, frames=frames)).shape == (1, frames, 2, CHANNELS)


def count(name, preset, channels=115, groups=4):
    with torch.device("meta"):
        return make_denoiser(name, PRESETS[preset][name], channels, groups).parameter_count()


def test_presets_are_of_one_size():
    assert 0.5e6 < count("handdiffuse", "small") < 2.5e6
    assert count("handdiffuse", "base") == pytest.approx(36e6, rel=0.03)
    for preset in PRESETS:
        for channels, groups in ((115, 4), (121, 5)):
            ours = count("handdiffuse", preset, channels, groups)
            for name in ("mdm", "intergen"):
                assert count(name, preset, channels, groups) == pytest.approx(ours, rel=0.1), (preset, name)


def test_an_unknown_name():
    with pytest.raises(ConfigError, match="expected one of handdiffuse, mdm, intergen, but found 'gan'"):
        make_denoiser("gan", TINY, CHANNELS, len(GROUPS))


# ---- ours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_untrained_network_is_the_prior(name):
    x_t, t, given, posterior = scene()
    x0 = make(name, awake=False, prior=True)(x_t, t, given, posterior)
    assert torch.equal(x0, torch.where(given.mask, given.values, posterior[0]))


@pytest.mark.parametrize("t", [0, 500, 999])
@pytest.mark.parametrize("name", NAMES)
def test_the_correction_is_in_units_of_what_the_prior_does_not_know(name, t):
    """At every timestep alike."""
    x_t, _, given, (mean, std) = scene()
    denoiser: Any = make(name, awake=False, prior=True)
    with torch.no_grad():
        denoiser.output.bias.fill_(2.0)
    x0 = denoiser(x_t, torch.full((3,), t), given, (mean, std))
    torch.testing.assert_close(x0, torch.where(given.mask, given.values, mean + 2 * std))


def test_without_the_prior_it_has_nothing_to_correct():
    x_t, t, given, _ = scene()
    with pytest.raises(AssertionError, match="needs the prior"):
        make("handdiffuse")(x_t, t, given)


def test_attention_is_that_of_one_query_at_a_time():
    """The naive twin: for each hand, frame and head, a softmax over the own and the other hand's frames."""
    torch.manual_seed(0)
    block, x = HandDiffuseBlock(TINY), torch.randn(2, 2, 5, 32)
    width = 16
    table = rotary(5, width, x)
    parts = block.queries_keys_values(x).unflatten(-1, (-1, width))
    turned = rotate(parts[..., :4, :], table)
    heads = torch.zeros(2, 2, 5, 2, width)
    for b in range(2):
        for hand in range(2):
            keys = torch.cat((turned[b, hand, :, 2], turned[b, 1 - hand, :, 3]))
            values = torch.cat((parts[b, hand, :, 4], parts[b, 1 - hand, :, 5]))
            for frame in range(5):
                for head in range(2):
                    weight = (keys @ turned[b, hand, frame, head] / 4).softmax(0)
                    heads[b, hand, frame, head] = weight @ values
    torch.testing.assert_close(block.attention(x, table), block.joined(heads.flatten(-2)))


def test_attention_agrees_with_torch():
    q, k, v = torch.randn(4, 6, 8), torch.randn(4, 9, 8), torch.randn(4, 9, 8)
    torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_rotation_knows_only_how_far_apart_frames_are():
    q, k = torch.randn(2, 1, 1, 16)
    table = rotary(40, 16, q)
    q, k = rotate(q.expand(40, 1, 16), table)[:, 0], rotate(k.expand(40, 1, 16), table)[:, 0]
    score = q @ k.mT
    for lag in (0, 3, -7):
        diagonal = score.diagonal(lag)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(q.norm(dim=-1), q[0].norm().expand(40))
    assert score[0].std() > 0.05


def test_what_noisy_motion_adds_is_as_large_in_much_noise_as_in_little():
    """The second input of the network, for motion that is drawn from the prior."""
    seen = []

    class Listening(Denoiser):
        def network(self, inputs, t, betas):
            seen.append(inputs[..., CHANNELS : 2 * CHANNELS])
            return torch.zeros(*inputs.shape[:-1], CHANNELS)

    _, _, given, _ = scene(batch=200)
    g, nothing = torch.Generator().manual_seed(1), torch.zeros_like(given.values)
    prior: Any = Wiener(nothing, torch.full_like(nothing, 0.8))
    free = replace(given, mask=torch.zeros_like(given.mask), conditional=prior)
    for timestep in (100, 500, 900, 985):
        t = torch.full((200,), timestep)
        motion, noise = (torch.randn(nothing.shape, generator=g) for _ in range(2))
        x_t = Schedule().add_noise(0.8 * motion, noise, t)
        Listening(uses_prior=True)(x_t, t, free, posterior(x_t, t, free))
    assert all(abs(float(news.std()) - 1) < 0.02 for news in seen)
