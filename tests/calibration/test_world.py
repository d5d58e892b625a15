"""Where the world is: the rig moves as a whole, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from scipy.spatial.transform import Rotation

from handpipe.calibration.quality import triangulate_corners
from handpipe.calibration.world import rig_in_world
from handpipe.core.cameras import Cameras
from handpipe.core.errors import CalibrationError


def random_pose(rng: np.random.Generator, depth_m: float) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(rng.normal(0, 0.3, 3)).as_matrix()
    T[:3, 3] = [*rng.normal(0, 0.1, 2), depth_m]
    return T


def rig_of(poses: list[np.ndarray]) -> Cameras:
    n = len(poses)
    K = np.tile(np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]), (n, 1, 1))
    names = tuple(f"c{i}" for i in range(n))
    return Cameras(names, K, np.tile([-0.1, 0.01, 0, 0, 0], (n, 1)), np.array(poses), np.tile([640, 480], (n, 1)))


@settings(deadline=None, max_examples=30)
@given(seed=integers(0, 2**32 - 1), world=sampled_from(["first-camera", "board", "gravity"]))
def test_another_world_changes_nothing_but_the_world(seed, world):
    rng = np.random.default_rng(seed)
    rig = rig_of([random_pose(rng, 1.0) for _ in range(4)])
    boards = np.array([random_pose(rng, 0.0) for _ in range(3)])
    boards[1] = np.nan
    moved = rig_in_world(rig, boards, world, 2)
    points = rng.uniform(-0.1, 0.1, (1, 6, 3))
    uv = rig.project(points) + rng.normal(0, 0.3, (4, 1, 6, 2))
    before, after = triangulate_corners(rig, uv), triangulate_corners(moved, uv)
    first, second = np.triu_indices(6, 1)
    for a, b in ((before[0], after[0]), (rig.centers_m, moved.centers_m)):
        i, j = (first, second) if len(a) == 6 else np.triu_indices(4, 1)
        np.testing.assert_allclose(
            np.linalg.norm(b[i] - b[j], axis=-1), np.linalg.norm(a[i] - a[j], axis=-1), atol=1e-9
        )
    np.testing.assert_allclose(moved.project(after), rig.project(before), atol=1e-6)
    # Nothing is mirrored on the way.
    np.testing.assert_allclose(np.linalg.det(moved.T_cam_world[:, :3, :3]), 1, atol=1e-12)


def test_the_first_camera_is_the_world_where_it_already_is():
    rng = np.random.default_rng(0)
    rig = rig_of([np.eye(4), random_pose(rng, 1.0)])
    assert rig_in_world(rig, np.empty((0, 4, 4)), "first-camera", 0) is rig
    poses = rig.T_cam_world.copy()
    poses[0] = np.nan  # the first that is calibrated
    world = rig_in_world(rig_of(list(poses)), np.empty((0, 4, 4)), "first-camera", 0)
    np.testing.assert_allclose(world.T_cam_world[1], np.eye(4), atol=1e-12)


def test_a_camera_above_the_table():
    """A camera 1 m above the board's origin, looking straight down with its x along the board's x.

    OpenCV's board has x right, y down and z into the paper for who looks at it, so this camera has the board's axes.
    """
    T_world_board = np.eye(4)
    T_cam_world = np.eye(4)
    T_cam_world[2, 3] = 1.0
    rig = rig_of([T_cam_world])
    np.testing.assert_allclose(rig_in_world(rig, T_world_board[None], "board", 0).centers_m, [[0, 0, -1]], atol=1e-12)
    table = rig_in_world(rig, T_world_board[None], "gravity", 0)
    np.testing.assert_allclose(table.centers_m, [[0, 0, 1]], atol=1e-12)
    # Its image's x is the table's x, its image's down the table's -y.
    np.testing.assert_allclose(table.T_cam_world[0, :3, :3], np.diag([1.0, -1, -1]), atol=1e-12)


def test_the_boards_corner_is_the_origin_wherever_the_rig_was():
    rng = np.random.default_rng(1)
    rig, board = rig_of([random_pose(rng, 1.0) for _ in range(3)]), random_pose(rng, 0.2)
    corners_board = rng.uniform(0, 0.2, (5, 3)) * [1, 1, 0]
    uv = rig.project(corners_board @ board[:3, :3].T + board[:3, 3])
    moved = rig_in_world(rig, board[None], "board", 0)
    np.testing.assert_allclose(moved.project(corners_board), uv, atol=1e-9)
    table = rig_in_world(rig, board[None], "gravity", 0)
    np.testing.assert_allclose(table.project(corners_board * [1, -1, 1]), uv, atol=1e-9)


@pytest.mark.parametrize("frame", [1, 7])
def test_a_frame_without_the_board_names_its_neighbours(frame):
    boards = np.tile(np.eye(4), (5, 1, 1))
    boards[1] = np.nan
    with pytest.raises(
        CalibrationError, match=rf"clips: expected the board in frame {frame} .*it was in .*(0, 2|3, 4)"
    ):
        rig_in_world(rig_of([np.eye(4)]), boards, "gravity", frame, "clips")
    with pytest.raises(CalibrationError, match="it was in none"):
        rig_in_world(rig_of([np.eye(4)]), np.full((2, 4, 4), np.nan), "board", 0)
