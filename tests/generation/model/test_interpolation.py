"""Interpolation through the controls, and motions bent to meet them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from handpipe.generation.model.controls import Controls, draw_controls
from handpipe.generation.model.interpolation import impose, interpolate
from handpipe.generation.model.motion import Motion

FRAMES = 40
LAG = torch.arange(FRAMES)[:, None] - torch.arange(FRAMES)
SMOOTH = torch.exp(-0.5 * (LAG / 6.0) ** 2)
"""Gaussian kernel, in float32: singular but for its rounding, the worst that can be asked for."""
MATERN = (1 + 0.3 * LAG.abs()) * torch.exp(-0.3 * LAG.abs().double())

seeds = st.integers(0, 2**31)


def smooth_motion(seed: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> Motion:
    """Slow waves in every number: 0.1 m and half a radian."""
    g = torch.Generator().manual_seed(seed)
    time = torch.arange(FRAMES, dtype=torch.float64)[:, None, None]

    def waves(*numbers: int) -> torch.Tensor:
        number = int(np.prod(numbers))
        phase, slow, size = torch.rand(3, batch, 1, 2, number, generator=g, dtype=torch.float64)
        wave = (0.5 + size) * torch.sin(2 * torch.pi * (phase + time / (30 + 30 * slow)))
        return wave.unflatten(-1, numbers).to(dtype)

    return Motion(
        0.1 * waves(3),
        roma.rotvec_to_rotmat(0.5 * waves(3)),
        roma.rotvec_to_rotmat(0.5 * waves(15, 3)),
        torch.randn(batch, 2, 10, generator=g).to(dtype),
    )


def some_controls(seed: int, dtype: torch.dtype = torch.float64, **kinds: float) -> Controls:
    """Drawn at random, NaN wherever nothing is observed."""
    motion = smooth_motion(seed, 2, dtype)
    controls = Controls(motion, *draw_controls(kinds or None, 2, FRAMES, torch.Generator().manual_seed(seed)))
    wrist, orient, pose = (torch.full_like(x, torch.nan) for x in (motion.wrist_m, motion.R_world_wrist, motion.R_pose))
    return replace(controls, motion=controls.over(Motion(wrist, orient, pose, motion.betas)))


def assert_close(a: Motion, b: Motion, atol: float = 1e-9) -> None:
    for field in fields(Motion):
        torch.testing.assert_close(getattr(a, field.name), getattr(b, field.name), atol=atol, rtol=0)


def assert_meets(motion: Motion, controls: Controls) -> None:
    """Bit by bit."""
    given = controls.motion
    assert torch.equal(motion.wrist_m[controls.has_wrist], given.wrist_m[controls.has_wrist])
    assert torch.equal(motion.R_world_wrist[controls.has_orient], given.R_world_wrist[controls.has_orient])
    assert torch.equal(motion.R_pose[controls.has_pose], given.R_pose[controls.has_pose])
    assert torch.equal(motion.betas, given.betas)


def turned(*vector: float) -> torch.Tensor:
    """(3, 3) of a rotation vector."""
    return torch.tensor(Rotation.from_rotvec(vector).as_matrix())


def two_orientations(first: torch.Tensor, last: torch.Tensor, frames: int = 5) -> Controls:
    """One hand's orientation at the first and at the last of five frames."""
    R = torch.full((frames, 2, 3, 3), torch.nan, dtype=first.dtype)
    R[0, 0], R[-1, 0] = first, last
    no = torch.zeros(frames, 2, dtype=torch.bool)
    has = no.clone()
    has[[0, -1], 0] = True
    rest = torch.full((frames, 2, 15, 3, 3), torch.nan, dtype=first.dtype)
    return Controls(Motion(rest[..., 0, 0, :], R, rest, torch.zeros(2, 10)), no, has, no)


# --- interpolation -----------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_each_quantity_is_what_scipy_makes_of_it(seed):
    controls = some_controls(seed)
    out = interpolate(controls)
    assert_meets(out, controls)
    frame = np.arange(FRAMES)
    for b in range(2):
        for hand in range(2):
            at = {
                name: getattr(controls, name)[b, :, hand].nonzero().flatten().numpy()
                for name in ("has_wrist", "has_orient", "has_pose")
            }
            wrist = np.zeros((FRAMES, 3))
            if len(knots := at["has_wrist"]):
                value = controls.motion.wrist_m[b, knots, hand].numpy()
                wrist = np.stack([np.interp(frame, knots, value[:, k]) for k in range(3)], axis=-1)
            np.testing.assert_allclose(out.wrist_m[b, :, hand], wrist, atol=1e-12)
            for name, values, got in (
                ("has_orient", controls.motion.R_world_wrist[..., None, :, :], out.R_world_wrist[..., None, :, :]),
                ("has_pose", controls.motion.R_pose, out.R_pose),
            ):
                knots = at[name]
                for joint in range(values.shape[-3]):
                    R = np.eye(3)[None].repeat(FRAMES, 0)
                    if len(knots) == 1:
                        R[:] = values[b, knots[0], hand, joint].numpy()
                    elif len(knots):
                        known = Rotation.from_matrix(values[b, knots, hand, joint].numpy())
                        R = Slerp(knots, known)(frame.clip(knots[0], knots[-1])).as_matrix()
                    np.testing.assert_allclose(got[b, :, hand, joint], R, atol=1e-9)


def test_between_two_orientations_by_hand():
    """A quarter turn in four steps; the other hand, and all else, at the default."""
    out = interpolate(two_orientations(torch.eye(3).double(), turned(0, 0, np.pi / 2)))
    for step in range(5):
        torch.testing.assert_close(out.R_world_wrist[step, 0], turned(0, 0, step * np.pi / 8), atol=1e-12, rtol=0)
    eye = torch.eye(3).double()
    assert torch.equal(out.R_world_wrist[:, 1], eye.expand(5, 3, 3))
    assert torch.equal(out.R_pose, eye.expand(5, 2, 15, 3, 3))
    assert torch.equal(out.wrist_m, torch.zeros(5, 2, 3).double())


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 0.0, -1e-6, -1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearly_half_a_turn_is_still_the_shorter_way(gap, dtype):
    """At exactly half a turn either way will do; all steps are equal in any case."""
    first = turned(0.3, -1.0, 0.4)
    axis = np.array([2.0, -1, 2]) / 3
    last = first @ turned(*(axis * (np.pi - gap)))
    R = interpolate(two_orientations(first.to(dtype), last.to(dtype))).R_world_wrist[:, 0].double()
    steps = Rotation.from_matrix(R[1:] @ R[:-1].mT).magnitude()
    np.testing.assert_allclose(steps, (np.pi - abs(gap)) / 4, atol=1e-6 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, 1e-2])
def test_small_turns_keep_their_digits(angle):
    first = turned(0.3, -1.0, 0.4).float()
    last = (first.double() @ turned(angle, 0, 0)).float()
    out = interpolate(two_orientations(first, last)).R_world_wrist[:, 0]
    expected = first.double() @ torch.stack([turned(angle * k / 4, 0, 0) for k in range(5)])
    torch.testing.assert_close(out.double(), expected, atol=5e-7, rtol=0)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_interpolation_does_not_depend_on_the_frame_or_the_mirror(seed):
    controls = some_controls(seed, ends=1, keyframes=1, start=1)
    controls = replace(controls, **{name: controls.has_wrist[..., :1].expand(2, FRAMES, 2) for name in
                                    ("has_wrist", "has_orient", "has_pose")})  # fmt: skip
    controls = replace(controls, motion=smooth_motion(seed))
    if not controls.has_wrist.any(1).all():
        return  # what is observed nowhere is at the default, in any frame
    R = roma.rotvec_to_rotmat(torch.tensor([[0.4, -2.0, 1.0], [0.1, 0.2, 0.3]], dtype=torch.float64))
    t = torch.tensor([[1.0, 2, 3], [0, 1, 0]], dtype=torch.float64)
    assert_close(interpolate(controls.moved(R, t)), interpolate(controls).moved(R, t))
    assert_close(interpolate(controls.mirrored()), interpolate(controls).mirrored())


def test_a_single_motion_is_a_batch_of_none():
    controls = some_controls(8)
    one = Controls(
        Motion(*(getattr(controls.motion, f.name)[1] for f in fields(Motion))),
        *(controls.has_wrist[1], controls.has_orient[1], controls.has_pose[1]),
    )
    alone, batched = interpolate(one), interpolate(controls)
    for f in fields(Motion):
        assert torch.equal(getattr(alone, f.name), getattr(batched, f.name)[1])


# --- imposing ----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([torch.float32, torch.float64]))
def test_the_controls_are_met_bit_by_bit(seed, dtype):
    controls = some_controls(seed, dtype)
    motion = replace(smooth_motion(seed + 1, dtype=dtype), betas=controls.motion.betas)
    for kernel in (SMOOTH, MATERN):
        out = impose(motion, controls, kernel)
        assert_meets(out, controls)
        assert out.wrist_m.dtype == dtype
        for R in (out.R_world_wrist, out.R_pose):
            torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=dtype).expand(R.shape), atol=2e-6, rtol=0)
            assert torch.linalg.det(R).min() > 0.99
        # What is observed nowhere is not touched.
        for name, has in (("wrist_m", "has_wrist"), ("R_world_wrist", "has_orient"), ("R_pose", "has_pose")):
            never = ~getattr(controls, has).any(1, keepdim=True).expand(2, FRAMES, 2)
            assert torch.equal(getattr(out, name)[never], getattr(motion, name)[never])


@pytest.mark.parametrize("kernel", [SMOOTH, MATERN], ids=["gaussian", "matern"])
@pytest.mark.parametrize("kind", ["ends", "keyframes", "start", "one_hand", "path_dense"])
def test_the_bent_motion_meets_the_controls_before_they_are_written_over(kind, kernel, monkeypatch):
    """Otherwise the last step would leave a seam."""
    monkeypatch.setattr(Controls, "over", lambda self, motion: motion)
    motion = smooth_motion(2, dtype=torch.float32)
    given = smooth_motion(3, dtype=torch.float32)
    controls = Controls(given, *draw_controls({kind: 1}, 2, FRAMES, torch.Generator().manual_seed(1)))
    out = impose(motion, controls, kernel)
    assert not torch.equal(out.wrist_m, given.wrist_m)
    for name, has in (("wrist_m", "has_wrist"), ("R_world_wrist", "has_orient"), ("R_pose", "has_pose")):
        here, there = (getattr(m, name)[getattr(controls, has)] for m in (out, given))
        torch.testing.assert_close(here, there, atol=1e-6, rtol=0)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_a_motion_that_meets_the_controls_is_unchanged(seed):
    controls = some_controls(seed, torch.float32)
    motion = smooth_motion(seed, dtype=torch.float32)
    out = impose(motion, controls, SMOOTH)
    assert_meets(out, controls)
    # The noise of a product with its own transpose, grown on its way through a singular kernel.
    assert_close(out, motion, atol=1e-5)


def test_what_is_missing_is_spread_as_the_kernel_says():
    """A rough kernel, so that nothing is singular, against the formula written out for each hand."""
    controls = some_controls(4, keyframes=1)
    motion = smooth_motion(5)
    kernel = torch.exp(-0.1 * LAG.abs().double())
    out = impose(motion, controls, kernel)
    for b in range(2):
        for hand in range(2):
            o = controls.has_wrist[b, :, hand]
            weight = kernel[:, o] @ torch.linalg.inv(kernel[o][:, o])
            missing = (controls.motion.wrist_m - motion.wrist_m)[b, o, hand]
            torch.testing.assert_close(
                out.wrist_m[b, :, hand], motion.wrist_m[b, :, hand] + weight @ missing, atol=2e-3, rtol=0
            )
            for name in ("R_world_wrist", "R_pose"):
                R, R_given = (getattr(m, name)[b, :, hand].reshape(FRAMES, -1, 3, 3) for m in (motion, controls.motion))
                bent = getattr(out, name)[b, :, hand].reshape(R.shape)
                for joint in range(R.shape[1]):
                    turn = Rotation.from_matrix((R_given[o, joint] @ R[o, joint].mT).numpy()).as_rotvec()
                    by_hand = Rotation.from_rotvec(weight.numpy() @ turn).as_matrix() @ R[:, joint].numpy()
                    np.testing.assert_allclose(bent[:, joint], by_hand, atol=1e-2)


def jerk(motion: Motion) -> torch.Tensor:
    """(frame - 3,) greatest third difference over hands and numbers; its frame k spans frames k to k + 3."""
    parts = (motion.wrist_m, 0.1 * motion.R_world_wrist.flatten(-2), 0.1 * motion.R_pose.flatten(-3))
    return torch.cat(parts, dim=-1).diff(n=3, dim=1).abs().amax((0, 2, 3))


@pytest.mark.parametrize("observed", [[20], [0, 39], list(range(10)), list(range(10)) + [30], [5, 12, 20, 33]], ids=str)
def test_there_is_no_seam_at_an_observed_frame(observed):
    """The bent motion jerks around the observed frames much as it does away from them, where only the kernel acts;
    merely writing the observed values over makes it a hundred times as much."""
    motion, given = smooth_motion(6), smooth_motion(7)
    has = torch.zeros(2, FRAMES, 2, dtype=torch.bool)
    has[:, observed] = True
    controls = Controls(replace(given, betas=motion.betas), has, has, has)
    own = max(jerk(motion).max(), jerk(given).max())
    # Frame k of the jerk mixes observed and other frames: there a seam would be.
    at_seam = has[0, :, 0].unfold(0, 4, 1).any(-1) & ~has[0, :, 0].unfold(0, 4, 1).all(-1)
    bent = jerk(impose(motion, controls, SMOOTH))
    assert bent[at_seam].max() < 1.5 * max(bent[~at_seam].max(), own)
    assert bent.max() < 2.5 * own
    assert jerk(controls.over(motion))[at_seam].max() > 100 * own


def test_noise_in_a_row_of_observed_frames_is_not_carried_on_as_a_swing():
    """A millimetre of noise, a singular kernel: beyond the row the motion stays within a few centimetres."""
    motion = smooth_motion(6, batch=50)
    has = torch.zeros(50, FRAMES, 2, dtype=torch.bool)
    has[:, :20] = True
    noise = 1e-3 * torch.randn(motion.wrist_m.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    controls = Controls(replace(motion, wrist_m=motion.wrist_m + noise), has, has, has)
    moved = impose(motion, controls, SMOOTH).wrist_m - motion.wrist_m
    assert moved[:, 20:].std() < 0.02


def test_one_sample_does_not_depend_on_the_others():
    controls, motion = some_controls(10), smooth_motion(11)
    both = impose(motion, controls, SMOOTH)
    for b in range(2):
        keep = slice(b, b + 1)
        one = impose(
            Motion(*(getattr(motion, f.name)[keep] for f in fields(Motion))),
            Controls(
                Motion(*(getattr(controls.motion, f.name)[keep] for f in fields(Motion))),
                *(controls.has_wrist[keep], controls.has_orient[keep], controls.has_pose[keep]),
            ),
            SMOOTH,
        )
        for f in fields(Motion):
            torch.testing.assert_close(getattr(one, f.name), getattr(both, f.name)[keep], atol=1e-12, rtol=0)


def test_reduced_precision_does_not_reach_the_geometry():
    controls = some_controls(12, torch.float32, keyframes=1)
    motion = smooth_motion(13, dtype=torch.float32)
    expected = interpolate(controls), impose(motion, controls, MATERN.float())
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            got = interpolate(controls), impose(motion, controls, MATERN.float())
    finally:
        torch.set_float32_matmul_precision("highest")
    for a, b in zip(got, expected, strict=True):
        assert a.R_pose.dtype == torch.float32
        assert_close(a, b, atol=0)
