"""3D keypoints in npz: what `handpipe import keypoints` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...core.hands import JOINTS
from ..exporting import Recording, seen_joints


def write(recording: Recording, out: Path) -> list[str]:
    """`points` (frame, hand, joint, 3) metres, `sigma` (frame, hand, joint) metres, `fps` and `joints`.

    The points are the triangulated ones; of motion that has none, generated or imported, the model's joints, without
    `sigma`.
    """
    keypoints = recording.keypoints()
    if keypoints is None:
        np.savez(out, points=seen_joints(recording.motion()), fps=recording.fps, joints=np.array(JOINTS))
        return ["The shape of the hands and the rotations of their joints: only places of joints are kept."]
    np.savez(out, points=keypoints.points_m, sigma=keypoints.sigma_m, fps=recording.fps, joints=np.array(JOINTS))
    return [
        "The fitted hands: these are the triangulated keypoints, before the fit.",
        "Which views saw each joint.",
    ]
