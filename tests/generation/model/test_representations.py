"""Joints of motions against the numpy hand model, and the two ways motion is written as numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.core.errors import ModelError
from handpipe.core.hands import BONES, LEFT, RIGHT, TIPS
from handpipe.generation.model.canonical_frame import AXES_WRIST_HAND
from handpipe.generation.model.kinematics import Kinematics
from handpipe.generation.model.motion import MIRROR, Motion
from handpipe.generation.model.representations import (
    OPPOSITE,
    PALM_DOWN,
    REPRESENTATIONS,
    cumulative_rotation,
    from_quaternion,
    from_rotvec,
    to_quaternion,
    unwrapped,
)
from handpipe.hand.model import HandModel
from handpipe.hand.procedural import procedural_hand

GLOBAL, LOCAL = REPRESENTATIONS["global"], REPRESENTATIONS["local"]
BOTH = pytest.mark.parametrize("representation", REPRESENTATIONS.values(), ids=REPRESENTATIONS)


def noise_model(side, seed: int) -> HandModel:
    """MANO's arrays at random: every weight, corrective and joint matters."""
    rng = np.random.default_rng(seed)
    arrays = procedural_hand(side)
    arrays["posedirs"] = 1e-3 * rng.standard_normal((778, 3, 135))
    arrays["shapedirs"] = 3e-3 * rng.standard_normal((778, 3, 10))
    arrays["weights"] = rng.dirichlet(np.full(16, 0.2), 778)
    return HandModel.from_arrays(side, arrays)


@pytest.fixture(scope="module")
def models():
    return HandModel.procedural("left"), HandModel.procedural("right")


@pytest.fixture(scope="module")
def kinematics(models):
    return Kinematics.of_models(models)


def rotvecs(*shape: int, generator: torch.Generator, scale: float, dtype: torch.dtype) -> torch.Tensor:
    return scale * torch.randn(*shape, 3, generator=generator, dtype=dtype)


def some_motion(*batch: int, frames: int = 7, seed: int = 0, dtype: torch.dtype = torch.float32) -> Motion:
    """Hands half a metre apart, anyhow turned, fingers bent by about half a radian."""
    g = torch.Generator().manual_seed(seed)
    shape = (*batch, frames, 2)
    return Motion(
        rotvecs(*shape, generator=g, scale=0.3, dtype=dtype),
        roma.rotvec_to_rotmat(rotvecs(*shape, generator=g, scale=1.0, dtype=dtype)),
        roma.rotvec_to_rotmat(rotvecs(*shape, 15, generator=g, scale=0.4, dtype=dtype)),
        torch.randn(*batch, 2, 10, generator=g, dtype=dtype),
    )


def some_rigid(*batch: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    R = roma.rotvec_to_rotmat(rotvecs(*batch, generator=g, scale=2.0, dtype=dtype))
    return R, rotvecs(*batch, generator=g, scale=1.0, dtype=dtype)


def assert_same(a: Motion, b: Motion, atol: float = 1e-5) -> None:
    for name in ("wrist_m", "R_world_wrist", "R_pose", "betas"):
        torch.testing.assert_close(
            getattr(a, name), getattr(b, name), atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )


# -- kinematics


@pytest.mark.parametrize("arrays", ["procedural", "noise"])
def test_joints_are_those_of_the_hand_model(models, arrays):
    models = models if arrays == "procedural" else (noise_model("left", 1), noise_model("right", 2))
    kinematics = Kinematics.of_models(models)
    motion = some_motion(3)
    mano = {name: value.double().numpy() for name, value in kinematics.to_mano(motion).items()}
    joints = kinematics.joints(motion).numpy()
    assert joints.shape == (3, 7, 2, 21, 3)
    for hand, model in enumerate(models):
        expected = model.joints(
            mano["betas"][:, None, hand], *(mano[n][:, :, hand] for n in ("global_orient", "hand_pose", "transl"))
        )
        np.testing.assert_allclose(joints[:, :, hand], expected, atol=1e-5)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_any_leading_axes(kinematics, batch):
    motion = some_motion(*batch)
    joints = kinematics.joints(motion)
    assert joints.shape == (*batch, 7, 2, 21, 3)
    for representation in REPRESENTATIONS.values():
        x = representation.pack(motion, joints)
        assert x.shape == (*batch, 7, 2, representation.channels)
        assert representation.joints(x).shape == joints.shape
        assert representation.unpack(x, motion.betas).R_pose.shape == motion.R_pose.shape


def test_gradients_of_the_joints_are_right(kinematics):
    motion = some_motion(frames=2, dtype=torch.float64)
    twice = kinematics.to(torch.float64)
    parts = (motion.wrist_m, motion.R_world_wrist, motion.R_pose, motion.betas)
    torch.autograd.gradcheck(
        lambda *p: twice.joints(Motion(*p)).flatten()[::7], [part.clone().requires_grad_() for part in parts]
    )


def test_joints_of_the_mirrored_motion_are_mirrored_and_change_hands(kinematics):
    motion = some_motion(2)
    mirrored = kinematics.joints(motion.mirrored())
    torch.testing.assert_close(mirrored, (kinematics.joints(motion) * torch.tensor(MIRROR)).flip(-3), atol=1e-6, rtol=0)


def test_joints_move_with_the_motion(kinematics):
    motion, (R, t) = some_motion(2), some_rigid(2)
    expected = torch.einsum("bij,bfhkj->bfhki", R, kinematics.joints(motion)) + t[:, None, None, None]
    torch.testing.assert_close(kinematics.joints(motion.moved(R, t)), expected, atol=1e-6, rtol=0)


def test_mano_parameters_and_back(kinematics, models):
    """The wrist is where smplx puts joint 0: at `transl` plus the root of the shaped hand."""
    g = torch.Generator().manual_seed(0)
    betas, orient = torch.randn(2, 10, generator=g), torch.randn(4, 2, 3, generator=g)
    pose, transl = 0.4 * torch.randn(4, 2, 45, generator=g), torch.randn(4, 2, 3, generator=g)
    motion = kinematics.from_mano(betas, orient, pose, transl)
    root = np.stack([m.rest_joints[0] + m.rest_joint_dirs[0] @ b for m, b in zip(models, betas.numpy(), strict=True)])
    np.testing.assert_allclose(motion.wrist_m.numpy(), transl.numpy() + root, atol=1e-6)
    back = kinematics.to_mano(motion)
    expected = {"betas": betas, "global_orient": orient, "hand_pose": pose, "transl": transl}
    assert orient.norm(dim=-1).max() < np.pi  # so that nothing wraps
    for name, value in back.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), angle=st.sampled_from([0.0, 1e-7, 1.0, np.pi - 1e-5, np.pi, 5.0]))
def test_motions_survive_mano_parameters_at_any_angle(kinematics, seed, angle):
    axes = torch.nn.functional.normalize(
        torch.randn(3, 2, 16, 3, generator=torch.Generator().manual_seed(seed)), dim=-1
    )
    R = roma.rotvec_to_rotmat(angle * axes)
    motion = Motion(torch.zeros(3, 2, 3), R[:, :, 0], R[:, :, 1:], torch.zeros(2, 10))
    assert_same(kinematics.from_mano(**kinematics.to_mano(motion)), motion, atol=1e-5)


def test_bone_lengths_are_those_of_the_joints(kinematics):
    motion = some_motion(2)
    joints = kinematics.joints(motion)
    measured = (joints[..., BONES[:, 1], :] - joints[..., BONES[:, 0], :]).norm(dim=-1)
    lengths = kinematics.bone_lengths_m(motion.betas)
    assert lengths.shape == (2, 2, 20)
    kept = ~np.isin(BONES[:, 1], TIPS)
    torch.testing.assert_close(
        measured[..., kept], lengths[:, None][..., kept].expand(-1, 7, -1, -1), atol=1e-6, rtol=0
    )
    straight = Motion(motion.wrist_m, motion.R_world_wrist, torch.eye(3).expand_as(motion.R_pose), motion.betas)
    joints = kinematics.joints(straight)
    measured = (joints[..., BONES[:, 1], :] - joints[..., BONES[:, 0], :]).norm(dim=-1)
    torch.testing.assert_close(measured, lengths[:, None].expand_as(measured), atol=1e-6, rtol=0)


def test_hands_in_the_wrong_order_are_refused(models):
    with pytest.raises(ModelError, match="left one first"):
        Kinematics.of_models(models[::-1])


def test_autocast_changes_nothing(kinematics):
    """bfloat16 would be off by millimetres."""
    motion = some_motion(2)
    joints = kinematics.joints(motion)
    packed = {r: r.pack(motion, joints) for r in REPRESENTATIONS.values()}
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kinematics.joints(motion), joints)
        for representation, x in packed.items():
            assert torch.equal(representation.pack(motion, joints), x)
        unpacked = LOCAL.unpack(packed[LOCAL], motion.betas)
    assert torch.equal(unpacked.wrist_m, LOCAL.unpack(packed[LOCAL], motion.betas).wrist_m)
    assert LOCAL.unpack(packed[LOCAL].bfloat16(), motion.betas).wrist_m.dtype == torch.float32


# -- representations


def test_groups_and_their_widths():
    def widths(representation):
        return {g.name: g.stop - g.start for g in representation.groups}

    assert widths(GLOBAL) == {"wrist": 3, "orient": 4, "pose": 45, "joints": 63}
    assert widths(LOCAL) == {"step": 3, "turn": 3, "other": 7, "pose": 45, "joints": 63}
    assert (GLOBAL.channels, LOCAL.channels) == (115, 121)
    for representation in (GLOBAL, LOCAL):
        starts, stops = ([getattr(g, end) for g in representation.groups] for end in ("start", "stop"))
        assert starts == [0, *stops[:-1]]
        assert stops[-1] == representation.channels


def in_wrist(motion, joints):
    return torch.einsum("bfhji,bfhkj->bfhki", motion.R_world_wrist, joints - motion.wrist_m[..., None, :])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 20))
def test_global_round_trip(kinematics, seed, frames):
    motion = some_motion(2, frames=frames, seed=seed)
    joints = kinematics.joints(motion)
    x = GLOBAL.pack(motion, joints)
    assert_same(GLOBAL.unpack(x, motion.betas), motion)
    torch.testing.assert_close(GLOBAL.joints(x), in_wrist(motion, joints), atol=1e-6, rtol=0)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 20))
def test_local_round_trip_up_to_a_rigid_motion(kinematics, seed, frames):
    motion = some_motion(2, frames=frames, seed=seed)
    joints = kinematics.joints(motion)
    x = LOCAL.pack(motion, joints)
    R = motion.R_world_wrist[:, 0, LEFT].mT
    t = -(R @ motion.wrist_m[:, 0, LEFT, :, None])[..., 0]
    assert_same(LOCAL.unpack(x, motion.betas), motion.moved(R, t))
    torch.testing.assert_close(LOCAL.joints(x), in_wrist(motion, joints), atol=1e-6, rtol=0)


@BOTH
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_mirrored_motion_packs_with_hands_changed(kinematics, representation, seed):
    motion = some_motion(2, seed=seed)
    mirrored = motion.mirrored()
    x = representation.pack(motion, kinematics.joints(motion))
    torch.testing.assert_close(
        representation.pack(mirrored, kinematics.joints(mirrored)), x.flip(-2), atol=1e-5, rtol=0
    )


def test_local_numbers_stay_when_the_motion_is_moved(kinematics):
    motion = some_motion(2)
    moved = motion.moved(*some_rigid(2))
    x = LOCAL.pack(motion, kinematics.joints(motion))
    torch.testing.assert_close(LOCAL.pack(moved, kinematics.joints(moved)), x, atol=1e-5, rtol=0)


def test_local_numbers_of_a_scene_worked_out_by_hand(kinematics):
    """The right hand stays in the origin; the left one, at x = -1 and turned 90 degrees about z, steps 1 cm along y and
    turns by another 90 degrees about z. In the left hand's frame, +y of the world is its x axis, mirrored: -x."""
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    wrist = torch.zeros(2, 2, 3)
    wrist[:, LEFT] = torch.tensor([[-1.0, 0, 0], [-1, 0.01, 0]])
    R = torch.eye(3).repeat(2, 2, 1, 1)
    R[:, LEFT] = torch.stack([quarter, quarter @ quarter])
    motion = Motion(wrist, R, torch.eye(3).expand(2, 2, 15, 3, 3), torch.zeros(2, 10))
    x = LOCAL.pack(motion, kinematics.joints(motion))
    numbers = {g.name: x[..., g.slice] for g in LOCAL.groups}
    half = 0.5**0.5

    def assert_numbers(found, expected):
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)

    assert_numbers(numbers["step"][:, RIGHT], [[0.0, 0, 0], [0, 0, 0]])
    assert_numbers(numbers["step"][:, LEFT], [[0.0, 0, 0], [-0.01, 0, 0]])
    assert_numbers(numbers["turn"][:, RIGHT], [[0.0, 0, 0], [0, 0, 0]])
    # A quarter turn about z, mirrored.
    assert_numbers(numbers["turn"][:, LEFT], [[0.0, 0, 0], [0, 0, -torch.pi / 2]])
    # Seen from the right hand, the left one is turned by a quarter, then by half a turn about z; typical is half a turn
    # about y. What is left is half a turn about an axis between x and y, then half a turn about x: of either sign.
    turned = [[0, half, half, 0], [0, 1.0, 0, 0]]
    for hand, places in ((RIGHT, [[-1.0, 0, 0], [-1, 0.01, 0]]), (LEFT, [[0.0, -1, 0], [1, 0.01, 0]])):
        # One metre to the world's right is -y of the left hand in frame 0 and, mirrored back and forth, x in frame 1.
        place, quaternion = numbers["other"][:, hand].split([3, 4], dim=-1)
        assert_numbers(place, places)
        assert_numbers(quaternion * quaternion[0, 1].sign(), turned)


@BOTH
def test_noisy_numbers_still_mean_rotations(representation):
    x = torch.randn(3, 9, 2, representation.channels, generator=torch.Generator().manual_seed(0), requires_grad=True)
    motion = representation.unpack(x, torch.zeros(3, 2, 10))
    for R in (motion.R_world_wrist, motion.R_pose):
        torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), atol=1e-5, rtol=0)
        assert (torch.linalg.det(R) > 0).all()
    (motion.wrist_m.sum() + motion.R_world_wrist.sum() + motion.R_pose.square()[..., 0].sum()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), angle=st.sampled_from([0.0, 1e-9, 1e-4, 1.0, 3.0, np.pi]))
def test_rotations_as_numbers_against_roma(seed, angle):
    g = torch.Generator().manual_seed(seed)
    v = angle * torch.nn.functional.normalize(torch.randn(5, 3, generator=g, dtype=torch.float64), dim=-1)
    R = roma.rotvec_to_rotmat(v)
    torch.testing.assert_close(from_rotvec(v), R, atol=1e-9, rtol=0)
    length = torch.rand(5, 1, generator=g, dtype=torch.float64) + 0.1
    torch.testing.assert_close(from_quaternion(length * to_quaternion(R)), R, atol=1e-9, rtol=0)


def turning(degrees: float, frames: int = 60) -> Motion:
    """Both wrists turn about the fingers at a steady rate, from the typical orientation."""
    v = torch.zeros(1, frames, 2, 3)
    v[..., 0] = torch.deg2rad(torch.linspace(0, degrees, frames))[:, None]
    mirror = torch.tensor(MIRROR)
    right = torch.tensor(PALM_DOWN) @ roma.rotvec_to_rotmat(v)
    left = right * mirror[:, None] * mirror
    R = torch.stack([left[..., LEFT, :, :], right[..., RIGHT, :, :]], dim=-3)
    return Motion(torch.zeros(1, frames, 2, 3), R, torch.eye(3).expand(1, frames, 2, 15, 3, 3), torch.zeros(1, 2, 10))


@BOTH
@pytest.mark.parametrize("degrees", [170.0, 400.0])
def test_numbers_do_not_jump_however_far_a_wrist_turns(kinematics, representation, degrees):
    motion = turning(degrees)
    x = representation.pack(motion, kinematics.joints(motion))[..., 1:, :, :]  # frame 0 of increments is none
    steady = np.deg2rad(degrees) / 59
    for group in representation.groups:
        if group.name in ("orient", "other"):  # the other hand turns against this one, twice as fast
            assert x[..., group.slice].diff(dim=1).norm(dim=-1).max() < 1.01 * steady


def test_rotation_vectors_do_not_jump_where_a_finger_turns_on(kinematics):
    """Beyond half a turn, which generated motion may reach."""
    v = torch.zeros(2, 40, 2, 15, 3)
    v[..., 1] = torch.linspace(2.0, 4.5, 40)[:, None, None]
    v[1] *= -1
    wrapped = roma.rotmat_to_rotvec(roma.rotvec_to_rotmat(v))
    assert wrapped.diff(dim=1).abs().max() > 5
    torch.testing.assert_close(unwrapped(wrapped), v, atol=1e-5, rtol=0)
    assert unwrapped(v) is v


def test_of_two_quaternions_those_asked_for_are_taken(kinematics):
    motion = turning(400.0)
    joints = kinematics.joints(motion)
    x = GLOBAL.pack(motion, joints)
    orient = GLOBAL.groups[1].slice
    assert x[..., orient.start].mean() > 0  # nearer to no rotation
    other = x.clone()
    other[..., orient] *= -1
    assert torch.equal(GLOBAL.pack(motion, joints, like=other + 0.1), other)
    assert_same(GLOBAL.unpack(other, motion.betas), motion)


def test_typical_orientations_are_those_of_the_canonical_frame():
    axes = torch.tensor(AXES_WRIST_HAND)
    palm_down = axes.mT
    torch.testing.assert_close(palm_down[RIGHT], torch.tensor(PALM_DOWN))
    torch.testing.assert_close(palm_down[LEFT].mT @ palm_down[RIGHT], torch.tensor(OPPOSITE))


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 60])
def test_cumulative_rotation_against_one_product_at_a_time(frames):
    R = some_motion(3, frames=frames, dtype=torch.float64).R_world_wrist[:, :, LEFT]
    product, expected = torch.eye(3, dtype=torch.float64), []
    for f in range(frames):
        product = product @ R[:, f]
        expected.append(product)
    torch.testing.assert_close(cumulative_rotation(R), torch.stack(expected, dim=1))


def test_what_is_observed():
    """Four frames. Left: wrist in 0, 1, 2; orientation in 1, 2, 3; pose in 2, 3. Right: all in frame 2 and no more."""
    left = {"has_wrist": [1, 1, 1, 0], "has_orient": [0, 1, 1, 1], "has_pose": [0, 0, 1, 1]}
    masks = {name: torch.tensor([frames, [0, 0, 1, 0]]).T.bool() for name, frames in left.items()}
    controls = SimpleNamespace(**masks)

    def expect(representation, **groups):
        mask = representation.observed(controls)
        assert mask.dtype == torch.bool
        assert mask.shape == (4, 2, representation.channels)
        for group in representation.groups:
            part = mask[..., group.slice]
            assert (part == part[..., :1]).all(), group
            assert part[..., 0].T.int().tolist() == groups[group.name], group

    alone = [0, 0, 1, 0]
    expect(
        GLOBAL,
        wrist=[[1, 1, 1, 0], alone],
        orient=[[0, 1, 1, 1], alone],
        pose=[[0, 0, 1, 1], alone],
        joints=[[0, 0, 1, 1], alone],
    )
    none = [0, 0, 0, 0]
    expect(
        LOCAL,
        step=[[0, 0, 1, 0], none],
        turn=[[0, 0, 1, 0], none],
        other=[alone, alone],
        pose=[[0, 0, 1, 1], alone],
        joints=[[0, 0, 1, 1], alone],
    )


@BOTH
def test_observed_numbers_depend_on_observed_values_only(kinematics, representation):
    """What the controls determine is the same whatever stands where nothing is observed; of a quaternion, up to the
    sign, which is that of the motion as a whole."""
    g = torch.Generator().manual_seed(4)
    has = {name: torch.rand(3, 7, 2, generator=g) < 0.7 for name in ("has_wrist", "has_orient", "has_pose")}
    a, b = some_motion(3, seed=5), some_motion(3, seed=6)
    b = Motion(
        torch.where(has["has_wrist"][..., None], a.wrist_m, b.wrist_m),
        torch.where(has["has_orient"][..., None, None], a.R_world_wrist, b.R_world_wrist),
        torch.where(has["has_pose"][..., None, None, None], a.R_pose, b.R_pose),
        a.betas,
    )
    mask = representation.observed(SimpleNamespace(**has))
    x, y = (representation.pack(m, kinematics.joints(m)) for m in (a, b))
    quaternion = slice(3, 7) if representation is GLOBAL else slice(9, 13)
    flipped = (x[..., quaternion] * y[..., quaternion]).sum(-1, keepdim=True) < 0
    y[..., quaternion] = torch.where(flipped, -1, 1) * y[..., quaternion]
    torch.testing.assert_close(x[mask], y[mask], atol=1e-6, rtol=0)
    if representation is GLOBAL:
        changed = (x - y).abs() > 1e-4
        for group in representation.groups:
            assert torch.equal(changed[..., group.slice].any(dim=-1), ~mask[..., group.start]), group
