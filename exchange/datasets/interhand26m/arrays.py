"""InterHand2.6M's annotations (Moon et al., ECCV 2020) as arrays, both ways. Pure.

42 joints, the right hand's 21 before the left's, each finger from tip to root, thumb to little finger, the wrist last
(its `skeleton.txt`). Millimetres in the world; a camera has a position `campos` and a rotation `camrot`, so that
X_cam = camrot (X_world - campos), and a lens without distortion. A missing joint is (1, 1, 1) and not valid. MANO
(NeuralAnnot) is smplx's in metres with `flat_hand_mean=False`: its pose counts from the model's mean pose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from ....core.hands import FINGERS, LEFT, NUM_JOINTS, PARENT, RIGHT

NUM_BOTH = 2 * NUM_JOINTS

ORDER = np.array([*(4, 3, 2, 1), *(8, 7, 6, 5), *(12, 11, 10, 9), *(16, 15, 14, 13), *(20, 19, 18, 17), 0])
"""For each joint of a hand in the dataset's order, the index among ours."""

HAND_ORDER = np.array([RIGHT, LEFT])

MISSING_MM = 1.0
"""What the dataset writes where a joint is missing."""

DECIMALS = 4
"""Of a millimetre: a tenth of a micrometre, what single precision keeps of a metre."""

BOX_SCALE = 1.2
"""The published boxes are the joints' own, so much larger about their centre."""

HAND_TYPE: Mapping[tuple[bool, bool], str] = {
    (True, True): "interacting",
    (True, False): "left",
    (False, True): "right",
}
"""By whether the left and the right hand are there."""


@dataclass(frozen=True, eq=False)
class Pinhole:
    """A camera without distortion."""

    K: ndarray
    """(3, 3) pixels."""
    T_cam_world: ndarray
    """(4, 4) metres."""


def joints_out(points_m: ndarray) -> tuple[ndarray, ndarray]:
    """World coordinates and validity as the dataset has them.

    Args:
        points_m: (..., hand, 21, 3) metres, NaN where missing.

    Returns:
        (..., 42, 3) millimetres and (..., 42) bool.
    """
    both = points_m[..., HAND_ORDER, :, :][..., ORDER, :].astype(np.float64)
    both = both.reshape(*points_m.shape[:-3], NUM_BOTH, 3)
    valid = np.asarray(np.isfinite(both).all(axis=-1))
    return np.where(valid[..., None], np.round(1e3 * both, DECIMALS), MISSING_MM), valid


def joints_in(world: ndarray, valid: ndarray, unit_m: float = 1e-3) -> ndarray:
    """The inverse of `joints_out`: (..., 42, 3) in units of `unit_m`, (..., 42) to (..., hand, 21, 3) metres."""
    known = np.where(valid[..., None], world * unit_m, np.nan)
    hands = known.reshape(*world.shape[:-2], 2, NUM_JOINTS, 3)
    out = np.empty_like(hands)
    for place, hand in enumerate(HAND_ORDER):
        out[..., hand, ORDER, :] = hands[..., place, :, :]
    return out


def skeleton() -> str:
    """The dataset's skeleton.txt: name, index and parent of each of the 42 joints, fingers' joints numbered from 1."""
    place = {joint: index for index, joint in enumerate(ORDER.tolist())}
    lines = ["# joint_name joint_id joint_parent_id"]
    for first, side in ((0, "r"), (NUM_JOINTS, "l")):
        for index, joint in enumerate(ORDER.tolist()):
            finger, number = FINGERS[(joint - 1) // 4], (joint - 1) % 4 + 1
            name = f"{side}_{finger}{number}" if joint else f"{side}_wrist"
            lines.append(f"{name} {first + index} {first + place[PARENT[joint]] if joint else -1}")
    return "\n".join(lines) + "\n"


def camera_out(camera: Pinhole) -> dict[str, Any]:
    """`campos` (millimetres), `camrot`, `focal` and `princpt` (pixels)."""
    R, t = camera.T_cam_world[:3, :3], camera.T_cam_world[:3, 3]
    return {
        "campos": (-1e3 * R.T @ t).tolist(),
        "camrot": R.tolist(),
        "focal": [float(camera.K[0, 0]), float(camera.K[1, 1])],
        "princpt": [float(camera.K[0, 2]), float(camera.K[1, 2])],
    }


def camera_in(campos: ndarray, camrot: ndarray, focal: ndarray, princpt: ndarray, unit_m: float = 1e-3) -> Pinhole:
    """The inverse of `camera_out`; arrays of shapes (3,), (3, 3), (2,), (2,)."""
    K, T = np.eye(3), np.eye(4)
    K[[0, 1], [0, 1]], K[:2, 2] = focal, princpt
    T[:3, :3], T[:3, 3] = camrot, -camrot @ (campos * unit_m)
    return Pinhole(K, T)


def box_of(points_px: ndarray, scale: float = BOX_SCALE) -> ndarray:
    """(..., joint, 2) pixels, NaN where missing, to (..., 4) x, y, width, height of the box about them; NaN if none."""
    known = np.asarray(np.isfinite(points_px).all(axis=-1))[..., None]
    low = np.where(known, points_px, np.inf).min(axis=-2)
    high = np.where(known, points_px, -np.inf).max(axis=-2)
    low, high = (np.where(np.isfinite(edge), edge, np.nan) for edge in (low, high))
    size = scale * (high - low)
    return np.concatenate([0.5 * (low + high) - 0.5 * size, size], axis=-1)


def hand_type(there: Sequence[bool]) -> str | None:
    """The dataset's word for (left, right); None when no hand is there."""
    return HAND_TYPE.get((bool(there[LEFT]), bool(there[RIGHT])))


def mano_out(
    betas: ndarray, global_orient: ndarray, hand_pose: ndarray, transl: ndarray, hands_mean: ndarray
) -> dict[str, Any]:
    """One hand of one frame; arrays of shapes (10,), (3,), (45,), (3,) and the model's mean pose (45,)."""
    pose = np.concatenate([global_orient, hand_pose.astype(np.float64) - hands_mean])
    return {"pose": pose.tolist(), "shape": betas.tolist(), "trans": transl.tolist()}


def mano_in(pose: ndarray, hands_mean: ndarray) -> tuple[ndarray, ndarray]:
    """(..., 48) to global_orient (..., 3) and hand_pose (..., 45) of `flat_hand_mean=True`."""
    return pose[..., :3], pose[..., 3:] + hands_mean
