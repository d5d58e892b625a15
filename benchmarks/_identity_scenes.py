"""Simulated recordings of interacting hands for `identity.py`: true joints, and detections of a poor detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from handpipe.core.cameras import Cameras
from handpipe.core.hands import HANDS, LEFT, NUM_JOINTS, RIGHT
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion

FINGER = np.array([0, *np.repeat([1, 2, 3, 4, 5], 4)])
"""(21,) the part of the hand each joint belongs to: wrist, thumb, ..., little finger."""


@dataclass(frozen=True)
class Scene:
    """A simulated scene."""

    name: str
    fps: float
    joints_m: ndarray
    """(frame, hand, 21, 3) left, right and, maybe, another person's hand."""
    visible: ndarray
    """(frame, hand) whether any camera can see the hand."""


@dataclass(frozen=True)
class Faults:
    """The errors of the simulated detector."""

    seen: float = 0.4
    """Share of the views in which a hand is found."""
    run: float = 3.0
    """Frames on end, on average, for which a view finds a hand."""
    wrong: float = 0.5
    """Share of the views that mistake a hand for the other, drawn anew each half second."""
    mixed: float = 0.1
    """Share of the candidates with some of their fingers on the nearest other hand."""
    twice: float = 0.05
    """Share of the candidates that are found a second time where a view sees no other hand."""
    noise_px: float = 3.0
    """Standard deviation per axis of every joint."""
    candidates: int = 2
    """Hands a view reports at most."""


@dataclass(frozen=True)
class Detections:
    """As in the store's `detections`."""

    points_px: ndarray
    """(view, frame, candidate, 21, 2)"""
    score: ndarray
    right: ndarray
    """(view, frame, candidate)"""
    shown: ndarray
    """(view, frame, candidate) the hand each candidate mostly shows, -1 where there is none."""
    pure: ndarray
    """(view, frame, candidate) bool, all joints are on the hand it shows."""


# ---- scenes ------------------------------------------------------------------------------------------------------


def interacting(frames: int, seed: int, fps: float = 30.0) -> Scene:
    """Two hands approach, touch, cross and part."""
    motion = two_hand_motion(frames, fps, seed)
    joints = np.stack(
        [
            HandModel.procedural(side).joints(
                motion.betas[hand], motion.global_orient[:, hand], motion.hand_pose[:, hand], motion.transl[:, hand]
            )
            for hand, side in enumerate(("left", "right"))
        ],
        axis=1,
    )
    return Scene("interacting", fps, joints, np.ones((frames, len(HANDS)), bool))


def one_missing(frames: int, seed: int) -> Scene:
    """No view finds one of the hands for two seconds in five."""
    scene = interacting(frames, seed)
    visible = scene.visible.copy()
    visible[int(0.3 * frames) : int(0.7 * frames), seed % 2] = False
    return Scene("one missing for 2 s", scene.fps, scene.joints_m, visible)


def clasped(frames: int, seed: int) -> Scene:
    """The hands go into one another, stay 2 cm from centre to centre for a while, and part to the wrong sides."""
    scene = interacting(frames, seed)
    middle = scene.joints_m.mean(2, keepdims=True)
    t = np.linspace(-1, 1, frames)
    # From the left hand's side to the right one's, with a long stop halfway.
    across = 0.10 * np.sign(t) * np.clip((np.abs(t) - 0.3) / 0.5, 0, 1) ** 2
    place = np.stack([across, np.full(frames, 0.01), 0.01 * np.sin(6 * t)], axis=-1)
    place = np.stack([place, -place], axis=1)[:, :, None]
    return Scene("clasped and crossed", scene.fps, scene.joints_m - middle + place, scene.visible)


def away_and_back(frames: int, seed: int) -> Scene:
    """One hand leaves, then the other, for a second each, and then both at once; they come back elsewhere."""
    scene = interacting(frames, seed)
    visible = scene.visible.copy()
    part = frames // 10
    visible[part : 3 * part, LEFT] = False
    visible[4 * part : 6 * part, RIGHT] = False
    visible[7 * part : 8 * part] = False
    joints = scene.joints_m.copy()
    joints[8 * part :] = joints[8 * part :] + [0.05, -0.04, 0.03]
    return Scene("away and back", scene.fps, joints, visible)


def third_hand(frames: int, seed: int) -> Scene:
    """Another person's hand comes for three seconds in five and passes the two within a few centimetres."""
    scene, other = interacting(frames, seed), interacting(frames, seed + 1000)
    hand = other.joints_m[:, (seed + 1) % 2]
    t = np.linspace(-1, 1, frames)
    path = np.stack([0.16 * np.sin(2 * t + seed), 0.13 + 0.04 * np.cos(3 * t), 0.05 * np.sin(4 * t)], axis=-1)
    hand = hand - hand.mean(1, keepdims=True) + path[:, None]
    visible = np.concatenate([scene.visible, (np.abs(t) < 0.6)[:, None]], axis=1)
    return Scene("third hand", scene.fps, np.concatenate([scene.joints_m, hand[:, None]], axis=1), visible)


def short_film(frames: int, seed: int) -> Scene:
    """A second's worth of a whole interaction, six frames: hands move far between frames."""
    del frames
    scene = interacting(6, seed, 6.0)
    return Scene("6 frames at 6 fps", scene.fps, scene.joints_m, scene.visible)


SCENES = (interacting, one_missing, clasped, away_and_back, third_hand, short_film)


# ---- the detector ------------------------------------------------------------------------------------------------


def detect(cameras: Cameras, scene: Scene, faults: Faults, seed: int) -> Detections:
    """Simulate the detections of all views, with candidates in random order."""
    rng = np.random.default_rng(seed)
    views, (frames, hands) = len(cameras), scene.visible.shape
    truth_px = cameras.project(scene.joints_m)
    found = _runs(rng, (views, frames, hands), faults) & scene.visible
    mixed = rng.random(found.shape) < faults.mixed
    joint_px = np.where(
        (mixed[..., None] & _fingers(rng, found.shape))[..., None], _neighbour(scene, truth_px), truth_px
    )
    joint_px += rng.normal(0, faults.noise_px, joint_px.shape)
    label = _labels(rng, found.shape, scene.fps, faults)
    twice = found & (found.sum(-1, keepdims=True) == 1) & (rng.random(found.shape) < faults.twice)
    shown = np.concatenate([np.where(found, np.arange(hands), -1), np.where(twice, np.arange(hands), -1)], axis=-1)
    again_px = joint_px + rng.normal(0, faults.noise_px, joint_px.shape)
    points = np.concatenate([joint_px, again_px], axis=2)
    # A random order, those that are there first.
    order = np.argsort(np.where(shown >= 0, rng.random(shown.shape), 2), axis=-1)[..., : faults.candidates]
    shown = np.take_along_axis(shown, order, -1)
    there = shown >= 0
    pure = np.take_along_axis(np.tile(~mixed, 2), order, -1) & there
    return Detections(
        np.where(there[..., None, None], np.take_along_axis(points, order[..., None, None], 2), np.nan).astype("f4"),
        np.where(there, rng.uniform(0.6, 1.0, there.shape), np.nan).astype("f4"),
        np.where(there, np.take_along_axis(np.tile(label, 2), order, -1), np.nan).astype("f4"),
        shown,
        pure,
    )


def _runs(rng: np.random.Generator, shape: tuple[int, int, int], faults: Faults) -> ndarray:
    """(view, frame, hand) bool, true with probability `seen`, for `run` frames on average."""
    leave = min(1.0, 1 / faults.run)
    enter = min(1.0, leave * faults.seen / max(1 - faults.seen, 1e-9))
    state = rng.random((shape[0], shape[2])) < faults.seen
    runs = np.empty(shape, bool)
    for f in range(shape[1]):
        change = rng.random(state.shape)
        state = np.where(state, change >= leave, change < enter) if f else state
        runs[:, f] = state
    return runs


def _fingers(rng: np.random.Generator, shape: tuple[int, ...]) -> ndarray:
    """(..., joint) bool: one to three of a hand's fingers, maybe with its wrist."""
    rank = rng.random((*shape, 6)).argsort(-1)
    return np.take_along_axis(rank < rng.integers(1, 4, (*shape, 1)), np.broadcast_to(FINGER, (*shape, NUM_JOINTS)), -1)


def _neighbour(scene: Scene, truth_px: ndarray) -> ndarray:
    """Like `truth_px` (view, frame, hand, joint, 2), but of the nearest other hand that can be seen."""
    middle = scene.joints_m.mean(2)
    distance = np.linalg.norm(middle[:, :, None] - middle[:, None], axis=-1)
    hands = distance.shape[1]
    distance = np.where(scene.visible[:, None], distance, np.inf)
    # Alone in the picture, a hand is mixed with none.
    distance[:, np.arange(hands), np.arange(hands)] = 1e3
    return np.take_along_axis(truth_px, distance.argmin(-1)[None, :, :, None, None], 2)


def _labels(rng: np.random.Generator, shape: tuple[int, int, int], fps: float, faults: Faults) -> ndarray:
    """(view, frame, hand) probability of a right hand, as the detector believes."""
    views, frames, hands = shape
    period = np.arange(frames) // max(1, round(0.5 * fps))
    wrong = (rng.random((views, period[-1] + 1, hands)) < faults.wrong)[:, period]
    # The other person's hand is whatever the view takes it for.
    is_right = np.where(np.arange(hands) == 2, rng.random(shape) < 0.5, np.arange(hands) == RIGHT)
    sure = rng.uniform(0.6, 0.99, shape)
    return np.where(is_right != wrong, sure, 1 - sure)
