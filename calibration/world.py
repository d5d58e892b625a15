"""Where the world is: the first camera, a board in one of its frames, or a board on the table with z up.

A change of frame moves the rig as a whole: distances, angles and reprojections stay what they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.errors import CalibrationError
from .settings import World

UP = np.diag([1.0, -1.0, -1.0, 1.0])
"""T_board_table: same origin and x. A board's z points into it, away from who looks; on a table that is down."""


def rig_in_world(
    cameras: Cameras, T_world_board: ndarray, world: World, frame: int, where: str = "calibration"
) -> Cameras:
    """The rig with its poses in the chosen world.

    Args:
        cameras: the rig; its world may be any.
        T_world_board: (frame, 4, 4) poses of the board in that world, metres; NaN where it was not seen.
        world: `first-camera` is the first calibrated camera; `board` the board in `frame`, its z into the board;
            `gravity` that board as if it lay on a table, face up: z is up, the origin stays at its corner.
        frame: of the board's clips.
        where: the clips, for an error to name.

    Raises:
        CalibrationError: there is no such frame, or the board was not seen in it; names the nearest where it was.
    """
    match world:
        case "first-camera":
            calibrated = np.nonzero(cameras.calibrated)[0]
            T_world_new = _inverse(cameras.T_cam_world[calibrated[0]]) if len(calibrated) else np.eye(4)
        case "board":
            T_world_new = _board_at(T_world_board, frame, where)
        case "gravity":
            T_world_new = _board_at(T_world_board, frame, where) @ UP
        case _:
            assert_never(world)
    if np.array_equal(T_world_new, np.eye(4)):
        return cameras
    return replace(cameras, T_cam_world=cameras.T_cam_world @ T_world_new)


def _board_at(T_world_board: ndarray, frame: int, where: str) -> ndarray:
    seen = np.nonzero(np.isfinite(T_world_board).all((1, 2)))[0]
    if frame in seen:
        return T_world_board[frame]
    near = sorted(seen[np.argsort(np.abs(seen - frame), kind="stable")[:3]].tolist())
    known = f"it was in {', '.join(map(str, near))}" if near else "it was in none"
    raise CalibrationError(
        f"{where}: expected the board in frame {frame} (calibration.world_frame) of {len(T_world_board)}, for it is to "
        f"be the world, but no calibrated view saw it there; near it {known}. "
        "Name a frame in which the board lies where the world should be."
    )


def _inverse(T: ndarray) -> ndarray:
    inverse = np.eye(4)
    inverse[:3, :3] = T[:3, :3].T
    inverse[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return inverse
