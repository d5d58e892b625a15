"""A hand's motion as a tree of 21 joints that turn in their parents' frames: what animation formats want."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..core.hands import JOINTS, MANO_JOINT, NUM_MANO_JOINTS, PARENT, TIPS
from ..hand.model import MANO_PARENTS, HandModel, forward_kinematics, local_rotations
from ..hand.presence import has_numbers
from .recording import HandsMotion

NAMES = tuple(
    [JOINTS[int(np.flatnonzero(joint == MANO_JOINT)[0])] for joint in range(NUM_MANO_JOINTS)]
    + [JOINTS[tip] for tip in TIPS]
)
"""MANO's 16 joints in its own order, then the five fingertips."""

TREE = np.concatenate([MANO_PARENTS, MANO_JOINT[PARENT[TIPS]]])
"""(21,) parent of each of `NAMES`; -1 for the wrist."""


@dataclass(frozen=True, eq=False)
class SkeletonMotion:
    """One hand over time, without gaps."""

    names: tuple[str, ...]
    """`NAMES` with the hand in front: left_wrist, left_index_mcp, ..."""
    parent: ndarray
    """`TREE`."""
    rest_m: ndarray
    """(joint, 3) the shaped hand in the zero pose, in the model's coordinates."""
    R_local: ndarray
    """(frame, joint, 3, 3) in the parent's frame; the wrist's in the world; fingertips do not turn."""
    translation_m: ndarray
    """(frame, joint, 3) in the parent's frame; the wrist's in the world. Only the wrist and, by the skin's pose
    correctives, the fingertips move."""


def posed(model: HandModel, motion: HandsMotion, index: int) -> SkeletonMotion:
    """One hand of a motion. A frame without numbers holds the pose of the last frame before it that has them, or of the
    first one that has."""
    finite = has_numbers(vars(motion))[:, index]
    source = np.maximum.accumulate(np.where(finite, np.arange(len(finite)), -1))
    source[source < 0] = np.flatnonzero(finite)[0]
    betas, orient, pose, transl = (
        part.astype(np.float64)
        for part in (
            motion.betas[index],
            motion.global_orient[source, index],
            motion.hand_pose[source, index],
            motion.transl[source, index],
        )
    )
    rest = model.rest_joints + model.rest_joint_dirs @ betas
    R_local = local_rotations(orient, pose)
    R_world, centers = forward_kinematics(R_local, rest)
    tips = model.joints(betas, orient, pose, np.zeros(3))[:, TIPS]
    last = TREE[NUM_MANO_JOINTS:]
    # From the last joint of each finger to its tip, in the frame of the last bone.
    reach = np.einsum("ftij,fti->ftj", R_world[:, last], tips - centers[:, last])
    reach = np.round(reach, 7)  # so that a tip without correctives does not move by the last bit
    bones = rest[1:] - rest[MANO_PARENTS[1:]]
    frames = len(transl)
    still = np.broadcast_to(bones, (frames, *bones.shape))
    wrist = (transl + rest[0])[:, None]
    unposed = model.joints(betas, np.zeros(3), np.zeros(45), np.zeros(3))[TIPS]
    return SkeletonMotion(
        tuple(f"{model.side}_{name}" for name in NAMES),
        TREE,
        np.concatenate([rest, unposed]),
        np.concatenate([R_local, np.broadcast_to(np.eye(3), (frames, len(TIPS), 3, 3))], axis=1),
        np.concatenate([wrist, still, reach], axis=1),
    )
