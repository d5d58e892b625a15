"""Which detections are one hand: anatomy and grouping within a frame; and from detections to hands."""

from __future__ import annotations

import numpy as np
import pytest
from hand_scenes import FPS, detect, dome, error_m, hand, interaction, rotation
from hypothesis import given, settings
from hypothesis.strategies import floats, integers

from handpipe.core.cameras import Cameras
from handpipe.core.hands import LEFT, RIGHT
from handpipe.hand.anatomy import (
    BONE_LENGTH_M,
    SCALE_RANGE,
    bone_lengths,
    chirality_log_odds,
    hand_scale,
    plausible_hand,
)
from handpipe.triangulation.assignment import assign, triangulate_assigned
from handpipe.triangulation.candidates import FrameCandidates, assign_candidates, candidate_fit, is_hand, normalised
from handpipe.triangulation.grouping import group_hands, label_votes

# ---- anatomy -----------------------------------------------------------------------------------------------------


@given(seed=integers(0, 2**32 - 1), curl=floats(0.1, 1.0))
@settings(max_examples=30, deadline=None)
def test_chirality_survives_motion_and_flips_in_the_mirror(seed, curl):
    rng = np.random.default_rng(seed)
    moved = hand(curl) @ rotation(rng).T + rng.normal(size=3)
    np.testing.assert_allclose(chirality_log_odds(moved), chirality_log_odds(hand(curl)), atol=1e-9)
    np.testing.assert_allclose(chirality_log_odds(moved * [1, 1, -1]), -chirality_log_odds(moved), atol=1e-9)
    assert chirality_log_odds(moved) > 0


def test_a_planar_hand_could_be_either():
    flat = hand(0.0) * [1, 1, 0]
    assert abs(chirality_log_odds(flat)) < 1e-9


def test_unknown_joints_say_nothing():
    assert chirality_log_odds(np.full((2, 21, 3), np.nan)).tolist() == [0, 0]
    assert not plausible_hand(np.full((21, 3), np.nan))
    lost_tips = hand(0.4)
    lost_tips[[4, 8, 12, 16, 20]] = np.nan
    assert plausible_hand(lost_tips)
    assert chirality_log_odds(lost_tips) > 0


def test_hands_of_any_person_are_plausible_and_giants_are_not():
    assert np.isclose(hand_scale(1.1 * hand(0.3)), 1.1)
    np.testing.assert_allclose(bone_lengths(hand(0.3))[1:], BONE_LENGTH_M[1:])
    for scale, possible in [(0.7, True), (1.3, True), (0.8 * SCALE_RANGE[0], False), (1.2 * SCALE_RANGE[1], False)]:
        assert plausible_hand(scale * hand(0.3)) == possible


def test_half_of_one_hand_and_half_of_another_is_no_hand():
    mixture = hand(0.3)
    mixture[::2] += [0.3, 0, 0]
    assert not plausible_hand(mixture)


# ---- one frame ---------------------------------------------------------------------------------------------------


def test_fifty_views_of_interacting_hands():
    """Each hand in 40 % of the views, one in ten candidates mixed, 3 px noise: every hand of every frame is found."""
    cameras, motion = dome(50), interaction(12)
    points, score, right, truth = detect(cameras, motion, seen=0.4, wrong_labels=0.5, mixed=0.1)
    groups = group_hands(cameras, points, score, right)
    distance = error_m(groups.points_m[:, :, None], motion[:, None])
    assert (distance.min(1) < 0.01).all()
    shown = np.take_along_axis(truth.transpose(1, 0, 2)[:, None], np.maximum(groups.member, 0)[..., None], -1)[..., 0]
    member = groups.member >= 0
    meant = distance.argmin(-1)[..., None]
    assert (shown == meant)[member].mean() > 0.95
    assert member.sum() > 0.9 * (truth >= 0).sum()


def test_one_hand_detected_twice_is_one_hand():
    cameras, motion = dome(20), interaction(3)
    points, score, right, truth = detect(cameras, motion)
    only_left = truth == LEFT
    twin = np.where(only_left[..., None, None], points, points[:, :, ::-1])
    rng = np.random.default_rng(0)
    twin = (twin + rng.normal(0, 3, twin.shape)).astype(np.float32)
    groups = group_hands(cameras, twin, score, right)
    assert (error_m(groups.points_m[:, 0], motion[:, LEFT]) < 0.01).all()
    assert np.isnan(groups.points_m[:, 1:]).all()
    assert (groups.member[:, 1:] == -1).all()


def test_views_without_calibration_are_never_members():
    cameras, motion = dome(12), interaction(2)
    T = cameras.T_cam_world.copy()
    T[[3, 7]] = np.nan
    cameras_with_gaps = Cameras(cameras.names, cameras.K, cameras.distortion, T, cameras.size_px)
    points, score, right, _ = detect(cameras, motion)
    groups = group_hands(cameras_with_gaps, points, score, right)
    assert (groups.member[..., [3, 7]] == -1).all()
    assert np.isfinite(groups.points_m[:, :2]).all()


def test_nothing_seen_is_nothing_found():
    cameras = dome(5)
    points, score, right, _ = detect(cameras, interaction(2), seen=0.0)
    groups = group_hands(cameras, points, score, right)
    assert (groups.member == -1).all()
    assert np.isnan(groups.points_m).all()
    assert (assign(cameras, points, score, right, FPS) == -1).all()


def test_frames_have_the_same_bits_in_any_chunk():
    cameras, motion = dome(8), interaction(5)
    points, score, right, _ = detect(cameras, motion, seen=0.7)
    whole = group_hands(cameras, points, score, right)
    for f in range(5):
        part = group_hands(cameras, points[:, f : f + 1], score[:, f : f + 1], right[:, f : f + 1])
        assert part.points_m.tobytes() == whole.points_m[f : f + 1].tobytes()
        assert part.votes.tobytes() == whole.votes[f : f + 1].tobytes()
        np.testing.assert_array_equal(part.member, whole.member[f : f + 1])


def test_a_third_hand_is_found_beside_the_two():
    cameras, motion = dome(12), interaction(4, reach_m=0.15)
    three = np.concatenate([motion, motion[:, :1] + [0.05, 0.2, 0.1]], axis=1)
    uv = cameras.project(three).astype(np.float32)
    groups = group_hands(cameras, uv, np.ones(uv.shape[:3]), np.full(uv.shape[:3], 0.5))
    distance = error_m(groups.points_m[:, :, None], three[:, None])
    assert (distance.min(1) < 1e-4).all()
    assert (np.sort(groups.member, axis=1) == np.arange(3)[:, None]).all()


@pytest.mark.parametrize(("views", "found"), [(4, False), (12, True)])
def test_a_hand_that_few_of_many_views_show_is_none(views, found):
    """Beside two hands in twenty views: the same detections in four of them are chance, in twelve a hand."""
    cameras, motion = dome(20), interaction(2, reach_m=0.15)
    three = np.concatenate([motion, motion[:, :1] + [0.05, 0.2, 0.1]], axis=1)
    uv = cameras.project(three).astype(np.float32)
    uv[views:, :, 2] = np.nan
    groups = group_hands(cameras, uv, np.ones(uv.shape[:3]), np.full(uv.shape[:3], 0.5))
    assert np.isfinite(groups.points_m).all((0, 2, 3)).tolist() == [True, True, found]
    assert np.isfinite(groups.points_m).any((0, 2, 3)).tolist() == [True, True, found]


def test_the_order_of_views_means_nothing():
    cameras, motion = dome(9), interaction(3)
    points, score, right, _ = detect(cameras, motion, seen=0.7, mixed=0.1)
    order = np.random.default_rng(1).permutation(9)
    whole = group_hands(cameras, points, score, right)
    moved = group_hands(cameras.subset(order), points[order], score[order], right[order])
    np.testing.assert_array_equal(moved.member, whole.member[..., order])
    np.testing.assert_allclose(moved.points_m, whole.points_m, atol=1e-9)


def test_a_score_of_zero_removes_a_candidate_and_no_score_does_not():
    cameras, motion = dome(8), interaction(2)
    points, score, right, _ = detect(cameras, motion)
    removed, unknown = score.copy(), np.full_like(score, np.nan)
    removed[[2, 5]] = 0
    without = points.copy()
    without[[2, 5]] = np.nan
    expected = group_hands(cameras, without, score, right)
    np.testing.assert_array_equal(group_hands(cameras, points, removed, right).member, expected.member)
    assert (group_hands(cameras, points, unknown, right).member[:, :2] >= 0).all()


def test_a_candidate_counts_by_the_joints_it_has():
    """The thumb and the little finger are hidden in every view; in two views there is no more than a finger."""
    cameras, motion = dome(8), interaction(2)
    points, score, right, _ = detect(cameras, motion, noise_px=1.0)
    points[..., [1, 2, 3, 4, 17, 18, 19, 20], :] = np.nan
    points[[3, 6], ..., 4:, :] = np.nan
    groups = group_hands(cameras, points, score, right)
    assert (groups.member[:, :2, [3, 6]] == -1).all()
    assert (np.delete(groups.member[:, :2], [3, 6], axis=-1) >= 0).all()
    known = np.delete(np.arange(21), [1, 2, 3, 4, 17, 18, 19, 20])
    distance = np.linalg.norm(groups.points_m[:, :2, None] - motion[:, None], axis=-1)[..., known]
    assert (distance.max(-1).min(1) < 0.01).all()


def test_two_views_must_agree_more_closely_than_three():
    """Both point 12 mm past the hand, which is 18 mm's 4/9: a fit of 5/9."""
    cameras = dome(3)
    right_hand = hand(0.4)
    depth = (cameras.T_cam_world[:, None, 2, :3] * right_hand).sum(-1) + cameras.T_cam_world[:, None, 2, 3]
    uv = cameras.project(right_hand)
    uv[..., 0] += 700 * 0.012 / depth
    xy, weight = normalised(cameras, uv[:, None, None], np.ones((3, 1, 1)))
    frame = FrameCandidates.of(cameras, xy[:, 0], weight[:, 0])
    np.testing.assert_allclose(candidate_fit(frame, right_hand[None]), 5 / 9, atol=1e-6)
    assert is_hand(frame, right_hand, np.array([0, 0, 0]))
    assert not is_hand(frame, right_hand, np.array([0, -1, 0]))
    assert is_hand(frame, right_hand, np.array([0, -1, 0]), two_views_fit=0.5)
    assert not is_hand(frame, 2 * right_hand, np.array([0, 0, 0]))


def test_candidates_go_to_the_hands_for_the_best_total():
    """In view 0 both hands want candidate 0, but the first could also do with candidate 1. In view 1 nothing fits."""
    fit = np.array([[[0.9, 0.8], [0.1, 0.0]], [[0.7, 0.0], [0.0, 0.1]]])
    assert assign_candidates(fit).tolist() == [[1, -1], [0, -1]]


def test_one_detector_vote_is_bounded():
    member = np.array([[[0], [-1]]])
    assert label_votes(member, np.array([[[1.0]]])).tolist() == label_votes(member, np.array([[[0.95]]])).tolist()
    assert label_votes(member, np.array([[[0.5]]])).tolist() == [[0, 0]]


# ---- from detections to hands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("views", "seen"), [(50, 0.4), (12, 0.7), (4, 1.0)])
def test_from_detections_to_hands(views, seen):
    """Half of the labels are wrong, one candidate in ten is mixed; the hands pass each other within centimetres."""
    frames = 16
    cameras, motion = dome(views), interaction(frames, seed=4)
    points, score, right, _ = detect(cameras, motion, seen=seen, wrong_labels=0.5, mixed=0.1)
    assignment = assign(cameras, points, score, right, FPS)
    assert assignment.shape == (views, frames, 2)
    both = (assignment >= 0).all(-1)
    assert (assignment[both][:, LEFT] != assignment[both][:, RIGHT]).all()
    result = triangulate_assigned(cameras, points, score, assignment)
    share = (error_m(result.points_m, motion) < 0.01).mean()
    assert share >= (1.0 if views > 4 else 0.9)
