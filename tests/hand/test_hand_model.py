"""The hand model against smplx, against itself, and against broken files."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.core.errors import ModelError
from handpipe.core.geometry import rotation_from_axis_angle
from handpipe.core.hands import MANO_JOINT, MANO_TIP_VERTEX, TIPS
from handpipe.hand.loading import load_hand
from handpipe.hand.model import HandModel, forward_kinematics, local_rotations
from handpipe.hand.procedural import procedural_hand

SIDES = ("left", "right")


@pytest.fixture(scope="module", params=SIDES)
def model(request) -> HandModel:
    return HandModel.procedural(request.param)


def mano_shaped_noise(seed: int) -> dict[str, Any]:
    """MANO's arrays filled at random: every weight, corrective and joint matters, unlike in a tidy hand."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = procedural_hand("right")
    arrays["posedirs"] = 1e-3 * rng.standard_normal((778, 3, 135))
    arrays["shapedirs"] = 3e-3 * rng.standard_normal((778, 3, 10))
    arrays["weights"] = rng.dirichlet(np.full(16, 0.2), 778)
    return arrays


def parameters(batch: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    widths, scales = (10, 3, 45, 3), (1.0, 1.5, 0.6, 0.5)
    return tuple(s * rng.standard_normal((*batch, w)) for w, s in zip(widths, scales, strict=True))


def smplx_landmarks(model: HandModel, params: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    betas, orient, pose, transl = (torch.tensor(p, dtype=torch.float32) for p in params)
    with torch.no_grad():
        out = model.to_smplx(len(betas))(betas=betas, global_orient=orient, hand_pose=pose, transl=transl)
    vertices = out.vertices.numpy()
    joints = out.joints.numpy()[:, MANO_JOINT]
    joints[:, TIPS] = vertices[:, MANO_TIP_VERTEX]
    return joints, vertices


def test_agrees_with_smplx(model):
    params = parameters((5,))
    joints, vertices = smplx_landmarks(model, params)
    np.testing.assert_allclose(model.joints(*params), joints, atol=1e-5)
    np.testing.assert_allclose(model.vertices(*params), vertices, atol=1e-5)


@pytest.mark.parametrize("side", SIDES)
def test_agrees_with_smplx_on_arbitrary_arrays(side):
    model = HandModel.from_arrays(side, mano_shaped_noise(3))
    params = parameters((4,), seed=1)
    joints, vertices = smplx_landmarks(model, params)
    np.testing.assert_allclose(model.joints(*params), joints, atol=1e-5)
    np.testing.assert_allclose(model.vertices(*params), vertices, atol=1e-5)


@pytest.mark.parametrize("batch", [(), (1,), (2, 1, 3)])
def test_any_leading_axes(model, batch):
    params = parameters(batch)
    joints = model.joints(*params)
    assert joints.shape == (*batch, 21, 3)
    assert model.vertices(*params).shape == (*batch, 778, 3)
    flat = [p.reshape(-1, p.shape[-1]) for p in params]
    one_by_one = np.stack([model.joints(*(p[i] for p in flat)) for i in range(len(flat[0]))])
    np.testing.assert_allclose(joints.reshape(-1, 21, 3), one_by_one, atol=1e-12)


def test_one_shape_for_many_frames(model):
    betas, orient, pose, transl = parameters((7,))
    np.testing.assert_allclose(
        model.joints(betas[0], orient, pose, transl), model.joints(betas[[0] * 7], orient, pose, transl), atol=1e-12
    )


def test_joints_and_mesh_share_the_fingertips(model):
    params = parameters((3,))
    np.testing.assert_allclose(model.joints(*params)[:, TIPS], model.vertices(*params)[:, MANO_TIP_VERTEX], atol=1e-12)


def test_turns_about_the_root_then_moves(model):
    """A half turn about z leaves the root where it rests and sends x, y of everything else to the other side."""
    zero = np.zeros(10), np.zeros(3), np.zeros(45), np.zeros(3)
    rest = model.joints(*zero)
    turned = model.joints(zero[0], np.array([0, 0, np.pi]), zero[2], np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(turned, rest[0] + (rest - rest[0]) * [-1, -1, 1] + [1, 2, 3], atol=1e-12)


def test_mirrored_parameters_give_the_mirrored_hand():
    left, right = (HandModel.procedural(side) for side in SIDES)
    betas, orient, pose, transl = parameters((3,))
    flip = np.array([1.0, -1.0, -1.0])
    mirrored = betas, orient * flip, pose * np.tile(flip, 15), transl * [-1, 1, 1]
    np.testing.assert_allclose(
        left.vertices(*mirrored), right.vertices(betas, orient, pose, transl) * [-1, 1, 1], atol=1e-9
    )


def naive_kinematics(R_local, rest, parents):
    R, c = [R_local[0]], [rest[0]]
    for j in range(1, 16):
        R.append(R[parents[j]] @ R_local[j])
        c.append(c[parents[j]] + R[parents[j]] @ (rest[j] - rest[parents[j]]))
    return np.stack(R), np.stack(c)


def test_kinematics_agrees_with_one_joint_at_a_time(model):
    _, orient, pose, _ = parameters(())
    R_local = local_rotations(orient, pose)
    for fast, slow in zip(
        forward_kinematics(R_local, model.rest_joints),
        naive_kinematics(R_local, model.rest_joints, model.parents),
        strict=True,
    ):
        np.testing.assert_allclose(fast, slow, atol=1e-12)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.0, 1e-9, 1e-4, 1.0, 3.0, 10.0]))
def test_rotations_are_rotations(seed, scale):
    v = scale * np.random.default_rng(seed).standard_normal((4, 3))
    R = rotation_from_axis_angle(v)
    np.testing.assert_allclose(R @ R.swapaxes(-1, -2), np.broadcast_to(np.eye(3), R.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(R), 1.0, atol=1e-12)
    np.testing.assert_allclose((R @ v[..., None])[..., 0], v, atol=1e-12 * max(scale, 1))
    np.testing.assert_allclose(R @ rotation_from_axis_angle(-v), np.broadcast_to(np.eye(3), R.shape), atol=1e-12)


def test_identity_is_of_the_content():
    arrays = procedural_hand("right")
    again = HandModel.from_arrays("right", {k: v.copy() for k, v in arrays.items()}, kind="procedural")
    assert again.model_id == HandModel.procedural("right").model_id
    assert again.model_id.startswith("procedural-")
    assert HandModel.procedural("left").model_id != again.model_id
    arrays["v_template"][5, 1] += 1e-4
    assert HandModel.from_arrays("right", arrays, kind="procedural").model_id != again.model_id
    assert HandModel.from_arrays("right", arrays).model_id.startswith("mano-")


def test_file_round_trip(tmp_path):
    arrays: dict[str, Any] = procedural_hand("right")
    np.savez(tmp_path / "hand.npz", **arrays)
    loaded = load_hand(tmp_path / "hand.npz", "right")
    assert loaded.model_id == HandModel.from_arrays("right", arrays).model_id


def test_the_other_hand_is_noticed(tmp_path):
    arrays: dict[str, Any] = procedural_hand("right")
    np.savez(tmp_path / "MANO_LEFT.npz", **arrays)
    with pytest.raises(
        ModelError, match=r"MANO_LEFT\.npz: expected a left hand, but its thumb is on the side of a right hand"
    ):
        load_hand(tmp_path / "MANO_LEFT.npz", "left")


def test_official_root_parent_is_accepted():
    arrays = procedural_hand("right")
    arrays["kintree_table"] = arrays["kintree_table"].astype(np.uint32)  # the root's -1 becomes 2^32 - 1
    assert arrays["kintree_table"][0, 0] == 2**32 - 1
    assert HandModel.from_arrays("right", arrays).parents[0] == -1


def broken(name, value):
    arrays = procedural_hand("right")
    arrays[name] = value(arrays[name])
    return arrays


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("v_template", lambda a: a[:-1], "expected numbers of shape (778, 3)"),
        ("shapedirs", lambda a: a[..., :9], "shape (778, 3, 10)"),
        ("posedirs", lambda a: np.where(a == a.max(), np.nan, a), "expected finite numbers"),
        ("weights", lambda a: 2 * a, "rows with sum one"),
        ("f", lambda a: a + 700, "indices of 778 vertices"),
        ("f", lambda a: a.astype(float), "expected integers"),
        ("kintree_table", lambda a: a[:, ::-1], "MANO's tree"),
        ("hands_mean", lambda a: a.astype(str), "expected numbers"),
    ],
)
def test_wrong_arrays_are_named(name, value, says):
    with pytest.raises(ModelError) as error:
        HandModel.from_arrays("right", broken(name, value))
    assert name in str(error.value)
    assert says in str(error.value)


def test_missing_arrays_are_named():
    arrays = procedural_hand("right")
    del arrays["posedirs"], arrays["f"]
    with pytest.raises(ModelError, match="f, posedirs is missing"):
        HandModel.from_arrays("right", arrays)


@pytest.mark.parametrize("damage", ["absent", "truncated", "text", "npy", "pickled", "flipped"])
def test_unusable_files_say_so(tmp_path, damage):
    path = tmp_path / "hand.npz"
    whole = tmp_path / "whole.npz"
    arrays: dict[str, Any] = procedural_hand("right")
    np.savez_compressed(whole, **arrays)
    data = bytearray(whole.read_bytes())
    match damage:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "text":
            path.write_text("not a model")
        case "npy":
            with path.open("wb") as file:
                np.save(file, np.zeros(3))
        case "pickled":
            np.savez(path, v_template=np.array([{"a": 1}], dtype=object))
        case "flipped":
            middle = len(data) // 2
            data[middle : middle + 64] = bytes(b ^ 0xFF for b in data[middle : middle + 64])
            path.write_bytes(data)
    with pytest.raises(ModelError, match=r"hand\.npz") as error:
        load_hand(path, "right")
    assert "handpipe import mano" in str(error.value)
