"""Hands over time: which slot of each frame is the left hand, which the right.

Slots are first linked to short tracks wherever only one continuation is possible; where two hands come so close that
either could be meant, the tracks end. A track is one hand, so its label is decided once, by all its frames: the
detector's votes, the chirality of its shape, the fact that two simultaneous hands differ, and how well each hand's
path goes on from its track before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..core.anatomy import chirality_log_odds
from ..core.hands import HANDS, LEFT, RIGHT
from .grouping import HandGroups

MAX_GAP_S = 0.35
"""Longest time a track may be unseen and still go on."""

# How far from its prediction a hand may be: in the next instant, per second, and at most.
_GATE_M, _GATE_MPS, _GATE_MAX_M = 0.04, 1.2, 0.3
_AMBIGUOUS_M = 0.03  # Two continuations that differ by less than this are not decided here.
_INDEPENDENT_S = 0.2  # Frames nearer than this repeat each other's errors.
_VOTES_LIMIT, _VOTES_WEIGHT, _CHIRALITY_LIMIT = 4.0, 0.25, 5.0
_DROP_COST = 4.0  # Of calling one independent frame of a track no hand at all.
_UNDECIDED = 2.0  # Log-odds below which a label is not given.
_BEAM = 32


@dataclass(frozen=True)
class _Track:
    frames: ndarray
    """(n,) increasing."""
    slots: ndarray
    """(n,)"""
    evidence: float
    """Log-odds that this is a right hand."""
    weight: float
    """Independent frames."""


@dataclass(frozen=True)
class HandTracks:
    """The labelled hands of a session, hand = left, right."""

    slot: ndarray
    """(frame, hand) which slot, -1 where the hand is missing or its label is not decided."""
    points_m: ndarray
    """(frame, hand, joint, 3) metres, NaN where missing."""


# ---- tracks ------------------------------------------------------------------------------------------------------


def track_hands(groups: HandGroups, fps: float) -> HandTracks:
    """Link the slots over time and label them."""
    points = groups.points_m
    frames = len(points)
    tracks = _evidence(groups, _link(points, fps), fps)
    label = _label(points, tracks, fps)
    slot = np.full((frames, len(HANDS)), -1)
    for track, hand in zip(tracks, label, strict=True):
        if hand >= 0:
            slot[track.frames, hand] = track.slots
    labelled = np.take_along_axis(points, np.maximum(slot, 0)[..., None, None], axis=1)
    return HandTracks(slot, np.where(slot[..., None, None] >= 0, labelled, np.nan))


def hand_distance(a_m: ndarray, b_m: ndarray) -> float:
    """Mean distance of equal joints, metres: position and shape in one number. Infinite without 5 common joints."""
    distance = np.linalg.norm(a_m - b_m, axis=-1)
    known = np.isfinite(distance)
    return float(distance[known].mean()) if np.count_nonzero(known) >= 5 else np.inf


def _predict(points: ndarray, frames: list[int] | ndarray, slots: list[int] | ndarray, to: int) -> ndarray:
    """(joint, 3) where a track's hand should be at frame `to`: it keeps its shape and, for a while, its velocity.

    `to` may lie before the track, which is then followed backwards.
    """
    order = 1 if to >= frames[0] else -1
    last, before = (-1, -2) if order == 1 else (0, 1)
    hand = points[frames[last], slots[last]]
    if len(frames) < 2:
        return hand
    steps = abs(frames[last] - frames[before])
    move = _nan_mean(hand - points[frames[before], slots[before]]) / steps
    # A hand does not fly on in a straight line: beyond a few frames the velocity says nothing.
    return hand + move * min(abs(to - frames[last]), 3)


def _nan_mean(v: ndarray) -> ndarray:
    known = np.isfinite(v).all(axis=-1)
    return v[known].mean(axis=0) if np.any(known) else np.zeros(3)


def _link(points: ndarray, fps: float) -> list[tuple[list[int], list[int]]]:
    """Tracks as lists of frames and slots, by their first frame; every found slot is in exactly one."""
    found = np.any(np.isfinite(points), axis=(2, 3))
    max_gap = max(2, round(MAX_GAP_S * fps))
    tracks: list[tuple[list[int], list[int]]] = []
    active: list[int] = []
    for f in range(len(points)):
        active = [t for t in active if f - tracks[t][0][-1] <= max_gap]
        slots = [int(s) for s in np.flatnonzero(found[f])]
        for s, track in zip(slots, _continuations(points, tracks, active, slots, f, fps), strict=True):
            if track < 0:
                track = len(tracks)
                tracks.append(([], []))
                active.append(track)
            tracks[track][0].append(f)
            tracks[track][1].append(s)
    return tracks


def _continuations(
    points: ndarray, tracks: list[tuple[list[int], list[int]]], active: list[int], slots: list[int], f: int, fps: float
) -> list[int]:
    """For each slot the active track it continues, -1 for a new one."""
    cost = np.full((len(slots), len(active) + 1), np.inf)
    for column, t in enumerate(active):
        expected = _predict(points, *tracks[t], f)
        gate = min(_GATE_M + _GATE_MPS * (f - tracks[t][0][-1]) / fps, _GATE_MAX_M)
        for row, s in enumerate(slots):
            distance = hand_distance(points[f, s], expected)
            cost[row, column] = distance if distance < gate else np.inf
    cost[:, -1] = _GATE_MAX_M  # The last column starts a new track.
    best = _matching(cost)
    chosen = []
    for row, column in enumerate(best):
        doubtful = False
        if column < len(active):
            # What would it cost if this slot went on from another track?
            without = cost.copy()
            without[row, column] = without[row, -1] = np.inf
            rival = _matching(without)
            doubtful = _total(without, rival) - _total(cost, best) < _AMBIGUOUS_M
        chosen.append(active[column] if column < len(active) and not doubtful else -1)
    return chosen


def _matching(cost: ndarray) -> list[int]:
    """Cheapest choice of a column per row, no column twice but the last. One or two rows."""
    if len(cost) == 0:
        return []
    if len(cost) == 1:
        return [int(cost[0].argmin())]
    total = cost[0][:, None] + cost[1][None, :]
    same = np.arange(cost.shape[1] - 1)
    total[same, same] = np.inf
    return [int(i) for i in np.unravel_index(total.argmin(), total.shape)]


def _total(cost: ndarray, columns: list[int]) -> float:
    """Cost of a matching; infinite where it uses what is not allowed."""
    clash = len(columns) == 2 and columns[0] == columns[1] < cost.shape[1] - 1
    return np.inf if clash else float(sum(cost[row, column] for row, column in enumerate(columns)))


# ---- labels ------------------------------------------------------------------------------------------------------


def _evidence(groups: HandGroups, links: list[tuple[list[int], list[int]]], fps: float) -> list[_Track]:
    chirality = np.clip(chirality_log_odds(groups.points_m), -_CHIRALITY_LIMIT, _CHIRALITY_LIMIT)
    votes = _VOTES_WEIGHT * np.clip(groups.votes, -_VOTES_LIMIT, _VOTES_LIMIT)
    per_frame = votes + chirality
    tracks = []
    for frames, slots in links:
        frames, slots = np.array(frames), np.array(slots)
        weight = 1 + (len(frames) - 1) * min(1.0, 1 / (fps * _INDEPENDENT_S))
        tracks.append(_Track(frames, slots, float(per_frame[frames, slots].mean()) * weight, weight))
    return tracks


@dataclass(frozen=True)
class _Edge:
    source: int
    target: int
    hand: int
    """LEFT, RIGHT, or -1 for a track that is dropped."""
    cost: float


def _label(points: ndarray, tracks: list[_Track], fps: float) -> list[int]:
    """The hand of each track, -1 undecided.

    Dynamic programming over the tracks in order of their start. The state is the last track of the left and of the
    right hand, which is all that later costs depend on, so the result is the best labelling (up to the beam). Forward
    and backward costs together give each track's margin: how much worse everything gets with the other label.
    """
    states: list[tuple[int, int]] = [(-1, -1)]
    forward = [np.zeros(1)]
    layers: list[list[_Edge]] = []
    for k in range(len(tracks)):
        states, edges, cost = _advance(points, tracks, k, states, forward[-1], fps)
        layers.append(edges)
        forward.append(cost)
    backward = np.zeros(len(states))
    label = [-1] * len(tracks)
    for k in reversed(range(len(tracks))):
        total = {LEFT: np.inf, RIGHT: np.inf, -1: np.inf}
        before = np.full(len(forward[k]), np.inf)
        for edge in layers[k]:
            rest = edge.cost + backward[edge.target]
            before[edge.source] = min(before[edge.source], rest)
            total[edge.hand] = min(total[edge.hand], forward[k][edge.source] + rest)
        best = LEFT if total[LEFT] <= total[RIGHT] else RIGHT
        if total[best] <= total[-1] and total[LEFT + RIGHT - best] - total[best] >= _UNDECIDED:
            label[k] = best
        backward = before
    return label


def _advance(
    points: ndarray, tracks: list[_Track], k: int, states: list[tuple[int, int]], cost: ndarray, fps: float
) -> tuple[list[tuple[int, int]], list[_Edge], ndarray]:
    """One step of the dynamic programming: the states after track k, the edges to them, and their costs."""
    track = tracks[k]
    reached: dict[tuple[int, int], float] = {}
    edges: list[tuple[int, tuple[int, int], int, float]] = []
    joints: dict[int, float] = {}
    for source, state in enumerate(states):
        options = [(state, -1, _DROP_COST * track.weight)]
        for hand in (LEFT, RIGHT):
            previous = state[hand]
            if previous >= 0 and tracks[previous].frames[-1] >= track.frames[0]:
                continue
            if previous not in joints:
                joints[previous] = _joint_cost(points, tracks[previous], track, fps) if previous >= 0 else 0.0
            sign = 1.0 if hand == LEFT else -1.0
            after = (k, state[RIGHT]) if hand == LEFT else (state[LEFT], k)
            options.append((after, hand, 0.5 * sign * track.evidence + joints[previous]))
        for after, hand, step in options:
            edges.append((source, after, hand, step))
            reached[after] = min(reached.get(after, np.inf), float(cost[source]) + step)
    kept = sorted(reached, key=lambda state: (reached[state], state))[:_BEAM]
    position = {state: i for i, state in enumerate(kept)}
    kept_edges = [_Edge(s, position[after], hand, step) for s, after, hand, step in edges if after in position]
    return kept, kept_edges, np.array([reached[state] for state in kept])


def _joint_cost(points: ndarray, before: _Track, after: _Track, fps: float) -> float:
    """Cost of one hand going from the end of one track to the start of the next, bounded by the gap's length."""
    gap_s = (after.frames[0] - before.frames[-1]) / fps
    there = _predict(points, before.frames, before.slots, int(after.frames[0]))
    back = _predict(points, after.frames, after.slots, int(before.frames[-1]))
    distance = 0.5 * (
        hand_distance(there, points[after.frames[0], after.slots[0]])
        + hand_distance(back, points[before.frames[-1], before.slots[-1]])
    )
    sigma = 0.02 + 0.4 * gap_s
    limit = 4 + 36 * np.exp(-gap_s)
    return float(min(0.5 * (distance / sigma) ** 2, limit))
