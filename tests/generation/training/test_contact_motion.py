"""Episodes of contact: the hands touch where and when the plan says, stay out of each other, and are hands."""

from __future__ import annotations

import numpy as np
import pytest

from handpipe.core.errors import GenerationError
from handpipe.core.hands import HANDS
from handpipe.generation.evaluation.scores import HandPair
from handpipe.generation.training import contact_motion, motion_sources
from handpipe.generation.training.contact_motion import TOUCH_ERROR_M, Episode, block_of_episodes
from handpipe.generation.training.contact_plans import EPISODE_S, KINDS, Place, bend_of, joint_radius_m
from handpipe.generation.training.windows import Windows, open_sources, split
from handpipe.hand.loading import hand_models
from handpipe.hand.procedural import joint_frames, pose_limits
from handpipe.hand.procedural_motion import pose_of_curl

FPS = 30.0
NAMES = ("betas", "global_orient", "hand_pose", "transl")


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return block_of_episodes(0, FPS)


@pytest.fixture
def blocks_of_two(monkeypatch):
    monkeypatch.setattr(contact_motion, "BLOCK", 2)
    monkeypatch.setattr(motion_sources, "BLOCK", 2)
    motion_sources._episodes.cache_clear()
    yield
    motion_sources._episodes.cache_clear()


def joints_m(episode: Episode) -> np.ndarray:
    """(hand, frame, 21, 3) by the model in numpy."""
    betas, *numbers = (episode.arrays[name] for name in NAMES)
    return np.stack([m.joints(betas[h], *(part[:, h] for part in numbers)) for h, m in enumerate(hand_models(None))])


def at(joints: np.ndarray, place: Place, moment: int) -> np.ndarray:
    """Where a place is when the contact begins (0) or ends (1): joints are (21, ...)."""
    share = place.share[moment]
    return (1 - share) * joints[place.joints[0]] + share * joints[place.joints[1]]


def test_the_planned_places_meet_when_the_plan_says(episodes):
    radius = joint_radius_m()
    for episode in episodes:
        assert episode.good
        joints = joints_m(episode)
        for touch in episode.plan.touches:
            # The frames just inside the contact: a place wanders slowly at both ends, and a hand comes by millimetres.
            frames = int(np.ceil(touch.time_s[0] * FPS)), int(touch.time_s[1] * FPS)
            for moment, frame in enumerate(frames):
                left, right = at(joints[0, frame], touch.left, moment), at(joints[1, frame], touch.right, moment)
                skins = at(radius, touch.left, moment) + at(radius, touch.right, moment) + touch.gap_m
                assert abs(np.linalg.norm(left - right) - skins) < TOUCH_ERROR_M + 0.001, episode.plan.kind


def test_hands_come_from_afar_touch_and_part(episodes):
    touching = 0
    for episode in episodes:
        left, right = joints_m(episode)
        least = np.linalg.norm(left[:, :, None] - right[:, None], axis=-1).min(axis=(1, 2))
        begin = min(touch.time_s[0] for touch in episode.plan.touches)
        end = max(touch.time_s[1] for touch in episode.plan.touches)
        assert least[[0, -1]].min() > 0.03
        assert least[int(np.ceil(begin * FPS)) : int(end * FPS)].min() < 0.03
        touching += least.min() < 0.02
        assert len(least) == EPISODE_S * FPS
    assert touching == len(episodes)


def test_skins_cross_by_millimetres_at_most(episodes):
    pair = HandPair.of(hand_models(None))
    depth_mm = [
        1000 * found.depth_m
        for episode in episodes
        for found in pair.overlaps(*(episode.arrays[name][None] for name in NAMES), count=8)
        if found is not None
    ]
    assert len(depth_mm) == 8 * len(episodes)
    assert np.mean(depth_mm) < 1.0
    assert max(depth_mm) < 10.0


def test_fingers_stay_within_the_limits_of_their_joints(episodes):
    limits = pose_limits()
    for episode in episodes:
        for h, side in enumerate(HANDS):
            pose = episode.arrays["hand_pose"][:, h].reshape(-1, 15, 3)
            angles = np.einsum("fjc,jac->fja", pose, joint_frames(side))
            assert (angles[..., :2] > limits[..., 0] - 1e-4).all()
            assert (angles[..., :2] < limits[..., 1] + 1e-4).all()
            assert np.abs(angles[..., 2]).max() < 1e-4  # nothing twists


def test_motion_is_smooth(episodes):
    for episode in episodes:
        steps = np.diff(joints_m(episode), axis=1)
        assert np.linalg.norm(steps, axis=-1).max() * FPS < 1.5  # metres per second
        assert np.linalg.norm(np.diff(steps, axis=1), axis=-1).max() * FPS**2 < 20.0


def test_every_kind_is_there_and_no_two_episodes_are_alike(episodes):
    assert {episode.plan.kind for episode in episodes} == set(KINDS)
    assert len({episode.plan.betas.tobytes() for episode in episodes}) == len(episodes)


def test_an_episode_depends_on_its_number_only(blocks_of_two):
    slow, fast = block_of_episodes(0, 20.0), block_of_episodes(0, 40.0)
    for a, b in zip(slow, fast, strict=True):
        for name in NAMES[1:]:
            np.testing.assert_allclose(a.arrays[name], b.arrays[name][::2], atol=1e-4)
        assert np.array_equal(a.plan.betas, b.plan.betas)
    again = block_of_episodes(0, 20.0)
    assert all(
        np.array_equal(a.arrays[name], b.arrays[name]) for a, b in zip(slow, again, strict=True) for name in NAMES
    )


def test_contact_is_a_source_of_windows(blocks_of_two):
    sources = open_sources(["contact:3", "contact:2"], FPS, 60, None)
    assert [source.origin for source in sources] == ["contact/0", "contact/1", "contact/2"]
    learnt, judged = split(sources, ["contact:1"])
    assert [source.origin for source in judged] == ["contact/0"]
    batch = Windows(learnt, 60, FPS).batch(seed=0, step=0, size=4)
    assert batch.transl.shape == (4, 60, 2, 3)
    assert all(np.isfinite(getattr(batch, name)).all() for name in NAMES)
    made = block_of_episodes(0, FPS)[1]
    whole = sources[1].read(0, 120)
    assert all(np.array_equal(whole[name], made.arrays[name].astype(np.float32)) for name in NAMES[1:])


def test_a_count_that_is_no_number_is_refused():
    with pytest.raises(GenerationError, match=r"contact:many: expected a number of clips .* contact:208"):
        open_sources(["contact:many"], FPS, 60, None)


def test_bends_are_the_curls_of_the_procedural_motion():
    curl, spread = np.full((2, 5), 0.4), np.full((2, 5), 0.2)
    limits, bend = pose_limits(), bend_of(curl, spread)
    angles = limits[..., 0] + bend * (limits[..., 1] - limits[..., 0])
    for h, side in enumerate(HANDS):
        frames = joint_frames(side)
        pose = (angles[h][..., None] * frames[:, :2]).sum(axis=1)
        moves = np.repeat((limits[..., 1] > limits[..., 0])[..., None], 3, axis=-1).any(axis=1)
        np.testing.assert_allclose(pose[moves], pose_of_curl(side, curl[h], spread[h]).reshape(15, 3)[moves], atol=1e-9)
