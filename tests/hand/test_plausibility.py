"""Imported numbers that are not hands: planted faults in drawn motion, and drawn motion without."""

from __future__ import annotations

import numpy as np
import pytest

from handpipe.core.errors import SessionError
from handpipe.hand.keypoints import where_seen
from handpipe.hand.model import HandModel
from handpipe.hand.plausibility import check_mano, coefficients, plausible_keypoints, zero_frames
from handpipe.hand.presence import has_numbers
from handpipe.hand.procedural_motion import two_hand_motion

MODELS = (HandModel.procedural("left"), HandModel.procedural("right"))


def drawn(seed: int = 3, frames: int = 60) -> dict[str, np.ndarray]:
    motion = two_hand_motion(frames, 30.0, seed)
    return {name: getattr(motion, name) for name in ("betas", "global_orient", "hand_pose", "transl")}


def judged(mano: dict[str, np.ndarray]) -> list[str]:
    zeros = zero_frames(mano)
    return check_mano("x.npz", {**mano, "zeros": zeros, "valid": has_numbers(mano) & ~zeros}, 30.0)


def scaled(name: str, factor: float, hand: int | slice = slice(None)):
    def change(mano):
        mano[name][:, hand] *= factor

    return change


def as_coefficients(count: int):
    def change(mano):
        for h, model in enumerate(MODELS):
            found = (mano["hand_pose"][:, h] - model.hands_mean) @ np.linalg.inv(model.hands_components)
            found[:, count:] = 0
            mano["hand_pose"][:, h] = found

    return change


def right_only_millimetres(mano):
    mano["transl"][:, 0] = np.nan
    mano["transl"][:, 1] = mano["transl"][0, 1] + np.linspace(0, 0.02, len(mano["transl"]))[:, None] * [1, 0, 0]
    mano["transl"] *= 1000


def nothing_but_zeros(mano):
    for name in ("global_orient", "hand_pose", "transl"):
        mano[name][:, 1] = 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("frames", [1, 4, 60])
def test_hands_pass(seed, frames):
    assert judged(drawn(seed, frames)) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scaled("global_orient", 180 / np.pi), "left_global_orient: expected radians"),
        (scaled("global_orient", 180 / np.pi, 1), "right_global_orient: expected radians"),
        (scaled("hand_pose", 180 / np.pi, 1), "right_hand_pose: expected radians"),
        (scaled("transl", 1000), "in millimetres: multiply it by 0.001"),
        (scaled("transl", 100), "in centimetres: multiply it by 0.01"),
        (right_only_millimetres, "in millimetres: multiply it by 0.001"),
        (as_coefficients(45), "left_hand_pose: expected axis-angles, but these look like PCA"),
        (as_coefficients(12), "left_hand_pose: expected axis-angles, but these look like PCA"),
        (nothing_but_zeros, "expected the numbers of a right hand, but they are 0 in every frame"),
    ],
)
def test_what_is_no_hand(seed, change, message):
    mano = drawn(seed)
    change(mano)
    with pytest.raises(SessionError, match=message):
        judged(mano)


def test_zeros_are_missing_also_where_the_mean_pose_was_added():
    mano = drawn()
    for name in ("global_orient", "transl"):
        mano[name][:10], mano[name][30:40, 1] = 0, 0
    mano["hand_pose"][:10], mano["hand_pose"][30:40, 1] = 0, MODELS[1].hands_mean
    zeros = zero_frames(mano)
    assert np.flatnonzero(zeros[:, 0]).tolist() == [*range(10)]
    assert np.flatnonzero(zeros[:, 1]).tolist() == [*range(10), *range(30, 40)]
    assert judged(mano)[0] == "left hand: 10 frames in which all is 0 are taken as missing"


def test_hands_that_were_brought_to_the_origin_are_there():
    mano = drawn()
    mano["global_orient"][:], mano["transl"][:] = 0, 0
    assert not zero_frames(mano).any()


def test_a_recording_that_stands_still_is_mentioned():
    mano = drawn()
    for name in ("global_orient", "hand_pose", "transl"):
        mano[name][30:, 0] = mano[name][30, 0]
    (said,) = judged(mano)
    assert said.startswith("warning: left hand: ")


def test_one_bent_finger_is_no_coefficient():
    pose = np.zeros((20, 45))
    pose[:, [2, 5, 8]] = np.linspace(0, 1, 20)[:, None]
    assert not coefficients(pose)


def keypoints(seed: int = 3):
    mano = drawn(seed)
    joints = [
        model.joints(mano["betas"][h], *(mano[name][:, h] for name in ("global_orient", "hand_pose", "transl")))
        for h, model in enumerate(MODELS)
    ]
    points = np.stack(joints, axis=1)
    return points, np.full(points.shape[:3], 0.001)


def test_keypoints_that_are_all_zero_are_missing():
    points, sigma = keypoints()
    points[5:9, 0] = 0
    found = plausible_keypoints("x.npz", where_seen(points, sigma, 30.0))
    assert np.flatnonzero(~found.there[:, 0]).tolist() == [5, 6, 7, 8]
    assert found.there[:, 1].all()
    assert np.isnan(found.sigma_m[5:9, 0]).all()
    assert found.messages == ("left hand: 4 frames in which all is 0 are taken as missing",)
    with pytest.raises(SessionError, match="all are 0 in every frame"):
        plausible_keypoints("x.npz", where_seen(0 * points, sigma, 30.0))
