"""A rig around two procedural hands that move."""

from __future__ import annotations

import numpy as np

from handpipe.core.cameras import Cameras
from handpipe.core.hands import HANDS
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion


def rig(views: int = 4, seed: int = 0) -> Cameras:
    """Cameras half a metre from the origin that look at it, with strong lenses."""
    rng = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (views, 1, 1))
    for view in range(views):
        z = rng.standard_normal(3)
        z /= np.linalg.norm(z)
        x = np.cross([0.0, 0.0, 1.0], z)
        x /= np.linalg.norm(x)
        T[view, :3, :3] = np.stack([x, np.cross(z, x), z])
        T[view, :3, 3] = [0, 0, 0.5]
    K = np.tile(np.array([[600.0, 0, 320], [0, 620, 240], [0, 0, 1]]), (views, 1, 1))
    distortion = np.tile([-0.1, 0.02, 0.001, -0.001, 0.0], (views, 1))
    return Cameras(tuple(f"c{v}" for v in range(views)), K, distortion, T, np.tile([640, 480], (views, 1)))


def hands_joints(frames: int, fps: float = 60.0, seed: int = 0) -> np.ndarray:
    """(frame, hand, 21, 3)"""
    motion = two_hand_motion(frames, fps, seed)
    parts = (getattr(motion, name).swapaxes(0, 1) for name in ("global_orient", "hand_pose", "transl"))
    every = zip(HANDS, motion.betas, *parts, strict=True)
    return np.stack([HandModel.procedural(side).joints(*rest) for side, *rest in every], axis=1)
