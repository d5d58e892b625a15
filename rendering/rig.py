"""The synthetic rig: a dome of cameras around the hands, and the path of the calibration board.

World frame: metres, z up, the hands near the origin.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras

RADIUS_M = (0.72, 0.88)
ELEVATION_RAD = (np.deg2rad(-20.0), np.deg2rad(80.0))
VIEW_RADIUS_M = 0.205
"""Half height of what a camera sees at the origin."""
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def dome_rig(views: int = 50, size_px: tuple[int, int] = (640, 512), seed: int = 0) -> Cameras:
    """Cameras on a dome, spread like the seeds of a sunflower, looking at the origin.

    No real rig is perfect: distance, aim, roll, focal length (3 %), principal point (a few pixels) and lens differ
    from view to view.

    Args:
        views: number of cameras; they are named c0, c1, ...
        size_px: width and height of the images.
        seed: of the imperfections.

    Returns:
        The rig; `T_cam_world` maps the world (z up, metres) to each camera.
    """
    rng = np.random.default_rng(seed)
    w, h = size_px
    low, high = np.sin(ELEVATION_RAD)
    sin_elevation = low + (high - low) * (np.arange(views) + 0.5) / views
    azimuth = np.arange(views) * GOLDEN_ANGLE
    cos_elevation = np.sqrt(1 - sin_elevation**2)
    direction = np.stack([cos_elevation * np.cos(azimuth), cos_elevation * np.sin(azimuth), sin_elevation], axis=1)
    center = direction * rng.uniform(*RADIUS_M, views)[:, None]
    target = rng.normal(0.0, 0.008, (views, 3))
    roll = rng.normal(0.0, np.deg2rad(3.0), views)

    focal = 0.5 * h / VIEW_RADIUS_M * np.mean(RADIUS_M) * rng.uniform(0.985, 1.015, views)
    K = np.zeros((views, 3, 3))
    K[:, 0, 0] = focal
    K[:, 1, 1] = focal * rng.uniform(0.999, 1.001, views)
    K[:, :2, 2] = np.array([(w - 1) / 2, (h - 1) / 2]) + rng.uniform(-6, 6, (views, 2))
    K[:, 2, 2] = 1.0
    k1, k2 = rng.normal(-0.10, 0.01, views), rng.normal(0.02, 0.005, views)
    p1, p2 = rng.normal(0.0, 3e-4, (2, views))
    distortion = np.stack([k1, k2, p1, p2, np.zeros(views)], axis=1)
    T = np.stack([look_at(c, t, r) for c, t, r in zip(center, target, roll, strict=True)])
    return Cameras(tuple(f"c{i}" for i in range(views)), K, distortion, T, np.tile([w, h], (views, 1)))


def look_at(center_m: ndarray, target_m: ndarray, roll_rad: float = 0.0) -> ndarray:
    """(4, 4) T_cam_world of an OpenCV camera (+z forward, +y down) at a place, its picture upright up to a roll."""
    z = target_m - center_m
    z = z / np.linalg.norm(z)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x = x / np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    R = np.stack([c * x + s * y, -s * x + c * y, z])
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, -R @ center_m
    return T


def board_motion(frames: int, board_size_m: tuple[float, float], seed: int = 0) -> ndarray:
    """Poses of a flat board that turns through the dome so that every camera sees it well, often and tilted.

    The board's normal sweeps the cameras' directions in a rising and falling spiral, always a little off; the board
    wanders through the middle of the volume and spins about its normal. Neighbouring cameras share most frames.

    Args:
        frames: number of poses; from about 100 on each of 50 cameras has 20 good views.
        board_size_m: width and height of the board.
        seed: of the wandering.

    Returns:
        (frame, 4, 4) T_world_board. The board's frame is OpenCV's: origin at its first corner, x along the columns,
        y along the rows, z into the board, away from who reads it.
    """
    rng = np.random.default_rng(seed)
    t = (np.arange(frames) + 0.5) / frames
    phase = rng.uniform(0, 2 * np.pi, 8)
    turns = max(3.0, frames / 24)
    sweep = 2 * np.pi * max(1.0, turns / 3.4)
    azimuth = 2 * np.pi * turns * t + phase[0] + 0.5 * np.sin(2 * np.pi * 5.3 * t + phase[1])
    elevation = np.deg2rad(20.0) + np.deg2rad(46.0) * np.sin(sweep * t + phase[2])
    normal = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=1
    )
    position = 0.05 * np.sin(2 * np.pi * t[:, None] * (turns * np.array([0.7, 0.9, 1.1])) + phase[3:6])
    spin = np.deg2rad(50.0) * np.sin(2 * np.pi * 0.6 * turns * t + phase[6])
    T = np.tile(np.eye(4), (frames, 1, 1))
    z = -normal
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.cross(z, x)
    T[:, :3, 0] = np.cos(spin)[:, None] * x + np.sin(spin)[:, None] * y
    T[:, :3, 1] = -np.sin(spin)[:, None] * x + np.cos(spin)[:, None] * y
    T[:, :3, 2] = z
    T[:, :3, 3] = position - T[:, :3, :2] @ (0.5 * np.asarray(board_size_m))
    return T
