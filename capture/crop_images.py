"""Square crops of an image about a hand, and the other hand painted over in them."""

# Ring 2: reads and writes.

from __future__ import annotations

import cv2
import numpy as np
from numpy import ndarray

from ..core.hands import BONES, JOINTS, NUM_JOINTS

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
