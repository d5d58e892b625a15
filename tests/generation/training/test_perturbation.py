"""Perturbed windows: what touches stays as it was recorded, and each hand is moved as a whole."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_motion import generator, some_motion

from handpipe.generation.model.motion import Motion
from handpipe.generation.training.perturbation import PLACE_LIMIT, least_distance_m, perturbed


def apart(distance_m: float, batch: int = 64) -> Motion:
    """Motions whose wrists are some distance apart in every frame."""
    motion = some_motion(batch=batch)
    wrist_m = torch.zeros_like(motion.wrist_m)
    wrist_m[..., 1, 0] = distance_m
    return replace(motion, wrist_m=wrist_m)


def test_the_least_distance_is_that_of_the_nearest_joints_in_any_frame():
    joints_m = torch.zeros(2, 3, 2, 21, 3)
    joints_m[:, :, 1, :, 2] = 0.4
    joints_m[1, 2, 1, 5, 2] = 0.1
    torch.testing.assert_close(least_distance_m(joints_m), torch.tensor([0.4, 0.1]))


def test_hands_that_touch_are_as_they_were_recorded():
    motion = apart(0.3)
    same = perturbed(motion, torch.zeros(64), generator())
    assert all(torch.equal(getattr(same, name), getattr(motion, name)) for name in vars(motion))


def test_each_hand_is_shifted_as_a_whole_and_in_opposite_directions():
    motion = apart(0.3)
    shift = perturbed(motion, torch.full((64,), 0.2), generator()).wrist_m - motion.wrist_m
    assert (shift - shift[:, :1]).abs().max() < 1e-6, "the same in each frame"
    torch.testing.assert_close(shift[..., 0, :], -shift[..., 1, :])
    assert 0.02 < 2 * shift[:, 0, 0].std() < 0.06, "a quarter of 0.2 m, less what is limited"


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_hands_do_not_get_through_each_other(seed, apart_m):
    motion = apart(1.0, batch=4)
    moved = perturbed(motion, torch.full((4,), apart_m), generator(seed))
    shift = (moved.wrist_m - motion.wrist_m).diff(dim=2).norm(dim=-1)
    assert shift.max() <= PLACE_LIMIT * apart_m + 1e-6


def test_far_hands_get_another_shape_and_the_same_pose():
    motion = apart(0.5)
    changed = perturbed(motion, torch.full((64,), 0.5), generator())
    assert torch.equal(changed.R_pose, motion.R_pose)
    assert torch.equal(changed.R_world_wrist, motion.R_world_wrist)
    assert 0.4 < (changed.betas - motion.betas).std() < 0.6
