"""Judging a detector on images that it has not learnt from: how well views agree, and bias and spread apart."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ...core.hands import median_of_known
from ..crop_images import crop_matrix

MIN_KNOWN = 11
"""Joints of a hand that the views must agree on."""


@dataclass(frozen=True)
class Judged:
    """Hands in held-out images as two detectors see them. Pixels of the image."""

    before_px: ndarray
    """(hand, 21, 2) by the detector of the session."""
    before_agreed_px: ndarray
    """(hand, 21, 2) what all views agree on with it."""
    after_px: ndarray
    """(hand, 21, 2) by the new one."""
    after_agreed_px: ndarray
    """(hand, 21, 2) what all views agree on with that."""
    right: ndarray
    """(hand,) bool"""
    new_view: ndarray
    """(hand,) bool, whether nothing was learnt from this view."""

    def errors(self) -> dict[str, float]:
        """Median distances from what the views agree on, as a share of the hand's size: of a hand, the mean over its
        joints.

        Each detector is held against its own agreement, because their joints need not be the same: MediaPipe's
        landmarks are not the model's. The size is that of its own agreement, too: on one point in the middle of the
        hand, all views agree well.
        """
        return {
            "before": away(self.before_px, self.before_agreed_px),
            "after": away(self.after_px, self.after_agreed_px),
        }

    def take(self, chosen: ndarray) -> Judged:
        """Some of the hands."""
        return Judged(*(getattr(self, name)[chosen] for name in Judged.__dataclass_fields__))


def away(seen_px: ndarray, agreed_px: ndarray) -> float:
    """Median over hands (hand, 21, 2) of the mean distance of their joints from what the views agree on, in sizes."""
    px = np.linalg.norm(seen_px - agreed_px, axis=-1)
    known = np.isfinite(px).sum(-1)
    mean = np.nansum(px, axis=-1) / np.maximum(known, 1)
    # A hand that the views do not agree on counts as one of its size away.
    share = np.where(known >= MIN_KNOWN, mean / np.maximum(sizes(agreed_px), 1e-6), 1.0)
    return float(np.median(share))


def joined(parts: list[Judged]) -> Judged:
    """The hands of several sessions."""
    return Judged(*(np.concatenate([getattr(p, name) for p in parts]) for name in Judged.__dataclass_fields__))


def sizes(hands_px: ndarray) -> ndarray:
    """(hand,) larger side of the box about (hand, 21, 2) joints; those that are NaN do not count."""
    low, high = np.fmin.reduce(hands_px, axis=1), np.fmax.reduce(hands_px, axis=1)
    return (high - low).max(-1)


def to_hand(hands_px: ndarray, right: ndarray) -> ndarray:
    """(hand, 2, 2) from pixels to the frame of each hand: fingers up, mirrored to a right hand, one size long."""
    mirror = np.where(right, 1.0, -1.0)
    R = np.stack([crop_matrix(hand, 1.0, 1)[:, :2] for hand in hands_px])
    return R * np.stack([mirror, np.ones(len(R))], axis=-1)[..., None]


def bias_and_spread(found_px: ndarray, true_px: ndarray, right: ndarray) -> tuple[ndarray, ndarray]:
    """What is always wrong, and what varies, per joint.

    Errors are turned into the frame of their hand, fingers up and mirrored to a right hand, in sizes of the hand.

    Args:
        found_px, true_px: (hand, 21, 2)
        right: (hand,) bool

    Returns:
        (21,) length of the mean error, and (21,) median distance from it; shares of the hand's size. NaN without a hand
        of which most joints are known.
    """
    known = np.isfinite(true_px).all(-1).sum(-1) >= MIN_KNOWN
    if not known.any():
        return np.full(true_px.shape[1], np.nan), np.full(true_px.shape[1], np.nan)
    found_px, true_px, right = found_px[known], true_px[known], right[known]
    error = np.einsum("hab,hjb->hja", to_hand(true_px, right), found_px - true_px)
    bias = median_of_known(np.moveaxis(error, 0, -1))
    spread = median_of_known(np.linalg.norm(error - bias, axis=-1).T)
    return np.linalg.norm(bias, axis=-1), spread
