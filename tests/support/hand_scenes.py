"""Hands one can draw in the head, what a detector makes of them, and what grouping should."""

from __future__ import annotations

import numpy as np

from handpipe.core.cameras import Cameras
from handpipe.core.hands import LEFT, RIGHT
from handpipe.hand.anatomy import BONE_LENGTH_M
from handpipe.triangulation.grouping import HandGroups

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


def groups_of(motion: np.ndarray, votes: np.ndarray | float = 0.0, seed: int = 0) -> HandGroups:
    """Perfect groups in random slot order, with (frame, hand) votes."""
    frames = len(motion)
    order = np.random.default_rng(seed).permuted(np.tile([0, 1], (frames, 1)), axis=1)
    points = np.take_along_axis(motion, order[..., None, None], 1)
    votes = np.take_along_axis(np.broadcast_to(votes, (frames, 2)), order, 1)
    return HandGroups(np.zeros((frames, 2, 4), int), points, votes)


def waving(frames: int) -> dict[str, np.ndarray]:
    """MANO parameters that change smoothly: two hands 12 cm apart."""
    t, joint = np.linspace(0, 1, frames)[:, None, None], np.arange(45)
    side = np.array([-1.0, 1.0])[:, None]
    return {
        "betas": 0.1 * np.cos(np.arange(20.0)).reshape(2, 10),
        "global_orient": np.broadcast_to([0.3, 0.2, 0.1] * side * np.cos(t), (frames, 2, 3)),
        "hand_pose": 0.1 * np.sin(2 * t + joint) * np.ones((2, 1)),
        "transl": np.concatenate([0.06 * side + 0.02 * t, 0.03 * t + 0 * side, 0.3 + 0.02 * t * side], axis=-1),
    }
