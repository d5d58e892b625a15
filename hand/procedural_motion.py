"""Procedural motion of two hands: they approach, touch, cross and part.

A motion is a chain of keyposes (wrist pose, finger curls) whose details are drawn at random, joined by minimum-jerk
movements (Flash & Hogan 1985), with a little tremor of every finger on top. Everything is twice continuously
differentiable in time. World frame: metres, z up, the hands near the origin, the person at -y looking along +y.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy import ndarray
from scipy.spatial.transform import Rotation

from ..core.geometry import rotation_from_axis_angle
from ..core.hands import HANDS, MANO_JOINT, MANO_TIP_VERTEX, NUM_BETAS, NUM_POSE, TIPS
from .model import forward_kinematics
from .procedural import ROOT, joint_frames, pose_limits, procedural_hand

PHASES = ("approach", "touch", "cross", "part")
CYCLE_S = 3.0
"""Usual duration of one approach-touch-cross-part."""
CLEAR_M = 0.016
"""Least distance between joints of different hands, except in the touch."""
TOUCH_M = {"palms": 0.016, "fingertips": 0.012}
"""Least distance between joints of different hands at the touch: the flesh between them just meets."""
SIDE = np.array([-1.0, 1.0])
"""Sign of x where each hand belongs: left, right."""


@dataclass(frozen=True)
class TwoHandMotion:
    """MANO parameters of both hands over time, in smplx's convention with flat_hand_mean=True."""

    betas: ndarray
    """(hand, 10)"""
    global_orient: ndarray
    """(frame, hand, 3) axis-angle, radians; continuous in time."""
    hand_pose: ndarray
    """(frame, hand, 45) axis-angle, radians."""
    transl: ndarray
    """(frame, hand, 3) smplx's transl, metres."""
    phase: ndarray
    """(frame,) index into PHASES."""


@dataclass(frozen=True)
class _Key:
    """Both hands at one moment."""

    knuckle_m: ndarray
    """(hand, 3) the middle finger's first joint."""
    R_world_hand: ndarray
    """(hand, 3, 3)"""
    curl: ndarray
    """(hand, finger) 0 straight to 1 closed, thumb to pinky."""
    spread: ndarray
    """(hand, finger) -1 to 1 of the abduction limits."""
    tremor: float
    """How much of the fingers' tremor is left here: none in the touch."""
    phase: int
    """Phase of the motion on the way to this key."""
    duration: float
    """Duration of the way to this key, as a share of a cycle."""


# ---- kinematics --------------------------------------------------------------------------------------------------


def joints_of_pose(rest_m: ndarray, tips_m: ndarray, R_wrist: ndarray, hand_pose: ndarray, transl: ndarray) -> ndarray:
    """The 21 joints of one hand (MediaPipe's order) by forward kinematics, as smplx computes them.

    Args:
        rest_m: (16, 3) joints of the shaped hand in the zero pose; tips_m: (5, 3) its fingertips.
        R_wrist: (frame, 3, 3), smplx's global_orient; hand_pose: (frame, 45) axis-angle; transl: (frame, 3).

    Returns:
        (frame, 21, 3) metres.
    """
    local = rotation_from_axis_angle(hand_pose.reshape(-1, 15, 3))
    R, centers = forward_kinematics(np.concatenate([R_wrist[:, None], local], axis=1), rest_m)
    joints, last = centers[:, MANO_JOINT], ROOT + 2
    joints[:, TIPS] = centers[:, last] + np.einsum("fjab,jb->fja", R[:, last], tips_m - rest_m[last])
    return joints + transl[:, None]


def pose_of_curl(side: Literal["left", "right"], curl: ndarray, spread: ndarray) -> ndarray:
    """(..., 45) axis-angle hand pose of finger curls and spreads (..., 5), thumb to pinky; within the joint limits."""
    frames, limits = joint_frames(side), pose_limits()
    pose = np.zeros((*curl.shape[:-1], 15, 3))
    for f in range(5):
        for k, share in enumerate((0.85, 0.85, 0.75) if f else (0.8, 0.7, 0.8)):
            j = ROOT[f] + k - 1
            flexion = curl[..., f] * share * limits[j, 0, 1]
            low, high = limits[j, 1]
            # A bent knuckle cannot spread.
            abduction = 0.5 * (low + high) + spread[..., f] * 0.5 * (high - low) * (1 - 0.7 * curl[..., f])
            pose[..., j, :] = flexion[..., None] * frames[j, 0] + abduction[..., None] * frames[j, 1]
    return pose.reshape(*curl.shape[:-1], NUM_POSE)


@dataclass(frozen=True)
class _Hands:
    """The two shaped hands at rest."""

    joints_m: ndarray
    """(hand, 16, 3)"""
    tips_m: ndarray
    """(hand, 5, 3)"""

    @staticmethod
    def of_betas(betas: ndarray) -> _Hands:
        joints, tips = [], []
        for side, b in zip(("left", "right"), betas, strict=True):
            hand = procedural_hand(side)
            v = hand["v_template"] + hand["shapedirs"] @ b
            joints.append(hand["J_regressor"] @ v)
            tips.append(v[MANO_TIP_VERTEX])
        return _Hands(np.stack(joints), np.stack(tips))

    def transl(self, hand: int, R_wrist: ndarray, knuckle_m: ndarray) -> ndarray:
        """smplx turns the hand about its wrist: where to put it so that the middle knuckle is at a place."""
        wrist, knuckle = self.joints_m[hand, [0, 4]]
        return knuckle_m - wrist - R_wrist @ (knuckle - wrist)

    def joints(self, R_wrist: ndarray, hand_pose: ndarray, knuckle_m: ndarray) -> ndarray:
        """(frame, hand, 21, 3)"""
        both = []
        for h in range(len(HANDS)):
            R = R_wrist[:, h]
            transl = self.transl(h, R, knuckle_m[:, h])
            both.append(joints_of_pose(self.joints_m[h], self.tips_m[h], R, hand_pose[:, h], transl))
        return np.stack(both, axis=1)


def _least_distance(joints_m: ndarray) -> ndarray:
    """(frame,) between any joint of one hand and any of the other, without the wrists."""
    a, b = joints_m[:, 0, 1:], joints_m[:, 1, 1:]
    return np.linalg.norm(a[:, :, None] - b[:, None], axis=-1).min(axis=(1, 2))


# ---- keyposes ----------------------------------------------------------------------------------------------------


def hand_orientation(hand: int, fingers: ndarray, palm: ndarray) -> ndarray:
    """(3, 3) R_world_hand from where the fingers point and the palm faces, in the world."""
    fingers = fingers / np.linalg.norm(fingers)
    palm = palm - (palm @ fingers) * fingers
    palm = palm / np.linalg.norm(palm)
    x = -SIDE[hand] * fingers  # the right hand's fingers lie along -x, the left one's along +x
    return np.stack([x, -palm, np.cross(x, -palm)], axis=1)


def _jitter(rng: np.random.Generator, degrees: float) -> ndarray:
    return Rotation.from_rotvec(rng.normal(0, np.deg2rad(degrees), 3)).as_matrix()


def _key(
    rng: np.random.Generator,
    place: ndarray,
    orients: list[ndarray],
    curl: tuple[float, float],
    phase: int,
    duration: float,
) -> _Key:
    base = rng.uniform(*curl, (2, 1))
    bends = np.clip(base + rng.normal(0, 0.12, (2, 5)) * (curl[1] - curl[0] + 0.1), 0.03, 0.8)
    spread = np.clip(rng.normal(0, 0.35, (2, 5)), -0.8, 0.8)
    return _Key(place, np.stack(orients), bends, spread, 1.0, phase, duration * rng.uniform(0.85, 1.15))


def _apart(rng: np.random.Generator, depth_m: ndarray, phase: int, duration: float) -> _Key:
    """Both hands on their own side, free, at (hand,) y."""
    orients = []
    for h in range(2):
        turn = rng.uniform(-0.4, 1.2)  # the palm looks inward, or more and more along +y
        palm = np.array([-SIDE[h] * np.cos(turn), np.sin(turn), -0.2])
        fingers = np.array([SIDE[h] * rng.uniform(-0.25, 0.25), rng.uniform(-0.1, 0.5), 1.0])
        orients.append(_jitter(rng, 6) @ hand_orientation(h, fingers, palm))
    place = np.stack([SIDE * rng.uniform(0.09, 0.12, 2), depth_m, rng.uniform(-0.03, 0.03, 2)], axis=1)
    return _key(rng, place, orients, (0.05, 0.4), phase, duration)


def _touch(rng: np.random.Generator, hands: _Hands) -> list[_Key]:
    """Palms pressed together, or fingertips, held for a moment, and let go."""
    how: Literal["palms", "fingertips"] = "palms" if rng.random() < 0.4 else "fingertips"
    lean = rng.uniform(-0.2, 0.6)
    tilt = 0.0 if how == "palms" else np.deg2rad(rng.uniform(18, 35))
    orients = [
        hand_orientation(h, np.array([-SIDE[h] * np.tan(tilt), lean, 1.0]), np.array([-SIDE[h], 0.0, -0.2 * tilt]))
        for h in range(2)
    ]
    place = np.stack([SIDE * 0.02, np.zeros(2), rng.normal(0, 0.004, 2) - 0.03 * (how == "fingertips")], axis=1)
    key = _key(rng, place, orients, (0.03, 0.06) if how == "palms" else (0.08, 0.22), 0, 0.17)
    curl = 0.5 * (key.curl + key.curl[::-1])  # fingers meet their opposites
    pose = np.stack([pose_of_curl(side, curl[h], key.spread[0]) for h, side in enumerate(("left", "right"))])[None]
    near, far = 0.0, 0.15
    for _ in range(30):  # the farther apart, the greater the distance: bisect for contact
        middle = 0.5 * (near + far)
        joints = hands.joints(key.R_world_hand[None], pose, (place * [0, 1, 1] + _along_x(middle))[None])
        near, far = (middle, far) if _least_distance(joints)[0] < TOUCH_M[how] else (near, middle)
    key = replace(key, curl=curl, spread=np.stack([key.spread[0]] * 2), tremor=0.0)
    place = place * [0, 1, 1]
    # They turn to each other a little apart, and close and open straight: fingers do not sweep through the other hand.
    ready = replace(key, knuckle_m=place + _along_x(far + rng.uniform(0.02, 0.03)))
    met = replace(key, knuckle_m=place + _along_x(far), duration=0.09)
    held = replace(met, phase=1, duration=rng.uniform(0.09, 0.13))
    return [ready, met, held, replace(ready, phase=2, duration=0.08)]


def _along_x(half_gap_m: float) -> ndarray:
    return np.stack([SIDE * half_gap_m, np.zeros(2), np.zeros(2)], axis=1)


def _cross(rng: np.random.Generator, widen_m: float) -> list[_Key]:
    """One hand in front of the other, past each other to the wrong side, and held."""
    front = rng.choice([-1.0, 1.0])  # which hand is nearer to +y
    depth = SIDE * front * (0.5 * rng.uniform(0.075, 0.10) + widen_m)
    palm = np.array([0.0, rng.choice([-1.0, 1.0]), 0.0])
    height = rng.uniform(-0.025, 0.025, 2)
    orients = []
    for h in range(2):
        lean = SIDE[h] * rng.uniform(-0.1, 0.45)
        orients.append(_jitter(rng, 5) @ hand_orientation(h, np.array([-lean, 0.0, 1.0]), palm))
    apart = np.stack([SIDE * rng.uniform(0.07, 0.09), depth, height], axis=1)
    beyond = np.stack([-SIDE * rng.uniform(0.015, 0.05), depth, height], axis=1)
    first = _key(rng, apart, orients, (0.05, 0.18), 2, 0.14)
    second = _key(rng, beyond, orients, (0.05, 0.22), 2, 0.18)
    held = replace(second, duration=0.10 * rng.uniform(0.85, 1.15))
    return [first, second, held]


# ---- the motion --------------------------------------------------------------------------------------------------


def two_hand_motion(frames: int, fps: float, seed: int) -> TwoHandMotion:
    """A motion of two procedural hands that approach, touch, cross and part, once per three seconds or so.

    Args:
        frames: length; 60 frames at 30 fps hold one whole cycle.
        fps: frames per second.
        seed: of everything random: shape, keyposes, durations, tremor.

    Returns:
        Parameters for `handpipe.hand.procedural` in smplx's convention. Each cycle is the first of twelve draws
        whose hands' joints stay CLEAR_M apart once they have let go of each other, or else the clearest of them.
    """
    rng = np.random.default_rng(seed)
    common = np.clip(rng.normal(0, 0.7, NUM_BETAS), -1.8, 1.8)
    betas = common + rng.normal(0, 0.08, (len(HANDS), NUM_BETAS))  # a person's hands are nearly alike
    hands = _Hands.of_betas(betas)
    cycles = max(1, round(frames / fps / CYCLE_S))
    keys = [_apart(rng, rng.uniform(-0.03, 0.03, 2), 0, 0.0)]
    for _ in range(cycles):
        keys += _clear_cycle(rng, hands, keys[-1])
    t = np.arange(frames) / max(frames - 1, 1)
    R_wrist, pose, knuckle, phase = _play(keys, t, _tremor(rng, cycles))
    transl = np.stack([hands.transl(h, R_wrist[:, h], knuckle[:, h]) for h in range(2)], axis=1)
    turn = np.stack([_continuous(Rotation.from_matrix(R_wrist[:, h]).as_rotvec()) for h in range(2)], axis=1)
    return TwoHandMotion(betas, turn, pose, transl, phase)


def _clear_cycle(rng: np.random.Generator, hands: _Hands, start: _Key) -> list[_Key]:
    """One cycle whose hands do not run into each other: the first of a few draws that keeps clear, or the clearest."""
    drawn: list[tuple[float, list[_Key]]] = []
    for attempt in range(12):  # each new draw crosses with a little more room
        crossing = _cross(rng, 0.003 * attempt)
        cycle = [*_touch(rng, hands), *crossing, _apart(rng, crossing[-1].knuckle_m[:, 1], 3, 0.22)]
        R_wrist, pose, knuckle, phase = _play([start, *cycle], np.linspace(0, 1, 90), _STILL)
        distance = _least_distance(hands.joints(R_wrist, pose, knuckle))
        touching = np.flatnonzero(phase == PHASES.index("touch"))
        contact = distance[touching[-1]]
        leaving = slice(touching[-1] + 8, None)
        margin = min(distance[leaving].min() - CLEAR_M - 0.004, distance.min() - contact + 0.001)
        drawn.append((margin, cycle))
        if margin >= 0:
            break
    return max(drawn, key=lambda draw: draw[0])[1]


@dataclass(frozen=True)
class _Tremor:
    """Slow sums of sines by which the curls swell and shrink."""

    amplitude: ndarray
    """(wave, hand, finger)"""
    cycles: ndarray
    """(wave,) over the whole motion."""
    phase: ndarray
    """(wave, hand, finger)"""


_STILL = _Tremor(np.zeros((1, 2, 5)), np.zeros(1), np.zeros((1, 2, 5)))


def _tremor(rng: np.random.Generator, cycles: int) -> _Tremor:
    rate = cycles * rng.uniform(1.0, 4.0, 4)
    return _Tremor(rng.uniform(0, 0.07, (4, 2, 5)), rate, rng.uniform(0, 2 * np.pi, (4, 2, 5)))


def _play(keys: list[_Key], t: ndarray, tremor: _Tremor) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """R_world_hand (frame, hand, 3, 3), hand pose (frame, hand, 45), knuckles (frame, hand, 3) and phase (frame,).

    `t` runs from 0 to 1 over all keys.
    """
    ends = np.cumsum([key.duration for key in keys[1:]])
    ends = ends / ends[-1]
    segment = np.clip(np.searchsorted(ends, t, side="right"), 0, len(ends) - 1)
    begin = np.concatenate([[0.0], ends[:-1]])[segment]
    u = np.clip((t - begin) / (ends[segment] - begin), 0, 1)
    s = u**3 * (10 - 15 * u + 6 * u * u)  # minimum jerk: velocity and acceleration are zero at both ends

    def mix(values: ndarray) -> ndarray:
        a, b = values[segment], values[segment + 1]
        return a + s.reshape(-1, *[1] * (a.ndim - 1)) * (b - a)

    knuckle = mix(np.stack([key.knuckle_m for key in keys]))
    wave = np.sin(2 * np.pi * tremor.cycles[:, None, None] * t[:, None, None, None] + tremor.phase)
    left = mix(np.array([key.tremor for key in keys]))
    curl = mix(np.stack([key.curl for key in keys])) * (1 + left[:, None, None] * (tremor.amplitude * wave).sum(axis=1))
    spread = mix(np.stack([key.spread for key in keys]))
    pose = np.stack([pose_of_curl(side, curl[:, h], spread[:, h]) for h, side in enumerate(("left", "right"))], axis=1)
    R = np.stack([key.R_world_hand for key in keys])
    start, end = R[segment], R[segment + 1]
    way = Rotation.from_matrix((np.swapaxes(start, -1, -2) @ end).reshape(-1, 3, 3)).as_rotvec()
    turned = Rotation.from_rotvec(np.repeat(s, 2)[:, None] * way).as_matrix().reshape(-1, 2, 3, 3)
    return start @ turned, pose, knuckle, np.array([key.phase for key in keys[1:]])[segment]


def _continuous(rotvec: ndarray) -> ndarray:
    """The same rotations (frame, 3), each written with the angle (beyond pi if need be) nearest to the frame before."""
    out = rotvec.copy()
    for i in range(1, len(out)):
        angle = np.linalg.norm(out[i])
        if angle > 0:
            turns = out[i] / angle * (angle + 2 * np.pi * np.array([[-1], [0], [1]]))
            out[i] = turns[np.linalg.norm(turns - out[i - 1], axis=1).argmin()]
    return out
