"""A simulated rig and what it sees of a waved board, for the tests of calibration."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from handpipe.calibration.board import corner_positions, num_corners
from handpipe.core.cameras import Cameras
from handpipe.core.settings import Board

BOARD = Board(columns=7, rows=5, square_m=0.04, marker_m=0.03)
NOISE_PX = 0.2


def arc_rig(views: int, rng: np.random.Generator) -> Cameras:
    """Cameras on an arc of 120 degrees, 1 m from the origin and alternating in height, all looking at it."""
    angle = np.linspace(-np.pi / 3, np.pi / 3, views)
    height = 0.25 * (-1.0) ** np.arange(views)
    centers = np.stack([np.sin(angle), height, -np.cos(angle)], -1)
    T = np.tile(np.eye(4), (views, 1, 1))
    for i, center in enumerate(centers):
        z = -center / np.linalg.norm(center)
        x = np.cross([0.0, 1.0, 0.0], z)
        x /= np.linalg.norm(x)
        T[i, :3, :3] = [x, np.cross(z, x), z]
        T[i, :3, 3] = -T[i, :3, :3] @ center
    K = np.tile(np.eye(3), (views, 1, 1))
    K[:, 0, 0] = K[:, 1, 1] = rng.uniform(600, 720, views)
    K[:, :2, 2] = [319.5, 239.5] + rng.normal(0, 4, (views, 2))
    distortion = np.zeros((views, 5))
    distortion[:, 0], distortion[:, 1] = rng.normal(-0.1, 0.02, views), rng.normal(0.01, 0.01, views)
    return Cameras(tuple(f"c{i}" for i in range(views)), K, distortion, T, np.tile([640, 480], (views, 1)))


def fisheye_rig(views: int, rng: np.random.Generator) -> Cameras:
    """The same places with fisheyes of 150 degrees across, each a little different."""
    rig = arc_rig(views, rng)
    K = rig.K.copy()
    K[:, [0, 1], [0, 1]] = 1280 / np.deg2rad(150) * rng.uniform(0.97, 1.03, (views, 1))
    K[:, :2, 2] = [639.5, 479.5] + rng.normal(0, 4, (views, 2))
    k = rng.normal([-0.03, 0.004, -0.001, 0.0, 0.0], [0.01, 0.002, 0.0005, 0.0001, 0.0], (views, 5))
    size = np.tile([1280, 960], (views, 1))
    return Cameras(rig.names, K, k, rig.T_cam_world, size, np.ones(views, bool))


def waved_board(
    rig: Cameras, frames: int, rng: np.random.Generator, noise_px: float = NOISE_PX, reach_m: float = 0.2
) -> np.ndarray:
    """(view, frame, corner, 2): the board moves through the shared volume, seen from its front up to 65 degrees."""
    corners = corner_positions(BOARD) - corner_positions(BOARD).mean(0)
    found = np.full((len(rig), frames, num_corners(BOARD), 2), np.nan)
    for frame in range(frames):
        R, t = Rotation.from_rotvec(rng.normal(0, 0.45, 3)).as_matrix(), rng.uniform(-reach_m, reach_m, 3)
        uv = rig.project(corners @ R.T + t)
        to_camera = rig.centers_m - t
        facing = to_camera @ -R[:, 2] > np.cos(np.deg2rad(65)) * np.linalg.norm(to_camera, axis=1)
        inside = ((uv > 2) & (uv < rig.size_px[:, None] - 3)).all(-1) & facing[:, None]
        found[:, frame] = np.where(inside[..., None], uv + rng.normal(0, noise_px, uv.shape), np.nan)
    return found


def center_errors_m(estimate: Cameras, truth: Cameras) -> np.ndarray:
    """Distances between camera centres after the best rigid motion (no scale: the board gives metres)."""
    ok = estimate.calibrated
    a, b = estimate.centers_m[ok], truth.centers_m[ok]
    R = Rotation.align_vectors(b - b.mean(0), a - a.mean(0))[0]
    return np.linalg.norm(R.apply(a - a.mean(0)) - (b - b.mean(0)), axis=1)


def board_on_its_way(
    rig: Cameras,
    frames: int,
    fps: float,
    rng: np.random.Generator,
    delay_s: np.ndarray | None = None,
    bend_m: float = 0.0,
    hz: float = 0.3,
) -> np.ndarray:
    """(view, frame, corner, 2) of a board that moves smoothly, seen by cameras of which some are late.

    `bend_m` is how far the ends of the board are bent out of its plane; `hz` how often it changes its direction.
    """
    delay_s = np.zeros(len(rig)) if delay_s is None else delay_s
    seconds = frames / fps
    knots_s = np.linspace(-1, seconds + 1, int(2 * hz * seconds) + 4)
    place = CubicSpline(knots_s, rng.uniform(-0.2, 0.2, (len(knots_s), 3)))
    turn = CubicSpline(knots_s, rng.normal(0, 0.4, (len(knots_s), 3)))
    corners = corner_positions(BOARD) - corner_positions(BOARD).mean(0)
    corners[:, 2] += bend_m * (corners[:, 0] / corners[:, 0].max()) ** 2
    found = np.full((len(rig), frames, num_corners(BOARD), 2), np.nan)
    for view, late_s in enumerate(delay_s):
        time_s = np.arange(frames) / fps + late_s
        for frame, (R, t) in enumerate(zip(Rotation.from_rotvec(turn(time_s)), place(time_s), strict=True)):
            uv = rig.subset([view]).project(R.apply(corners) + t)[0]
            inside = ((uv > 2) & (uv < rig.size_px[view] - 3)).all(-1)
            found[view, frame] = np.where(inside[:, None], uv + rng.normal(0, NOISE_PX, uv.shape), np.nan)
    return found


def close_boards(rig: Cameras, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(view, frame, corner, 2): every camera films the board by itself, close and all over its image."""
    corners = corner_positions(BOARD) - corner_positions(BOARD).mean(0)
    found = np.full((len(rig), frames, num_corners(BOARD), 2), np.nan)
    for view, T in enumerate(np.linalg.inv(rig.T_cam_world)):
        for frame in range(frames):
            R, z = Rotation.from_rotvec(rng.normal(0, 0.4, 3)), rng.uniform(0.3, 0.45)
            in_camera = R.apply(corners) + [*rng.uniform(-0.15, 0.15, 2), z]
            uv = rig.subset([view]).project(in_camera @ T[:3, :3].T + T[:3, 3])[0]
            inside = ((uv > 2) & (uv < rig.size_px[view] - 3)).all(-1)
            found[view, frame] = np.where(inside[:, None], uv + rng.normal(0, NOISE_PX, uv.shape), np.nan)
    return found
