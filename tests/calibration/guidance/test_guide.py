"""Guidance while the board is filmed: what it counts, what it asks for, and that doing it makes the rig known."""

from __future__ import annotations

import numpy as np
import pytest
from calibration_scenes import BOARD, arc_rig, waved_board

from handpipe.calibration.board import corner_positions
from handpipe.calibration.calibrate import calibrate
from handpipe.calibration.guidance.advice import to_connect
from handpipe.calibration.guidance.coverage import CELLS, covered_cells, shared_frames
from handpipe.calibration.guidance.guide import adds_something, guidance, known_rig
from handpipe.calibration.guidance.poses import REGIONS, best_pose
from handpipe.calibration.settings import CalibrationSettings

OPTIONS = CalibrationSettings()


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(3)
    rig = arc_rig(4, rng)
    return rig, waved_board(rig, 40, rng)


def guide(rig, corners_px):
    return guidance(BOARD, corners_px, rig.names, rig.size_px, OPTIONS)


def test_cells_and_shared_frames_are_counted():
    corners = np.full((2, 3, 2, 2), np.nan)
    corners[0, 0, 0], corners[0, 2, 1] = (0, 0), (639, 479)
    corners[1, 0, 1] = (320, 0)
    cells = covered_cells(corners, np.array([[640, 480], [640, 480]]))
    assert np.argwhere(cells[0]).tolist() == [[0, 0], [CELLS - 1, CELLS - 1]]
    assert np.argwhere(cells[1]).tolist() == [[0, CELLS // 2]]
    assert shared_frames(np.array([[True, False, True], [True, True, False]])).tolist() == [[2, 1], [1, 2]]


def test_without_a_board_everything_is_asked_for(scene):
    rig, corners = scene
    found = guide(rig, np.full_like(corners[:, :4], np.nan))
    assert not found.calibrated.any()
    assert not found.enough
    assert "as many cameras as possible" in found.advice.text


def test_a_camera_that_lacks_the_board_is_asked_for_with_one_that_is_connected(scene):
    rig, corners = scene
    hidden = corners.copy()
    hidden[3, 2:] = np.nan
    found = guide(rig, hidden)
    assert found.calibrated.tolist() == [True, True, True, False]
    assert found.advice.views[0] == 3
    assert set(found.advice.views[1:] + found.advice.or_any) == {0, 1, 2}
    assert "c3 together with" in found.advice.text
    assert not found.passes


def test_all_cameras_that_lack_the_board_are_named_with_the_first():
    usable = np.zeros((5, 8), bool)
    usable[:2] = True
    # Two saw it with camera 2, three did not see it together with it; none of them is calibrated.
    usable[2, 6:], usable[4, 6:7], usable[3, 4:5] = True, True, True
    lacking = np.array([False, False, True, True, True])
    found = to_connect(usable, [f"c{n}" for n in range(5)], lacking, 5, 3)
    assert found.views == (2, 0)
    assert found.also == (4, 3)
    assert found.text.endswith("Show it to c4, c3 at the same time if you can.")
    last = to_connect(usable, [f"c{n}" for n in range(5)], np.arange(5) == 2, 5, 3)
    assert last.also == ()
    assert "at the same time" not in last.text


def test_when_the_gate_passes_it_is_enough_and_the_next_pose_is_the_one_that_tells_most(scene):
    rig, corners = scene
    found = guide(rig, corners)
    assert found.passes
    assert found.enough
    assert not found.problems
    # The covariance is the one that `calibrate` states.
    result = calibrate(BOARD, corners, rig.names, rig.size_px)
    corners_m = corner_positions(BOARD)
    known = known_rig(result, corners, corners_m)
    np.testing.assert_allclose(known.sigma.center_m, result.sigma.center_m, rtol=0.5)
    np.testing.assert_allclose(found.center_sigma_m, result.sigma.center_m)
    pose = best_pose(known, 0, corners_m)
    assert pose is not None
    # It is where it was asked for, and adding it for real lowers the standard error as nothing random does.
    points = corners_m @ pose.T_world_board[:3, :3].T + pose.T_world_board[:3, 3]
    uv = result.cameras.project(points)
    row, column = pose.region
    at = uv[0].mean(0) / rig.size_px[0] * REGIONS
    assert (column, row) == tuple(at.astype(int).tolist())
    shown = np.full((4, 1, *corners.shape[2:]), np.nan)
    shown[list(pose.seen_by), 0] = uv[list(pose.seen_by)]

    def after(more):
        sigma = calibrate(BOARD, np.concatenate([corners, more], 1), rig.names, rig.size_px).sigma
        return float((sigma.center_m**2).sum())

    assert after(np.repeat(shown, 3, 1)) < after(np.repeat(corners[:, :1], 3, 1))


def test_a_frame_adds_something_once(scene):
    rig, corners = scene
    nothing = corners[:, :0]
    assert adds_something(BOARD, nothing, corners[:, 0], rig.size_px)
    kept = np.repeat(corners[:, :1], 3, 1)
    assert not adds_something(BOARD, kept, corners[:, 0] + 1.0, rig.size_px)
    assert adds_something(BOARD, kept, corners[:, 0] + 90.0, rig.size_px)
    assert not adds_something(BOARD, kept, np.full_like(corners[:, 0], np.nan), rig.size_px)


def test_views_that_contradict_the_others_are_a_problem_that_more_frames_do_not_mend(scene):
    rig, corners = scene
    late = corners.copy()
    late[2] += np.random.default_rng(0).normal(0, 6, (corners.shape[1], 1, 2))
    found = guide(rig, late)
    assert not found.passes
    assert found.problems or not found.calibrated[2]
