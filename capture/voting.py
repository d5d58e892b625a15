"""Several detectors at once: an image's candidates are those of all, and the views decide between them.

Nothing is decided within an image. The grouping takes, in each view, the candidate that fits best what all views agree
on; candidates of other detectors that lie on it in the image found no hand of their own (`triangulation/grouping.py`).
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ..core.hands import found_again
from .detector import Candidates, Detector, NearDetector


@dataclass(frozen=True)
class Vote:
    """Detectors that all look at each image."""

    detectors: Sequence[Detector]
    gives_sigma: bool
    """Whether one or more say how uncertain their joints are: then every result says it, NaN where it is not known."""

    def detect(self, image_bgr: ndarray) -> Candidates:
        """The candidates of all in a (height, width, 3) uint8 image, in the order of the detectors."""
        return self._of_all([(at, detector.detect(image_bgr)) for at, detector in enumerate(self.detectors)])

    def _of_all(self, found: Sequence[tuple[int, Candidates]]) -> Candidates:
        """The candidates of detectors of an index."""
        told = [replace(each, found_by=np.full(len(each.score), at, np.float32)) for at, each in found]
        every = Candidates.joined(told)
        if every.sigma_px is None and self.gives_sigma:
            return replace(every, sigma_px=np.full(every.points_px.shape[:2], np.nan, np.float32))
        return every


@dataclass(frozen=True)
class NearVote(Vote):
    """The same where one or more can be told where hands are expected; the others do not look there."""

    def detect_near(self, image_bgr: ndarray, hands_px: ndarray, right: ndarray) -> list[Candidates]:
        """The candidates of all for each of the hands that are expected at (hand, 21, 2) pixels."""
        near = [(at, each) for at, each in enumerate(self.detectors) if isinstance(each, NearDetector)]
        found = [(at, each.detect_near(image_bgr, hands_px, right)) for at, each in near]
        return [self._of_all([(at, hands[k]) for at, hands in found]) for k in range(len(hands_px))]


def vote_of(detectors: Sequence[Detector], gives_sigma: bool) -> Vote:
    """These detectors as one."""
    kind = NearVote if any(isinstance(each, NearDetector) for each in detectors) else Vote
    return kind(tuple(detectors), gives_sigma)


def count_hands(points_px: ndarray, found_by: ndarray) -> ndarray:
    """(...) number of hands that candidates (..., candidate, joint, 2) show; found by several detectors, one is one.

    `found_by` (..., candidate) is the index of each one's detector, NaN where there is no candidate.
    """
    there = np.isfinite(found_by)
    earlier = np.tril(found_again(points_px, found_by), -1).any(axis=-1)
    of_each = [(found_by == at).sum(axis=-1) for at in np.unique(found_by[there])]
    return np.maximum.reduce([(there & ~earlier).sum(axis=-1), *of_each])
