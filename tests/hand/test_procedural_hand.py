"""The procedural hand is a hand: MANO's structure, and a body that bends the right way."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import smplx
import torch
from smplx.utils import Struct

from handpipe.core.hands import MANO_JOINT, MANO_TIP_VERTEX, TIPS
from handpipe.hand.procedural import ROOT, joint_frames, pose_limits, procedural_hand, random_pose
from handpipe.hand.procedural_motion import CLEAR_M, PHASES, TOUCH_M, joints_of_pose, two_hand_motion

SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
SHAPES = {
    "v_template": (778, 3),
    "f": (1552, 3),
    "shapedirs": (778, 3, 10),
    "posedirs": (778, 3, 135),
    "J_regressor": (16, 778),
    "weights": (778, 16),
    "kintree_table": (2, 16),
    "hands_components": (45, 45),
    "hands_mean": (45,),
    "J": (16, 3),
}


def mano(side: Literal["left", "right"]) -> smplx.MANO:
    data = Struct(**procedural_hand(side))
    return smplx.MANO(
        model_path="",
        data_struct=data,
        is_rhand=side == "right",
        use_pca=False,
        flat_hand_mean=True,
        dtype=torch.float64,
    )


def posed(side: Literal["left", "right"], **parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 778, 3) and the 21 joints (n, 21, 3) by smplx."""
    n = len(next(iter(parameters.values())))
    zero = {"betas": np.zeros((n, 10)), "global_orient": np.zeros((n, 3)), "hand_pose": np.zeros((n, 45))}
    tensors = {k: torch.tensor(v) for k, v in (zero | {"transl": np.zeros((n, 3))} | parameters).items()}
    out = mano(side)(**tensors)
    vertices, joints = out.vertices.detach().numpy(), out.joints.detach().numpy()[:, MANO_JOINT]
    joints[:, TIPS] = vertices[:, MANO_TIP_VERTEX]
    return vertices, joints


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return float(np.sum(a * np.cross(b, c)) / 6)


@pytest.mark.parametrize("side", SIDES)
def test_arrays_have_manos_names_and_shapes(side):
    hand = procedural_hand(side)
    assert {name: array.shape for name, array in hand.items()} == SHAPES
    assert all(np.isfinite(array).all() for array in hand.values())


@pytest.mark.parametrize("side", SIDES)
def test_mesh_is_closed_of_genus_zero_and_faces_outward(side):
    faces = procedural_hand(side)["f"]
    edges = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    directed = {tuple(e) for e in edges}
    assert len(directed) == len(edges), "an edge is used twice in the same direction"
    assert all((b, a) in directed for a, b in directed), "a hole"
    assert 778 - len(edges) // 2 + len(faces) == 2
    assert 300e-6 < volume(procedural_hand(side)["v_template"], faces) < 500e-6


def test_regressor_is_convex_and_gives_the_joints():
    hand = procedural_hand("right")
    assert hand["J_regressor"].min() >= 0
    np.testing.assert_allclose(hand["J_regressor"].sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(hand["J_regressor"] @ hand["v_template"], hand["J"], atol=1e-12)


def test_right_hand_lies_as_mano_does():
    hand = procedural_hand("right")
    J, tips = hand["J"], hand["v_template"][MANO_TIP_VERTEX]
    np.testing.assert_allclose(J[0], [0.095, 0.006, 0.006], atol=0.005)
    assert abs(J[4, 0] - 0.007) < 0.005
    assert (tips[1:, 0] < -0.04).all(), "fingers along -x"
    assert tips[0, 2] > 0.06, "thumb toward +z"
    assert tips[0, 1] < -0.02, "the thumb is on the palm's side, -y"
    assert (np.diff(tips[1:, 2]) < 0).all(), "index to pinky toward -z"


def test_weights_are_a_partition_and_tips_follow_their_own_bone():
    weights = procedural_hand("right")["weights"]
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(weights[MANO_TIP_VERTEX, ROOT + 2], 1, atol=1e-3)


def test_left_hand_is_the_mirror_image_in_any_shape_and_pose():
    rng = np.random.default_rng(0)
    mirror = np.array([-1.0, 1.0, 1.0])
    right = random_pose(rng, "right", 4)
    betas = rng.normal(0, 1, (4, 10))
    left = right * np.tile(-mirror, 15)
    np.testing.assert_allclose(
        posed("left", hand_pose=left, betas=betas)[0],
        posed("right", hand_pose=right, betas=betas)[0] * mirror,
        atol=1e-6,
    )


@pytest.mark.parametrize("side", SIDES)
def test_flexion_curls_every_finger_toward_the_palm(side):
    limits, frames = pose_limits(), joint_frames(side)
    straight = posed(side, hand_pose=np.zeros((1, 45)))[1][0]
    for finger in range(5):
        for k in range(3):
            joint = ROOT[finger] + k - 1
            pose = np.zeros((1, 15, 3))
            pose[0, joint] = 0.5 * limits[joint, 0, 1] * frames[joint, 0]
            tip = posed(side, hand_pose=pose.reshape(1, 45))[1][0, TIPS[finger]]
            assert tip[1] < straight[TIPS[finger], 1] - 0.002, (finger, k)


@pytest.mark.parametrize("side", SIDES)
def test_abduction_moves_fingers_to_the_thumbs_side(side):
    frames = joint_frames(side)
    straight = posed(side, hand_pose=np.zeros((1, 45)))[1][0]
    for finger in range(1, 5):
        pose = np.zeros((1, 15, 3))
        pose[0, ROOT[finger] - 1] = 0.2 * frames[ROOT[finger] - 1, 1]
        assert posed(side, hand_pose=pose.reshape(1, 45))[1][0, TIPS[finger], 2] > straight[TIPS[finger], 2] + 0.01


def test_correctives_keep_the_volume_of_a_fist():
    hand = procedural_hand("right")
    pose = (0.8 * pose_limits()[:, 0, 1:] * joint_frames("right")[:, 0]).reshape(1, 45)
    open_hand = volume(hand["v_template"], hand["f"])
    assert volume(posed("right", hand_pose=pose)[0][0], hand["f"]) == pytest.approx(open_hand, rel=0.05)


def test_shape_directions_say_what_they_should():
    length = lambda beta: np.linalg.norm(np.diff(posed("right", betas=beta[None])[1][0, [0, 9, 12]], axis=0), axis=1)  # noqa: E731
    average = length(np.zeros(10))
    size, finger, palm = (length(np.eye(10)[k]) for k in (0, 1, 3))
    assert size / average == pytest.approx([1.055, 1.055], abs=0.01)
    assert finger[1] > 1.03 * average[1]
    assert palm[0] > 1.02 * average[0]
    assert palm[1] == pytest.approx(average[1], rel=0.01)
    vertices = posed("right", betas=np.concatenate([2.5 * np.eye(10), -2.5 * np.eye(10)]))[0]
    assert all(volume(v, procedural_hand("right")["f"]) > 250e-6 for v in vertices)


@pytest.mark.parametrize("side", SIDES)
def test_pose_components_are_orthonormal(side):
    components = procedural_hand(side)["hands_components"]
    np.testing.assert_allclose(components @ components.T, np.eye(45), atol=1e-10)
    assert np.linalg.norm(procedural_hand(side)["hands_mean"]) > 0.3


def test_a_caller_cannot_spoil_the_next_callers_hand():
    procedural_hand("right")["v_template"][:] = 0
    assert np.abs(procedural_hand("right")["v_template"]).max() > 0.05


# ---- motion ------------------------------------------------------------------------------------------------------


def motion_joints(seed: int, frames: int = 60) -> tuple:
    m = two_hand_motion(frames, 30.0, seed)
    joints = [
        posed(
            side,
            betas=np.tile(m.betas[h], (frames, 1)),
            global_orient=m.global_orient[:, h],
            hand_pose=m.hand_pose[:, h],
            transl=m.transl[:, h],
        )[1]
        for h, side in enumerate(SIDES)
    ]
    return m, np.stack(joints, axis=1)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_hands_approach_touch_cross_and_part(seed):
    m, joints = motion_joints(seed)
    assert (np.diff(m.phase) >= 0).all()
    assert set(m.phase) == set(range(len(PHASES)))
    gap = np.linalg.norm(joints[:, 0, 1:, None] - joints[:, 1, None, 1:], axis=-1).min(axis=(1, 2))
    assert gap[0] > 0.02
    assert gap[m.phase == 1].max() < max(TOUCH_M.values()) + 0.001
    assert gap.min() > min(TOUCH_M.values()) - 0.002
    knuckle = joints[:, :, 9, 0]
    crossed = knuckle[:, 1] < knuckle[:, 0]
    assert crossed[m.phase == 2].any()
    assert gap[crossed].min() > CLEAR_M
    assert knuckle[-1, 1] - knuckle[-1, 0] > 0.15
    assert np.abs(joints).max() < 0.3


@pytest.mark.parametrize("seed", [3, 4])
def test_motion_is_smooth(seed):
    coarse, fine = two_hand_motion(61, 30.0, seed), two_hand_motion(481, 240.0, seed)
    for name in ("global_orient", "hand_pose", "transl"):
        a, b = getattr(coarse, name), getattr(fine, name)
        np.testing.assert_allclose(a, b[::8], atol=1e-9)  # the same motion at any frame rate
        # Twice differentiable: with 8 times finer steps the third difference falls by 8^3, at a kink only by 8.
        assert np.abs(np.diff(b, 3, axis=0)).max() < np.abs(np.diff(a, 3, axis=0)).max() / 64


def test_poses_stay_within_the_joint_limits():
    m = two_hand_motion(240, 30.0, 5)
    limits = pose_limits()
    for h, side in enumerate(SIDES):
        angle = np.einsum("fji,jki->fjk", m.hand_pose[:, h].reshape(-1, 15, 3), joint_frames(side)[:, :2])
        assert (angle >= limits[..., 0] - 1e-9).all()
        assert (angle <= limits[..., 1] + 1e-9).all()


def test_seeds_make_the_motion():
    a, b, c = (two_hand_motion(30, 30.0, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.transl, b.transl)
    assert np.abs(a.transl - c.transl).max() > 0.005


def test_long_motions_repeat_the_cycle():
    phase = two_hand_motion(360, 30.0, 0).phase
    assert np.sum(np.diff(phase) < 0) == 3  # 12 s: four cycles


def test_forward_kinematics_agree_with_smplx():
    pose = random_pose(np.random.default_rng(1), "right", 3)
    hand = procedural_hand("right")
    transl = np.array([[0.1, 0.2, 0.3]] * 3)
    ours = joints_of_pose(hand["J"], hand["v_template"][MANO_TIP_VERTEX], np.tile(np.eye(3), (3, 1, 1)), pose, transl)
    smplx_joints = posed("right", hand_pose=pose, transl=transl)[1]
    not_tips = np.setdiff1d(np.arange(21), TIPS)
    np.testing.assert_allclose(ours[:, not_tips], smplx_joints[:, not_tips], atol=1e-6)
    np.testing.assert_allclose(ours[:, TIPS], smplx_joints[:, TIPS], atol=5e-4)  # correctives move a tip a little
