"""Hands in space made by some of the views, so that a view is not held against hands that it helped to make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ..assignment import triangulate_assigned
from ..grouping import group_hands

LARGE_RIG = 12
"""In a rig of more views, one view does not move the hands: all are held against the same ones, which saves time."""


@dataclass(frozen=True)
class Candidates:
    """What the views see, and which hand in space each candidate belongs to."""

    points_px: ndarray
    """(view, frame, candidate, 21, 2), NaN where there is none."""
    score: ndarray
    """(view, frame, candidate)"""
    right: ndarray
    """(view, frame, candidate) the detector's probability of a right hand."""
    member: ndarray
    """(view, frame, hand) int, the candidate that shows each hand; -1 none."""

    def at(self, frames: ndarray) -> Candidates:
        """In some frames only."""
        return Candidates(*(each[:, frames] for each in (self.points_px, self.score, self.right, self.member)))

    def sample(self, frames: int) -> Candidates:
        """In frames spread over those that show something."""
        there = np.flatnonzero(np.isfinite(self.points_px).any((0, 2, 3, 4)))
        return self.at(there[np.unique(np.linspace(0, len(there) - 1, frames).astype(int))] if len(there) else there)


def grouped(cameras: Cameras, points_px: ndarray, score: ndarray, right: ndarray) -> Candidates:
    """Candidates with the hands that a rig groups them into; arguments as for `group_hands`."""
    member = group_hands(cameras, points_px, score, right).member
    return Candidates(points_px, score, right, member.transpose(2, 0, 1))


@dataclass(frozen=True)
class Reference:
    """What the hands are made from: the rig and its candidates, as given or with two exchanged views put right."""

    cameras: Cameras
    seen: Candidates

    def hands(self, without: Sequence[int]) -> ndarray:
        """(frame, hand, 21, 3) made by the views but some."""
        member = self.seen.member.copy()
        member[list(without)] = -1
        return triangulate_assigned(self.cameras, self.seen.points_px, self.seen.score, member).points_m

    def hands_of_others(self, aside: Sequence[int]) -> ndarray:
        """(view, frame, hand, 21, 3) for each view the hands made by the others, without those put aside."""
        seeing = np.flatnonzero((self.seen.member >= 0).any((1, 2))).tolist()
        hands = self.hands(aside)
        if len(seeing) > LARGE_RIG or len(seeing) < 3:
            return np.broadcast_to(hands, (len(self.cameras), *hands.shape))
        return np.stack([self.hands([*aside, v]) if v in seeing else hands for v in range(len(self.cameras))])
