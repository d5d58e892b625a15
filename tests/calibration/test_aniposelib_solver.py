"""aniposelib's bundle adjustment in place of ours: same start, same corners, same judgement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from calibration_scenes import BOARD, NOISE_PX, arc_rig, center_errors_m, fisheye_rig, waved_board

from handpipe.calibration import aniposelib_solver
from handpipe.calibration.aniposelib_solver import AniposelibSolver
from handpipe.calibration.board import num_corners
from handpipe.calibration.calibrate import Calibration, calibrate
from handpipe.calibration.quality_gate import Judge, outside
from handpipe.calibration.settings import CalibrationSettings
from handpipe.calibration.stage import NOTES, SolveCameras
from handpipe.calibration.world import rig_in_world
from handpipe.capture.video import read_frames
from handpipe.core.cameras import Cameras
from handpipe.core.errors import CalibrationError, ConfigError
from handpipe.core.storage.schema import BOARD as BOARD_ARRAYS
from handpipe.core.storage.schema import group_spec
from handpipe.core.storage.store import Store

SOLVER = AniposelibSolver("calibration")


@pytest.fixture(scope="module")
def scene() -> tuple[Cameras, np.ndarray]:
    rng = np.random.default_rng(5)
    rig = arc_rig(4, rng)
    return rig, waved_board(rig, 20, rng).astype(np.float32)  # as the store keeps corners


@pytest.fixture(scope="module")
def result(scene) -> Calibration:
    rig, corners_px = scene
    return calibrate(BOARD, corners_px, rig.names, rig.size_px, solver=SOLVER)


def test_recovers_a_simulated_rig_with_its_own_lens_and_passes_the_gate(scene, result):
    rig, _ = scene
    assert result.left_out == {}
    assert np.array_equal(result.cameras.T_cam_world[0], np.eye(4))
    # Its principal points stay where they start, some pixels from the truth: millimetres at one metre.
    assert center_errors_m(result.cameras, rig).max() < 6e-3
    np.testing.assert_allclose(result.cameras.focal_px, rig.focal_px, rtol=0.01)
    K, distortion = result.cameras.K, result.cameras.distortion
    np.testing.assert_array_equal(K[:, 0, 0], K[:, 1, 1])
    np.testing.assert_array_equal(K[:, :2, 2], np.tile([319.5, 239.5], (4, 1)))
    assert (distortion[:, 0] != 0).all()
    assert not distortion[:, 1:].any()
    assert outside(result.held_out, rig.names, CalibrationSettings()) == []


def test_both_solvers_are_judged_by_the_same_frames_and_corners(scene, result):
    rig, corners_px = scene
    ours = calibrate(BOARD, corners_px, rig.names, rig.size_px)
    assert result.held_out.frames == ours.held_out.frames > 0
    np.testing.assert_array_equal(result.adjusted, ours.adjusted)
    np.testing.assert_array_equal(np.isfinite(result.residual_px), np.isfinite(ours.residual_px))
    for held_out in (ours.held_out, result.held_out):
        assert 0.8 < held_out.rms_px / (np.sqrt(2) * NOISE_PX) < 1.5
    assert not np.array_equal(result.cameras.K, ours.cameras.K)


def test_the_stage_stores_the_same_bits_without_messages_or_side_effects(scene, result, tmp_path, capfd):
    import jax

    rig, corners_px = scene
    store, options = Store(str(tmp_path / "s.zarr")), CalibrationSettings(solver="aniposelib", world="board")
    store.open()
    sizes = {"view": 4, "board_frame": corners_px.shape[1], "corner": num_corners(BOARD)}
    labels = {"view": (("view",), np.array(rig.names, object))}
    store.create(group_spec("board", BOARD_ARRAYS, sizes, {"board_frame": sizes["board_frame"]}, {}, {}, labels))
    store.write("board", (0,), {"corners": corners_px})
    clips: Any = dict.fromkeys(rig.names)
    judge = Judge("calibration", 0.0, "Show them the board", options, BOARD.square_m)
    task = SolveCameras(
        store, BOARD, rig.names, rig.size_px, np.zeros(corners_px.shape[:2]), clips, read_frames, options, judge
    )
    wide = jax.config.read("jax_enable_x64")
    np.random.seed(7)  # noqa: NPY002
    ((_, blocks),) = task.run([(0,)])
    assert capfd.readouterr() == ("", "")
    assert jax.config.read("jax_enable_x64") == wide
    assert np.random.random() == np.random.RandomState(7).random()  # noqa: NPY002

    placed = rig_in_world(result.cameras, result.T_world_board, "board", 0, "calibration")
    np.testing.assert_array_equal(blocks["K"], placed.K)
    np.testing.assert_array_equal(blocks["T_cam_world"], placed.T_cam_world)
    np.testing.assert_array_equal(blocks["held_out"], result.held_out.view_px)
    assert store.attrs(NOTES)["held_out_mm"] == 1e3 * result.held_out.distance_m


def test_a_fisheye_rig_keeps_a_fisheye_lens():
    rng = np.random.default_rng(7)
    rig = fisheye_rig(3, rng)
    corners_px = waved_board(rig, 16, rng, reach_m=0.4)
    result = calibrate(BOARD, corners_px, rig.names, rig.size_px, fisheye=True, solver=SOLVER)
    assert result.left_out == {}
    assert result.cameras.fisheye.all()
    assert not result.cameras.distortion[:, 1:].any()
    assert center_errors_m(result.cameras, rig).max() < 8e-3
    assert result.held_out.rms_px < 1.0


# Bad input


def test_too_few_frames_are_the_same_sentence(scene):
    rig, corners_px = scene
    said = []
    for solver in (None, SOLVER):
        with pytest.raises(CalibrationError) as caught:
            calibrate(BOARD, corners_px[:, :3], rig.names, rig.size_px, solver=solver)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "at least 5 are needed" in said[0]


def test_what_fails_inside_is_one_sentence(scene):
    """Two views that see the same board but hardly a corner in common: its sample is empty."""
    rig, corners_px = scene
    apart = corners_px[:2].copy()
    apart[0, :, 12:], apart[1, :, :12] = np.nan, np.nan
    with pytest.raises(CalibrationError, match=r"^clips: expected aniposelib's bundle adjustment of 2 v") as caught:
        calibrate(BOARD, apart, rig.names[:2], rig.size_px[:2], solver=AniposelibSolver("clips"))
    assert "calibration.solver: handpipe" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_aniposelib_is_one_sentence(monkeypatch):
    def missing(name: str) -> str:
        raise aniposelib_solver.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(aniposelib_solver.importlib.metadata, "version", missing)
    with pytest.raises(ConfigError, match=r"calibration\.solver: .*not installed.*pip install"):
        aniposelib_solver.installed_version()
