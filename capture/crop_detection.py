"""Detection of a hand whose position in the image is known from other views."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy import ndarray

from ..core.hands import NUM_JOINTS, RIGHT
from .crop_images import crop_matrix, paint_over
from .detector import Candidates, Detector, NearDetector
from .installed import find_detector, make_detector
from .settings import DetectionSettings


def detect_in_crop(
    detector: Detector, image_bgr: ndarray, hands_px: ndarray, hand: int, crop_scale: float, crop_px: int
) -> tuple[ndarray, float, float]:
    """Run the detector on a crop around one hand.

    Args:
        detector: any.
        image_bgr: (height, width, 3) uint8.
        hands_px: (hand, 21, 2) where the hands are expected, NaN where unknown.
        hand: the wanted hand.
        crop_scale: side of the crop, in sizes of the hand.
        crop_px: side of the crop as the detector sees it.

    Returns:
        (21, 2) pixels of the image, score, and probability of a right hand, for the candidate nearest to the hand. NaN,
        0 and NaN if there is none.
    """
    M = crop_matrix(hands_px[hand], crop_scale, crop_px)
    crop = cv2.warpAffine(image_bgr, M, (crop_px, crop_px), flags=cv2.INTER_LINEAR)
    own, other = (hands_px[k] @ M[:, :2].T + M[:, 2] for k in (hand, 1 - hand))
    paint_over(crop, own, other)
    points, score, right = nearest(detector.detect(crop), own)
    return np.linalg.solve(M[:, :2], (points - M[:, 2]).T).T, score, right


def nearest(found: Candidates, hand_px: ndarray) -> tuple[ndarray, float, float]:
    """(21, 2) pixels, score and probability of a right hand of the candidate nearest to a hand; NaN, 0, NaN if none."""
    if not len(found.score):
        return np.full((NUM_JOINTS, 2), np.nan), 0.0, np.nan
    away = np.linalg.norm(found.points_px - hand_px, axis=-1)
    common = np.isfinite(away)
    away = np.where(common, away, 0.0).sum(-1) / np.maximum(common.sum(-1), 1)
    best = int(np.argmin(np.where(common.any(-1), away, np.inf)))
    return found.points_px[best].astype(float), float(found.score[best]), float(found.right[best])


@dataclass(frozen=True)
class CropDetector:
    """Detection of expected hands: by detectors that can be told where, else in crops.

    The detector is created in the process that uses it; only settings are sent.
    """

    detection: DetectionSettings
    crop_scale: float
    """Side of the crop, in sizes of the hand."""
    crop_px: int
    """Side of the crop as the detector sees it, pixels."""

    @property
    def version(self) -> str | None:
        """What its results depend on besides the detector's version."""
        return find_detector(self.detection.detector).near_version

    def __call__(self, image_bgr: ndarray, hands_px: ndarray, hand: int) -> tuple[ndarray, float, float]:
        """(21, 2) pixels, score and probability of a right hand; arguments and result as of `detect_in_crop`."""
        detector = make_detector(self.detection)
        if isinstance(detector, NearDetector):
            return nearest(detector.detect_near(image_bgr, hands_px[hand], hand == RIGHT), hands_px[hand])
        return detect_in_crop(detector, image_bgr, hands_px, hand, self.crop_scale, self.crop_px)
