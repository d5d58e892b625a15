"""Detections brought to a common clock: which images surround an instant, whose hand is whose, where it is between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handpipe.triangulation.time_alignment import align, follow, images_at, velocities, velocities_at

FPS = 30.0
HAND = np.stack(np.meshgrid(np.arange(7.0), np.arange(3.0)), -1).reshape(21, 2) * [20.0, 30.0]
"""(21, 2) something as large as a hand: 120 by 60 pixels."""


def track(position: np.ndarray) -> np.ndarray:
    """(1, frame, 2, 21, 2) one hand at these places (frame, 2), the other candidate missing."""
    points = np.full((1, len(position), 2, 21, 2), np.nan)
    points[0, :, 0] = HAND + position[:, None]
    return points


def test_an_instant_between_two_images():
    images = images_at(np.array([[0.0, 0.1, 0.2]]), np.array([0.025, 0.1, 0.175]))
    assert images.base.tolist() == [[0, 1, 2]]
    assert images.other.tolist() == [[1, 0, 1]]
    np.testing.assert_allclose(images.fraction, [[0.25, 0, 0.25]])
    assert images.near.all()
    assert images.moves


def test_simultaneous_images_are_not_moved():
    time = np.tile(np.arange(5) / FPS, (3, 1))
    images = images_at(time, time[0])
    assert (images.base == np.arange(5)).all()
    assert not images.moves


def test_an_image_that_stands_for_two_instants_was_taken_once():
    images = images_at(np.array([[0.0, 0.0, 0.1, 0.2]]), np.array([0.0, 0.05, 0.1, 0.2]))
    assert images.base[0].tolist() in ([0, 0, 2, 3], [0, 2, 2, 3])


@pytest.mark.parametrize(("fps", "bridged"), [(30.0, True), (6.0, False)])
def test_a_dropped_frame_is_bridged_only_where_little_can_happen(fps, bridged):
    time = np.arange(5) / fps
    time[2] = np.nan
    images = images_at(time[None], np.arange(5) / fps)
    assert not images.near[0, 2]
    assert (images.base[0, 2] >= 0) == bridged
    points = align(track(np.stack([np.arange(5.0), np.zeros(5)], -1)), images).points_px[0, :, 0]
    if bridged:
        np.testing.assert_allclose(points[2], HAND + [2.0, 0.0])
    else:
        assert np.isnan(points[2]).all()


def test_before_the_first_image_and_after_the_last_there_is_nothing():
    images = images_at(np.arange(5)[None] / FPS, np.arange(-3, 8) / FPS)
    assert images.base[0].tolist() == [-1, -1, -1, 0, 1, 2, 3, 4, -1, -1, -1]


def test_a_view_without_images_has_none():
    images = images_at(np.full((1, 4), np.nan), np.arange(4) / FPS)
    assert (images.base == -1).all()
    assert (images.other == -1).all()
    assert not images.moves


@given(st.floats(-0.5, 0.5), st.floats(-300, 300), st.floats(-300, 300))
def test_a_steady_hand_is_where_it_was(late, vx, vy):
    """Images taken `late` frames after the instants: the hand at the instants is where it was then."""
    instant = np.arange(6) / FPS
    taken = instant + late / FPS
    velocity = np.array([vx, vy])
    points = track(taken[:, None] * velocity)
    images = images_at(taken[None], instant)
    aligned = align(points, images)
    inner = slice(1, -1)
    np.testing.assert_allclose(
        aligned.points_px[0, inner, 0], HAND + (instant[:, None] * velocity)[inner, None], atol=1e-8
    )
    assert np.isnan(aligned.points_px[0, :, 1]).all()
    moves = velocities_at(velocities(points, taken[None]), images, aligned)
    np.testing.assert_allclose(moves[0, 2:-2, 0], np.broadcast_to(velocity, (2, 21, 2)), atol=1e-6)


def test_hands_are_followed_whatever_their_order():
    hands = np.stack([HAND, HAND + [300.0, 0.0]])
    later = hands[::-1] + [15.0, 5.0]
    assert follow(hands, later).tolist() == [1, 0]
    assert follow(hands, later[:1]).tolist() == [-1, 0]


def test_a_hand_that_is_far_away_or_has_a_rival_is_not_followed():
    one = np.stack([HAND, np.full_like(HAND, np.nan)])
    assert follow(one, one + 120.0).tolist() == [-1, -1]
    assert follow(one, np.stack([HAND + [20.0, 0.0], HAND - [24.0, 0.0]])).tolist() == [-1, -1]
    assert follow(one, np.stack([HAND + [20.0, 0.0], HAND - [60.0, 0.0]])).tolist() == [0, -1]
    # In the other direction: two hands may have become this one.
    assert follow(np.stack([HAND, HAND + [44.0, 0.0]]), one + [20.0, 0.0]).tolist() == [-1, -1]


def test_a_hand_that_is_not_followed_stays_as_found_and_a_joint_too():
    points = track(np.stack([np.arange(4.0) * 10, np.zeros(4)], -1))
    points[0, 2, 0] += 400.0
    points[0, 1, 0, 5] = np.nan
    time = np.arange(4)[None] / FPS
    aligned = align(points, images_at(time, (np.arange(4) + 0.2) / FPS))
    np.testing.assert_allclose(aligned.points_px[0, 1, 0], points[0, 1, 0])
    np.testing.assert_allclose(aligned.points_px[0, 0, 0, 5], points[0, 0, 0, 5])
    np.testing.assert_allclose(aligned.points_px[0, 0, 0, 4], points[0, 0, 0, 4] + [2.0, 0.0])


def test_velocities_hold_none_of_the_positions_noise():
    """Else every estimate of time would be drawn to the middle between two images."""
    rng = np.random.default_rng(0)
    frames = 4000
    noise = rng.normal(0, 3.0, (1, frames, 1, 21, 2))
    points = HAND + noise
    time = np.arange(frames)[None] / FPS
    instant = (np.arange(1, frames - 2) + 0.25) / FPS
    images = images_at(time, instant)
    aligned = align(points, images)
    speed = velocities_at(velocities(points, time), images, aligned)
    error = aligned.points_px - HAND
    used = np.isfinite(speed)
    assert used.mean() > 0.95
    correlation = np.corrcoef(speed[used], error[used])[0, 1]
    naive = (points[0, 2:-1] - points[0, 1:-2])[None]
    assert abs(correlation) < 0.01 < abs(np.corrcoef(naive[used], error[used])[0, 1])
