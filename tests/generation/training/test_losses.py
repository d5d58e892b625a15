"""The training loss, the Interaction Loss and the spheres that keep the hands apart, on scenes to check in the head."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from handpipe.core.hands import BONES, MANO_JOINT
from handpipe.generation.model.diffusion import FIRST_LOG_SNR, Schedule
from handpipe.generation.model.interaction import SIGMA_M, contact_potential, interaction_loss
from handpipe.generation.model.motion import Motion
from handpipe.generation.model.penetration import (
    RADIUS_M,
    SPHERES,
    guided,
    penetration_depth_m,
    penetration_energy,
    sphere_centers,
)
from handpipe.generation.settings import LossWeights
from handpipe.generation.training.losses import TERMS, Prediction, losses, total
from handpipe.generation.training.step import draw_timesteps
from handpipe.hand.model import HandModel

EVERY: dict[str, float] = {name: 1.0 for name in TERMS}


def flat_hands() -> Tensor:
    """(hand, 21, 3) metres: both procedural hands in the zero pose, float64."""
    zero = np.zeros
    hands = [HandModel.procedural(side).joints(zero(10), zero(3), zero(45), zero(3)) for side in ("left", "right")]
    return torch.from_numpy(np.stack(hands))


def near_hands(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """(*shape, hand, 21, 3): the middles of the palms 3 cm apart, every joint off by a centimetre or so."""
    generator = torch.Generator().manual_seed(seed)
    hands = flat_hands() - flat_hands().mean(dim=1, keepdim=True)
    hands[1, :, 1] += 0.03
    return (hands + 0.01 * torch.randn(*shape, *hands.shape, generator=generator, dtype=torch.float64)).to(dtype)


def a_rotation(seed: int) -> Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return q * torch.linalg.det(q)


def prediction(joints_m: Tensor, x0: Tensor | None = None) -> Prediction:
    batch, frames = joints_m.shape[:2]
    eye = torch.eye(3)
    motion = Motion(
        joints_m[..., 0, :],
        eye.expand(batch, frames, 2, 3, 3),
        eye.expand(batch, frames, 2, 15, 3, 3),
        torch.zeros(batch, 2, 10),
    )
    x0 = torch.zeros(batch, frames, 2, 7) if x0 is None else x0
    return Prediction(x0, motion, joints_m, joints_m)


def slow_interaction(predicted: Tensor, true: Tensor) -> tuple[float, float]:
    """One frame, pair by pair, as the module's docstring says it."""
    contact = shape = near = 0.0
    for left in range(21):
        for right in range(21):
            offset, true_offset = predicted[1, right] - predicted[0, left], true[1, right] - true[0, left]
            phi = torch.exp(-(true_offset @ true_offset) / (2 * SIGMA_M**2))
            contact += float(torch.exp(-(offset @ offset) / (2 * SIGMA_M**2)) - phi) ** 2
            shape += float(phi * ((offset - true_offset) @ (offset - true_offset))) / SIGMA_M**2
            near += float(phi)
    return contact / (1 + near), shape / (1 + near)


class TestInteraction:
    @pytest.mark.parametrize(("distance_m", "phi"), [(0.0, 1.0), (0.02, np.exp(-0.5)), (0.04, np.exp(-2)), (0.13, 0.0)])
    def test_two_points(self, distance_m, phi):
        """At one sigma exp(-1/2), at two exp(-2), beyond six nothing; the direction does not matter."""
        joints = torch.tensor([[[0.3, -0.2, 1.0]], [[0.3 + 0.6 * distance_m, -0.2, 1.0 - 0.8 * distance_m]]])
        assert contact_potential(joints).shape == (1, 1)
        assert contact_potential(joints).item() == pytest.approx(phi, abs=2e-5)

    def test_one_contact(self):
        """A true pair that touches and a predicted one far apart: 1 lost contact / (1 + 1); 2 cm off: half of 1."""
        true = torch.zeros(2, 1, 3)
        lost, off = true.clone(), true.clone()
        lost[1, 0, 0], off[1, 0, 0] = 1.0, 0.02
        assert interaction_loss(lost, true)["contact"].item() == pytest.approx(0.5, abs=1e-6)
        assert interaction_loss(off, true)["shape"].item() == pytest.approx(0.5, abs=1e-6)
        assert interaction_loss(true, lost)["contact"].item() == pytest.approx(1.0, abs=1e-6)
        assert interaction_loss(true, lost)["shape"].item() == pytest.approx(0.0, abs=1e-6)

    def test_naive_twin(self):
        predicted, true = near_hands((2, 3), seed=1), near_hands((2, 3), seed=2)
        terms = interaction_loss(predicted, true)
        for b in range(2):
            for f in range(3):
                contact, shape = slow_interaction(predicted[b, f], true[b, f])
                assert terms["contact"][b, f].item() == pytest.approx(contact, rel=1e-5)
                assert terms["shape"][b, f].item() == pytest.approx(shape, rel=1e-5)
        single = interaction_loss(predicted.float(), true.float())
        for name, term in terms.items():
            assert torch.allclose(single[name].double(), term, rtol=1e-4), name

    def test_the_same_motion_costs_nothing(self):
        hands = near_hands((4,), dtype=torch.float32)
        for name, term in interaction_loss(hands, hands.clone()).items():
            assert term.abs().max() < 1e-10, name

    def test_far_hands_cost_nothing_however_wrong(self):
        true, predicted = near_hands((4,), seed=1), near_hands((4,), seed=2)
        true[:, 1] += 0.5
        predicted[:, 1] -= 0.5
        for name, term in interaction_loss(predicted, true).items():
            assert term.abs().max() < 1e-12, name

    def test_rigid_motion(self):
        """Both moved: nothing changes. The prediction alone moved: contact does not see it, nor shape a shift; but the
        offsets of turned hands point elsewhere."""
        predicted, true = near_hands((4,), seed=1), near_hands((4,), seed=2)
        R, t_m = a_rotation(0), torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
        terms = interaction_loss(predicted, true)
        both = interaction_loss(predicted @ R.T + t_m, true @ R.T + t_m)
        shifted, turned = interaction_loss(predicted + t_m, true), interaction_loss(predicted @ R.T, true)
        for name in terms:
            assert torch.allclose(both[name], terms[name], rtol=1e-9), name
            assert torch.allclose(shifted[name], terms[name], rtol=1e-9), name
        assert torch.allclose(turned["contact"], terms["contact"], rtol=1e-9)
        assert (turned["shape"] > 2 * terms["shape"]).all()

    def test_shape_counts_only_where_hands_touch(self):
        """Two joints a hand: the first pair touches, the second is a metre from everything."""
        true = torch.zeros(2, 2, 3)
        true[:, 1, 0] = torch.tensor([1.0, 2.0])
        costs = []
        for joint in (0, 1):
            for error_m in (0.01, 0.02):
                predicted = true.clone()
                predicted[1, joint, 2] = error_m
                costs.append(interaction_loss(predicted, true)["shape"].item())
        # 1/2 of (0.5 sigma)^2, of (1 sigma)^2, and nothing.
        assert costs == pytest.approx([0.125, 0.5, 0.0, 0.0], abs=1e-6)

    def test_shape_of_an_uncertain_truth_is_the_mean_weighted_by_contact(self):
        """Hands that touch or are 3 cm farther apart, as likely one as the other. Errors of joints are least half-way;
        `shape` is least where the motion with contact counts more. (Of one truth both are least at the truth.)"""
        touching = near_hands((), seed=1)
        away = torch.zeros_like(touching)
        away[1, :, 1] = 0.03
        near = [contact_potential(true).sum() for true in (touching, touching + away)]
        weight = [(1 / (1 + 1 / phi)).item() for phi in near]
        share = torch.linspace(0, 1, 1001, dtype=torch.float64)
        predicted = touching + share[:, None, None, None] * away
        cost = sum(interaction_loss(predicted, true)["shape"] for true in (touching, touching + away))
        assert isinstance(cost, Tensor)
        least = share[cost.argmin()].item()
        assert least == pytest.approx(weight[1] / sum(weight), abs=1e-3)
        assert least < 0.45

    @pytest.mark.parametrize("name", ["contact", "shape"])
    def test_gradient(self, name):
        predicted, true = near_hands((2,), seed=1).requires_grad_(), near_hands((2,), seed=2)
        assert torch.autograd.gradcheck(lambda x: interaction_loss(x, true)[name], predicted, eps=1e-7, atol=1e-4)

    def test_joints_in_one_place_have_a_gradient(self):
        predicted = torch.zeros(1, 2, 21, 3, requires_grad=True)
        terms = interaction_loss(predicted, near_hands((1,)).float())
        (terms["contact"] + terms["shape"]).sum().backward()
        assert predicted.grad is not None
        assert torch.isfinite(predicted.grad).all()


class TestLosses:
    def test_terms_are_those_of_the_settings(self):
        """Adding a weight without a term, or the reverse, ends here."""
        weights = asdict(LossWeights())
        assert set(weights) == set(TERMS)
        truth = prediction(near_hands((2, 3)).float())
        assert set(losses(truth, truth, EVERY)) == set(EVERY)
        with pytest.raises(AssertionError):
            losses(truth, truth, {"x0": 1.0, "jointz": 1.0})

    @pytest.mark.parametrize("name", TERMS)
    def test_a_term_without_weight_is_left_out(self, name):
        truth = prediction(near_hands((2, 3)).float())
        guess = prediction(near_hands((2, 3), seed=1).float(), torch.ones_like(truth.x0))
        full = losses(guess, truth, EVERY)
        less = losses(guess, truth, EVERY | {name: 0.0})
        assert less == {other: full[other] for other in TERMS if other != name}
        assert total(less, EVERY | {name: 0.0}).item() == pytest.approx(
            sum(term.item() for term in less.values()), rel=1e-6
        )
        with pytest.raises(AssertionError):
            total(less, EVERY)

    def test_total_weighs(self):
        terms = {"x0": torch.tensor(2.0), "bone": torch.tensor(3.0)}
        assert total(terms, {"x0": 0.5, "joints": 0.0, "bone": 10.0}).item() == 31.0

    def test_a_right_answer_costs_nothing(self):
        truth = prediction(near_hands((2, 3)).float())
        for name, term in losses(truth, truth, EVERY).items():
            assert abs(term.item()) < 1e-10, name

    def test_scales(self):
        """Everything 1 cm to the right is 1 in joints alone; a step of 5 mm a frame is 1 in velocity; a hand 10 % too
        large has bones of 3 to 9 mm too many / 5 mm; one standard deviation is 1 in x0."""
        true = near_hands((1, 4)).float()
        truth = prediction(true)
        right = losses(prediction(true + torch.tensor([0.01, 0, 0])), truth, EVERY)
        assert right["joints"].item() == pytest.approx(1, rel=1e-4)
        assert max(right[name].item() for name in ("x0", "velocity", "bone", "contact", "shape")) < 1e-6
        drift = torch.arange(4.0)[:, None, None, None] * torch.tensor([0.003, 0, 0.004])
        assert losses(prediction(true + drift), truth, EVERY)["velocity"].item() == pytest.approx(1, rel=1e-4)
        lengths = (true[..., BONES[:, 1], :] - true[..., BONES[:, 0], :]).norm(dim=-1)
        large = replace(truth, channel_joints_m=1.1 * true)
        assert losses(large, truth, EVERY)["bone"].item() == pytest.approx(
            (0.1 * lengths / 0.005).square().mean().item(), rel=1e-4
        )
        assert losses(prediction(true, truth.x0 + 1), truth, EVERY)["x0"].item() == pytest.approx(1)

    def test_weights_of_samples_and_elements(self):
        true = near_hands((2, 3)).float()
        truth, guess = prediction(true), prediction(true + 0.01, torch.ones(2, 3, 2, 7))
        second = losses(guess, truth, EVERY, sample_weight=torch.tensor([0.0, 2.0]))
        alone = losses(prediction(guess.joints_m[1:], guess.x0[1:]), prediction(true[1:], truth.x0[1:]), EVERY)
        for name in TERMS:
            assert second[name].item() == pytest.approx(alone[name].item(), rel=1e-6, abs=1e-12), name
        channel = torch.tensor([7.0, 0, 0, 0, 0, 0, 0])
        assert losses(guess, truth, {"x0": 1.0}, x0_weight=channel)["x0"].item() == pytest.approx(1)

    def test_full_precision_within_autocast(self):
        truth, guess = prediction(near_hands((2, 3)).float()), prediction(near_hands((2, 3), seed=1).float())
        outside = losses(guess, truth, EVERY)
        with torch.autocast("cpu", torch.bfloat16):
            assert losses(guess, truth, EVERY) == outside
            half = replace(guess, x0=guess.x0.bfloat16())
            assert all(term.dtype == torch.float32 for term in losses(half, truth, EVERY).values())

    def test_gradients_are_finite_where_all_joints_coincide(self):
        truth = prediction(near_hands((2, 3)).float())
        guess = prediction(torch.zeros(2, 3, 2, 21, 3, requires_grad=True), torch.zeros(2, 3, 2, 7, requires_grad=True))
        total(losses(guess, truth, EVERY), EVERY).backward()
        assert guess.joints_m.grad is not None
        assert torch.isfinite(guess.joints_m.grad).all()


def slow_depth(hands: np.ndarray) -> float:
    """Deepest overlap of (hand, 21, 3), sphere by sphere."""
    spheres = [
        [((1 - t) * hand[a] + t * hand[b], r) for (a, b), own in zip(BONES, SPHERES, strict=True) for t, r in own]
        for hand in hands
    ]
    return max(0.0, *(r + s - float(np.linalg.norm(x - y)) for x, r in spheres[0] for y, s in spheres[1]))


class TestPenetration:
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_spheres_fill_the_hand(self, side):
        """None leaves the mesh by more than 3.5 mm, and no finger's skin is more than 7 mm outside of all of them."""
        model, zero = HandModel.procedural(side), np.zeros
        pose = (zero(10), zero(3), zero(45), zero(3))
        vertices = model.vertices(*pose)
        centers = sphere_centers(torch.from_numpy(model.joints(*pose))).numpy()
        distance = np.linalg.norm(vertices[:, None] - centers, axis=-1)
        beyond_mm = 1e3 * (RADIUS_M - distance.min(axis=0))
        assert beyond_mm.max() < 3.5
        assert beyond_mm.min() > -1.5
        assert np.median(beyond_mm) < 1
        finger = model.weights[:, np.setdiff1d(MANO_JOINT, (-1, 0))].sum(axis=1) > 0.9
        assert 1e3 * (distance - RADIUS_M).min(axis=1)[finger].max() < 7

    def test_all_joints_at_a_point(self):
        """Every sphere of the hand at one point, the largest 17 mm: 30 mm apart they are 4 mm in each other."""
        hands = torch.zeros(3, 2, 21, 3, dtype=torch.float64)
        hands[:, 1, :, 0] = torch.tensor([0.030, 0.034, 0.2], dtype=torch.float64)[:, None]
        # The distance has a floor: sqrt(d^2 + (0.1 mm)^2).
        assert penetration_depth_m(hands).tolist() == pytest.approx([0.004, 0, 0], abs=1e-6)
        reach = RADIUS_M[:, None] + RADIUS_M
        energy = 0.5 * (np.maximum(0, reach - 0.030) / 0.01) ** 2
        assert penetration_energy(hands[:1]).item() == pytest.approx(energy.sum(), rel=1e-3)

    def test_naive_twin(self):
        hands = near_hands((3, 2))
        hands[1, :, 1, :, 1] -= torch.tensor([0.02, 0.04], dtype=torch.float64)[:, None]
        hands[2, :, 1, :, 1] += torch.tensor([0.05, 0.5], dtype=torch.float64)[:, None]
        depth = penetration_depth_m(hands)
        expected = [[slow_depth(hands[b, f].numpy()) for f in range(2)] for b in range(3)]
        assert np.allclose(depth.numpy(), expected, atol=1e-5)
        assert depth.min() == 0
        assert depth.max() > 0.01
        assert torch.equal(penetration_energy(hands) > 0, (depth > 0).any(dim=1))

    def test_gradient(self):
        hands = near_hands((2, 2)).requires_grad_()
        assert penetration_depth_m(hands).min() > 0
        for function in (penetration_depth_m, penetration_energy):
            assert torch.autograd.gradcheck(function, hands, eps=1e-7, atol=1e-4)

    def test_apart_or_in_one_place_the_gradient_is_finite(self):
        apart = near_hands((2, 2)) + torch.tensor([0.0, 1.0], dtype=torch.float64)[:, None, None]
        for hands, slope in ((apart, 0.0), (torch.zeros(2, 2, 2, 21, 3), None)):
            hands.requires_grad_()
            penetration_energy(hands).sum().backward()
            assert hands.grad is not None
            assert torch.isfinite(hands.grad).all()
            assert slope is None or hands.grad.abs().max() == slope


FRAMES, STD_M = 24, 0.1


def crossing() -> tuple[Tensor, Tensor]:
    """Wrists (batch, frame, hand, 3) in units of `STD_M` and hands (hand, 21, 3) about their wrists.

    The right hand slices through the left one, 1 and 2 cm above its middle; in the last sample half a metre above.
    """
    hands = flat_hands().float()
    hands = hands - hands[:, :1]
    wrist = torch.zeros(3, FRAMES, 2, 3)
    # The left hand's fingers go along +x and the right one's along -x: they cover each other with wrists 15 cm apart.
    wrist[:, :, 1, 0] = 0.15
    wrist[:, :, 1, 2] = torch.linspace(-0.15, 0.15, FRAMES)
    wrist[:, :, 1, 1] = torch.tensor([0.01, 0.02, 0.5])[:, None]
    return wrist / STD_M, hands


def smoother(observed: list[int]) -> Tensor:
    """(frame, frame) covariance of a Gaussian process of 4 frames' width, given its values in some frames."""
    frame = torch.arange(float(FRAMES))
    K = torch.exp(-0.5 * ((frame[:, None] - frame) / 4) ** 2)
    given = K[:, observed] @ torch.linalg.inv(K[observed][:, observed] + 1e-5 * torch.eye(len(observed)))
    C = K - given @ K[observed]
    C[observed] = 0
    C[:, observed] = 0
    return C


class TestGuided:
    def to_joints(self, x0: Tensor) -> Tensor:
        return STD_M * x0[..., None, :] + crossing()[1]

    def test_crossing_hands_part(self):
        """Their overlap shrinks to a fifth and less; observed frames stay, to the bit; no frame jumps."""
        wrist, _ = crossing()
        observed = [0, 1, FRAMES - 1]
        C = smoother(observed)
        out = guided(wrist, self.to_joints, lambda g: torch.einsum("fg,bghc->bfhc", C, g), steps=5)
        before, after = (penetration_depth_m(self.to_joints(x)) for x in (wrist, out))
        assert (before[:2].amax(dim=1) > 0.008).all()
        assert (after[:2].sum(dim=1) < 0.2 * before[:2].sum(dim=1)).all()
        energies = [penetration_energy(self.to_joints(x))[:2] for x in (wrist, out)]
        assert (energies[1] < 0.05 * energies[0]).all()
        assert torch.equal(out[:, observed], wrist[:, observed])
        assert torch.equal(out[2], wrist[2])
        jump_m = STD_M * (out - wrist).diff(n=2, dim=1).norm(dim=-1).max()
        assert 0 < jump_m < 0.01

    def test_the_energy_never_grows(self):
        """Also where one step cannot do it: a metric that is a hundred times steeper in one direction."""
        wrist, _ = crossing()
        steep = torch.tensor([1.0, 0.01, 1.0])
        last = penetration_energy(self.to_joints(wrist))
        for steps in range(1, 5):
            out = guided(wrist, self.to_joints, lambda g: g * steep, steps=steps, limit=5.0)
            energy = penetration_energy(self.to_joints(out))
            assert (energy <= last).all()
            last = energy
        assert last[0] < penetration_energy(self.to_joints(wrist))[0]

    def test_what_may_not_move_does_not(self):
        wrist, _ = crossing()
        assert torch.equal(guided(wrist, self.to_joints, torch.zeros_like), wrist)
        assert torch.equal(guided(wrist, self.to_joints, lambda g: g, weight=0.0), wrist)

    def test_limit_and_no_grad(self):
        """One step changes no number by more than the limit; a sampler's no_grad does not hinder it."""
        wrist, _ = crossing()
        with torch.no_grad():
            out = guided(wrist, self.to_joints, lambda g: g, steps=1, limit=0.01)
        assert (out - wrist).abs().max().item() == pytest.approx(0.01, rel=1e-3)
        assert not out.requires_grad


def test_half_of_the_timesteps_are_where_noise_is_more_than_motion():
    """Uniform in log(alpha / sigma) there; the other half is uniform in time, of which half is there, too."""
    schedule = Schedule()
    t = draw_timesteps(schedule, 4000, torch.Generator().manual_seed(0))
    log_snr = (schedule.alpha(t) / schedule.sigma(t)).log()
    assert 0.72 < (log_snr < 0.01).double().mean() < 0.78
    noisy = log_snr[1::2]
    shares = torch.histc(noisy, 9, FIRST_LOG_SNR, 0.0) / len(noisy)
    assert shares.max() < 0.15
    assert shares.min() > 0.08
    assert set(t[::2].div(100, rounding_mode="floor").tolist()) == set(range(10))
