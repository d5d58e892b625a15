"""Hands over time: which is the left, which the right, and where a hand should be that was missed."""

from __future__ import annotations

import numpy as np
import pytest
from hand_scenes import FPS, detect, dome, groups_of, hand, interaction

from handpipe.core.hands import LEFT, RIGHT
from handpipe.triangulation.assignment import predict_hands, recover_hands
from handpipe.triangulation.grouping import HandGroups
from handpipe.triangulation.linking import link_slots
from handpipe.triangulation.tracking import track_hands


def test_hands_that_cross_keep_their_names():
    motion = interaction(60, reach_m=0.25)
    tracks = track_hands(groups_of(motion), FPS)
    np.testing.assert_array_equal(tracks.points_m, motion)


def test_wrong_votes_for_half_a_second_swap_nothing():
    motion = interaction(90, reach_m=0.2)
    votes = np.tile([-4.0, 4.0], (90, 1))
    votes[30:45] *= -1
    np.testing.assert_array_equal(track_hands(groups_of(motion, votes), FPS).points_m, motion)


def test_shape_outvotes_a_detector_that_guesses():
    motion = interaction(60)
    votes = np.random.default_rng(0).choice([-4.0, 4.0], (60, 2), p=[0.5, 0.5])
    np.testing.assert_array_equal(track_hands(groups_of(motion, votes), FPS).points_m, motion)


def test_hands_lost_while_they_cross_are_told_apart_again():
    motion = interaction(90, reach_m=0.2)
    seen = motion.copy()
    seen[35:55] = np.nan
    np.testing.assert_array_equal(track_hands(groups_of(seen), FPS).points_m, seen)


def test_a_flat_hand_without_votes_stays_undecided():
    flat = np.full((20, 2, 21, 3), np.nan)
    flat[:, LEFT] = hand(0.0) * [1, 1, 0]
    assert (track_hands(groups_of(flat), FPS).slot == -1).all()
    votes = np.tile([4.0, 0.0], (20, 1))
    assert (track_hands(groups_of(flat, votes), FPS).slot[:, RIGHT] >= 0).all()


def test_of_two_right_hands_the_one_that_was_there_first_is_the_right_hand():
    """If both were, nothing says which of them is meant, and neither gets the name."""
    motion = np.stack([hand(np.full(30, 0.3)), hand(np.full(30, 0.6)) + [0.3, 0, 0]], axis=1)
    assert (track_hands(groups_of(motion), FPS).slot == -1).all()
    motion[:10, 1] = np.nan
    tracks = track_hands(groups_of(motion), FPS)
    np.testing.assert_array_equal(tracks.points_m[:, RIGHT], motion[:, 0])
    assert (tracks.slot[:, LEFT] == -1).all()


def test_prediction_is_the_line_between_the_neighbours():
    points = np.full((7, 2, 21, 3), np.nan)
    points[0, LEFT], points[4, LEFT] = 0.0, 1.0
    predicted = predict_hands(points, FPS)
    np.testing.assert_allclose(predicted[1:4, LEFT, 0, 0], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(predicted[5:, LEFT], 1.0)
    assert np.isnan(predicted[[0, 4], LEFT]).all()
    assert np.isnan(predicted[:, RIGHT]).all()


def test_two_views_are_enough_to_go_on_with_a_hand():
    cameras, motion = dome(10), interaction(5)
    points, score, _, truth = detect(cameras, motion, noise_px=1.0)
    shown = np.stack([np.where((truth == h).any(-1), (truth == h).argmax(-1), -1) for h in (LEFT, RIGHT)])
    member = shown.transpose(2, 0, 1).copy()
    known = motion.copy()
    member[2, LEFT], known[2, LEFT] = -1, np.nan
    hidden = np.delete(np.arange(10), [1, 6])
    points[hidden, 2, shown[LEFT, hidden, 2]] = np.nan
    recovered = recover_hands(cameras, points, score, member, known, predict_hands(known, FPS))
    assert np.flatnonzero(recovered[2, LEFT] >= 0).tolist() == [1, 6]
    np.testing.assert_array_equal(recovered[2, LEFT, [1, 6]], shown[LEFT, [1, 6], 2])
    np.testing.assert_array_equal(np.delete(recovered, 2, 0), np.delete(member, 2, 0))


# ---- what a tracker gets wrong -----------------------------------------------------------------------------------


def test_hands_that_take_each_others_place_between_two_frames_keep_their_names():
    """At 6 frames a second hands can be anywhere in the next; nearest is wrong here, and shape says so."""
    motion = np.stack([hand(np.full(8, 0.4), LEFT), hand(np.full(8, 0.4))], axis=1)
    motion[:, LEFT] -= [0.08, 0, 0]
    motion[:, RIGHT] += [0.08, 0, 0]
    motion[4:, LEFT] += [0.16, 0, 0]
    motion[4:, RIGHT] -= [0.16, 0, 0]
    np.testing.assert_array_equal(track_hands(groups_of(motion), 6.0).points_m, motion)


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_another_persons_hand_is_neither(side):
    motion = interaction(90, reach_m=0.2)
    stranger = np.full((90, 21, 3), np.nan)
    stranger[20:65] = hand(0.5, side) + [0.0, 0.18, 0.05]
    groups = groups_of(motion)
    three = HandGroups(
        np.zeros((90, 3, 4), int),
        np.concatenate([stranger[:, None], groups.points_m], axis=1),
        np.concatenate([np.zeros((90, 1)), groups.votes], axis=1),
    )
    np.testing.assert_array_equal(track_hands(three, FPS).points_m, motion)


def test_another_persons_hand_does_not_stand_in_for_one_that_is_missing():
    """It was there before the right hand went, so it is not the right hand that came back elsewhere."""
    motion = interaction(120, reach_m=0.2)
    motion[40:80, RIGHT] = np.nan
    points = np.full((120, 3, 21, 3), np.nan)
    points[:, 1:] = motion
    points[20:100, 0] = hand(0.5) + [0.1, 0.15, 0.05]
    groups = HandGroups(np.zeros((120, 3, 4), int), points, np.zeros((120, 3)))
    np.testing.assert_array_equal(track_hands(groups, FPS).points_m, motion)


def test_what_three_of_forty_views_agree_on_takes_no_hands_place():
    """Like a left hand for six frames here and six there; forty views show the hands, and three that."""
    motion = interaction(60, reach_m=0.2)
    points = np.full((60, 3, 21, 3), np.nan)
    points[:, 1:] = motion
    for start, side_m in zip(range(3, 54, 7), [0.1, -0.1] * 4, strict=True):
        points[start : start + 6, 0] = hand(0.8, LEFT) + [side_m, 0.1, 0.0]
    member = np.zeros((60, 3, 40), int)
    member[:, 0, 3:] = -1
    tracks = track_hands(HandGroups(member, points, np.zeros((60, 3))), FPS)
    np.testing.assert_array_equal(tracks.points_m, motion)


def test_one_doubt_does_not_break_a_track_for_good():
    """Two copies of a hand, a centimetre apart; after one of them has gone, the other is one track again."""
    points = np.tile(hand(0.4), (30, 2, 1, 1))
    points[:, 1] += [0.01, 0, 0]
    points[5:, 1] = np.nan
    links = link_slots(points, FPS)
    assert max(len(frames) for frames, _ in links) == 25
