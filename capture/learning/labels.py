"""Labels without a hand on the mouse: the fitted hands of a session, projected into every view, where they are sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.hands import BONES, median_of_known

MAX_RESIDUAL_M = 0.015
"""Largest distance of a fitted hand from its keypoints, RMS, metres."""
MAX_SIGMA_M = 0.01
"""Largest standard error of a hand's keypoints, median over the joints, metres."""
MIN_OTHERS = 3
"""Views that took part in a hand where the labelled view itself did not."""
MIN_INSIDE = 16
"""Joints that lie in the image."""
MAX_HIDDEN = 0.5
"""Largest share of a hand's joints that the other hand covers."""
BONE_RADIUS_M = 0.01
"""Half the thickness of a finger."""


@dataclass(frozen=True)
class FittedHands:
    """What a session's views agree on."""

    joints_m: ndarray
    """(frame, hand, 21, 3) of the fitted model."""
    valid: ndarray
    """(frame, hand) bool"""
    residual_m: ndarray
    """(frame, hand)"""
    sigma_m: ndarray
    """(frame, hand, 21) standard errors of the keypoints."""
    taken: ndarray
    """(view, frame, hand) bool, whether a detection in the view was used."""


@dataclass(frozen=True)
class Labels:
    """Joints in images, and which of them to learn from."""

    points_px: ndarray
    """(view, frame, hand, 21, 2)"""
    trusted: ndarray
    """(view, frame, hand) bool"""


def trusted_labels(cameras: Cameras, hands: FittedHands, lag_frames: ndarray | None = None) -> Labels:
    """Project the fitted hands into every view, and decide which projections are labels.

    A label is trusted where the frame is valid, the fit is close to sure keypoints, the hand is in the image and not
    behind the other one, and either this view's own detection agreed or enough other views did: the hands that the
    detector missed are among the labels.

    Args:
        cameras: the rig; a view without calibration has no labels.
        hands: of the session.
        lag_frames: (view, frame) from a view's image to the instant of the frame, in frames; None: no lag.
    """
    at_image = hands.joints_m[None] if lag_frames is None else moved(hands.joints_m, lag_frames)
    at_image = np.broadcast_to(at_image, (len(cameras), *hands.joints_m.shape))
    points = projected(cameras, at_image)
    size = cameras.size_px[:, None, None, None]
    with np.errstate(invalid="ignore"):
        inside = ((points >= -0.5) & (points <= size - 0.5)).all(-1).sum(-1) >= MIN_INSIDE
        known = np.isfinite(points).all((-1, -2))
        sure = hands.valid & (hands.residual_m <= MAX_RESIDUAL_M)
        sure &= median_of_known(hands.sigma_m) <= MAX_SIGMA_M
    views = hands.taken.sum(0)
    agreed = hands.taken | (views >= MIN_OTHERS)
    trusted = known & inside & sure & agreed & cameras.calibrated[:, None, None]
    hidden = np.ones(trusted.shape)
    for v in np.flatnonzero(trusted.any((1, 2))).tolist():
        hidden[v] = covered_share(points[v], depth_m(cameras, v, at_image[v]), float(cameras.focal_px[v]))
    return Labels(points, trusted & (hidden <= MAX_HIDDEN))


def projected(cameras: Cameras, at_image_m: ndarray) -> ndarray:
    """(view, ..., 2) pixels of points (view, ..., 3) of which each view has its own."""
    return np.stack([cameras.subset([v]).project(at_image_m[v])[0] for v in range(len(cameras))])


def moved(joints_m: ndarray, lag_frames: ndarray) -> ndarray:
    """(view, frame, hand, 21, 3) where the hands are when each view's image is taken.

    Args:
        joints_m: (frame, hand, 21, 3) at the instants.
        lag_frames: (view, frame); NaN counts as none. An image with a positive lag was taken before the instant.
    """
    lag = np.nan_to_num(lag_frames)[:, :, None, None, None]
    before = np.concatenate([joints_m[:1], joints_m[:-1]])
    after = np.concatenate([joints_m[1:], joints_m[-1:]])
    step = np.where(lag > 0, before, after) - joints_m
    return joints_m + np.abs(lag) * np.nan_to_num(step)


def depth_m(cameras: Cameras, view: int, points_m: ndarray) -> ndarray:
    """(...) distance of points (..., 3) along a camera's axis, metres."""
    T = cameras.T_cam_world[view]
    return points_m @ T[2, :3] + T[2, 3]


def covered_share(hands_px: ndarray, hands_depth_m: ndarray, focal_px: float) -> ndarray:
    """(frame, hand) share of each hand's joints behind a bone of the other hand.

    Args:
        hands_px: (frame, hand, 21, 2)
        hands_depth_m: (frame, hand, 21) along the camera's axis.
        focal_px: of the camera.
    """
    share = np.zeros(hands_px.shape[:2])
    for hand in range(hands_px.shape[1]):
        joints, depth = hands_px[:, hand, :, None], hands_depth_m[:, hand, :, None]
        a, b = (hands_px[:, 1 - hand, BONES[:, end]][:, None] for end in (0, 1))
        depth_a, depth_b = (hands_depth_m[:, 1 - hand, BONES[:, end]][:, None] for end in (0, 1))
        along = ((joints - a) * (b - a)).sum(-1) / np.maximum(((b - a) ** 2).sum(-1), 1e-9)
        along = np.clip(along, 0.0, 1.0)
        away = np.linalg.norm(joints - (a + along[..., None] * (b - a)), axis=-1)
        front = depth_a + along * (depth_b - depth_a)
        with np.errstate(invalid="ignore", divide="ignore"):
            covered = (away < BONE_RADIUS_M * focal_px / front) & (front < depth - BONE_RADIUS_M)
        share[:, hand] = covered.any(-1).mean(-1)
    return share


def held_out_frames(frames: int, share: float) -> ndarray:
    """(frame,) bool, frames that judge and are not learnt from: the middle of each part of equal length.

    Blocks, because neighbouring frames are nearly the same image. There is one for every 30 frames, five at most.
    """
    blocks = int(np.clip(frames // 30, 1, 5))
    position = (np.arange(frames) * blocks / frames) % 1.0
    return np.abs(position - 0.5) <= share / 2


def held_out_views(views: int, share: float) -> ndarray:
    """(view,) bool, views that judge and are not learnt from, evenly spread; none where fewer than six are left."""
    count = min(round(views * share), max(views - 6, 0))
    chosen = np.zeros(views, bool)
    if count:
        chosen[((np.arange(count) + 0.5) * views / count).astype(int)] = True
    return chosen
