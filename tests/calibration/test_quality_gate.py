"""What a calibration must not let through: bad rigs, and recordings that cannot give a good one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from calibration_scenes import BOARD, NOISE_PX, arc_rig, waved_board
from scipy.spatial.transform import Rotation

from handpipe.calibration.board import corner_positions
from handpipe.calibration.calibrate import calibrate
from handpipe.calibration.checks import joining_pair, moved_camera, same_pose, weak_views
from handpipe.calibration.quality import ByOthers, leave_one_out
from handpipe.calibration.quality_gate import Judge, contradictions, outside
from handpipe.calibration.settings import CalibrationSettings, KnownDistance
from handpipe.calibration.timing.alignment import at_common_instants
from handpipe.core.cameras import Cameras
from handpipe.core.errors import CalibrationError

LAX = 1.0


@pytest.fixture(scope="module")
def scene() -> tuple[Cameras, np.ndarray]:
    rng = np.random.default_rng(15)
    rig = arc_rig(6, rng)
    return rig, waved_board(rig, 50, rng)


def judge(dead_views: float = LAX, **settings: object) -> Judge:
    return Judge("calibration", dead_views, "Show them the board", CalibrationSettings(**settings), BOARD.square_m)  # pyright: ignore[reportArgumentType]


# The gate


def test_held_out_figures_are_those_of_the_noise_and_of_the_distance(scene):
    rig, corners_px = scene
    held_out = calibrate(BOARD, corners_px, rig.names, rig.size_px).held_out
    assert held_out.frames == 10
    assert 0.9 < held_out.rms_px / (np.sqrt(2) * NOISE_PX) < 1.15
    # The board is about a metre away: a pixel there is a metre over the focal length.
    np.testing.assert_allclose(held_out.view_m, held_out.view_px / rig.focal_px, rtol=0.2)
    assert 0 < held_out.distance_m < 1e-3
    assert outside(held_out, rig.names, CalibrationSettings()) == []


def test_a_bad_rig_is_stopped_unless_told_otherwise(scene):
    """One view sees the board bent: its own frames fit, and no pose of the board explains them."""
    rig, corners_px = scene
    bent = corners_px.copy()
    bent[2] += 0.7 * np.sin(np.arange(24))[:, None]
    held_out = calibrate(BOARD, bent, rig.names, rig.size_px).held_out
    strict = {"max_reprojection_px": 0.5, "max_distance_mm": 0.1}
    with pytest.raises(CalibrationError, match=r"max_reprojection_px.*c2.*max_distance_mm.*outside_limits: warn"):
        judge(**strict).pass_or_stop(held_out, rig.names)
    warnings = judge(**strict, outside_limits="warn").pass_or_stop(held_out, rig.names)
    assert len(warnings) == 2
    assert "c2" in warnings[0]


def test_too_few_frames_are_said_to_judge_nothing(scene):
    rig, corners_px = scene
    result = calibrate(BOARD, corners_px[:, :8], rig.names, rig.size_px, min_frames=3)
    assert result.held_out.frames == 0
    (warning,) = judge().pass_or_stop(result.held_out, rig.names)
    assert "none were held out" in warning


def test_a_weakly_seen_camera_is_known_to_be_weak(scene):
    rig, corners_px = scene
    poor = corners_px.copy()
    poor[5, np.nonzero(np.isfinite(poor[5, :, 0, 0]))[0][6:]] = np.nan
    poor[5, :, [2, 3, 4, 5, 6, *range(9, 24)]] = np.nan
    sigma = calibrate(BOARD, poor, rig.names, rig.size_px).sigma
    print(sigma)
    assert weak_views(rig.names, sigma.center_m, sigma.rotation_rad) == ["c5"]
    whole = calibrate(BOARD, corners_px, rig.names, rig.size_px).sigma
    assert weak_views(rig.names, whole.center_m, whole.rotation_rad) == []


def test_standard_errors_of_directions_are_honest():
    """Over several rigs, errors after the best alignment of the centres are of the size that is stated."""
    found, stated = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rig = arc_rig(5, rng)
        result = calibrate(BOARD, waved_board(rig, 40, rng), rig.names, rig.size_px)
        a, b = result.cameras.centers_m, rig.centers_m
        R = Rotation.align_vectors(b - b.mean(0), a - a.mean(0))[0].as_matrix()
        turned = result.cameras.T_cam_world[:, :3, :3] @ R.T @ rig.T_cam_world[:, :3, :3].transpose(0, 2, 1)
        found.append(Rotation.from_matrix(turned).magnitude())
        stated.append(result.sigma.rotation_rad)
    assert 0.4 < np.sqrt(np.square(found).mean() / np.square(stated).mean()) < 2


# Recordings that cannot be right


def test_two_groups_are_named_with_the_pair_that_would_join_them(scene):
    rig, corners_px = scene
    apart = corners_px.copy()
    apart[:4, 25:], apart[4:, :25] = np.nan, np.nan
    apart[3, 25:27], apart[4, 25:27] = corners_px[3, 25:27], corners_px[4, 25:27]
    both = np.isfinite(apart[3:5, :, :, 0]).any(-1).all(0).sum()
    assert 0 < both < 3
    result = calibrate(BOARD, apart, rig.names, rig.size_px)
    assert list(result.left_out) == ["c4", "c5"]
    reason = result.left_out["c5"]
    assert reason.startswith("c4, c5 share no 3 consistent frames of the board with c0, c1, c2, c3")
    assert f"show the board to c3 and c4 at the same time, the closest pair ({both} frames in common)" in reason
    with pytest.raises(CalibrationError, match="show the board to c3 and c4"):
        judge(dead_views=0.1).check(result.cameras, result.left_out)


def test_the_joining_pair_is_the_one_that_the_board_passed_between_fastest():
    usable = np.zeros((4, 40), bool)
    usable[0, :5], usable[1, 5:12], usable[2, 15:20], usable[3, 30:] = True, True, True, True
    assert joining_pair(usable, [0, 1], [2, 3]) == (1, 2, 0)
    usable[0, 35] = True
    assert joining_pair(usable, [0, 1], [2, 3]) == (0, 3, 1)


@pytest.mark.parametrize("moved_px", [4.0, 30.0])
def test_a_moved_camera_is_named_with_the_frame(scene, moved_px: float):
    rig, corners_px = scene
    moved = corners_px.copy()
    moved[3, 30:] += [moved_px, 0.5 * moved_px]
    result = calibrate(BOARD, moved, rig.names, rig.size_px)
    assert list(result.left_out) == ["c3"]
    seen = np.nonzero(np.isfinite(corners_px[3, :, 0, 0]))[0]
    before, after = seen[seen < 30][-1], seen[seen >= 30][0]
    assert f"moved between frames {before} and {after} " in result.left_out["c3"]


def test_noise_a_ramp_and_a_few_bad_frames_are_no_move():
    rng = np.random.default_rng(0)
    residual_px = rng.normal(0, 1.0, (3, 60, 12, 2)) + rng.normal(0, 2.0, (3, 60, 1, 2))
    residual_px[1, :4] += 15.0
    residual_px[2, :8] += np.linspace(8, 0, 8)[:, None, None]
    assert moved_camera(residual_px) is None
    residual_px[0, 40:] += 9.0
    step = moved_camera(residual_px)
    assert step is not None
    assert (step.view, step.before, step.after) == (0, 39, 40)


def test_one_clip_under_two_names_is_refused(scene):
    rig, corners_px = scene
    twice = corners_px.copy()
    twice[4] = twice[1]
    result = calibrate(BOARD, twice, rig.names, rig.size_px)
    assert same_pose(result.cameras) == ("c1", "c4")
    with pytest.raises(CalibrationError, match="c1 and c4 have the same pose"):
        judge().check(result.cameras)
    assert same_pose(rig) is None


def test_a_mirrored_clip_is_left_out_where_markers_do_not_tell(scene):
    """As of a chessboard, whose corners are found in a mirror too."""
    rig, corners_px = scene
    mirrored = corners_px.copy()
    mirrored[2, ..., 0] = rig.size_px[2, 0] - 1 - mirrored[2, ..., 0]
    corners = mirrored[2].reshape(len(mirrored[2]), BOARD.rows - 1, BOARD.columns - 1, 2)
    mirrored[2] = corners[:, :, ::-1].reshape(mirrored[2].shape)
    result = calibrate(BOARD, mirrored, rig.names, rig.size_px)
    assert list(result.left_out) == ["c2"]


def test_a_measured_distance_contradicts_a_wrong_square(scene):
    rig, corners_px = scene
    wrong = replace(BOARD, square_m=0.044)
    cameras = calibrate(wrong, corners_px, rig.names, rig.size_px).cameras
    true_m = float(np.linalg.norm(rig.centers_m[0] - rig.centers_m[5]))
    known = (KnownDistance("c0", "c5", round(true_m, 2)),)
    told = replace(judge(known_distances=known), square_m=wrong.square_m)
    with pytest.raises(CalibrationError, match=r"squares are (39\.\d|40\.\d) mm and not 44\.0 mm"):
        told.check(cameras)
    judge(known_distances=known).check(calibrate(BOARD, corners_px, rig.names, rig.size_px).cameras)
    with pytest.raises(CalibrationError, match="there is no c9"):
        judge(known_distances=(KnownDistance("c0", "c9", 1.0),)).check(cameras)


# Not quite simultaneous


def test_corners_are_brought_to_the_frames_time():
    """A board in steady motion, seen by cameras that fire at different times: afterwards as if they had not."""
    rng = np.random.default_rng(3)
    time_s = np.arange(20) / 30 + rng.uniform(-0.01, 0.01, (4, 1))
    place = rng.uniform(100, 300, (4, 1, 6, 2))
    velocity = np.array([300.0, -90.0])
    corners_px = place + velocity * time_s[..., None, None]
    corners_px[1, 7, 2] = np.nan
    instant = np.median(time_s, axis=0)[:, None, None]
    expected = np.where(np.isfinite(corners_px), place + velocity * instant, np.nan)
    np.testing.assert_allclose(at_common_instants(corners_px, time_s), expected, atol=1e-9)


def test_cameras_that_fire_late_cost_less_when_their_times_are_known():
    rng = np.random.default_rng(4)
    rig, frames = arc_rig(6, rng), 60
    late_s = rng.uniform(-0.02, 0.02, (6, 1)) + np.zeros((6, frames))
    t = np.arange(frames) / 10
    corners = corner_positions(BOARD) - corner_positions(BOARD).mean(0)
    found = np.full((6, frames, 24, 2), np.nan)
    for view in range(6):
        for frame in range(frames):
            s = t[frame] + late_s[view, frame]
            R = Rotation.from_rotvec(0.5 * np.array([np.sin(s), np.cos(0.8 * s), np.sin(0.6 * s)])).as_matrix()
            center = 0.15 * np.array([np.sin(0.9 * s), np.cos(1.1 * s), np.sin(0.7 * s)])
            found[view, frame] = rig.subset([view]).project(corners @ R.T + center)[0]
    found += rng.normal(0, NOISE_PX, found.shape)
    ignored = calibrate(BOARD, found, rig.names, rig.size_px).held_out
    known = calibrate(BOARD, found, rig.names, rig.size_px, time_s=t + late_s).held_out
    assert known.distance_m < 0.8 * ignored.distance_m
    assert known.rms_px < 0.6 * ignored.rms_px


def test_a_board_ten_times_too_large_is_told_by_the_rig(scene):
    rig, _ = scene
    T = rig.T_cam_world.copy()
    T[:, :3, 3] *= 12
    with pytest.raises(CalibrationError, match=r"with squares of 40 mm found .* 12\.\d+ m from what they look at"):
        judge().check(replace(rig, T_cam_world=T))


def test_a_known_distance_tells_the_unit_of_a_file(scene):
    rig, _ = scene
    T = rig.T_cam_world.copy()
    T[:, :3, 3] /= 0.0254
    known = KnownDistance("c0", "c5", float(np.linalg.norm(rig.centers_m[0] - rig.centers_m[5])))
    told = Judge("cameras.toml", LAX, "", CalibrationSettings(known_distances=(known,)))
    with pytest.raises(CalibrationError, match=r"read it with --from FILE --unit-m 0\.0254"):
        told.check(replace(rig, T_cam_world=T))


# Left out one by one


def test_the_error_by_the_others_is_that_of_the_noise(scene):
    rig, corners_px = scene
    found = leave_one_out(rig, corners_px)
    # The median length of two-dimensional noise is 1.18 sigma; the triangulation of the others adds a little.
    assert (found.px > 1.1 * NOISE_PX).all()
    assert (found.px < 1.8 * NOISE_PX).all()
    np.testing.assert_allclose(found.distance_m, found.px / rig.focal_px, rtol=0.3)
    assert not found.far_off().any()
    assert contradictions(found, rig.names, 0.002) == []


@pytest.mark.parametrize("bad", [0, 3])
def test_a_camera_that_is_turned_after_all_is_named(scene, bad: int):
    rig, corners_px = scene
    T = rig.T_cam_world.copy()
    T[bad, :3] = Rotation.from_rotvec([0, 0.01, 0]).as_matrix() @ T[bad, :3]
    found = leave_one_out(replace(rig, T_cam_world=T), corners_px)
    assert found.px[bad] == pytest.approx(0.01 * rig.focal_px[bad], rel=0.2)
    assert found.px.argmax() == bad
    # It does not spoil what is said of the others.
    assert (np.delete(found.px, bad) < 1.8 * NOISE_PX).all()
    (sentence,) = contradictions(found, rig.names, 0.002)
    assert sentence.startswith(f"c{bad} sees the board ")


def test_views_that_share_too_little_have_no_error_by_the_others(scene):
    rig, corners_px = scene
    two = leave_one_out(rig.subset([0, 1]), corners_px[:2])
    assert np.isnan(two.px).all()
    assert not two.far_off().any()
    alone = corners_px.copy()
    alone[4, 2:] = np.nan
    alone[:4, :2] = np.nan
    found = leave_one_out(rig, alone)
    assert np.isnan(found.px[4])
    assert np.isfinite(found.px[:4]).all()


def test_a_camera_beyond_the_limit_is_named_unless_all_are():
    """Nothing is far off, but one view is off by more than what the calibration must reach."""
    names = ("c0", "c1", "c2", "c3")
    px, metres = np.array([1.35, 2.6, 1.39, 0.92]), np.array([0.0012, 0.0031, 0.0017, 0.0014])
    found = ByOthers(px, metres, np.ones(4, bool))
    assert not found.far_off().any()
    (sentence,) = contradictions(found, names, 0.002)
    assert sentence.startswith("c1 sees the board 2.6 px (3.1 mm) from where")
    assert contradictions(found, names, 0.004) == []
    assert contradictions(ByOthers(np.full(4, 2.6), np.full(4, 0.003), np.ones(4, bool)), names, 0.002) == []
    unknown = ByOthers(np.array([np.nan, 2.6, 1.0, 1.2]), np.array([np.nan, 0.003, 0.001, 0.001]), np.ones(4, bool))
    assert len(contradictions(unknown, names, 0.002)) == 1
