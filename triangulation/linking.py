"""Linking of hands to short tracks where the continuation is unambiguous, and prediction of the next position."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

MAX_GAP_S = 0.35
"""Longest gap in a track, in seconds."""

# How far from its prediction a hand may be: in the next instant, per second, and at most.
_GATE_M, _GATE_MPS, _GATE_MAX_M = 0.03, 0.8, 0.2
# Two continuations that differ by less than this are not decided here: at once, and per second of their gap.
_AMBIGUOUS_M, _AMBIGUOUS_MPS = 0.02, 0.4
_STEADY_S = 0.1  # How long a hand keeps its velocity.


def hand_distance(a_m: ndarray, b_m: ndarray) -> float:
    """Mean distance of equal joints, metres: position and shape in one number. Infinite without 5 common joints."""
    distance = np.linalg.norm(a_m - b_m, axis=-1)
    known = np.isfinite(distance)
    return float(distance[known].mean()) if np.count_nonzero(known) >= 5 else np.inf


def predict_hand(
    points: ndarray, frames: list[int] | ndarray, slots: list[int] | ndarray, to: int, fps: float
) -> ndarray:
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
    # A hand does not keep its velocity for long.
    return hand + move * min(abs(to - frames[last]), _STEADY_S * fps)


def _nan_mean(v: ndarray) -> ndarray:
    known = np.isfinite(v).all(axis=-1)
    return v[known].mean(axis=0) if np.any(known) else np.zeros(3)


def link_slots(points: ndarray, fps: float) -> list[tuple[list[int], list[int]]]:
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
    cost[:, -1] = _GATE_MAX_M  # The last column starts a new track.
    first, last = (np.array([tracks[t][0][end] for t in active], int) for end in (0, -1))
    doubt = _AMBIGUOUS_M + _AMBIGUOUS_MPS * (f - last) / fps
    for column, t in enumerate(active):
        expected = predict_hand(points, *tracks[t], f, fps)
        gate = min(_GATE_M + _GATE_MPS * (f - last[column]) / fps, _GATE_MAX_M)
        for row, s in enumerate(slots):
            distance = hand_distance(points[f, s], expected)
            cost[row, column] = distance if distance < gate else np.inf
    # A track that began after another one's end may be the same hand, so that one is not continued past it.
    cost[:, :-1][:, (first[None, :] > last[:, None]).any(1)] = np.inf
    best = _matching(cost)
    chosen = []
    for row, column in enumerate(best):
        doubtful = False
        if column < len(active):
            # What would it cost if this slot went on from another track?
            without = cost.copy()
            without[row, column] = without[row, -1] = np.inf
            rival = _matching(without)
            doubtful = _total(without, rival) - _total(cost, best) < doubt[column]
        chosen.append(active[column] if column < len(active) and not doubtful else -1)
    return chosen


def _matching(cost: ndarray) -> list[int]:
    """Cheapest choice of a column per row, no column twice but the last. Few rows, so every choice is tried."""
    rows, columns = cost.shape
    total = np.zeros(())
    for row in cost:
        total = total[..., None] + row
    for first in range(rows):
        for second in range(first):
            index = np.arange(columns - 1)
            where: list[slice | ndarray] = [slice(None)] * rows
            where[first] = where[second] = index
            total[tuple(where)] = np.inf
    return [int(i) for i in np.unravel_index(total.argmin(), total.shape)]


def _total(cost: ndarray, columns: list[int]) -> float:
    """Cost of a matching; infinite where it uses what is not allowed."""
    taken = [column for column in columns if column < cost.shape[1] - 1]
    if len(set(taken)) < len(taken):
        return np.inf
    return float(sum(cost[row, column] for row, column in enumerate(columns)))
