"""Anatomical plausibility and handedness of 21 hand joints.

Everything here is invariant to rigid motion; chirality changes sign under reflection.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..core.hands import BONES, JOINTS, NUM_JOINTS, median_of_known

BONE_LENGTH_M = np.array(
    [
        *(0.040, 0.046, 0.034, 0.028),
        *(0.095, 0.044, 0.026, 0.024),
        *(0.092, 0.048, 0.030, 0.025),
        *(0.087, 0.043, 0.029, 0.025),
        *(0.083, 0.034, 0.021, 0.022),
    ]
)
"""(20,) rounded lengths of `BONES` in an adult hand, metres. They are used for ratios within a factor of two only."""

SCALE_RANGE = (0.6, 1.45)
"""Hands between a small child's and a very large adult's, relative to `BONE_LENGTH_M`."""

_J = {name: index for index, name in enumerate(JOINTS)}
_MCP = np.array([_J[f"{finger}_mcp"] for finger in ("index", "middle", "ring", "pinky")])
_WRIST, _INDEX, _MIDDLE, _PINKY = _J["wrist"], _J["index_mcp"], _J["middle_mcp"], _J["pinky_mcp"]
_THUMB = np.array([_J["thumb_mcp"], _J["thumb_ip"], _J["thumb_tip"]])

# Logistic regression of handedness on (flexion of the proximal, of the distal joints, side of the thumb) over random
# poses of the procedural hand with 5 mm noise per joint (100 % right) gives 2.1, 1.0, 5.0. Halved, for real hands are
# less clear than drawn ones, and the thumb, which roams furthest in reality, once more.
_CHIRALITY_WEIGHTS = np.array([1.05, 0.5, 1.25])


def bone_lengths(joints_m: ndarray) -> ndarray:
    """(..., 21, 3) joints to (..., 20) lengths of `hands.BONES`, in the joints' unit."""
    assert joints_m.shape[-2:] == (NUM_JOINTS, 3), joints_m.shape
    bones = joints_m[..., BONES[:, 1], :] - joints_m[..., BONES[:, 0], :]
    return np.sqrt((bones * bones).sum(-1))


def bone_variation(joints_m: ndarray, expected: ndarray) -> float:
    """How much the bones of hands vary in length, relative to their lengths: a real hand's do not.

    Args:
        joints_m: (frame, hand, 21, 3), NaN where unknown.
        expected: (frame, hand, 21) bool, joints that should be known; those that are not vary without bound.

    Returns:
        The median, over the frames and bones of both hands, of the distance from the bone's median length; infinite
        where half of what is expected is unknown.
    """
    length = bone_lengths(joints_m)
    wanted = expected[..., BONES[:, 0]] & expected[..., BONES[:, 1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        usual = median_of_known(np.moveaxis(np.where(wanted, length, np.nan), 0, -1))
        off = np.abs(length / usual - 1)[wanted]
    return float(np.median(np.where(np.isfinite(off), off, np.inf))) if len(off) else np.inf


def hand_scale(joints_m: ndarray) -> ndarray:
    """(...,) median ratio of the known bones to an adult's; NaN with fewer than 8 of them."""
    ratio = bone_lengths(joints_m) / BONE_LENGTH_M
    return np.where(np.isfinite(ratio).sum(-1) >= 8, median_of_known(ratio), np.nan)


def plausible_hand(joints_m: ndarray, share: float = 0.7) -> ndarray:
    """Whether 21 joints are a plausible hand: a possible size, with bones in proportion.

    Args:
        joints_m: (..., 21, 3) metres, NaN where unknown.
        share: of the known bones, how many must be within a factor of two of the length the hand's size asks for.

    Returns:
        (...,) bool. Fewer than 8 known bones are not enough to say yes.
    """
    scale = hand_scale(joints_m)
    ratio = bone_lengths(joints_m) / (BONE_LENGTH_M * scale[..., None])
    known = np.isfinite(ratio)
    fitting = (ratio > 0.5) & (ratio < 2.0)
    enough = fitting.sum(-1) >= share * np.maximum(known.sum(-1), 1)
    return enough & (scale > SCALE_RANGE[0]) & (scale < SCALE_RANGE[1])


def chirality_log_odds(joints_m: ndarray) -> ndarray:
    """Log-odds that 21 joints are a right hand, computed from their shape alone.

    Fingers flex toward the palm only, and the thumb lies on the palm's side. In a right hand
    (index_mcp - wrist) x (pinky_mcp - wrist) points out of the palm; the axis of finger flexion points from the little
    finger to the index. A flat hand gives about 0: its mirror image is the other hand.

    Args:
        joints_m: (..., 21, 3) metres, NaN where unknown.

    Returns:
        (...,) log-odds, > 0 for a right hand; 0 where the palm or most fingers are unknown.
    """
    wrist = joints_m[..., _WRIST, :]
    across = _unit(joints_m[..., _INDEX, :] - joints_m[..., _PINKY, :])
    palm = _unit(np.cross(joints_m[..., _INDEX, :] - wrist, joints_m[..., _PINKY, :] - wrist))
    length = np.linalg.norm(joints_m[..., _MIDDLE, :] - wrist, axis=-1)
    thumb = np.nansum((joints_m[..., _THUMB, :] - wrist[..., None, :]) * palm[..., None, :], axis=(-2, -1)) / length
    features = np.stack([_flexion(joints_m, across, 0), _flexion(joints_m, across, 1), thumb], axis=-1)
    return np.nan_to_num(features @ _CHIRALITY_WEIGHTS)


def finger_flexion(joints_m: ndarray) -> ndarray:
    """(...,) sum of the sines of the bend of the eight finger joints beyond the knuckles, of (..., 21, 3) joints.

    Positive toward the palm of a right hand, negative toward that of a left one: of a hand whose side is known it says
    whether its fingers bend as they can. 0 where the palm or the fingers are unknown.
    """
    across = _unit(joints_m[..., _INDEX, :] - joints_m[..., _PINKY, :])
    return np.nan_to_num(_flexion(joints_m, across, 0) + _flexion(joints_m, across, 1))


def _flexion(joints_m: ndarray, across: ndarray, level: int) -> ndarray:
    """Sum over the four fingers of the sine of the bend at the proximal (0) or distal (1) joint, about `across`."""
    a, b, c = (joints_m[..., _MCP + level + k, :] for k in range(3))
    axis = np.cross(_unit(b - a), _unit(c - b))
    return np.nansum(axis * across[..., None, :], axis=(-2, -1))


def _unit(v: ndarray) -> ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)
