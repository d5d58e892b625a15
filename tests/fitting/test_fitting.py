"""The fitting solver: exact derivatives, exact recovery, noise, gaps, outliers, and the laws it must keep."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.interpolate import CubicSpline

from handpipe.core.geometry import axis_angle_from_rotation, rotation_from_axis_angle
from handpipe.core.hands import MANO_JOINT, MANO_TIP_VERTEX, NUM_JOINTS, TIPS
from handpipe.fitting.gauss_newton import BANDWIDTH, solve_banded
from handpipe.fitting.kinematics import (
    Landmarks,
    anatomical_frames,
    pose_jacobian,
    pose_landmarks,
    right_jacobian,
    right_jacobian_inverse,
    shape_jacobian,
)
from handpipe.fitting.residuals import HandState, Smoothness, geman_mcclure, pose_prior
from handpipe.fitting.solver import FittingSettings, fit_hand
from handpipe.fitting.stage import near_frames
from handpipe.hand.model import HandModel
from handpipe.hand.procedural import joint_frames, random_pose

NOT_SMOOTH = FittingSettings(
    wrist_acceleration_sd=1e6,
    wrist_turn_acceleration_sd=1e7,
    finger_acceleration_sd=1e7,
    landmark_sigma_m=5e-4,
    landmark_offsets=False,
)
JOINTS = FittingSettings(landmark_offsets=False, max_carried_sd_m=0.0)
"""The points are the model's own joints, and only what is seen is valid."""
MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.procedural("right")


def landmarks_of(model: HandModel, seed: int) -> tuple[Landmarks, HandState]:
    rng = np.random.default_rng(seed)
    hand = Landmarks(
        model, anatomical_frames(model), rng.standard_normal(10), 0.003 * rng.standard_normal((NUM_JOINTS, 3))
    )
    turn = rng.standard_normal((4, 3))
    return hand, HandState(
        rotation_from_axis_angle(turn), 0.5 * rng.standard_normal((4, 15, 3)), rng.standard_normal((4, 3))
    )


def motion(model: HandModel, frames: int, fps: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Betas, and joints (frame, 21, 3) of a hand that takes a new random pose every second, some 10 cm away."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / fps
    keys = max(4, int(t[-1]) + 2)
    at = np.arange(keys)
    pose = CubicSpline(at, random_pose(rng, model.side, keys))(t)
    orient = CubicSpline(at, 0.5 * rng.standard_normal((keys, 3)))(t)
    transl = CubicSpline(at, 0.07 * rng.standard_normal((keys, 3)))(t)
    betas = 0.7 * rng.standard_normal(10)
    return betas, model.joints(betas, orient, pose, transl)


def error_mm(fit, joints_m) -> np.ndarray:
    return 1e3 * np.linalg.norm(fit.joints_m - joints_m, axis=-1)


def sigma(points, value=1e-3) -> np.ndarray:
    return np.full(points.shape[:2], value)


def acceleration(points, fps) -> np.ndarray:
    return np.diff(points, 2, axis=0) * fps**2


# ---- derivatives -------------------------------------------------------------------------------------------------


def numeric(f, size, eps=1e-6) -> np.ndarray:
    return np.stack([(f(eps * e) - f(-eps * e)) / (2 * eps) for e in np.eye(size)], axis=-1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_landmarks_are_the_models_joints(side):
    model = HandModel.procedural(side)
    hand, state = landmarks_of(model, 0)
    hand = replace(hand, offsets_m=np.zeros((NUM_JOINTS, 3)))
    pose = (state.angles[:, :, None] @ hand.frames).reshape(4, 45)
    expected = model.joints(hand.betas, axis_angle_from_rotation(state.R_root), pose, state.transl)
    posed = pose_landmarks(hand, state.R_root, state.angles, state.transl)
    np.testing.assert_allclose(posed.points_m, expected, atol=1e-12)


@pytest.mark.parametrize("side", ["left", "right"])
def test_pose_jacobian_is_the_derivative(side):
    hand, state = landmarks_of(HandModel.procedural(side), 1)

    def moved(step):
        s = state.moved(np.tile(step, (4, 1)))
        return pose_landmarks(hand, s.R_root, s.angles, s.transl).points_m.reshape(4, 63)

    J = pose_jacobian(hand, pose_landmarks(hand, state.R_root, state.angles, state.transl))
    np.testing.assert_allclose(J, numeric(moved, 51), atol=1e-8)


def test_shape_jacobian_is_the_derivative(model):
    hand, state = landmarks_of(model, 2)

    def changed(step):
        h = replace(hand, betas=hand.betas + step[:10], offsets_m=hand.offsets_m + step[10:].reshape(-1, 3))
        return pose_landmarks(h, state.R_root, state.angles, state.transl).points_m.reshape(4, 63)

    J = shape_jacobian(hand, pose_landmarks(hand, state.R_root, state.angles, state.transl))
    np.testing.assert_allclose(J, numeric(changed, 73), atol=1e-8)


@pytest.mark.parametrize("side", ["left", "right"])
def test_gradients_agree_with_smplx_autograd(side):
    """The slope of a random weighing of the 21 joints by every parameter: ours analytic, smplx's by PyTorch."""
    import torch

    model = HandModel.procedural(side)
    hand, state = landmarks_of(model, 3)
    hand = replace(hand, offsets_m=np.zeros((NUM_JOINTS, 3)))
    weights = np.random.default_rng(4).standard_normal((4, NUM_JOINTS, 3))
    orient = axis_angle_from_rotation(state.R_root)
    pose = (state.angles[:, :, None] @ hand.frames).reshape(4, 45)
    values = {
        "betas": np.tile(hand.betas, (4, 1)),
        "global_orient": orient,
        "hand_pose": pose,
        "transl": state.transl,
    }
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    out = model.to_smplx(batch_size=4).double()(**tensors)
    joints = torch.cat([out.joints[:, MANO_JOINT[MANO_JOINT >= 0]], out.vertices[:, MANO_TIP_VERTEX]], dim=1)
    order = np.concatenate([np.flatnonzero(MANO_JOINT >= 0), TIPS])
    (joints * torch.tensor(weights[:, order])).sum().backward()

    posed = pose_landmarks(hand, state.R_root, state.angles, state.transl)
    by_pose = np.einsum("fi,fij->fj", weights.reshape(4, 63), pose_jacobian(hand, posed))
    by_shape = np.einsum("fi,fij->fj", weights.reshape(4, 63), shape_jacobian(hand, posed))[:, :10]
    by_angle = by_pose[:, 6:].reshape(4, 15, 3)
    ours = {
        "betas": by_shape,
        "global_orient": (by_pose[:, None, 3:6] @ right_jacobian(orient))[:, 0],
        "hand_pose": (by_angle[:, :, None] @ np.linalg.inv(hand.frames).swapaxes(-1, -2)).reshape(4, 45),
        "transl": by_pose[:, :3],
    }
    for name, tensor in tensors.items():
        assert tensor.grad is not None
        np.testing.assert_allclose(ours[name], tensor.grad.numpy(), atol=1e-5, err_msg=name)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([0.0, 1e-7, 1e-3, 0.5, 2.5]))
def test_rotation_jacobians(seed, size):
    rng = np.random.default_rng(seed)
    v = size * rng.standard_normal(3) / np.sqrt(3)
    R = rotation_from_axis_angle(v)
    by_step = numeric(lambda d: axis_angle_from_rotation(R.T @ rotation_from_axis_angle(v + d)), 3)
    np.testing.assert_allclose(right_jacobian(v), by_step, atol=1e-6)
    np.testing.assert_allclose(right_jacobian(v) @ right_jacobian_inverse(v), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(rotation_from_axis_angle(axis_angle_from_rotation(R)), R, atol=1e-12)


def test_half_turns_have_an_axis():
    for axis in (*np.eye(3), np.ones(3) / np.sqrt(3)):
        R = rotation_from_axis_angle(np.pi * axis)
        np.testing.assert_allclose(rotation_from_axis_angle(axis_angle_from_rotation(R)), R, atol=1e-12)


def smooth_terms(huber: float) -> Smoothness:
    return Smoothness(30.0, np.linspace(1, 20, 17), np.linspace(5, 50, 17), huber)


@pytest.mark.parametrize("huber", [0.3, 1e9])
def test_smoothness_gradient_is_the_derivative(model, huber):
    """Four frames with turns of a radian between them, so the root's coupling is far from the identity."""
    _, state = landmarks_of(model, 3)
    term = smooth_terms(huber)
    gradient = term.normal(state)[1]
    for frame in range(4):

        def cost(step, frame=frame):
            steps = np.zeros((4, 51))
            steps[frame] = step
            return np.array(term.cost(state.moved(steps)))

        expected = numeric(cost, 51)
        np.testing.assert_allclose(gradient[frame], expected, atol=1e-6 * np.abs(expected).max())


def test_prior_gradient_is_the_derivative(model):
    _, state = landmarks_of(model, 4)
    prior = pose_prior(1.5, 0.4, 0.05, 0.12)
    expected = numeric(lambda d: prior.cost(state.angles + d.reshape(15, 3)), 45)
    np.testing.assert_allclose(prior.normal(state.angles)[0], expected, rtol=1e-5, atol=1e-4)


def test_robust_weight_is_the_cost_slope_and_misses_are_free():
    error = np.array([[1e-3, 0, 0], [5e-3, 0, 0], [1.0, 0, 0], [np.nan, 0, 0]])
    sigma_m = np.full(4, 1e-3)
    cost, weight = geman_mcclure(error, sigma_m, 6.0)
    eps = 1e-9
    more, _ = geman_mcclure(error + [eps, 0, 0], sigma_m, 6.0)
    np.testing.assert_allclose(((more - cost) / eps)[:3], (weight[:, None] * error)[:3, 0], rtol=1e-4, atol=1e-3)
    assert cost[2] == pytest.approx(18, rel=1e-3)
    assert cost[3] == weight[3] == 0


def test_banded_solution_is_the_dense_one(model):
    _, state = landmarks_of(model, 5)
    _, g, blocks = smooth_terms(1e9).normal(state)
    rng = np.random.default_rng(0)
    A = rng.standard_normal((4, 51, 51))
    H = A @ A.swapaxes(1, 2) + np.eye(51)
    dense = np.zeros((4, 51, 4, 51))
    for t in range(4):
        dense[t, :, t] += H[t]
        for k in range(min(3, 4 - t)):
            for v in range(17):
                at = slice(3 * v, 3 * v + 3)
                dense[t + k, at, t, at] += blocks[t, k, v]
                if k:
                    dense[t, at, t + k, at] += blocks[t, k, v].T
    expected = np.linalg.solve(dense.reshape(204, 204), g.ravel()).reshape(4, 51)
    x = solve_banded(H, blocks, g, np.empty((4, 51, BANDWIDTH + 1)))
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("side", ["left", "right"])
def test_anatomical_frames_find_the_axes_of_the_hand(side):
    """The procedural hand knows its true axes; from the joints alone they come out within 20 degrees."""
    frames = anatomical_frames(HandModel.procedural(side))
    np.testing.assert_allclose(frames @ frames.swapaxes(1, 2), np.broadcast_to(np.eye(3), (15, 3, 3)), atol=1e-12)
    assert np.sum(frames * joint_frames(side), axis=-1).min() > np.cos(np.deg2rad(20))


# ---- recovery ----------------------------------------------------------------------------------------------------


def test_exact_points_of_unrelated_poses_are_recovered(model):
    rng = np.random.default_rng(0)
    joints = model.joints(
        rng.standard_normal(10),
        2 * rng.standard_normal((40, 3)),
        random_pose(rng, "right", 40),
        0.3 * rng.standard_normal((40, 3)),
    )
    fit = fit_hand(model, joints, sigma(joints, 1e-4), 30.0, NOT_SMOOTH)
    assert error_mm(fit, joints).mean() < 0.1
    assert error_mm(fit, joints).max() < 0.5
    assert fit.valid.all()


def test_result_is_the_models_own(model):
    """The parameters, put through the model, are the joints: what is stored agrees with itself."""
    _, joints = motion(model, 20, 30.0)
    fit = fit_hand(model, joints, sigma(joints), 30.0, JOINTS)
    again = model.joints(fit.betas, fit.global_orient, fit.hand_pose, fit.transl)
    np.testing.assert_allclose(fit.joints_m, again, atol=1e-12)
    expected = np.sqrt(np.mean(np.sum((fit.joints_m - joints) ** 2, axis=-1), axis=1))
    np.testing.assert_allclose(fit.residual_m, expected, rtol=1e-9)


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_noise_and_gaps_of_a_smooth_motion(model, fps):
    _, joints = motion(model, 150, fps, seed=2)
    rng = np.random.default_rng(0)
    noisy = joints + 1e-3 * rng.standard_normal(joints.shape)
    noisy[rng.random(noisy.shape[:2]) < 0.1] = np.nan
    fit = fit_hand(model, noisy, sigma(noisy), fps, JOINTS)
    truth = acceleration(joints, fps)
    raw = np.nanmean(np.linalg.norm(acceleration(noisy, fps) - truth, axis=-1))
    ours = np.linalg.norm(acceleration(fit.joints_m, fps) - truth, axis=-1).mean()
    assert error_mm(fit, joints).mean() < 0.85
    assert ours < 0.22 * raw
    assert fit.valid.all()


def test_gross_outliers_change_little(model):
    _, joints = motion(model, 60, 30.0, seed=3)
    rng = np.random.default_rng(0)
    wild = joints + 3e-4 * rng.standard_normal(joints.shape)
    thrown = rng.random(joints.shape[:2]) < 0.05
    wild[thrown] += 0.1 * rng.standard_normal((thrown.sum(), 3))
    fit = fit_hand(model, wild, sigma(wild, 3e-4), 30.0, JOINTS)
    assert error_mm(fit, joints).mean() < 0.7
    assert error_mm(fit, joints).max() < 8


def test_unseen_frames_are_carried_and_not_valid(model):
    _, joints = motion(model, 60, 60.0, seed=4)
    points = joints.copy()
    points[25:31] = np.nan
    points[40, 5:] = np.nan
    fit = fit_hand(model, points, sigma(points), 60.0, JOINTS)
    expected = np.ones(60, dtype=bool)
    expected[25:31] = False
    expected[40] = False
    np.testing.assert_array_equal(fit.valid, expected)
    np.testing.assert_array_equal(np.isnan(fit.residual_m), np.isnan(points).all(axis=(1, 2)))
    assert error_mm(fit, joints)[25:31].max() < 8  # a tenth of a second of a moving hand
    assert error_mm(fit, joints)[expected].mean() < 0.5


def test_what_is_carried_far_stays_near(model):
    """Seen for half a second, then never again: the hand must not fly off with its last speed."""
    _, joints = motion(model, 200, 30.0, seed=5)
    points = joints.copy()
    points[15:] = np.nan
    fit = fit_hand(model, points, sigma(points), 30.0, JOINTS)
    assert np.isfinite(fit.joints_m).all()
    assert np.linalg.norm(fit.joints_m - fit.joints_m[14], axis=-1).max() < 0.5
    np.testing.assert_array_equal(fit.valid, np.arange(200) < 15)


def test_fast_motion_is_neither_shrunk_nor_late(model):
    """A wrist shaken at 2 Hz by 10 cm, 16 m/s^2: a filter that lags or shrinks would lose millimetres."""
    t = np.arange(90) / 30
    shake = 0.1 * np.sin(2 * np.pi * 2 * t)
    transl = np.stack([shake, 0 * t, 0 * t], axis=1)
    joints = model.joints(np.zeros(10), np.zeros((90, 3)), np.zeros((90, 45)), transl)
    noisy = joints + 1e-3 * np.random.default_rng(0).standard_normal(joints.shape)
    fit = fit_hand(model, noisy, sigma(noisy), 30.0, JOINTS)
    wrist = fit.joints_m[:, 0, 0] - joints[0, 0, 0]
    assert wrist @ shake / (shake @ shake) == pytest.approx(1.0, abs=0.005)
    early, late = (np.sum((wrist[1:-1] - shake[1 + lag : 89 + lag]) ** 2) for lag in (-1, 1))
    assert early == pytest.approx(late, rel=0.05)


def test_never_seen_is_nan_and_not_valid(model):
    points = np.full((5, 21, 3), np.nan)
    fit = fit_hand(model, points, sigma(points), 30.0, JOINTS)
    assert np.isnan(fit.joints_m).all()
    assert np.isnan(fit.global_orient).all()
    assert not fit.valid.any()


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_sequences(model, frames):
    _, joints = motion(model, frames, 30.0, seed=6)
    fit = fit_hand(model, joints, sigma(joints), 30.0, JOINTS)
    assert error_mm(fit, joints).mean() < 1.0
    assert fit.valid.all()


def test_learns_where_a_detector_puts_its_landmarks(model):
    hand, _ = landmarks_of(model, 8)
    hand = replace(hand, betas=np.zeros(10))
    rng = np.random.default_rng(1)
    frames = 60
    pose = CubicSpline(np.arange(4), random_pose(rng, "right", 4))(np.linspace(0, 3, frames))
    angles = (pose.reshape(-1, 15, 1, 3) @ hand.frames.swapaxes(1, 2))[:, :, 0]
    R = rotation_from_axis_angle(np.linspace([0, 0, 0], [1, 0.5, -1], frames))
    detected = pose_landmarks(hand, R, angles, np.zeros((frames, 3))).points_m
    plain = fit_hand(model, detected, sigma(detected), 30.0, JOINTS)
    learnt = fit_hand(model, detected, sigma(detected), 30.0, FittingSettings(landmark_offsets=True))
    assert learnt.residual_m.mean() < 0.4 * plain.residual_m.mean()
    assert np.abs(plain.offsets_m).max() == 0
    truth = pose_landmarks(hand.bare, R, angles, np.zeros((frames, 3))).points_m
    assert error_mm(learnt, truth).mean() < 0.8 * error_mm(plain, truth).mean()


# ---- laws --------------------------------------------------------------------------------------------------------


def test_mirrored_points_give_the_mirrored_hand(model):
    _, joints = motion(model, 30, 30.0, seed=9)
    noisy = joints + 5e-4 * np.random.default_rng(0).standard_normal(joints.shape)
    noisy[10:13] = np.nan
    right = fit_hand(model, noisy, sigma(noisy), 30.0)
    left = fit_hand(HandModel.procedural("left"), noisy * MIRROR, sigma(noisy), 30.0)
    np.testing.assert_allclose(left.joints_m, right.joints_m * MIRROR, atol=1e-6)
    np.testing.assert_allclose(left.betas, right.betas, atol=1e-4)
    np.testing.assert_array_equal(left.valid, right.valid)


def test_moving_the_world_moves_the_hand(model):
    _, joints = motion(model, 30, 30.0, seed=10)
    R, t = rotation_from_axis_angle(np.array([2.0, -1.0, 0.5])), np.array([1.0, -2.0, 3.0])
    here = fit_hand(model, joints, sigma(joints), 30.0)
    there = fit_hand(model, joints @ R.T + t, sigma(joints), 30.0)
    # The prior on the root is flat, and Marquardt's damping only steers the way there.
    np.testing.assert_allclose(there.joints_m, here.joints_m @ R.T + t, atol=1e-4)


def test_same_input_same_bits(model):
    _, joints = motion(model, 40, 30.0, seed=11)
    one, two = (fit_hand(model, joints.copy(), sigma(joints), 30.0) for _ in range(2))
    for name in ("betas", "global_orient", "hand_pose", "transl", "joints_m", "residual_m"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def test_input_is_left_alone_and_a_point_without_sigma_is_missing(model):
    _, joints = motion(model, 20, 30.0, seed=12)
    points, sigmas = joints.copy(), sigma(joints)
    points[:, 8] += 1.0
    sigmas[:, 8] = np.nan
    before = points.copy(), sigmas.copy()
    fit = fit_hand(model, points, sigmas, 30.0, JOINTS)
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(sigmas, before[1])
    assert error_mm(fit, joints)[:, :8].max() < 1.5


def test_impossible_settings_are_refused():
    with pytest.raises(ValidationError):
        FittingSettings(landmark_sigma_m=0)
    with pytest.raises(ValidationError):
        FittingSettings(min_observed_joints=22)


def test_frames_that_are_near_are_read_together():
    assert list(near_frames(np.empty(0, int))) == []
    frames = np.array([3, 4, 20, 37, 1000])
    parts = [(part, at.tolist()) for part, at in near_frames(frames)]
    assert parts == [(slice(3, 21), [0, 1, 17]), (slice(37, 38), [0]), (slice(1000, 1001), [0])]
