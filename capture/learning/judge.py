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
    foreign: ndarray
    """(hand,) bool, whether the labels follow a detector with other joints than the new one learns."""

    def errors(self) -> dict[str, float]:
        """Median distances, as a share of the hand's size: of a hand, the mean over its joints.

        `before` is the smaller of the distances to the labels and to the keypoints that the session's detector led to
        itself: its landmarks are not the model's joints, and that alone shall not decide.

        Where the labels are foreign, the constant part of each joint's difference in the frame of the hand counts in
        none of the three distances: there, the new detector is expected to differ from the labels.
        """
        size = sizes(self.label_px)
        to_labels, to_keypoints, after = (
            float(np.median(np.nanmean(self._distance_px(a, b), axis=-1) / size))
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

    def _distance_px(self, found_px: ndarray, true_px: ndarray) -> ndarray:
        """(hand, 21) distances, without the constant part of foreign labels."""
        px = found_px - true_px
        foreign = self.foreign
        if foreign.any():
            R = to_hand(true_px[foreign], self.right[foreign])
            local = np.einsum("hab,hjb->hja", R, px[foreign])
            px = px.copy()
            px[foreign] = np.einsum("hab,hjb->hja", np.linalg.inv(R), local - np.nanmedian(local, axis=0))
        return np.linalg.norm(px, axis=-1)

    def take(self, chosen: ndarray) -> Judged:
        """Some of the hands."""
        return Judged(*(getattr(self, name)[chosen] for name in Judged.__dataclass_fields__))


def joined(parts: list[Judged]) -> Judged:
    """The hands of several sessions."""
    return Judged(*(np.concatenate([getattr(p, name) for p in parts]) for name in Judged.__dataclass_fields__))


def sizes(hands_px: ndarray) -> ndarray:
    """(hand,) larger side of the box about (hand, 21, 2) joints."""
    return np.ptp(hands_px, axis=1).max(-1)


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
        (21,) length of the mean error, and (21,) median distance from it; shares of the hand's size.
    """
    error = np.einsum("hab,hjb->hja", to_hand(true_px, right), found_px - true_px)
    bias = np.nanmedian(error, axis=0)
    spread = np.nanmedian(np.linalg.norm(error - bias, axis=-1), axis=0)
    return np.linalg.norm(bias, axis=-1), spread
