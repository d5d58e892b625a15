"""Which projections of fitted hands are labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_scenes import dome, interaction

from handpipe.capture.learning.labels import (
    FittedHands,
    covered_share,
    held_out_frames,
    held_out_views,
    moved,
    trusted_labels,
)
from handpipe.core.cameras import Cameras

VIEWS, FRAMES = 5, 12


@pytest.fixture
def hands() -> FittedHands:
    motion = interaction(FRAMES)
    shape = motion.shape[:2]
    taken = np.ones((VIEWS, *shape), bool)
    return FittedHands(motion, np.ones(shape, bool), np.full(shape, 1e-3), np.full((*shape, 21), 1e-3), taken)


def test_labels_are_the_projected_joints(hands):
    labels = trusted_labels(dome(VIEWS), hands)
    np.testing.assert_array_equal(labels.points_px, dome(VIEWS).project(hands.joints_m))
    assert labels.trusted.mean() > 0.9


@pytest.mark.parametrize(
    ("change", "frame"),
    [
        ({"valid": False}, 3),
        ({"residual_m": 0.05}, 4),
        ({"residual_m": np.nan}, 4),
        ({"sigma_m": 0.05}, 5),
        ({"sigma_m": np.nan}, 5),
        ({"joints_m": np.nan}, 6),
    ],
)
def test_unsure_hands_are_no_labels(hands, change, frame):
    before = trusted_labels(dome(VIEWS), hands).trusted
    assert before[:, frame, 0].any()
    for name, value in change.items():
        array = getattr(hands, name).copy()
        array[frame, 0] = value
        hands = replace(hands, **{name: array})
    after = trusted_labels(dome(VIEWS), hands).trusted
    assert not after[:, frame, 0].any()
    others = np.delete(before, frame, axis=1)
    np.testing.assert_array_equal(np.delete(after, frame, axis=1), others)


def test_a_view_that_missed_the_hand_gets_a_label_from_three_others(hands):
    taken = hands.taken.copy()
    taken[0, 2, 1] = taken[4, 2, 1] = False
    taken[:3, 7, 1] = False
    trusted = trusted_labels(dome(VIEWS), replace(hands, taken=taken)).trusted
    assert trusted[0, 2, 1]
    assert not trusted[:3, 7, 1].any()


def test_a_hand_outside_the_image_or_behind_the_camera_is_no_label(hands):
    cameras = dome(VIEWS)
    K, T = cameras.K.copy(), cameras.T_cam_world.copy()
    K[0, 0, 2] += 2000
    T[1, :3] *= -1
    other = Cameras(cameras.names, K, cameras.distortion, T, cameras.size_px)
    trusted = trusted_labels(other, hands).trusted
    assert not trusted[:2].any()
    assert trusted[2:].any()


def test_a_hand_behind_the_other_is_covered():
    cameras = dome(1)
    hand = interaction(3)[:, :1]
    axis = cameras.T_cam_world[0, 2, :3]
    both = np.concatenate([hand, hand + 0.05 * axis], axis=1)
    depth = both @ axis + cameras.T_cam_world[0, 2, 3]
    share = covered_share(cameras.project(both)[0], depth, 700.0)
    assert (share[:, 0] < 0.15).all(), "a bent finger may reach behind the other hand"
    assert (share[:, 1] > 0.8).all()


def test_labels_follow_the_time_of_the_image():
    line = np.arange(4.0)[:, None, None, None] * np.ones((1, 2, 21, 3))
    lag = np.array([[0.5, 0.5, np.nan, -0.25]])
    np.testing.assert_allclose(moved(line, lag)[0, :, 0, 0, 0], [0, 0.5, 2, 3])


def test_what_is_held_out():
    frames = held_out_frames(60, 0.15)
    assert frames.sum() in (9, 10)
    assert frames[15]
    assert frames[45]
    assert not frames[[0, 30, 59]].any()
    assert held_out_frames(20, 0.1).any()
    assert held_out_views(50, 0.1).sum() == 5
    assert held_out_views(7, 0.5).sum() == 1
    assert not held_out_views(4, 0.5).any()
