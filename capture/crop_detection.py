"""Detection of a hand whose position in the image is known from other views."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy import ndarray

from ..core.hands import RIGHT
from .crop_images import crop_matrix, paint_over
from .detector import Candidates, Detector, NearDetector
from .installed import chosen_detectors, make_detector
from .settings import DetectionSettings


def detect_in_crop(
    detector: Detector, image_bgr: ndarray, hands_px: ndarray, hand: int, crop_scale: float, crop_px: int
) -> Candidates:
    """Run the detector on a crop around one hand.

    Args:
        detector: any.
        image_bgr: (height, width, 3) uint8.
        hands_px: (hand, 21, 2) where the hands are expected, NaN where unknown.
        hand: the wanted hand.
        crop_scale: side of the crop, in sizes of the hand.
        crop_px: side of the crop as the detector sees it.

    Returns:
        The candidate nearest to the hand, in pixels of the image; none if there is none.
    """
    M = crop_matrix(hands_px[hand], crop_scale, crop_px)
    crop = cv2.warpAffine(image_bgr, M, (crop_px, crop_px), flags=cv2.INTER_LINEAR)
    own, other = (hands_px[k] @ M[:, :2].T + M[:, 2] for k in (hand, 1 - hand))
    paint_over(crop, own, other)
    found = nearest(detector.detect(crop), own)
    inverse = np.linalg.inv(M[:, :2])
    points = (found.points_px - M[:, 2]) @ inverse.T
    sigma = None if found.sigma_px is None else found.sigma_px * np.sqrt(np.abs(np.linalg.det(inverse)))
    return replace(found, points_px=points, sigma_px=sigma)


def nearest(found: Candidates, hand_px: ndarray) -> Candidates:
    """The candidate nearest to a hand (21, 2); none if there is none."""
    if not len(found.score):
        return found
    away = np.linalg.norm(found.points_px - hand_px, axis=-1)
    common = np.isfinite(away)
    away = np.where(common, away, 0.0).sum(-1) / np.maximum(common.sum(-1), 1)
    return found.take([int(np.argmin(np.where(common.any(-1), away, np.inf)))])


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
    def gives_sigma(self) -> bool:
        """Whether its results say how uncertain the joints are."""
        return chosen_detectors(self.detection).gives_sigma

    @property
    def version(self) -> str | None:
        """What its results depend on besides the detectors' version."""
        return chosen_detectors(self.detection).near_version

    def __call__(self, image_bgr: ndarray, hands_px: ndarray, hand: int) -> Candidates:
        """The expected hand, or none; arguments and result as of `detect_in_crop`."""
        detector = make_detector(self.detection)
        if isinstance(detector, NearDetector):
            found = detector.detect_near(image_bgr, hands_px[[hand]], np.array([hand == RIGHT]))
            return nearest(found[0], hands_px[hand])
        return detect_in_crop(detector, image_bgr, hands_px, hand, self.crop_scale, self.crop_px)
