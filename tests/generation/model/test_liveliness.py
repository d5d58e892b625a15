"""Liveliness: how it is measured, and what its chain does."""

from __future__ import annotations

import torch

from handpipe.generation.model.liveliness import LEAST, LEVELS, Liveliness, draw, energies

SIZES = (3, 2)


def walks(speed: torch.Tensor, frames: int = 40) -> torch.Tensor:
    """(window, frame, hand, channel) random walks of speeds (window, hand)."""
    g = torch.Generator().manual_seed(0)
    steps = torch.randn(len(speed), frames, 2, sum(SIZES), generator=g)
    return (steps * speed[:, None, :, None]).cumsum(1)


def test_energies_are_mean_squared_changes_of_each_half():
    x = walks(torch.ones(4, 2), frames=7)
    steps = x[:, 1:].diff(dim=1).square()  # the first frame is none
    for half, part in enumerate((steps[:, :3], steps[:, 3:])):
        for g, channels in enumerate((slice(0, 3), slice(3, 5))):
            expected = part[..., channels].sum(-1).mean(1)
            torch.testing.assert_close(energies(x, SIZES)[:, half, :, g].float(), expected)
    assert energies(x[:, :1], SIZES).shape == (4, 2, 2, 2)


def test_levels_are_the_speeds_relative_to_the_average():
    speed = torch.tensor([0.2, 1.0]).repeat(400)[:, None].expand(800, 2)
    found = Liveliness.of(energies(walks(speed), SIZES))
    average = (0.5 * (0.2**2 + 1)) ** 0.5
    assert found.levels.shape == (2, LEVELS)
    torch.testing.assert_close(found.levels.square().mean(-1), torch.ones(2).double())
    torch.testing.assert_close(
        found.levels[:, [1, 2, -3, -2]].float(),
        (torch.tensor([0.2, 0.2, 1, 1]) / average).expand(2, 4),
        atol=0.06,
        rtol=0,
    )
    # Nobody changes from one kind to the other.
    assert found.transition[:, :4, 4:].max() < 0.01


def test_all_levels_stay_equally_frequent():
    g = torch.Generator().manual_seed(1)
    found = Liveliness.of(energies(walks(torch.randn(300, 2, generator=g).exp()), SIZES))
    torch.testing.assert_close(found.transition.sum(-1), torch.ones(2, LEVELS).double())
    even = torch.full((LEVELS,), 1 / LEVELS).double()
    torch.testing.assert_close(found.after(None, 3), even.expand(2, -1))
    torch.testing.assert_close(even @ found.transition, even.expand(2, -1))
    torch.testing.assert_close(found.after(torch.tensor([[0, 7]]), 500), even.expand(1, 2, -1), atol=1e-3, rtol=0)
    twice = found.transition @ found.transition
    torch.testing.assert_close(found.after(torch.tensor([2, 5]), 2), torch.stack([twice[0, 2], twice[1, 5]]))


def test_motion_without_any_movement_is_average():
    for still in (torch.zeros(5, 20, 2, 5), torch.zeros(0, 20, 2, 5)):
        assert (Liveliness.of(energies(still, SIZES)).levels == 1).all()
    some = walks(torch.ones(40, 2))
    some[:20] = 0
    assert (Liveliness.of(energies(some, SIZES)).levels[:, 0] > 0.5 * LEAST).all()


def test_each_group_has_its_own():
    """Fingers move while the wrist rests: the first group is as lively in all windows, the second in half of them."""
    x = walks(torch.ones(400, 2))
    x[:200, ..., 3:] *= 0.1
    found = Liveliness.of(energies(x, SIZES))
    assert found.levels[0].min() > 0.6
    assert found.levels[1, 0] < 0.2
    level = torch.tensor([[7, 0]])
    torch.testing.assert_close(found.of_level(level)[0], torch.stack([found.levels[0, 7], found.levels[1, 0]]))


def test_levels_are_drawn_as_often_as_they_are_probable():
    uniform = (torch.arange(1000) + 0.5) / 1000
    found = draw(torch.tensor([0.2, 0.0, 0.5, 0.3]), uniform)
    assert torch.bincount(found).tolist() == [200, 0, 500, 300]
    assert draw(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0.999, 0.001])).tolist() == [0, 1]
