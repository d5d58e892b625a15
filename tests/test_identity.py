"""Which detection is which hand: anatomy, grouping within a frame, identity over time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, integers

from handpipe.core.anatomy import (
    BONE_LENGTH_M,
    SCALE_RANGE,
    bone_lengths,
    chirality_log_odds,
    hand_scale,
    plausible_hand,
)
from handpipe.core.cameras import Cameras
from handpipe.core.hands import LEFT, RIGHT
from handpipe.triangulation.assignment import assign, predict_hands, recover_hands, triangulate_assigned
from handpipe.triangulation.grouping import HandGroups, assign_candidates, group_hands, label_votes
from handpipe.triangulation.tracking import track_hands

FPS = 30.0


def hand(curl: float | np.ndarray, side: int = RIGHT) -> np.ndarray:
    """(..., 21, 3) a hand seen from its back: wrist at 0, fingers along +y, palm facing -z, the right thumb at -x.

    Every finger joint is bent by `curl` radians toward the palm.
    """
    curl = np.asarray(curl, float)
    joints = np.zeros((*curl.shape, 21, 3))
    fan = np.deg2rad([45, 20, 5, -8, -22])  # Of each finger's root, from +y toward -x.
    for finger in range(5):
        root = 1 + 4 * finger
        outward = np.array([-np.sin(fan[finger]), np.cos(fan[finger]), 0.0])
        along = 0.5 * outward + [0, 0.5, 0] if finger else outward
        along = along / np.linalg.norm(along)
        joints[..., root, :] = BONE_LENGTH_M[root - 1] * outward
        if finger == 0:
            joints[..., root, :] += [0, 0, -0.012]  # The thumb starts on the palm's side.
        for k in (1, 2, 3):
            angle = (k * curl)[..., None]
            direction = np.cos(angle) * along + np.sin(angle) * [0, 0, -1]
            joints[..., root + k, :] = joints[..., root + k - 1, :] + BONE_LENGTH_M[root + k - 1] * direction
    return joints if side == RIGHT else joints * [-1, 1, 1]


def rotation(rng: np.random.Generator) -> np.ndarray:
    R, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return R * np.sign(np.linalg.det(R))


def dome(views: int, radius_m: float = 0.8) -> Cameras:
    """Views spread evenly over most of a sphere, looking at its middle; 640x480, 700 px."""
    k = np.arange(views) + 0.5
    polar, azimuth = np.arccos(1 - 1.6 * k / views), np.pi * (1 + 5**0.5) * k
    spread = np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=-1)
    T = np.tile(np.eye(4), (views, 1, 1))
    for v, c in enumerate(radius_m * spread):
        z = -c / np.linalg.norm(c)
        x = np.cross(z, [0.3, 0.2, 0.93])
        x /= np.linalg.norm(x)
        T[v, :3, :3] = np.stack([x, np.cross(z, x), z])
        T[v, :3, 3] = -T[v, :3, :3] @ c
    K = np.tile(np.array([[700.0, 0, 319.5], [0, 700.0, 239.5], [0, 0, 1]]), (views, 1, 1))
    return Cameras(tuple(f"view{v}" for v in range(views)), K, np.zeros((views, 5)), T, np.tile([640, 480], (views, 1)))


def interaction(frames: int, seed: int = 0, reach_m: float = 0.09) -> np.ndarray:
    """(frame, hand, 21, 3) two hands that flex and pass each other: the left from +x to -x, the right back."""
    rng = np.random.default_rng(seed)
    t = np.linspace(-1, 1, frames)
    motion = np.empty((frames, 2, 21, 3))
    for side in (LEFT, RIGHT):
        R = rotation(rng)
        shape = hand(0.5 + 0.4 * np.sin(4 * t + side), side) @ R.T
        sign = 1 if side == LEFT else -1
        path = np.stack([-sign * reach_m * t, np.full(frames, 0.03 * sign), 0.02 * np.cos(5 * t)], axis=-1)
        motion[:, side] = shape - shape.mean(1, keepdims=True) + path[:, None]
    return motion


def detect(
    cameras: Cameras,
    motion: np.ndarray,
    *,
    seen: float = 1.0,
    wrong_labels: float = 0.0,
    mixed: float = 0.0,
    noise_px: float = 3.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What a detector makes of it: points, score, right, and the hand each candidate shows (view, frame, candidate).

    The order of candidates is random. A mixed candidate has about half of its joints on the other hand.
    """
    rng = np.random.default_rng(seed)
    views, frames = len(cameras), len(motion)
    uv = cameras.project(motion)
    mix = (rng.random((views, frames, 2, 1)) < mixed) & (rng.random((views, frames, 2, 21)) < 0.5)
    uv = np.where(mix[..., None], uv[:, :, ::-1], uv) + rng.normal(0, noise_px, uv.shape)
    label = np.broadcast_to([0.1, 0.9], (views, frames, 2))
    label = np.where(rng.random(label.shape) < wrong_labels, 1 - label, label)
    found = rng.random((views, frames, 2)) < seen
    order = rng.permuted(np.broadcast_to([0, 1], (views, frames, 2)), axis=-1)
    found = np.take_along_axis(found, order, -1)
    points = np.take_along_axis(uv, order[..., None, None], 2)
    return (
        np.where(found[..., None, None], points, np.nan).astype(np.float32),
        np.where(found, 0.9, 0.0).astype(np.float32),
        np.where(found, np.take_along_axis(label, order, -1), np.nan).astype(np.float32),
        np.where(found, order, -1),
    )


def error_m(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Median joint error; infinite for a missing hand."""
    distance = np.linalg.norm(points - truth, axis=-1)
    return np.median(np.where(np.isfinite(distance), distance, np.inf), axis=-1)


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
    assert np.isnan(groups.points_m[:, 1]).all()
    assert (groups.member[:, 1] == -1).all()


def test_views_without_calibration_are_never_members():
    cameras, motion = dome(12), interaction(2)
    T = cameras.T_cam_world.copy()
    T[[3, 7]] = np.nan
    cameras_with_gaps = Cameras(cameras.names, cameras.K, cameras.distortion, T, cameras.size_px)
    points, score, right, _ = detect(cameras, motion)
    groups = group_hands(cameras_with_gaps, points, score, right)
    assert (groups.member[..., [3, 7]] == -1).all()
    assert np.isfinite(groups.points_m).all()


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


def test_candidates_go_to_the_hands_for_the_best_total():
    """In view 0 both hands want candidate 0, but the first could also do with candidate 1. In view 1 nothing fits."""
    fit = np.array([[[0.9, 0.8], [0.1, 0.0]], [[0.7, 0.0], [0.0, 0.1]]])
    assert assign_candidates(fit).tolist() == [[1, -1], [0, -1]]


def test_one_detector_vote_is_bounded():
    member = np.array([[[0], [-1]]])
    assert label_votes(member, np.array([[[1.0]]])).tolist() == label_votes(member, np.array([[[0.95]]])).tolist()
    assert label_votes(member, np.array([[[0.5]]])).tolist() == [[0, 0]]


# ---- over time ---------------------------------------------------------------------------------------------------


def groups_of(motion: np.ndarray, votes: np.ndarray | float = 0.0, seed: int = 0) -> HandGroups:
    """Perfect groups in random slot order, with (frame, hand) votes."""
    frames = len(motion)
    order = np.random.default_rng(seed).permuted(np.tile([0, 1], (frames, 1)), axis=1)
    points = np.take_along_axis(motion, order[..., None, None], 1)
    votes = np.take_along_axis(np.broadcast_to(votes, (frames, 2)), order, 1)
    return HandGroups(np.zeros((frames, 2, 4), int), points, votes)


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


def test_two_simultaneous_hands_never_share_a_name():
    """Both look right; the one that does so more is the right hand."""
    motion = np.stack([hand(np.full(30, 0.3)), hand(np.full(30, 0.6)) + [0.3, 0, 0]], axis=1)
    tracks = track_hands(groups_of(motion), FPS)
    np.testing.assert_array_equal(tracks.points_m[:, RIGHT], motion[:, 1])


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
