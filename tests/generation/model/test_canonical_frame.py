"""The canonical frame that follows from what is observed of a motion, and alignment to what is observed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import roma
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_motion import assert_close, hidden, seeds, some_controls, some_motion, some_move

from handpipe.core.hands import LEFT, MANO_JOINT, RIGHT
from handpipe.generation.model.canonical_frame import AXES_WRIST_HAND, align, canonical_frame, home_rotation
from handpipe.generation.model.controls import Controls
from handpipe.generation.model.motion import Motion
from handpipe.hand.model import HandModel

HOME = roma.rotvec_to_rotmat(torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64))

# --- the canonical frame -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_anatomical_axes_are_those_of_the_hand(side):
    """Fingers along y, thumb toward the middle of the body, the fingers curl away from z."""
    model = HandModel.procedural(side)
    pose = np.zeros(45)
    hand = LEFT if side == "left" else RIGHT
    B = np.array(AXES_WRIST_HAND[hand])
    assert np.linalg.det(B) == pytest.approx(1)

    def in_axes(hand_pose):
        joints = model.joints(np.zeros(10), np.zeros(3), hand_pose, np.zeros(3))
        return (joints - joints[0]) @ B

    flat = in_axes(pose)
    middle, thumb = flat[9], flat[2]
    assert middle[1] > 0.95 * np.linalg.norm(middle)
    assert thumb[0] * (1 if side == "left" else -1) > 0.01
    # A turn of the middle finger's first joint about the person's right bends it to the back (+y to +z).
    pose.reshape(15, 3)[MANO_JOINT[9] - 1] = 0.5 * B[:, 0]
    assert in_axes(pose)[12][2] > flat[12][2] + 0.02


def test_two_hands_held_palms_down_are_canonical_already():
    """Left hand left, right hand right, fingers away: nothing to turn, the origin between the wrists."""
    R = torch.tensor(AXES_WRIST_HAND, dtype=torch.float64).mT
    wrist = torch.tensor([[[-0.2, 1.0, 0.5], [0.4, 1.0, 0.5]]], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    motion = Motion(wrist, R[None], eye.expand(1, 2, 15, 3, 3), torch.zeros(2, 10))
    R_canon, t = canonical_frame(Controls.all(motion), HOME)
    torch.testing.assert_close(R_canon, eye, atol=1e-12, rtol=0)
    torch.testing.assert_close(t, torch.tensor([-0.1, -1.0, -0.5], dtype=torch.float64))


def well_posed(controls: Controls) -> None:
    """The mean of the axes has one nearest rotation, far from any other."""
    B = torch.tensor(AXES_WRIST_HAND, dtype=torch.float64)
    for sample in range(3):
        seen = controls.has_wrist[sample].any(-1).nonzero()
        frame = int(seen[0]) if len(seen) else 0
        has = controls.has_orient[sample, frame] if len(seen) else torch.ones(2, dtype=torch.bool)
        M = (controls.motion.R_world_wrist[sample, frame] @ B)[has].sum(0)
        wrist = controls.motion.wrist_m[sample, frame]
        if controls.has_wrist[sample, frame].all() or not len(seen):
            M[:, 0] += (wrist[1] - wrist[0]) / (wrist[1] - wrist[0]).norm()
        s = torch.linalg.svdvals(M)
        assume(not has.any() or s[1] + s[2] * torch.linalg.det(M).sign() > 0.05)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_a_moved_motion_has_the_same_canonical_motion(seed):
    controls = some_controls(seed)
    well_posed(controls)
    Q, shift = some_move(seed)
    moved = controls.moved(Q, shift)
    home = HOME.expand(3, 3, 3)
    a = controls.motion.moved(*canonical_frame(controls, home, fallback=True))
    b = moved.motion.moved(*canonical_frame(moved, home @ Q.mT, fallback=True))
    assert_close(a, b)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_a_mirrored_motion_has_the_mirrored_canonical_motion(seed):
    controls = some_controls(seed)
    well_posed(controls)
    flip = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    mirror = controls.mirrored()
    a = controls.motion.moved(*canonical_frame(controls, HOME, fallback=True)).mirrored()
    b = mirror.motion.moved(*canonical_frame(mirror, flip @ HOME @ flip, fallback=True))
    assert_close(a, b)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_only_what_is_observed_at_the_reference_frame_counts(seed):
    controls = some_controls(seed)
    R, t = canonical_frame(controls, HOME)
    R_hidden, t_hidden = canonical_frame(hidden(controls), HOME)
    assert torch.equal(R, R_hidden)
    assert torch.equal(t, t_hidden)
    assert not R.isnan().any()


def test_without_orientation_the_turn_is_home_and_without_position_the_origin_stays():
    motion = some_motion(4)
    no = torch.zeros(3, 12, 2, dtype=torch.bool)
    wrist = no.clone()
    wrist[:, 3, LEFT] = True
    R, t = canonical_frame(Controls(motion, wrist, no, no), HOME)
    torch.testing.assert_close(R, HOME.expand(3, 3, 3))
    torch.testing.assert_close(t, -(motion.wrist_m[:, 3, LEFT] @ HOME.mT))
    R, t = canonical_frame(Controls.none(motion), HOME)
    assert torch.equal(R, HOME.expand(3, 3, 3))
    assert t.abs().max() == 0
    # One orientation alone decides the turn, whatever the other hand does.
    orient = no.clone()
    orient[:, 5, RIGHT] = True
    R, t = canonical_frame(Controls(motion, no, orient, no), HOME)
    B = torch.tensor(AXES_WRIST_HAND[RIGHT], dtype=torch.float64)
    torch.testing.assert_close(R @ motion.R_world_wrist[:, 5, RIGHT] @ B, torch.eye(3).double().expand(3, 3, 3))
    assert t.abs().max() == 0


def test_the_fallback_takes_frame_zero_as_if_it_was_observed():
    motion = some_motion(7)
    first = torch.zeros(3, 12, 2, dtype=torch.bool)
    first[:, 0] = True
    as_if = canonical_frame(Controls(motion, first, first, first), HOME)
    for a, b in zip(canonical_frame(Controls.none(motion), HOME, fallback=True), as_if, strict=True):
        assert torch.equal(a, b)
    # An orientation turns as it does without the fallback; the origin comes to that frame's wrists.
    orient = torch.zeros_like(first)
    orient[:, 5, RIGHT] = True
    controls = Controls(motion, torch.zeros_like(first), orient, orient)
    R, t = canonical_frame(controls, HOME, fallback=True)
    assert torch.equal(R, canonical_frame(controls, HOME)[0])
    assert motion.moved(R, t).wrist_m[:, 5].mean(1).abs().max() < 1e-12


def test_home_is_where_a_recording_is_canonical_on_average(rng):
    """Frames that waver about one attitude, the same to both sides."""
    R = torch.tensor(AXES_WRIST_HAND, dtype=torch.float64).mT
    waver = torch.tensor(rng.normal(size=(50, 3)) * 0.3)
    waver = roma.rotvec_to_rotmat(torch.cat([waver, -waver]))[:, None]
    wrist = torch.tensor([[-0.2, 0, 0], [0.2, 0, 0]], dtype=torch.float64)
    still = Motion(
        torch.einsum("fxij,hj->fhi", waver, wrist), waver @ R, torch.eye(3).expand(100, 2, 15, 3, 3), torch.zeros(2, 10)
    )
    torch.testing.assert_close(home_rotation(still), torch.eye(3).double(), atol=1e-12, rtol=0)
    Q, shift = (x[0] for x in some_move(3, 1))
    torch.testing.assert_close(home_rotation(still.moved(Q, shift)), Q.mT, atol=1e-12, rtol=0)


def test_home_of_a_mirrored_recording_is_mirrored():
    flip = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    motion = some_motion(9)
    torch.testing.assert_close(home_rotation(motion.mirrored()), flip @ home_rotation(motion) @ flip)


# --- alignment ---------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(["keyframes", "start", "path_dense", "one_hand", "ends"]))
def test_a_displaced_motion_is_brought_back(seed, kind):
    controls = some_controls(seed, **{kind: 1.0})
    displaced = controls.motion.moved(*some_move(seed))
    back = align(displaced, hidden(controls))
    # The pull towards staying is a tenth of a millimetre among points a tenth of a metre apart.
    assert_close(back, controls.motion, atol=1e-4)


def test_what_the_controls_leave_open_stays():
    motion = some_motion(11)
    assert_close(align(motion, hidden(Controls.none(motion))), motion, atol=1e-12)
    # One position: a shift.
    has = torch.zeros(3, 12, 2, dtype=torch.bool)
    has[:, 2, RIGHT] = True
    no = torch.zeros_like(has)
    goal = replace(motion, wrist_m=motion.wrist_m + torch.tensor([0.1, 0.2, -0.3]))
    assert_close(align(motion, hidden(Controls(goal, has, no, no))), goal, atol=1e-12)
    # Orientations alone: a turn about the middle of the wrists.
    Q, shift = some_move(1)
    turned = align(motion, hidden(Controls(motion.moved(Q, shift), no, has, no)))
    torch.testing.assert_close(turned.R_world_wrist, motion.moved(Q, shift).R_world_wrist, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.wrist_m.mean((1, 2)), motion.wrist_m.mean((1, 2)))


def test_positions_along_a_line_do_not_turn_a_motion_about_it():
    """A path along x, asked for along y: a quarter turn about z and none about the path."""
    motion = some_motion(2, batch=1)
    x = torch.linspace(0, 1, 12, dtype=torch.float64)[None, :, None, None]
    axes = torch.eye(3, dtype=torch.float64)
    has = torch.zeros(1, 12, 2, dtype=torch.bool)
    has[..., LEFT] = True
    no = torch.zeros_like(has)
    motion = replace(motion, wrist_m=x * axes[0] + torch.zeros(1, 12, 2, 3))
    goal = replace(motion, wrist_m=x * axes[1] + torch.zeros(1, 12, 2, 3))
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    expected = motion.moved(quarter[None], torch.zeros(1, 3, dtype=torch.float64))
    assert_close(align(motion, Controls(goal, has, no, no)), expected, atol=1e-4)


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_reduced_precision_does_not_reach_the_geometry(precision):
    controls = some_controls(5)
    single = Controls(
        Motion(*(getattr(controls.motion, f.name).float() for f in fields(Motion))),
        *(controls.has_wrist, controls.has_orient, controls.has_pose),
    )
    displaced = single.motion.moved(*(x.float() for x in some_move(5)))
    try:
        expected = (*canonical_frame(single, HOME.float()), home_rotation(single.motion), align(displaced, single))
        torch.set_float32_matmul_precision(precision)
        with torch.autocast("cpu", torch.bfloat16):
            got = (*canonical_frame(single, HOME.float()), home_rotation(single.motion), align(displaced, single))
    finally:
        torch.set_float32_matmul_precision("highest")
    for a, b in zip(got[:3], expected[:3], strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
    assert_close(got[3], expected[3], atol=0)
