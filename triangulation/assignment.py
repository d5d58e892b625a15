"""Assignment of detections to hands: grouping, tracking, and recovery of missed hands.

Where a hand is missing between frames in which it is known, its position is predicted, and two views with detections
near the prediction are sufficient. Without a prediction, two views are not enough to start a hand.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.hands import HANDS, NUM_JOINTS, RIGHT
from ..hand.anatomy import chirality_log_odds
from .candidates import (
    MEMBER_SHARE,
    FrameCandidates,
    assign_candidates,
    candidate_fit,
    detection_noise_px,
    is_hand,
    joint_weight,
    normalised,
    triangulate_members,
)
from .grouping import SAME_HAND_M, group_hands
from .linking import hand_distance
from .robust import RobustPoints, triangulate_robust
from .shared_error import without_shared_error
from .tracking import track_hands

MAX_INTERPOLATION_S = 0.7
"""Longest time, in seconds, over which a hand's position is predicted."""

_SEARCH_M = 0.06  # Tolerance around a predicted joint.
_REACH_M = 0.08  # Greatest mean distance from the prediction.
_CONTRADICTION = 1.5  # Log-odds of a shape that is the other hand's.
_SECOND_LOOK_FIT = 0.5  # Stricter than elsewhere: in a crop around an expected hand, detectors tend to find one.


def assign(
    cameras: Cameras, points_px: ndarray, score: ndarray, right: ndarray, fps: float, found_by: ndarray | None = None
) -> ndarray:
    """Assign the candidates of each view to the left and the right hand.

    The three steps are public for processing in chunks of frames: `group_hands` and `recover_hands` treat frames
    independently; `track_hands` needs the whole session, but no images or detections.

    Args:
        cameras: the rig; uncalibrated views get no assignment.
        points_px: (view, frame, candidate, joint, 2) detections, NaN where none.
        score: (view, frame, candidate) confidence.
        right: (view, frame, candidate) the detector's probability of a right hand.
        fps: frames per second.
        found_by: (view, frame, candidate) index of the detector, where several vote.

    Returns:
        (view, frame, hand) candidate, -1 none.
    """
    groups = group_hands(cameras, points_px, score, right, found_by)
    tracks = track_hands(groups, fps)
    member = labelled_members(groups.member, tracks.slot)
    predicted = predict_hands(tracks.points_m, fps)
    member = recover_hands(cameras, points_px, score, member, tracks.points_m, predicted)
    return member.transpose(2, 0, 1)


def labelled_members(member: ndarray, slot: ndarray) -> ndarray:
    """(frame, hand, view) candidates from those of the slots (frame, slot, view)."""
    chosen = np.take_along_axis(member, np.maximum(slot, 0)[..., None], axis=1)
    return np.where(slot[..., None] >= 0, chosen, -1)


def predict_hands(points_m: ndarray, fps: float) -> ndarray:
    """Predict the positions of missing hands: interpolated between neighbours in time, or equal to the only one.

    Args:
        points_m: (frame, hand, joint, 3), NaN where missing.
        fps: frames per second.

    Returns:
        (frame, hand, joint, 3), NaN where the hand is known or nothing near in time is.
    """
    frames, hands = points_m.shape[:2]
    predicted = np.full_like(points_m, np.nan)
    reach = max(2, round(MAX_INTERPOLATION_S * fps))
    for hand in range(hands):
        known = np.flatnonzero(np.isfinite(points_m[:, hand]).any((1, 2)))
        if not len(known):
            continue
        for f in np.setdiff1d(np.arange(frames), known):
            after = int(np.searchsorted(known, f))
            sides = [int(known[i]) for i in (after - 1, after) if 0 <= i < len(known) and abs(known[i] - f) <= reach]
            if len(sides) == 2:
                t = (f - sides[0]) / (sides[1] - sides[0])
                predicted[f, hand] = (1 - t) * points_m[sides[0], hand] + t * points_m[sides[1], hand]
            elif len(sides) == 1 and abs(sides[0] - f) <= max(1, reach // 3):
                predicted[f, hand] = points_m[sides[0], hand]
    return predicted


def recover_hands(
    cameras: Cameras,
    points_px: ndarray,
    score: ndarray,
    member: ndarray,
    points_m: ndarray,
    predicted_m: ndarray,
) -> ndarray:
    """Search for missed hands near their predicted positions; frames are independent of one another.

    Args:
        cameras: the rig.
        points_px: (view, frame, candidate, joint, 2) detections.
        score: (view, frame, candidate).
        member: (frame, hand, view) candidates of the hands that were found.
        points_m: (frame, hand, joint, 3) the hands that were found, NaN where missing.
        predicted_m: (frame, hand, joint, 3) from `predict_hands`.

    Returns:
        (frame, hand, view) members, with the recovered hands.
    """
    member = member.copy()
    frames = np.flatnonzero(np.isfinite(predicted_m).any((1, 2, 3)))
    xy, weight = normalised(cameras, points_px[:, frames], score[:, frames])
    for i, f in enumerate(frames):
        frame = FrameCandidates.of(cameras, xy[:, i], weight[:, i])
        member[f] = _recover_frame(frame, member[f], points_m[f], predicted_m[f])
    return member


def _recover_frame(frame: FrameCandidates, member: ndarray, points: ndarray, predicted: ndarray) -> ndarray:
    fit = candidate_fit(frame, predicted, _SEARCH_M)
    for hand, views in enumerate(member):
        seen = np.flatnonzero(views >= 0)
        fit[1 - hand, seen, views[seen]] = 0.0
    chosen = assign_candidates(fit)
    result = member.copy()
    for hand in range(len(HANDS)):
        if not np.isfinite(predicted[hand]).any() or (chosen[hand] >= 0).sum() < 2:
            continue
        found = triangulate_members(frame, chosen[hand])
        # The second pass uses the hand itself instead of its prediction, with the ordinary tolerance.
        both = np.full((len(HANDS), NUM_JOINTS, 3), np.nan)
        both[hand] = found
        confirmed = candidate_fit(frame, both)
        others = result[1 - hand]
        taken = np.flatnonzero(others >= 0)
        confirmed[hand, taken, others[taken]] = 0.0
        again = assign_candidates(confirmed)[hand]
        if is_hand(frame, found, again, MEMBER_SHARE) and _belongs(found, hand, points, predicted):
            result[hand] = again
    return result


def _belongs(found: ndarray, hand: int, points: ndarray, predicted: ndarray) -> bool:
    """Whether (joint, 3) points are this hand rather than the other, by place and by shape."""
    other = points[1 - hand] if np.isfinite(points[1 - hand]).any() else predicted[1 - hand]
    off, rival = hand_distance(found, predicted[hand]), hand_distance(found, other)
    sign = 1.0 if hand == RIGHT else -1.0
    is_other = sign * float(chirality_log_odds(found)) < -_CONTRADICTION
    return off < min(_REACH_M, rival) and rival >= SAME_HAND_M and not is_other


def add_second_look(
    cameras: Cameras, points_px: ndarray, score: ndarray, member: ndarray, points_m: ndarray
) -> ndarray:
    """Add the detections of the second look to the known hands if they fit better than the previous ones.

    Frames are independent of one another.

    Args:
        cameras: the rig.
        points_px: (view, frame, candidate, joint, 2); the last two candidates are those of the second look for the
            left and the right hand.
        score: (view, frame, candidate).
        member: (frame, hand, view) candidates of the hands so far.
        points_m: (frame, hand, joint, 3) the hands that were looked for, NaN where missing.

    Returns:
        (frame, hand, view) members. Detections that fit the other hand better, or no hand, are ignored.
    """
    member = member.copy()
    first = points_px.shape[2] - len(HANDS)
    looked = np.isfinite(points_px[:, :, first:, :, 0]).any((0, 2, 3))
    frames = np.flatnonzero(looked & np.isfinite(points_m).any((1, 2, 3)))
    xy, weight = normalised(cameras, points_px[:, frames], score[:, frames])
    for i, f in enumerate(frames):
        fit = candidate_fit(FrameCandidates.of(cameras, xy[:, i], weight[:, i]), points_m[f])
        for hand in range(len(HANDS)):
            again, rival = fit[hand, :, first + hand], fit[1 - hand, :, first + hand]
            so_far = np.take_along_axis(fit[hand], np.maximum(member[f, hand], 0)[:, None], axis=1)[:, 0]
            so_far = np.where(member[f, hand] >= 0, so_far, 0.0)
            better = (again >= _SECOND_LOOK_FIT) & (again > rival) & (again > so_far)
            member[f, hand] = np.where(better, first + hand, member[f, hand])
    return member


def triangulate_assigned(
    cameras: Cameras, points_px: ndarray, score: ndarray, assignment: ndarray, sigma_px: ndarray | None = None
) -> RobustPoints:
    """Robust triangulation of every joint of every assigned hand; frames are independent of one another.

    Args:
        cameras: the rig.
        points_px: (view, frame, candidate, joint, 2) detections.
        score: (view, frame, candidate).
        assignment: (view, frame, hand) from `assign`.
        sigma_px: (view, frame, candidate, joint) standard errors by the detector; NaN where it does not say them, and
            the score weighs.

    Returns:
        points (frame, hand, joint, 3), sigma (frame, hand, joint), inlier (frame, hand, joint, view).
    """
    xy, weight = normalised(cameras, points_px, score)
    candidate = np.maximum(assignment, 0)
    xy = np.take_along_axis(xy, candidate[..., None, None], axis=2)
    xy = np.where((assignment >= 0)[..., None, None], xy, np.nan)
    weight = np.where(assignment >= 0, np.take_along_axis(weight, candidate, axis=2), 0.0)
    sigma = None if sigma_px is None else np.take_along_axis(sigma_px.astype(float), candidate[..., None], axis=2)
    return _triangulate(cameras, xy, weight[..., None], sigma)


def agreed_joints_m(cameras: Cameras, points_px: ndarray, sigma_px: ndarray | None = None) -> ndarray:
    """(frame, hand, joint, 3) what detections (view, frame, hand, joint, 2) of known hands agree on; NaN where nothing.

    `sigma_px` (view, frame, hand, joint) is how uncertain they are, NaN where that is not known.
    """
    xy = cameras.undistort(points_px)
    known = cameras.calibrated[:, None, None, None] & np.isfinite(xy).all(-1)
    return _triangulate(cameras, np.where(known[..., None], xy, np.nan), known.astype(float), sigma_px).points_m


def _triangulate(cameras: Cameras, xy: ndarray, weight: ndarray, sigma_px: ndarray | None) -> RobustPoints:
    """Of hands (view, frame, hand, joint, 2); the weight is broadcast. Where the uncertainty is known, it weighs."""
    noise_px = detection_noise_px(xy, cameras.focal_px)
    weight = np.broadcast_to(weight, xy.shape[:-1])
    told = np.zeros(weight.shape, bool) if sigma_px is None else np.isfinite(sigma_px) & (weight > 0)
    if sigma_px is not None:
        weight = np.where(told, joint_weight(sigma_px), weight)
    P, focal_px, seen = cameras.P_cam_world, cameras.focal_px, np.moveaxis(xy, 0, -2)
    robust = triangulate_robust(P, seen, np.moveaxis(weight, 0, -1), focal_px, noise_px)
    if sigma_px is None or not told.any():
        return robust
    # A view that does not say it has the usual noise; a joint of which no view says it stays as it is.
    sigma = np.where(np.any(told, axis=0), np.where(told, sigma_px, noise_px), np.nan)
    points, added = without_shared_error(P, seen, np.moveaxis(sigma, 0, -1), focal_px, robust.points_m)
    return replace(robust, points_m=points, sigma_m=np.sqrt(robust.sigma_m**2 + added))
