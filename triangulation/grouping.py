"""Grouping of the 2D candidates of all views into a few 3D hands, frame by frame.

Only geometry is used. The detector's left/right labels are collected, but not used here, because they are often wrong
when hands interact. Each pair of candidates from two views is rated by the epipolar distance of its 21 joints. The
best pairs, which also share partners, are triangulated, and every view votes for these hypotheses. The winner is
refined from the candidates that fit it, and the search is repeated without them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.hands import NUM_JOINTS, found_again
from ..hand.anatomy import plausible_hand
from .candidates import (
    MEMBER_SHARE,
    TOLERANCE_M,
    FrameCandidates,
    assign_candidates,
    best_candidates,
    candidate_fit,
    is_hand,
    known_joints,
    normalised,
    triangulate_members,
)
from .dlt import triangulate_dlt

SLOTS = 3
"""Hands searched for in each frame: two, and one of another person, which could otherwise replace one of them."""
SAME_HAND_M = 0.02
"""Two hands whose corresponding joints are closer than this on average, in metres, are duplicates."""

FAINT_SHARE = 0.25
"""Minimum number of views of a hand relative to another hand: some of many wrong detections agree by chance."""

_SEEDS = 24
_TRIES = 4  # Hypotheses refined until one is a hand.
_USES = 3  # Pairs per candidate among the seeds, so that one hand does not take them all.
_FEW_VIEWS, _WIDE = 4, 2.0  # A hand with fewer views takes candidates within so many tolerances.
_PAIR_BLOCK = 8192  # Candidate pairs rated at a time, to bound memory.
_MIN_ANGLE = np.deg2rad(8.0)
_VOTE_LIMIT = 2.0  # Log-odds at which one detector vote saturates: detectors are overconfident.


@dataclass(frozen=True)
class HandGroups:
    """Up to SLOTS hands per frame, in no particular order and with no identity over time."""

    member: ndarray
    """(frame, slot, view) int, which candidate of the view shows this hand; -1 none."""
    points_m: ndarray
    """(frame, slot, joint, 3) metres; NaN where there is no hand."""
    votes: ndarray
    """(frame, slot) sum of the members' log-odds for a right hand, each clipped."""


def group_hands(
    cameras: Cameras, points_px: ndarray, score: ndarray, right: ndarray, found_by: ndarray | None = None
) -> HandGroups:
    """Group the candidates of every frame; frames are independent of one another.

    Args:
        cameras: the rig; uncalibrated views are ignored.
        points_px: (view, frame, candidate, joint, 2) detections, NaN where none.
        score: (view, frame, candidate) confidence.
        right: (view, frame, candidate) the detector's probability of a right hand.
        found_by: (view, frame, candidate) index of the detector, where several vote.
    """
    views, frames, _, joints, _ = points_px.shape
    assert (joints, len(cameras)) == (NUM_JOINTS, views)
    member = np.full((frames, SLOTS, views), -1, int)
    points_m = np.full((frames, SLOTS, NUM_JOINTS, 3), np.nan)
    xy, weight = normalised(cameras, points_px, score)
    rig = pair_geometry(cameras)
    by = np.zeros(weight.shape) if found_by is None else found_by
    for f in range(frames):
        frame = FrameCandidates.of(cameras, xy[:, f], weight[:, f])
        member[f], points_m[f] = _group_frame(frame, rig, by[:, f])
    return HandGroups(member, points_m, label_votes(member, right))


def label_votes(member: ndarray, right: ndarray) -> ndarray:
    """(frame, hand) sum over the members of the detector's log-odds, for (frame, hand, view) members."""
    p = np.clip(np.nan_to_num(right.astype(float), nan=0.5), 1e-3, 1 - 1e-3)
    log_odds = np.clip(np.log(p / (1 - p)), -_VOTE_LIMIT, _VOTE_LIMIT)
    chosen = np.take_along_axis(log_odds.transpose(1, 0, 2)[:, None], np.maximum(member, 0)[..., None], axis=-1)[..., 0]
    return np.where(member >= 0, chosen, 0.0).sum(-1)


def pair_geometry(cameras: Cameras) -> ndarray:
    """(view, view, 3, 3) essential matrices E: x_jᵀ E[i, j] x_i = 0; zero where a view is not calibrated."""
    T = np.where(cameras.calibrated[:, None, None], cameras.T_cam_world, np.eye(4))
    R, t = T[:, :3, :3], T[:, :3, 3]
    R_ji = np.einsum("jab,icb->ijac", R, R)
    t_ji = t[None] - np.einsum("ijab,ib->ija", R_ji, t)
    x, y, z = np.moveaxis(t_ji, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    both = cameras.calibrated[:, None] & cameras.calibrated[None, :]
    return np.where(both[..., None, None], np.einsum("ijab,ijbc->ijac", cross, R_ji), 0.0)


# ---- one frame ---------------------------------------------------------------------------------------------------


def _group_frame(frame: FrameCandidates, essential: ndarray, found_by: ndarray) -> tuple[ndarray, ndarray]:
    """(slot, view) members and (slot, joint, 3) points of one frame."""
    views = len(frame.P)
    again = found_again(frame.xy, found_by)
    member = np.full((SLOTS, views), -1, int)
    points = np.full((SLOTS, NUM_JOINTS, 3), np.nan)
    free = frame.weight > 0
    agreement, index = _agreement(frame, essential)
    for slot in range(SLOTS):
        for hypothesis in _hypotheses(frame, agreement, index, free, points[:slot]):
            chosen, found = _refine_hand(frame, hypothesis, free)
            if is_hand(frame, found, chosen) and not _is_taken(found, points[:slot]):
                break
        else:
            break
        if np.count_nonzero(chosen >= 0) < FAINT_SHARE * np.count_nonzero(member >= 0, axis=1).max():
            break
        points[slot], member[slot] = found, chosen
        # A second detection of this hand in a view must not found a hand of its own.
        free &= candidate_fit(frame, found[None])[0] < MEMBER_SHARE
        free &= (chosen < 0)[:, None] | ~again[np.arange(views), np.maximum(chosen, 0)]
    return _settle(frame, member, points)


def _refine_hand(frame: FrameCandidates, hand: ndarray, free: ndarray) -> tuple[ndarray, ndarray]:
    """Members (view,) and points (joint, 3) of a hypothesis, from all the free candidates that fit it."""
    chosen = best_candidates(np.where(free, candidate_fit(frame, hand[None])[0], 0.0))
    hand = triangulate_members(frame, chosen)
    chosen = best_candidates(np.where(free, candidate_fit(frame, hand[None])[0], 0.0))
    return chosen, triangulate_members(frame, chosen)


def _settle(frame: FrameCandidates, member: ndarray, points: ndarray) -> tuple[ndarray, ndarray]:
    """Reassign all candidates among the known hands, and triangulate again."""
    exists = np.isfinite(points).any((1, 2))
    if not exists.any():
        return member, points
    settled = _widen(frame, assign_candidates(candidate_fit(frame, points)), points)
    for slot in np.flatnonzero(exists):
        refined = triangulate_members(frame, settled[slot])
        if is_hand(frame, refined, settled[slot]):
            member[slot], points[slot] = settled[slot], refined
    return member, points


def _widen(frame: FrameCandidates, member: ndarray, points: ndarray) -> ndarray:
    """Add unassigned candidates near a hand that few views see: cameras that are not exactly synchronised see fast
    hands at different positions."""
    few = np.count_nonzero(member >= 0, axis=1) < _FEW_VIEWS
    fit = candidate_fit(frame, points, _WIDE * TOLERANCE_M)
    open_ = (few[:, None] & (member < 0))[..., None]
    candidates = np.arange(fit.shape[-1])
    taken = (member[..., None] == candidates).any(0)
    return np.where(member >= 0, member, assign_candidates(np.where(open_ & ~taken, fit, 0.0)))


def _agreement(frame: FrameCandidates, essential: ndarray) -> tuple[ndarray, ndarray]:
    """Rate every two candidates of different views by epipolar distance.

    Returns:
        (n, n) agreement in 0..1 and the (n, 2) view and candidate of each row.
    """
    index = np.argwhere(frame.weight > 0)
    view = index[:, 0]
    xy = frame.xy[index[:, 0], index[:, 1]]
    n = len(xy)
    # The hand's own spread is the yardstick: about 5 cm (root mean square) at its depth, which is not known yet.
    known = np.isfinite(xy[..., 0])[..., None]
    count = known_joints(xy)
    off = np.where(known, xy - np.where(known, xy, 0.0).sum(1, keepdims=True) / count[:, None, None], 0.0)
    spread = np.sqrt((off**2).sum((1, 2)) / count)
    gate = np.maximum(spread, 0.02) * (TOLERANCE_M / 0.05)
    homogeneous = np.concatenate([xy, np.ones((n, NUM_JOINTS, 1))], axis=-1)
    agreement = np.zeros((n, n))
    first, second = np.triu_indices(n, 1)
    keep = view[first] != view[second]
    first, second = first[keep], second[keep]
    for start in range(0, len(first), _PAIR_BLOCK):
        i, j = first[start : start + _PAIR_BLOCK], second[start : start + _PAIR_BLOCK]
        distance = _epipolar_distance(essential[view[i], view[j]], homogeneous[i], homogeneous[j], gate[i], gate[j])
        # A joint that is missing in one of them does not count: NaN is not below 1.
        rating = np.where(distance < 1, 1 - distance**2, 0.0).sum(-1) / np.minimum(count[i], count[j])
        agreement[i, j] = agreement[j, i] = np.where(rating > 0.3, rating, 0.0)
    return agreement, index


def _epipolar_distance(E: ndarray, x1: ndarray, x2: ndarray, gate1: ndarray, gate2: ndarray) -> ndarray:
    """(pair, joint) larger of the distances to each other's epipolar lines, in units of the gates (pair,)."""
    line2, line1 = x1 @ E.transpose(0, 2, 1), x2 @ E
    value = np.abs((x2 * line2).sum(-1))
    return np.maximum(
        value / (np.hypot(line2[..., 0], line2[..., 1]) + 1e-12) / gate2[:, None],
        value / (np.hypot(line1[..., 0], line1[..., 1]) + 1e-12) / gate1[:, None],
    )


def _hypotheses(frame: FrameCandidates, agreement: ndarray, index: ndarray, free: ndarray, taken: ndarray) -> ndarray:
    """(hypothesis, joint, 3) two-view hands of human size, those that most views vote for first; at most _TRIES."""
    pairs = _seed_pairs(frame, agreement * np.outer(free[tuple(index.T)], free[tuple(index.T)]), index)
    if not len(pairs):
        return np.empty((0, NUM_JOINTS, 3))
    hands = np.stack([_two_view_hand(frame, index[i], index[j]) for i, j in pairs])
    hands = hands[plausible_hand(hands) & ~np.array([_is_taken(hand, taken) for hand in hands])]
    fit = np.where(free, candidate_fit(frame, hands), 0.0)
    support = np.where(fit >= MEMBER_SHARE, fit, 0.0).max(-1).sum(-1)
    return hands[np.argsort(-support, kind="stable")[:_TRIES]]


def _seed_pairs(frame: FrameCandidates, agreement: ndarray, index: ndarray) -> list[tuple[int, int]]:
    """Pairs of rows to try: they agree, share partners, and come from views with different directions."""
    rank = agreement * (1 + agreement @ agreement)
    axis = np.nan_to_num(frame.P[index[:, 0], 2, :3])
    rank *= np.abs(axis @ axis.T) < np.cos(_MIN_ANGLE)
    first, second = np.triu_indices(len(index), 1)
    value = rank[first, second]
    order = np.argsort(-value, kind="stable")
    used = np.zeros(len(index), int)
    seeds: list[tuple[int, int]] = []
    for k in order[: int((value > 0).sum())]:
        i, j = int(first[k]), int(second[k])
        if used[i] < _USES and used[j] < _USES:
            used[[i, j]] += 1
            seeds.append((i, j))
            if len(seeds) == _SEEDS:
                break
    return seeds


def _two_view_hand(frame: FrameCandidates, one: ndarray, other: ndarray) -> ndarray:
    views = [one[0], other[0]]
    xy = np.stack([frame.xy[one[0], one[1]], frame.xy[other[0], other[1]]], axis=1)
    return triangulate_dlt(frame.P[views], xy, np.ones((NUM_JOINTS, 2)))


def _is_taken(hand: ndarray, taken: ndarray) -> bool:
    """Whether this hand coincides with one already found."""
    distance = np.linalg.norm(taken - hand, axis=-1)
    known = np.isfinite(distance)
    mean = np.where(known, distance, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)
    return bool(((mean < SAME_HAND_M) & (known.sum(-1) > 0)).any())
