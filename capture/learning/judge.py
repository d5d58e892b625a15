"""Judging a detector on images that it has not learnt from: the distance to the labels, and bias and spread apart."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..crop_images import crop_matrix


@dataclass(frozen=True)
class Judged:
    """Hands in held-out images as two detectors see them. Pixels of the image."""

    label_px: ndarray
    """(hand, 21, 2) the fitted joints in the image."""
    keypoint_px: ndarray
    """(hand, 21, 2) the triangulated keypoints in the image, where the session's detector leads."""
    before_px: ndarray
    """(hand, 21, 2) by the detector of the session."""
    after_px: ndarray
    """(hand, 21, 2) by the new one."""
    right: ndarray
    """(hand,) bool"""
    new_view: ndarray
    """(hand,) bool, whether nothing was learnt from this view."""

    def errors(self) -> dict[str, float]:
        """Median distances, as a share of the hand's size: of a hand, the mean over its joints.

        `before` is the smaller of the distances to the labels and to the keypoints that the session's detector led to
        itself: its landmarks are not the model's joints, and that alone shall not decide.
        """
        size = sizes(self.label_px)
        to_labels, to_keypoints, after = (
            float(np.median(np.nanmean(np.linalg.norm(a - b, axis=-1), axis=-1) / size))
            for a, b in (
                (self.before_px, self.label_px),
                (self.before_px, self.keypoint_px),
                (self.after_px, self.label_px),
            )
        )
        return {
            "before": min(to_labels, to_keypoints),
            "before_to_labels": to_labels,
            "before_to_keypoints": to_keypoints,
            "after": after,
        }

    def take(self, chosen: ndarray) -> Judged:
        """Some of the hands."""
        arrays = (self.label_px, self.keypoint_px, self.before_px, self.after_px, self.right, self.new_view)
        return Judged(*(a[chosen] for a in arrays))


def joined(parts: list[Judged]) -> Judged:
    """The hands of several sessions."""
    return Judged(*(np.concatenate([getattr(p, name) for p in parts]) for name in Judged.__dataclass_fields__))


def sizes(hands_px: ndarray) -> ndarray:
    """(hand,) larger side of the box about (hand, 21, 2) joints."""
    return np.ptp(hands_px, axis=1).max(-1)


def bias_and_spread(found_px: ndarray, true_px: ndarray, right: ndarray) -> tuple[ndarray, ndarray]:
    """What is always wrong, and what varies, per joint.

    Errors are turned into the frame of their hand, fingers up and mirrored to a right hand, in sizes of the hand.

    Args:
        found_px, true_px: (hand, 21, 2)
        right: (hand,) bool

    Returns:
        (21,) length of the mean error, and (21,) median distance from it; shares of the hand's size.
    """
    error = np.empty(found_px.shape)
    for i, hand in enumerate(true_px):
        R = crop_matrix(hand, 1.0, 1)[:, :2]
        R = np.diag([1.0 if right[i] else -1.0, 1.0]) @ R
        error[i] = (found_px[i] - hand) @ R.T
    bias = np.nanmedian(error, axis=0)
    spread = np.nanmedian(np.linalg.norm(error - bias, axis=-1), axis=0)
    return np.linalg.norm(bias, axis=-1), spread
