"""The judges of generated motion: known answers, and an evaluator that sees what is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.core.hands import HANDS
from handpipe.generation.evaluation.evaluator import LATENT, Evaluator, mirrored, train_evaluator, two_hand_frame
from handpipe.generation.evaluation.metrics import (
    KeyframeErrors,
    angle_deg,
    contact_pairs,
    detection,
    diversity,
    frechet_distance,
    jerk,
    joint_error_m,
    kernel_distance,
    keyframe_errors,
    missed,
    multimodality,
    penetration,
    precision_recall,
    seam_ratio,
)
from handpipe.generation.model.motion import Motion
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion

FRAMES = 22
"""Of the evaluator's windows: no multiple of its patch."""


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turn(axis: int, degrees: float) -> torch.Tensor:
    vector = np.zeros(3)
    vector[axis] = np.radians(degrees)
    return torch.from_numpy(scipy.linalg.expm(np.cross(np.eye(3), -vector)))


# ---- distributions -------------------------------------------------------------------------------------------------


def test_a_set_has_no_distance_to_itself():
    features = normal(50, 8)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_two_gaussians_is_the_closed_form():
    """Four points with covariance diag(4/3, 0) and diag(0, 12) about means 5 apart: 25 + 4/3 + 12, no cross term; along
    the same axis it is (std - std)^2."""
    line = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [-1, 0]])
    across = 3 * line.flip(-1) + torch.tensor([3.0, 4.0])
    assert frechet_distance(line, across) == pytest.approx(25 + 4 / 3 + 12)
    assert frechet_distance(line, 3 * line) == pytest.approx((3 - 1) ** 2 * 4 / 3)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), dimension=st.integers(1, 6))
def test_frechet_distance_agrees_with_the_general_matrix_root(seed, dimension):
    a, b = normal(40, dimension, seed=seed), 2 * normal(30, dimension, seed=seed + 1) + 1
    cov_a, cov_b = (np.atleast_2d(np.cov(x.numpy(), rowvar=False)) for x in (a, b))
    root = np.real(scipy.linalg.sqrtm(cov_a @ cov_b))
    wanted = float((a.mean(0) - b.mean(0)).square().sum()) + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_frechet_distance_of_few_samples_is_finite():
    assert math.isfinite(frechet_distance(normal(3, 20), normal(4, 20, seed=1)))


def test_diversity_is_the_mean_distance_of_pairs():
    triangle = torch.tensor([[0.0, 0], [3, 0], [0, 4]])
    assert diversity(triangle) == pytest.approx((3 + 4 + 5) / 3)
    assert diversity(triangle, subset=2, seed=0) in (3, 4, 5)
    assert diversity(torch.ones(5, 3)) == 0


def naive_kid(x: np.ndarray, y: np.ndarray) -> float:
    kernel = lambda a, b: (a @ b / len(a) + 1) ** 3  # noqa: E731
    within = [np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (x, y)]
    return float(within[0] + within[1] - 2 * np.mean([kernel(a, b) for a in x for b in y]))


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31 - 1), dimension=st.integers(1, 6))
def test_kernel_distance_agrees_with_the_sum_over_pairs(seed, dimension):
    a, b = normal(9, dimension, seed=seed), 2 * normal(7, dimension, seed=seed + 1) + 1
    assert kernel_distance(a, b) == pytest.approx(naive_kid(a.numpy(), b.numpy()), rel=1e-9)


def test_kernel_distance_has_no_bias_where_the_frechet_distance_has():
    """Sets of ten of the same Gaussian, two hundred times: the mean is 0 to three of its standard errors."""
    pairs = [(normal(10, 4, seed=2 * seed), normal(10, 4, seed=2 * seed + 1)) for seed in range(200)]
    found = torch.tensor([kernel_distance(*pair) for pair in pairs])
    assert abs(float(found.mean())) < 3 * float(found.std()) / 200**0.5
    assert min(frechet_distance(*pair) for pair in pairs) > 0.1


def test_precision_and_recall_of_hand_made_sets():
    """Real: 0 to 10 on a line, whose balls reach one step. Generated: two among them, two far away and alone."""
    real = torch.arange(11.0)[:, None]
    made = torch.tensor([[3.0], [3.9], [100.0], [200.0]])
    found = precision_recall(made, real, neighbours=1)
    assert found.precision == 0.5
    # 3 and 3.9 reach 0.9 and hold 3 and 4; 100 is 96.1 from 3.9 and holds 4 to 10.
    assert found.recall == pytest.approx(8 / 11)
    assert precision_recall(real, real).precision == precision_recall(real, real).recall == 1
    far = precision_recall(real + 1000, real)
    assert (far.precision, far.recall) == (0, 0)


def test_a_collapsed_set_is_precise_and_recalls_nothing():
    real, made = normal(60, 3), 1e-3 * normal(60, 3, seed=1)
    found = precision_recall(made, real)
    assert (found.precision, found.recall) == (1, 0)


def test_multimodality_is_the_mean_over_conditions():
    """Two samples 5 apart for one condition, 1 apart for the other, however far the conditions are."""
    features = torch.tensor([[[0.0, 0], [3, 4]], [[100.0, 0], [101, 0]]])
    assert multimodality(features) == pytest.approx(3)


# ---- smoothness ----------------------------------------------------------------------------------------------------


def test_jerk_of_a_cubic_is_known_and_of_a_parabola_zero():
    fps = 30.0
    time = torch.arange(10, dtype=torch.float64) / fps
    joints = torch.zeros(1, 10, 2, 21, 3, dtype=torch.float64)
    joints[..., 0, :, 1] = (2 * time**3 - time)[:, None]
    joints[..., 1, :, 0] = (5 * time**2)[:, None]
    size = jerk(joints, fps)
    assert size.shape == (1, 7, 2, 21)
    torch.testing.assert_close(size[:, :, 0], torch.full((1, 7, 21), 12.0, dtype=torch.float64))
    assert size[:, :, 1].max() < 1e-8


def test_a_seam_shows_at_its_keyframe_only():
    """Smooth noise everywhere; a jump next to frame 20. Without it, or looked for elsewhere, the ratio is about 1."""
    joints = normal(30, 60, 2, 21, 3)
    keyframes = torch.zeros(60, dtype=torch.bool)
    keyframes[20] = True
    assert seam_ratio(joints, keyframes, 30.0) == pytest.approx(1, abs=0.03)
    joints[:, 20:] += 20
    assert seam_ratio(joints, keyframes, 30.0) > 3
    assert seam_ratio(joints, keyframes.roll(20).expand(30, 60), 30.0) < 1
    assert math.isnan(seam_ratio(joints, torch.zeros_like(keyframes), 30.0))


def test_a_seam_is_looked_for_three_frames_around():
    """One joint jumps at each frame in turn; the third difference that sees it spans four frames."""
    keyframes = torch.zeros(30, dtype=torch.bool)
    keyframes[15] = True

    def ratio(jump: int) -> float:
        joints = torch.zeros(1, 30, 2, 21, 3)
        joints[:, jump:] = 1
        return seam_ratio(joints, keyframes, 30.0)

    assert [frame for frame in range(4, 27) if ratio(frame) == 0] == [*range(4, 12), *range(20, 27)]


# ---- obedience -----------------------------------------------------------------------------------------------------


def still(frames: int) -> Motion:
    eye = torch.eye(3, dtype=torch.float64)
    return Motion(
        torch.zeros(1, frames, 2, 3, dtype=torch.float64),
        eye.expand(1, frames, 2, 3, 3).clone(),
        eye.expand(1, frames, 2, 15, 3, 3).clone(),
        torch.zeros(1, 2, 10),
    )


def test_keyframe_errors_are_millimetres_and_degrees_of_what_was_given():
    given_, made = still(5), still(5)
    made.wrist_m[0, 2, 0] = torch.tensor([0.003, 0.004, 0.0])
    made.R_world_wrist[0, 2, 1] = turn(0, 30)
    made.R_pose[0, 2, 1, 4] = turn(2, 15)
    made.wrist_m[0, 3] = 9.0  # not given, so not counted
    has = torch.zeros(1, 5, 2, dtype=torch.bool)
    has[0, 2] = True
    errors = keyframe_errors(made, given_, has, has, has)
    assert errors.wrist_mm == pytest.approx(5 / 2)
    assert errors.orient_deg == pytest.approx(30 / 2)
    assert errors.pose_deg == pytest.approx(15 / 30)
    assert (errors.worst_wrist_mm, errors.worst_orient_deg, errors.worst_pose_deg) == pytest.approx((5, 30, 15))
    assert keyframe_errors(given_, given_, has, has, has) == KeyframeErrors(0, 0, 0, 0, 0, 0)
    assert math.isnan(keyframe_errors(made, given_, ~has & has, has, has).wrist_mm)


def test_a_clip_misses_its_controls_if_it_misses_one():
    distance = torch.zeros(4, 6, 2)
    has = torch.zeros(4, 6, 2, dtype=torch.bool)
    has[:, 2] = has[:, 4] = True
    distance[0, 2, 1], distance[1, 4, 0], distance[2, 3, 0] = 6.0, 11.0, 99.0  # the last is not given
    assert [missed(distance, has, limit) for limit in (5.0, 10.0, 11.0)] == [0.5, 0.25, 0]


@given(degrees=st.floats(1e-7, 179.99), axis=st.integers(0, 2))
def test_angles_are_exact_near_zero_and_near_a_half_turn(degrees, axis):
    frame = turn((axis + 1) % 3, 77.0)
    assert float(angle_deg(frame @ turn(axis, degrees), frame)) == pytest.approx(degrees, rel=1e-6)


def test_joint_error_counts_where_it_is_asked_to():
    truth = torch.zeros(2, 4, 2, 21, 3)
    joints = truth.clone()
    joints[1, 3, 1] = torch.tensor([0.0, 0.03, 0.04])
    where = torch.zeros(2, 4, 2, dtype=torch.bool)
    where[1, 3] = True
    assert joint_error_m(joints, truth) == pytest.approx(0.05 / 16)
    assert joint_error_m(joints, truth, where) == pytest.approx(0.05 / 2)


# ---- interaction ---------------------------------------------------------------------------------------------------


def hands_apart(frames: int) -> torch.Tensor:
    """(frame, hand, 21, 3): joints in two rows 3 cm between neighbours, hands half a metre apart."""
    joints = torch.zeros(frames, 2, 21, 3)
    joints[..., 0] = 0.03 * torch.arange(21)
    joints[:, 1, :, 1] = 0.5
    return joints


def test_contact_is_a_matter_of_pairs():
    joints = hands_apart(3)
    joints[1, 1, 8] = joints[1, 0, 4] + torch.tensor([0.0, 0.019, 0.0])
    joints[2, 1, 8] = joints[2, 0, 4] + torch.tensor([0.0, 0.021, 0.0])
    assert contact_pairs(joints).nonzero().tolist() == [[1, 4, 8]]
    assert contact_pairs(joints, 0.022).any((-1, -2)).tolist() == [False, True, True]


def test_precision_and_recall_of_a_hand_made_scene():
    truth = torch.tensor([True, True, True, False, False])
    found = torch.tensor([True, False, False, True, False])
    score = detection(found, truth)
    assert (score.precision, score.recall, score.f1) == pytest.approx((1 / 2, 1 / 3, 2 / 5))
    none = torch.zeros(5, dtype=torch.bool)
    assert (detection(none, truth).precision, detection(none, truth).recall, detection(none, truth).f1) == (1, 0, 0)
    assert detection(none, none).f1 == 1
    assert detection(truth, truth).f1 == 1


def test_hands_in_one_place_penetrate_and_hands_apart_do_not(recording):
    apart = recording[0].clone()
    apart[:, 1] += 5.0
    assert penetration(apart).worst_mm == 0
    inside = apart.clone()
    inside[: FRAMES // 2, 1] = inside[: FRAMES // 2, 0]
    score = penetration(inside)
    assert score.share == 0.5
    assert score.worst_mm > 5
    assert 0 < score.mean_mm < score.worst_mm


# ---- the evaluator -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording() -> torch.Tensor:
    """(window, frame, hand, 21, 3): hands of 60 people approach, touch, cross and part."""
    models = [HandModel.procedural(hand) for hand in HANDS]
    windows = []
    for seed in range(60):
        motion = two_hand_motion(80, 30.0, seed=seed)
        joints = np.stack(
            [
                model.joints(motion.betas[i], motion.global_orient[:, i], motion.hand_pose[:, i], motion.transl[:, i])
                for i, model in enumerate(models)
            ],
            axis=1,
        )
        windows.append(torch.from_numpy(joints).float().unfold(0, FRAMES, 8).movedim(-1, 1))
    return torch.cat(windows)


@pytest.fixture(scope="module")
def evaluator(recording) -> Evaluator:
    return train_evaluator(recording, seed=0, steps=60, batch=32)


def test_the_frame_of_a_flat_pair_of_hands_is_what_their_owner_sees():
    """Palms down on a table, fingers along +y, thumbs inside."""
    joints = torch.zeros(2, 21, 3)
    joints[:, 9, 1] = 0.1
    joints[0, 5] = torch.tensor([0.02, 0.1, 0])
    joints[0, 17] = torch.tensor([-0.04, 0.08, 0])
    joints[1] = joints[0] * torch.tensor([-1.0, 1, 1])
    joints += torch.tensor([[-0.2, 0, 0], [0.2, 0, 0]])[:, None]
    R, t_m = two_hand_frame(joints)
    torch.testing.assert_close(R, torch.eye(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(t_m, torch.zeros(3), atol=1e-6, rtol=0)
    there = turn(1, 130).float() @ turn(0, 50).float()
    R_moved, t_moved = two_hand_frame(joints @ there.T + 3)
    torch.testing.assert_close(R_moved, there.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(t_moved, -there.T @ torch.full((3,), 3.0), atol=1e-5, rtol=0)


def test_the_frame_of_the_mirrored_hands_is_the_mirrored_frame(recording):
    joints = recording[:, 0]
    flip = torch.diag(torch.tensor([-1.0, 1, 1]))
    R, t_m = two_hand_frame(joints)
    R_mirrored, t_mirrored = two_hand_frame(mirrored(joints))
    torch.testing.assert_close(R_mirrored, flip @ R @ flip, atol=1e-4, rtol=0)
    torch.testing.assert_close(t_mirrored, t_m @ flip, atol=1e-4, rtol=0)


def test_features_do_not_depend_on_place_direction_or_batch(recording, evaluator):
    windows = recording[:20]
    features = evaluator.features(windows)
    assert features.shape == (20, LATENT)
    moved = windows @ turn(0, 70).float().T + torch.tensor([1.0, -2.0, 0.5])
    torch.testing.assert_close(evaluator.features(moved), features, atol=0.02, rtol=0.01)
    torch.testing.assert_close(evaluator.features(windows, batch=3), features, atol=1e-4, rtol=1e-4)


def test_features_are_standardised_on_the_training_data(recording, evaluator):
    features = evaluator.features(recording)
    torch.testing.assert_close(features.mean(0), torch.zeros(LATENT), atol=1e-3, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(LATENT), atol=1e-3, rtol=0)


def test_the_evaluator_ranks_damage(recording, evaluator):
    """The other half of the recording is far nearer than the same windows with noise, out of order, or with one hand
    frozen; and more noise is further."""
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(len(recording), generator=generator)
    half, other = recording[order[::2]], recording[order[1::2]]
    reference = evaluator.features(half)

    def fid(windows: torch.Tensor) -> float:
        return frechet_distance(evaluator.features(windows), reference)

    noise = torch.randn(other.shape, generator=generator)
    frozen = other.clone()
    frozen[:, :, 1] = other[:, :1, 1]
    fine = fid(other)
    noisy = [fid(other + level_m * noise) for level_m in (0.001, 0.003, 0.01)]
    assert [fine, *noisy] == sorted([fine, *noisy])
    assert noisy[1] > 3 * fine
    assert fid(other[:, torch.randperm(FRAMES, generator=generator)]) > 3 * fine
    assert fid(frozen) > 3 * fine
    swapped = torch.stack([other[:, :, 0], other.roll(7, 0)[:, :, 1]], dim=2)
    assert fid(swapped) > 3 * fine


def test_training_is_reproducible_and_its_seed_matters(recording):
    twice = [train_evaluator(recording[:40], seed=3, steps=3, batch=8) for _ in range(2)]
    other = train_evaluator(recording[:40], seed=4, steps=3, batch=8)
    assert twice[0].digest == twice[1].digest != other.digest


def test_training_leaves_the_global_generator_alone(recording):
    torch.manual_seed(0)
    train_evaluator(recording[:40], seed=3, steps=1, batch=8)
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))


def test_an_evaluator_comes_back_from_its_state(recording, evaluator):
    again = Evaluator.of_state(evaluator.state)
    assert again.digest == evaluator.digest
    assert torch.equal(again.features(recording[:5]), evaluator.features(recording[:5]))
