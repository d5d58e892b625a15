"""The network of the expected motion: what holds whatever its weights are, and what it learns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from handpipe.generation.model.expectation import LOG_SCALE, Expectation, gaps

BATCH, FRAMES, HANDS = 3, 24, 2
SIZES = (3, 5)
SHARES = torch.cat([torch.full((size,), 1 / size) for size in SIZES])
SPREAD = 2 * (1 - torch.exp(-torch.arange(FRAMES) / 12.0)).expand(len(SIZES), -1)


def with_any_weights(seed: int) -> Expectation:
    torch.manual_seed(seed)
    network = Expectation(len(SIZES))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 5)
    return network


def scene(seed: int, share: float = 0.3) -> tuple[Tensor, Tensor, Tensor]:
    """base, observed and std of random motion; std is 0 where observed."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(BATCH, FRAMES, HANDS, sum(SIZES), generator=generator).cumsum(1)
    observed = torch.rand(BATCH, FRAMES, HANDS, len(SIZES), generator=generator) < share
    return base, observed, torch.where(observed, 0.0, torch.rand(observed.shape, generator=generator))


def says(network: Expectation, base: Tensor, observed: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return network(base, observed, std, SPREAD, SHARES, SIZES)


def correction(network: Expectation, base: Tensor, observed: Tensor, std: Tensor) -> Tensor:
    return says(network, base, observed, std)[0]


def test_before_training_nothing_is_moved_or_scaled():
    moved, log_scale = says(Expectation(len(SIZES)), *scene(0))
    assert not moved.any()
    assert not log_scale.any()


def test_the_ends_of_gaps_by_hand():
    observed = torch.tensor([0, 1, 0, 0, 1, 1, 0], dtype=torch.bool).reshape(1, 7, 1, 1)
    before, after, seen = (part.flatten().tolist() for part in gaps(observed))
    assert before == [0, 1, 1, 1, 4, 5, 5]
    assert after == [1, 1, 4, 4, 4, 5, 6]
    assert seen == [False, False, True, True, False, False, False]


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        ("x..x", "...."),  # single keyframes
        ("xx..x", "..oo."),
        ("x..xx", ".oo.."),
        ("xx..x..x", "..oo...."),  # the second gap has none beside it
        ("x..x..xx", "....oo.."),
        ("xx...", "....."),  # nothing after it
        ("...xx", "....."),
    ],
)
def test_motion_is_told_only_beside_frames_in_a_row(observed, expected):
    mask = torch.tensor([c == "x" for c in observed]).reshape(1, -1, 1, 1)
    assert "".join(".o"[s] for s in gaps(mask)[-1].flatten().tolist()) == expected


def test_nothing_is_moved_between_single_keyframes():
    base, observed, std = scene(0)
    observed[:] = False
    observed[:, ::5] = True
    moved, log_scale = says(with_any_weights(0), base, observed, std)
    assert not moved.any()
    assert not log_scale.any()


@given(seed=st.integers(0, 10**6), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_only_gaps_beside_observed_motion_are_moved(seed, share):
    base, observed, std = scene(seed, share)
    moved, log_scale = says(with_any_weights(seed), base, observed, std)
    told = gaps(observed)[-1]
    seen = torch.cat([told[..., g, None].expand(-1, -1, -1, n) for g, n in enumerate(SIZES)], -1)
    assert moved.isfinite().all()
    assert not moved[~seen].any()
    assert not log_scale[~told].any()
    assert log_scale.abs().max() <= LOG_SCALE
    assert not seen.any() or (moved[seen].abs().max() > 0 and log_scale[told].abs().max() > 0)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_place_and_the_turn_of_the_motion_do_not_matter(seed):
    """Channels of a group may be turned as a vector and moved; the correction turns with them."""
    base, observed, std = scene(seed)
    network = with_any_weights(seed)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))
    turned = torch.cat([base[..., :3] @ turn.T + 7.0, base[..., 3:]], -1)
    expected = correction(network, base, observed, std)
    found = correction(network, turned, observed, std)
    torch.testing.assert_close(found[..., :3], expected[..., :3] @ turn.T, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found[..., 3:], expected[..., 3:], atol=1e-4, rtol=1e-3)


def test_motion_outside_the_gap_and_its_neighbourhood_does_not_matter():
    base, observed, std = scene(3)
    observed[:] = False
    observed[:, [3, 4, 8, 20]] = True
    other = base.clone()
    other[:, 18:] += 1.0  # nine frames after the gap and further are not looked at
    network = with_any_weights(3)
    first, second = (correction(network, each, observed, std) for each in (base, other))
    torch.testing.assert_close(first[:, 5:8], second[:, 5:8])


@pytest.mark.parametrize("seed", [0, 1])
def test_hands_that_stop_are_learnt(seed):
    """All motion goes on for a quarter of the gap and then rests at the target; the mean given is a straight line."""
    network = with_any_weights(seed)
    generator = torch.Generator().manual_seed(seed)
    observed = torch.zeros(64, FRAMES, HANDS, len(SIZES), dtype=torch.bool)
    observed[:, :8] = observed[:, 20:] = True
    frame = torch.arange(FRAMES)
    std = torch.where(observed, 0.0, 0.3)

    def motions() -> tuple[Tensor, Tensor]:
        target = torch.randn(64, 1, HANDS, sum(SIZES), generator=generator)
        line = ((frame - 7) / 13.0).clamp(0, 1)[None, :, None, None] * target
        return line, ((frame - 7) / 4.0).clamp(0, 1)[None, :, None, None] * target

    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(150):
        line, truth = motions()
        loss = (line + network(line, observed, std, SPREAD, SHARES, SIZES)[0] - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    line, truth = motions()
    left = (line + correction(network, line, observed, std) - truth).norm()
    assert left < 0.15 * (line - truth).norm()
