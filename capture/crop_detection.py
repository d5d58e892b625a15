"""Detection in a crop around a hand whose position in the image is known from other views."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy import ndarray

from ..core.hands import BONES, JOINTS, NUM_JOINTS, RIGHT
from .detector import Detector, detect_near
from .installed import make_detector
from .settings import DetectionSettings

_WRIST, _MIDDLE = JOINTS.index("wrist"), JOINTS.index("middle_mcp")
_WEB = [(JOINTS.index(a), JOINTS.index(b)) for a, b in (
    ("thumb_cmc", "index_mcp"), ("index_mcp", "middle_mcp"), ("middle_mcp", "ring_mcp"), ("ring_mcp", "pinky_mcp"),
)]  # fmt: skip
_FOREARM = 0.7  # Drawn this much of the palm's length beyond the wrist.
_PAINT_WIDTH = 0.3  # How far from the other hand's bones its skin is painted over, in sizes of the hand looked for.
_PAINT = 127
_MIN_SIZE_PX = 8.0


def crop_matrix(hand_px: ndarray, scale: float, size_px: int) -> ndarray:
    """(2, 3) from pixels of the image to pixels of a square crop with the hand upright in its middle.

    Args:
        hand_px: (21, 2) where the hand is expected, NaN where unknown.
        scale: side of the crop in sizes of the hand, the larger side of its upright bounding box.
        size_px: side of the crop.
    """
    up = hand_px[_MIDDLE] - hand_px[_WRIST]
    if not np.isfinite(up).all() or np.hypot(*up) < 1e-6:
        up = np.array([0.0, -1.0])
    up = up / np.hypot(*up)
    R = np.array([[-up[1], up[0]], [-up[0], -up[1]]])
    turned = hand_px[np.isfinite(hand_px).all(-1)] @ R.T
    low, high = turned.min(0), turned.max(0)
    zoom = size_px / (scale * max(float((high - low).max()), _MIN_SIZE_PX))
    middle = 0.5 * (low + high)
    return np.concatenate([zoom * R, ((size_px - 1) / 2 - zoom * middle)[:, None]], axis=1)


def paint_over(crop: ndarray, own_px: ndarray, other_px: ndarray) -> None:
    """Paint over pixels that are closer to the other hand's bones than to this hand's, in place.

    Args:
        crop: (size, size, 3) uint8.
        own_px: (21, 2) joints of the wanted hand, in the crop.
        other_px: (21, 2) joints of the other hand, in the crop; nothing is painted where one of them is unknown.
    """
    if not (np.isfinite(other_px).all() and np.isfinite(own_px).all()):
        return
    to_own, to_other = (_distance_to_bones(hand, crop.shape[0]) for hand in (own_px, other_px))
    reach = _PAINT_WIDTH * float(np.ptp(own_px, axis=0).max())
    crop[(to_other < to_own) & (to_other < reach)] = _PAINT


def _distance_to_bones(hand_px: ndarray, size_px: int) -> ndarray:
    """(size, size) float32 pixels to the nearest bone, the forearm's beginning among them."""
    canvas = np.full((size_px, size_px), 255, np.uint8)
    forearm = hand_px[_WRIST] + _FOREARM * (hand_px[_WRIST] - hand_px[_MIDDLE])
    # Clip coordinates far outside to OpenCV's integer range; their exact position does not matter.
    points = np.clip(np.round(np.vstack([hand_px, forearm])), -8 * size_px, 8 * size_px).astype(int).tolist()
    for a, b in [*BONES.tolist(), *_WEB, (_WRIST, NUM_JOINTS)]:
        cv2.line(canvas, points[a], points[b], 0, 1)
    return cv2.distanceTransform(canvas, cv2.DIST_L2, 3)


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
    found = detect_near(detector, crop, own, hand == RIGHT)
    if not len(found.score):
        return np.full((NUM_JOINTS, 2), np.nan), 0.0, np.nan
    away = np.linalg.norm(found.points_px - own, axis=-1)
    common = np.isfinite(away)
    away = np.where(common, away, 0.0).sum(-1) / np.maximum(common.sum(-1), 1)
    best = int(np.argmin(np.where(common.any(-1), away, np.inf)))
    points = np.linalg.solve(M[:, :2], (found.points_px[best] - M[:, 2]).T).T
    return points, float(found.score[best]), float(found.right[best])


@dataclass(frozen=True)
class CropDetector:
    """Detection around expected hands. The detector is created in the process that uses it; only settings are sent."""

    detection: DetectionSettings
    crop_scale: float
    """Side of the crop, in sizes of the hand."""
    crop_px: int
    """Side of the crop as the detector sees it, pixels."""

    def __call__(self, image_bgr: ndarray, hands_px: ndarray, hand: int) -> tuple[ndarray, float, float]:
        """`detect_in_crop` with these settings."""
        return detect_in_crop(make_detector(self.detection), image_bgr, hands_px, hand, self.crop_scale, self.crop_px)
