"""BVH: the skeletons of both hands in one file, for animation programs. `handpipe import bvh` reads it back."""

# Ring 2: reads and writes.

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....core.hands import HANDS, NUM_MANO_JOINTS
from ...recording import Recording
from ...skeleton import SkeletonMotion, posed
from ..upright import upright
from .keypoints import WORLD
from .writer import Limb, bvh_text

UNITS_PER_M = 100.0
"""The file is in centimetres, which animation programs take a BVH file for."""


def write(recording: Recording, out: Path) -> list[str]:
    """One file: the root `WORLD`, which stands still, and below it left_wrist and right_wrist with their fingers."""
    motion = recording.motion_of_some_hand()
    limbs = [_limb(posed(recording.models[index], motion, index)) for index, _ in motion.there]
    R_up, messages = upright(recording, "`handpipe import bvh` turns them back.")
    out.write_text(bvh_text(WORLD, limbs, recording.fps, R_up), encoding="utf-8")
    lost = [
        "The shape of the hands, but for the lengths of their bones, and the skin.",
        "The fingertips' motion in their own bones, by the skin's pose correctives: they are at their mean place.",
        "The unit, which BVH does not state: centimetres.",
        *messages,
    ]
    if len(motion.there) < len(HANDS) or not motion.valid.all():
        lost.append("Missing frames: a hand holds the pose of its nearest frame; one that never was there is left out.")
    return lost


def _limb(pose: SkeletonMotion) -> Limb:
    bones = slice(0, NUM_MANO_JOINTS)
    mean = UNITS_PER_M * pose.translation_m.mean(axis=0)
    end = np.full((NUM_MANO_JOINTS, 3), np.nan)
    end[pose.parent[NUM_MANO_JOINTS:]] = mean[NUM_MANO_JOINTS:]
    position = UNITS_PER_M * pose.translation_m[:, 0]
    return Limb(pose.names[bones], pose.parent[bones], mean[bones], end, position, pose.R_local[:, bones])
