"""The network learns by heart, the same way every time, and goes on where it was interrupted."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from drawn_session import draw
from hand_scenes import dome, interaction

from handpipe.capture.learning.crops import Crop, batch, region, store, store_empty, to_pixels, to_sides
from handpipe.capture.learning.network import CROP_PX, HandNetwork, Prediction, fused
from handpipe.capture.learning.training import Trainer, Truth, learning_rate, loss_of, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    uv = dome(4).project(interaction(3)).reshape(-1, 2, 21, 2)
    found = [store(draw(hands), hands[side], hands[1 - side], side == 1) for hands in uv for side in (0, 1)]
    empty = store_empty(draw(uv[0]), 60.0, np.random.default_rng(0), uv[0])
    assert empty is not None
    return [*found, empty]


def trained(crops: list[Crop], steps: int, done: int = 0, trainer: Trainer | None = None) -> tuple[Trainer, list[dict]]:
    trainer = trainer or Trainer.start(0, CPU)
    losses: list[dict] = []
    train(
        trainer, lambda step: batch(crops, 0, step, 6), range(steps), 3e-3, done, lambda _, terms: losses.append(terms)
    )
    return trainer, losses


def test_it_learns_by_heart(crops):
    _, losses = trained(crops, 24)
    first, last = (np.mean([terms["joints"] for terms in part]) for part in (losses[:5], losses[-5:]))
    assert last < first - 1.5


def test_the_same_training_twice_and_in_two_parts(crops):
    whole, _ = trained(crops, 4)
    first, _ = trained(crops[:], 4)
    part = Trainer.start(0, CPU)
    # The rate follows the whole length: stop by hand.
    for step in range(2):
        part.step(batch(crops, 0, step, 6), learning_rate(step, 4, 3e-3), step)
    again = Trainer.start(5, CPU)
    again.restore({name: value.clone() for name, value in part.tensors().items()})
    trained(crops, 4, 2, again)
    for other in (first, again):
        for name, value in whole.tensors().items():
            assert torch.equal(value, other.tensors()[name]), name


def test_batches_depend_on_seed_and_step_only(crops):
    a, b, other = batch(crops, 1, 7, 6), batch(crops, 1, 7, 6), batch(crops, 2, 7, 6)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.xy.nan_to_num(9), b.xy.nan_to_num(9))
    assert not torch.equal(a.images, other.images)
    shown = torch.cat([batch(crops, 0, step, 5).present for step in range(5)])
    assert int((shown == 0).sum()) == 1, "every crop once, the empty one too"


def test_labels_stay_on_the_joints_through_every_variation(crops):
    """The thumb's tip is red, where nothing covers it: its label must be on a reddish pixel."""
    shown = [batch(crops[:-1], seed, 0, 8) for seed in range(4)]
    hits = []
    for part in shown:
        for image, xy in zip(part.images.numpy(), part.xy.numpy(), strict=True):
            x, y = np.round(to_pixels(xy[3])).astype(int) if np.isfinite(xy[3]).all() else (-1, -1)
            if 0 <= x < CROP_PX and 0 <= y < CROP_PX:
                blue, _, red = image[:, y, x].astype(int)
                hits.append(red > blue + 30)
    assert len(hits) > 20
    assert np.mean(hits) > 0.6


def test_regions_mirror_about_their_middle():
    hand = dome(1).project(interaction(1))[0, 0, 1]
    plain, mirrored = region(hand, False), region(hand, True)
    xy = hand @ plain[:, :2].T + plain[:, 2]
    np.testing.assert_allclose(hand @ mirrored[:, :2].T + mirrored[:, 2], [CROP_PX - 1, 0] + xy * [-1, 1])
    np.testing.assert_allclose(to_pixels(to_sides(xy)), xy)
    np.testing.assert_allclose(to_sides(np.array([-0.5, CROP_PX - 0.5])), [-0.5, 0.5])


def test_the_network_reads_a_heatmap_as_a_place():
    network = HandNetwork().eval()
    with torch.inference_mode():
        said = network(torch.rand(2, 3, CROP_PX, CROP_PX))
    heat = said.log_heat.exp()
    torch.testing.assert_close(heat.sum(-1), torch.ones(2, 21))
    torch.testing.assert_close(said.xy, heat @ network.cells)
    assert 0.5e6 < sum(p.numel() for p in network.parameters()) < 0.7e6


def test_normalisation_in_the_weights_gives_the_same_joints():
    torch.manual_seed(0)
    network = HandNetwork()
    images = torch.rand(4, 3, CROP_PX, CROP_PX)
    network.train()(images)  # Statistics that are not those of the start.
    network.eval()
    with torch.inference_mode():
        plain, quick = network(images), fused(network)(images)
    torch.testing.assert_close(quick.xy, plain.xy, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused(network).modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_the_loss_ignores_what_is_unknown_and_prefers_an_honest_uncertainty():
    def said(xy: torch.Tensor, scale: float) -> Prediction:
        flat = torch.full((2, 21, 32 * 32), -np.log(1024.0))
        return Prediction(xy, torch.full((2, 21), float(np.log(scale))), flat, torch.zeros(2), torch.zeros(2))

    xy = torch.zeros(2, 21, 2)
    xy[0, :, 0] = 0.1
    true = torch.zeros(2, 21, 2)
    true[1] = torch.nan
    truth = Truth(true, torch.ones(2), torch.tensor([1.0, 0.0]))
    at = {scale: float(loss_of(said(xy, scale), truth)["joints"]) for scale in (0.02, 0.05, 0.2)}
    assert at[0.05] < min(at[0.02], at[0.2]), "half the distance is the best scale of a Laplace distribution"
    truth_only = Truth(true[:1], torch.ones(1), torch.ones(1))
    one = Prediction(*(getattr(said(xy, 0.05), name)[:1] for name in Prediction.__dataclass_fields__))
    assert float(loss_of(one, truth_only)["joints"]) == pytest.approx(at[0.05])


def test_the_rate_rises_and_falls_once_in_each_part_of_a_training(crops):
    """The second half starts as the whole does, from the weights of the first."""
    rates: list[float] = []

    class Listens:
        def step(self, batch, rate, step):
            rates.append(rate)
            return {}

    trainer = cast("Trainer", Listens())
    for steps in (range(100), range(100, 200)):
        train(trainer, lambda step: batch(crops, 0, step, 2), steps, 1.0, 0, lambda *_: None)
    assert rates[:100] == rates[100:]
    assert max(rates) > 0.5 > 0.02 > rates[99]


@pytest.mark.parametrize("slot", ["momentum", "exp_avg"])
def test_a_state_without_all_of_the_optimiser_is_not_gone_on_from(slot):
    trainer = Trainer.start(0, torch.device("cpu"))
    for weight in trainer.network.parameters():
        weight.grad = torch.ones_like(weight)
    trainer.optimizer.step()
    whole = {name: value.clone() for name, value in trainer.tensors().items()}
    Trainer.start(1, torch.device("cpu")).restore(whole)
    lost = next(name for name in whole if name.endswith(f".{slot}"))
    with pytest.raises(KeyError):
        Trainer.start(1, torch.device("cpu")).restore({k: v for k, v in whole.items() if k != lost})
    with pytest.raises(KeyError):
        Trainer.start(1, torch.device("cpu")).restore(whole | {lost: torch.zeros(3)})
