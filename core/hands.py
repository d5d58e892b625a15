"""Hands and joints: the names, the order and the topology everything else agrees on.

Joint order is MediaPipe's (wrist, then thumb, index, middle, ring, pinky from root to tip). MANO's own order
(wrist, index, middle, pinky, ring, thumb) appears only where a MANO file is read; `MANO_JOINT_OF_FINGER_JOINT`
is the one place that translates.
"""

from __future__ import annotations

import numpy as np

HANDS = ("left", "right")
"""The `hand` axis of every array."""

LEFT, RIGHT = 0, 1

FINGERS = ("thumb", "index", "middle", "ring", "pinky")

JOINTS = (
    "wrist",
    *("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *("index_mcp", "index_pip", "index_dip", "index_tip"),
    *("middle_mcp", "middle_pip", "middle_dip", "middle_tip"),
    *("ring_mcp", "ring_pip", "ring_dip", "ring_tip"),
    *("pinky_mcp", "pinky_pip", "pinky_dip", "pinky_tip"),
)
"""The `joint` axis of every array: 21 joints in MediaPipe's order."""

NUM_JOINTS = len(JOINTS)

PARENT = np.array([-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19])
"""Parent of each joint; -1 for the wrist."""

BONES = np.array([(PARENT[j], j) for j in range(1, NUM_JOINTS)])
"""The 20 bones as (parent, child) joint indices."""

TIPS = np.array([4, 8, 12, 16, 20])

CONTACT_M = 0.02
"""Joints of different hands that are closer than this count as touching: about the thickness of a finger."""

NUM_MANO_JOINTS = 16
NUM_POSE = 45
NUM_BETAS = 10

MANO_JOINT = np.array([0, 13, 14, 15, -1, 1, 2, 3, -1, 4, 5, 6, -1, 10, 11, 12, -1, 7, 8, 9, -1])
"""For each of our 21 joints, the index among MANO's 16 joints; -1 for the five fingertips."""

MANO_TIP_VERTEX = np.array([744, 320, 443, 554, 671])
"""Vertex of each fingertip (thumb, index, middle, ring, pinky): `smplx.vertex_ids['mano']`."""


def median_of_known(values: np.ndarray) -> np.ndarray:
    """Lower median over the last axis of what is known; NaN where nothing is. Unlike nanmedian it warns of nothing."""
    ordered = np.sort(values, axis=-1)  # NaN last.
    middle = np.maximum(np.isfinite(values).sum(-1) - 1, 0) // 2
    return np.take_along_axis(ordered, middle[..., None], axis=-1)[..., 0]


SAME_HAND = 0.5
"""Median distance of the joints of two candidates in an image, in sizes of the hand, below which they lie on each
other: two detections of one hand do, and those of two hands that are close."""


def found_again(points_px: np.ndarray, found_by: np.ndarray) -> np.ndarray:
    """Candidates of different detectors that lie on each other, which are most likely one hand that both found.

    Args:
        points_px: (..., candidate, joint, 2) of an image, pixels or normalised coordinates; NaN where a joint is
            missing, and throughout where there is no candidate.
        found_by: (..., candidate) index of the detector.

    Returns:
        (..., candidate, candidate) bool.
    """
    others = found_by[..., :, None] != found_by[..., None, :]
    if not others.any():
        return others
    known = np.asarray(np.isfinite(points_px).all(axis=-1))
    extent = np.fmax.reduce(points_px, axis=-2) - np.fmin.reduce(points_px, axis=-2)
    away = np.linalg.norm(points_px[..., :, None, :, :] - points_px[..., None, :, :, :], axis=-1)
    with np.errstate(invalid="ignore"):
        near = away < SAME_HAND * extent.max(-1)[..., :, None, None]
    both = (known[..., :, None, :] & known[..., None, :, :]).sum(-1)
    # Half of the joints or more are near: their median is.
    return others & (both > 0) & (2 * near.sum(-1) >= both)
