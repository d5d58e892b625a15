"""The 2D candidates of one frame, their fit to 3D hands, and the assignment of candidates to hands."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.hands import NUM_JOINTS
from ..hand.anatomy import plausible_hand
from .robust import NOISE_PX, triangulate_robust

TOLERANCE_M = 0.018
"""Largest distance, in metres at the joint's depth, between a joint and the ray of its detection."""
MEMBER_SHARE = 0.5
"""Share of a candidate's joints that must fit the hand. A candidate that mixes two hands keeps the half that fits."""
MIN_JOINTS = 11
"""Candidates with fewer joints are ignored."""
TWO_VIEWS_FIT = 0.7
"""Fit that both views of a two-view hand must have: half of the joints of any two hands nearly intersect by chance."""

NOISE_SHARE = 0.025
"""Standard deviation per axis of a detected joint, relative to the diagonal of its hand's bounding box. Detectors see a
hand in a crop of fixed size, so their error grows with the hand; measured on real footage (MediaPipe, four webcams)."""
JOINT_NOISE = np.array([2.0, 2.2, 1.9, 1.5, 1.4, *[1.2, 1.0, 1.0, 1.0] * 4])
"""(21,) noise of each joint relative to `NOISE_SHARE`, measured in the same place: the wrist and the thumb's base have
no crease or tip to go by."""


@dataclass(frozen=True)
class FrameCandidates:
    """The candidates of one frame, in normalised coordinates; views without a calibration have none."""

    P: ndarray
    """(view, 3, 4)"""
    focal: ndarray
    """(view,) pixels."""
    xy: ndarray
    """(view, candidate, joint, 2), NaN where none."""
    weight: ndarray
    """(view, candidate) score; 0 where there is no candidate."""

    @classmethod
    def of(cls, cameras: Cameras, xy: ndarray, weight: ndarray) -> FrameCandidates:
        """From one frame of `normalised`."""
        return cls(cameras.P_cam_world, cameras.focal_px, xy, weight)


def normalised(cameras: Cameras, points_px: ndarray, score: ndarray) -> tuple[ndarray, ndarray]:
    """Undistorted candidates (view, frame, candidate, joint, 2) and their weights (view, frame, candidate).

    A candidate without a score counts half; one with score 0, or with less than half of its joints, is none.
    """
    with np.errstate(invalid="ignore"):
        xy = cameras.undistort(points_px.astype(float))
        known = cameras.calibrated[:, None, None, None] & np.isfinite(xy).all(-1)
        usable = (known.sum(-1) >= MIN_JOINTS) & ~(score <= 0)
    xy = np.where((known & usable[..., None])[..., None], xy, np.nan)
    return xy, np.where(usable, np.clip(np.nan_to_num(score, nan=0.5), 0.05, 1.0), 0.0)


def joint_weight(sigma_px: ndarray) -> ndarray:
    """(...) weight of joints by what their detector says of its own error; 1 where it says nothing.

    The inverse of the squared error, but none is more than that of a good detection.
    """
    with np.errstate(invalid="ignore"):
        return np.nan_to_num((NOISE_PX / np.maximum(sigma_px, NOISE_PX)) ** 2, nan=1.0)


def candidate_fit(frame: FrameCandidates, hands_m: ndarray, tolerance_m: float | ndarray = TOLERANCE_M) -> ndarray:
    """Rate how well each candidate fits each hand.

    Args:
        frame: the candidates.
        hands_m: (hand, joint, 3); NaN joints count as misses unless the whole hand is NaN.
        tolerance_m: distance at the joint's depth at which the fit falls to 0; a number, or one per hand.

    Returns:
        (hand, view, candidate) mean over the candidate's joints of 1 - (distance / tolerance)², cut at 0; 0 without a
        candidate.
    """
    P = np.nan_to_num(frame.P)
    cam = np.einsum("vab,hjb->hvja", P[:, :, :3], hands_m) + P[:, None, :, 3]
    depth = np.where(cam[..., 2:] > 0, cam[..., 2:], np.nan)
    expected = cam[..., :2] / depth
    off = (frame.xy[None] - expected[:, :, None]) * depth[:, :, None]
    tolerance = np.asarray(tolerance_m, float).reshape(-1, 1, 1, 1)
    miss2 = (off * off).sum(-1) / tolerance**2
    return np.where(miss2 < 1, 1 - miss2, 0.0).sum(-1) / known_joints(frame.xy)


def known_joints(xy: ndarray) -> ndarray:
    """(...) how many joints (..., joint, 2) are known; at least MIN_JOINTS, to divide by."""
    return np.maximum(np.isfinite(xy[..., 0]).sum(-1), MIN_JOINTS)


def best_candidates(fit: ndarray) -> ndarray:
    """(view,) the best candidate of each view for one hand, -1 where none fits."""
    best = fit.argmax(-1)
    return np.where(np.take_along_axis(fit, best[:, None], 1)[:, 0] >= _needed(), best, -1)


def _needed() -> float:
    """The rule for membership: half of the joints fit, within the usual error of a detector."""
    return 0.6 * MEMBER_SHARE


def assign_candidates(fit: ndarray) -> ndarray:
    """Assign the candidates of each view to the hands, at most one each, by the best total fit.

    Args:
        fit: (hand, view, candidate).

    Returns:
        (hand, view) candidate or -1.
    """
    hands, views, candidates = fit.shape
    value = np.where(fit >= _needed(), fit, 0.0)
    value = np.concatenate([value, np.zeros((hands, views, 1))], axis=-1)  # The last column is "none".
    choices = np.array([c for c in product(range(candidates + 1), repeat=hands) if _distinct(c, candidates)])
    total = value[np.arange(hands)[:, None], :, choices.T].sum(0)  # (choice, view)
    chosen = choices[total.argmax(0)].T
    taken = np.take_along_axis(value, chosen[..., None], -1)[..., 0]
    return np.where((chosen < candidates) & (taken > 0), chosen, -1)


def _distinct(choice: tuple[int, ...], none: int) -> bool:
    taken = [c for c in choice if c != none]
    return len(set(taken)) == len(taken)


def is_hand(frame: FrameCandidates, hand_m: ndarray, member: ndarray, two_views_fit: float = TWO_VIEWS_FIT) -> bool:
    """Whether (joint, 3) points have the size and shape of a hand and enough (view,) members: two that agree closely,
    or three."""
    views = np.flatnonzero(member >= 0)
    if len(views) < 2 or not plausible_hand(hand_m):
        return False
    fit = candidate_fit(frame, hand_m[None])[0, views, member[views]]
    return len(views) > 2 or bool((fit >= two_views_fit).all())


def triangulate_members(frame: FrameCandidates, member: ndarray) -> ndarray:
    """(joint, 3) robust triangulation of one hand from its (view,) members."""
    row = np.arange(len(member))
    xy = frame.xy[row, np.maximum(member, 0)]
    noise_px = detection_noise_px(np.where(member[:, None, None] >= 0, xy, np.nan), frame.focal)
    xy = xy.transpose(1, 0, 2)
    weight = np.where(member >= 0, frame.weight[row, np.maximum(member, 0)], 0.0)
    weight = np.broadcast_to(weight, (NUM_JOINTS, len(member)))
    return triangulate_robust(frame.P, xy, weight, frame.focal, noise_px).points_m


def detection_noise_px(xy: ndarray, focal_px: ndarray) -> ndarray:
    """Expected noise of the joints of one hand, as in the view where the hand is of middle size.

    Args:
        xy: (view, ..., joint, 2) normalised detections of the hand, NaN in views without.
        focal_px: (view,).

    Returns:
        (..., joint) standard deviation per axis, pixels; at least 1.
    """
    extent = np.fmax.reduce(xy, axis=-2) - np.fmin.reduce(xy, axis=-2)  # fmax and fmin pass over NaN.
    diagonal = np.hypot(extent[..., 0], extent[..., 1]) * focal_px.reshape(-1, *[1] * (xy.ndim - 3))
    # A sort puts NaN last; nanmedian would average the middle two, and warn where there is no view.
    ordered = np.sort(diagonal, axis=0)
    middle = np.maximum(np.isfinite(diagonal).sum(0) - 1, 0) // 2
    size = np.take_along_axis(ordered, middle[None], axis=0)[0]
    return np.maximum(NOISE_SHARE * np.nan_to_num(size)[..., None] * JOINT_NOISE, 1.0)
