"""Tracking of hands over time, and labelling of the tracks as left or right.

Slots are first linked to short tracks where the continuation is unambiguous; tracks end where two hands come so close
that it is not. Each track is one hand and gets one label from all its frames: the detector's votes, the chirality of
its shape, the constraint that two hands in one frame differ, and the continuity with the hand's previous track.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..core.hands import HANDS, LEFT, RIGHT
from ..hand.anatomy import chirality_log_odds
from .grouping import HandGroups
from .linking import hand_distance, link_slots, predict_hand

_INDEPENDENT_S = 0.2  # Frames nearer than this repeat each other's errors.
_VOTES_LIMIT, _VOTES_WEIGHT, _CHIRALITY_LIMIT = 4.0, 0.25, 5.0
_DROP_COST = 4.0  # Cost of labelling one independent frame of a track as no hand.
_SURE_VIEWS = 3  # Views beyond the first at which the confidence in a hand saturates.
_CHANGE = 0.5  # Log-odds at which a track may contain a change to the other hand.
_UNDECIDED = 2.0  # Log-odds below which a label is not given.
_RIVAL, _RIVAL_SHARE = 1.2, 0.75  # The same for another hand with that label; and at most this of the drop cost.
_STRANGER, _STRANGERS_SHARE = 8.0, 0.25  # Cost of another person's hand, and its share of the costs above.
_FIRST = 2.0  # Cost of another person's hand before the subject's: the subject is usually there from the start.
_LEAVE, _LEAVE_S = 4.0, 0.5  # Cost of not continuing a hand that could be continued, and its decay time.
_BEAM = 48


@dataclass(frozen=True)
class _Track:
    frames: ndarray
    """(n,) increasing."""
    slots: ndarray
    """(n,)"""
    evidence: float
    """Log-odds that this is a right hand."""
    drop_cost: float
    """Cost of labelling it as no hand."""


@dataclass(frozen=True)
class HandTracks:
    """The labelled hands of a session, hand = left, right."""

    slot: ndarray
    """(frame, hand) index of the slot, -1 where the hand is missing or its label is undecided."""
    points_m: ndarray
    """(frame, hand, joint, 3) metres, NaN where missing."""


def track_hands(groups: HandGroups, fps: float) -> HandTracks:
    """Link the slots over time and label them."""
    points = groups.points_m
    frames = len(points)
    tracks = _evidence(groups, link_slots(points, fps), fps)
    label = _label(points, tracks, fps)
    slot = np.full((frames, len(HANDS)), -1)
    for track, hand in zip(tracks, label, strict=True):
        if hand >= 0:
            slot[track.frames, hand] = track.slots
    labelled = np.take_along_axis(points, np.maximum(slot, 0)[..., None, None], axis=1)
    return HandTracks(slot, np.where(slot[..., None, None] >= 0, labelled, np.nan))


# ---- labels ------------------------------------------------------------------------------------------------------


def _evidence(groups: HandGroups, links: list[tuple[list[int], list[int]]], fps: float) -> list[_Track]:
    """Collect the evidence of each link for left and right; a link with evidence for both is split."""
    views = np.count_nonzero(groups.member >= 0, axis=-1)
    # A group of few out of many views is seldom a hand, and its shape carries no evidence.
    usual = np.median(views[views > 0]) if views.any() else 1.0
    trust = np.minimum(2 * views / usual, 1.0)
    chirality = np.clip(chirality_log_odds(groups.points_m), -_CHIRALITY_LIMIT, _CHIRALITY_LIMIT)
    votes = _VOTES_WEIGHT * np.clip(groups.votes, -_VOTES_LIMIT, _VOTES_LIMIT)
    per_frame = trust * (votes + chirality)
    sure = trust * np.clip((views - 1) / _SURE_VIEWS, 0.0, 1.0)
    independent = min(1.0, 1 / (fps * _INDEPENDENT_S))
    cuts: set[int] = set()
    for frames, slots in links:
        cuts |= {frames[i] for i in _changes_of_mind(per_frame[frames, slots] * independent)}
    tracks = []
    for link in links:
        frames, slots = (np.array(a) for a in link)
        # If one track changes to the other hand, the other track does too: split all of them.
        where = np.searchsorted(frames, sorted(cuts))
        for f, s in zip(np.split(frames, where), np.split(slots, where), strict=True):
            if len(f):
                weight = 1 + (len(f) - 1) * independent
                evidence = float(per_frame[f, s].mean()) * weight
                tracks.append(_Track(f, s, evidence, _DROP_COST * weight * float(sure[f, s].mean())))
    return sorted(tracks, key=lambda track: (track.frames[0], track.slots[0]))


def _changes_of_mind(log_odds: ndarray) -> list[int]:
    """Find where a track (frame,) changes to the other hand, to split tracks that were linked by mistake.

    The best sequence of two labels by dynamic programming, with a cost of `_CHANGE` per change.

    Returns:
        Positions before which the label changes.
    """
    best = np.zeros(2)
    came_from = []
    for value in log_odds:
        stay = best[[0, 1]] <= best[[1, 0]] + _CHANGE
        came_from.append(np.where(stay, [0, 1], [1, 0]))
        best = np.where(stay, best, best[::-1] + _CHANGE) + 0.5 * np.array([value, -value])
    label = int(best[1] < best[0])
    cuts = []
    for i in range(len(log_odds) - 1, 0, -1):
        before = int(came_from[i][label])
        if before != label:
            cuts.append(i)
        label = before
    return cuts[::-1]


OTHER = 2
"""A hand of another person, or none at all."""

_State = tuple[int, ...]
"""The last track of the left, the right, and another hand; -1 none yet."""


@dataclass(frozen=True)
class _Edge:
    source: int
    target: int
    hand: int
    """LEFT, RIGHT, or OTHER."""
    cost: float


def _label(points: ndarray, tracks: list[_Track], fps: float) -> list[int]:
    """The hand of each track, -1 if undecided.

    Dynamic programming over the tracks in order of their start. The state is the last track of the left, the right and
    another hand. Later costs depend on nothing else, so the result is the best labelling (up to the beam). Forward and
    backward costs together give each track's margin: the increase of the total cost with the other label.
    """
    states: list[_State] = [(-1, -1, -1)]
    forward = [np.zeros(1)]
    layers: list[list[_Edge]] = []
    for k in range(len(tracks)):
        states, edges, cost = _advance(points, tracks, k, states, forward[-1], fps)
        layers.append(edges)
        forward.append(cost)
    backward = np.zeros(len(states))
    label = [-1] * len(tracks)
    for k in reversed(range(len(tracks))):
        total = {LEFT: np.inf, RIGHT: np.inf, OTHER: np.inf}
        before = np.full(len(forward[k]), np.inf)
        for edge in layers[k]:
            rest = edge.cost + backward[edge.target]
            before[edge.source] = min(before[edge.source], rest)
            total[edge.hand] = min(total[edge.hand], forward[k][edge.source] + rest)
        best = LEFT if total[LEFT] <= total[RIGHT] else RIGHT
        # Another hand with this label must be worse, too; a short track does not determine how much.
        sure = min(_RIVAL, _RIVAL_SHARE * tracks[k].drop_cost)
        if total[OTHER] - total[best] >= sure and total[LEFT + RIGHT - best] - total[best] >= _UNDECIDED:
            label[k] = best
        backward = before
    return label


def _advance(
    points: ndarray, tracks: list[_Track], k: int, states: list[_State], cost: ndarray, fps: float
) -> tuple[list[_State], list[_Edge], ndarray]:
    """One step of the dynamic programming: the states after track k, the edges to them, and their costs."""
    track = tracks[k]
    reached: dict[_State, float] = {}
    edges: list[tuple[int, _State, int, float]] = []
    joints = {t: _joint_cost(points, tracks[t], track, fps) for t in {t for state in states for t in state if t >= 0}}
    for source, state in enumerate(states):
        for hand, step in _choices(tracks, track, state, joints, fps):
            after = tuple(k if i == hand else t for i, t in enumerate(state))
            edges.append((source, after, hand, step))
            reached[after] = min(reached.get(after, np.inf), float(cost[source]) + step)
    kept = sorted(reached, key=lambda state: (reached[state], state))[:_BEAM]
    position = {state: i for i, state in enumerate(kept)}
    kept_edges = [_Edge(s, position[after], hand, step) for s, after, hand, step in edges if after in position]
    return kept, kept_edges, np.array([reached[state] for state in kept])


def _choices(
    tracks: list[_Track], track: _Track, state: _State, joints: dict[int, float], fps: float
) -> list[tuple[int, float]]:
    """The possible labels of the track, and the cost of each."""
    gone = [t >= 0 and tracks[t].frames[-1] < track.frames[0] for t in state]
    # A track that continues this smoothly and soon is unlikely to be another hand.
    leave = [
        _LEAVE * np.exp(-joints[t] - (track.frames[0] - tracks[t].frames[-1]) / (fps * _LEAVE_S)) if is_gone else 0.0
        for t, is_gone in zip(state, gone, strict=True)
    ]
    choices = []
    for hand in (LEFT, RIGHT, OTHER):
        t = state[hand]
        if t >= 0 and not gone[hand] and hand != OTHER:
            continue
        joint = joints[t] if t >= 0 else 0.0
        if hand == OTHER:
            # Another person's hand is also left or right. It is unlikely to appear, but once there, it stays.
            start = min(joint, _STRANGER) if gone[OTHER] else _STRANGER
            own = state[RIGHT if track.evidence > 0 else LEFT]
            if own < 0 or tracks[own].frames[0] == track.frames[0]:
                start += _FIRST
            cost = min(track.drop_cost, start + _STRANGERS_SHARE * track.drop_cost - 0.5 * abs(track.evidence))
        else:
            cost = joint + (0.5 if hand == LEFT else -0.5) * track.evidence
        choices.append((hand, float(cost + max(leave[i] for i in range(len(state)) if i != hand))))
    return choices


def _joint_cost(points: ndarray, before: _Track, after: _Track, fps: float) -> float:
    """Cost of moving a hand from the end of one track to the start of the next, bounded by the length of the gap."""
    gap_s = (after.frames[0] - before.frames[-1]) / fps
    there = predict_hand(points, before.frames, before.slots, int(after.frames[0]), fps)
    back = predict_hand(points, after.frames, after.slots, int(before.frames[-1]), fps)
    distance = 0.5 * (
        hand_distance(there, points[after.frames[0], after.slots[0]])
        + hand_distance(back, points[before.frames[-1], before.slots[-1]])
    )
    sigma = 0.02 + 0.4 * gap_s
    limit = 4 + 36 * np.exp(-gap_s)
    return float(min(0.5 * (distance / sigma) ** 2, limit))
