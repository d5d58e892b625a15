"""Cameras that are late: found by the board alone, and calibrated at the times it tells."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from calibration_scenes import BOARD, arc_rig, board_on_its_way, center_errors_m

from handpipe.calibration.calibrate import calibrate
from handpipe.calibration.quality_gate import late_cameras
from handpipe.calibration.timing.alignment import at_instants
from handpipe.calibration.timing.late_views import SURE, InTime, calibrate_in_time
from handpipe.cli import main
from handpipe.core.cameras import Cameras
from handpipe.core.storage.store import Store

FPS = 10.0
NAMES = ("c0", "c1", "c2", "c3")


def solved(rig: Cameras, corners_px: np.ndarray, correct: bool = True) -> InTime:
    def solve(corners, time_s, instant_s):
        return calibrate(BOARD, corners, rig.names, rig.size_px, time_s=time_s, instant_s=instant_s)

    time_s = np.tile(np.arange(corners_px.shape[1]) / FPS, (len(rig), 1))
    return calibrate_in_time(solve, corners_px, time_s, correct)


def late_rig(seed: int, late_frames: float) -> tuple[Cameras, np.ndarray]:
    rng = np.random.default_rng(seed)
    rig = arc_rig(4, rng)
    return rig, board_on_its_way(rig, 50, FPS, rng, np.array([0.0, late_frames / FPS, 0.0, 0.0]))


@cache
def solved_late(seed: int, late_frames: float) -> InTime:
    return solved(*late_rig(seed, late_frames))


def test_corners_at_other_times_lie_on_the_path():
    """A cubic path is met between its images; across a gap and beyond the ends there is nothing."""
    time_s = np.arange(10.0)
    time_s[5:] += 2
    path = np.stack([time_s**2, 3 - time_s], -1)[None, :, None]
    at = np.array([-0.5, 1.25, 2.5, 4.02, 5.5, 7.5, 11.04])
    found = at_instants(path, time_s[None], at)[0, :, 0]
    assert np.isnan(found[[0, 4]]).all()
    np.testing.assert_allclose(found[[1, 2]], np.stack([at**2, 3 - at], -1)[[1, 2]], atol=1e-12)
    np.testing.assert_allclose(found[5], np.stack([at**2, 3 - at], -1)[5], atol=0.3)  # no image before: a line
    np.testing.assert_array_equal(found[[3, 6]], path[0, [4, 9], 0])  # as near as that, an image shows it


@pytest.mark.parametrize(("seed", "late_frames"), [(0, 0.4), (1, -1.3), (2, 5.0)])
def test_a_late_view_is_found_and_corrected(seed: int, late_frames: float):
    rig, found = late_rig(seed, late_frames)[0], solved_late(seed, late_frames)
    assert found.before is not None
    assert found.calibration.left_out == {}
    assert found.delays.delay_s[1] * FPS == pytest.approx(late_frames, abs=0.02)
    assert np.abs(np.delete(found.delays.delay_s, 1)).max() * FPS < 0.02
    assert (np.abs(found.delays.delay_s - [0, late_frames / FPS, 0, 0]) < SURE * found.delays.sigma_s + 1e-4).all()
    # As good as cameras that are on time.
    assert found.calibration.held_out.rms_px < 0.35  # 0.28 px without a late view: the noise
    assert center_errors_m(found.calibration.cameras, rig).max() < 3e-3


def test_cameras_on_time_are_calibrated_as_before_to_the_bit():
    rig, corners_px = late_rig(3, 0.0)
    found = solved(rig, corners_px)
    assert solved(rig, corners_px, correct=False).before is None
    plain = calibrate(BOARD, corners_px, rig.names, rig.size_px)
    assert found.before is None
    np.testing.assert_array_equal(found.calibration.cameras.T_cam_world, plain.cameras.T_cam_world)
    np.testing.assert_array_equal(found.calibration.cameras.K, plain.cameras.K)
    assert np.abs(found.delays.delay_s).max() * FPS < 0.01
    assert late_cameras(found, NAMES) == []


def test_the_standard_error_grows_where_the_model_does_not_fit():
    """A bent board is no delay."""
    ratio, sigma_s = [], {}
    for seed in range(3):
        for bend_m in (0.0, 0.004):
            rng = np.random.default_rng(seed)
            rig = arc_rig(4, rng)
            corners_px = board_on_its_way(rig, 50, FPS, rng, bend_m=bend_m)
            instant_s = np.arange(50) / FPS
            delays = calibrate(BOARD, corners_px, rig.names, rig.size_px, instant_s=instant_s).delays
            ratio.append(np.abs(delays.delay_s / delays.sigma_s))
            sigma_s.setdefault(bend_m, []).append(delays.sigma_s)
    assert np.max(ratio) < SURE
    assert np.sqrt(np.mean(np.square(ratio))) < 1.6
    assert np.median(sigma_s[0.004]) > 1.5 * np.median(sigma_s[0.0])


def test_a_delay_is_said():
    (sentence,) = late_cameras(solved_late(1, -1.3), NAMES)
    assert sentence.startswith("the images of the board from c1 were taken 130 ± ")
    assert "(1.3 frames) earlier than" in sentence
    assert "corrected for it (held-out corners 0." in sentence
    uncorrected = replace(solved_late(1, -1.3), before=None)
    assert "This is not corrected" in late_cameras(uncorrected, NAMES)[0]


def test_the_real_recording_gains(four_cameras, tmp_path, capsys):
    """One webcam is 113 ms early by the hands, whose own standard error is 6 ms."""
    session = tmp_path / "real"
    (session / "videos").mkdir(parents=True)
    for clip in four_cameras.glob("*.mp4"):
        (session / "videos" / clip.name).symlink_to(clip)
    (session / "timestamps.csv").symlink_to(four_cameras / "timestamps.csv")
    (session / "session.yaml").write_text(
        "board: {columns: 4, rows: 5, square_m: 0.054, marker_m: 0.0405, dictionary: DICT_4X4_1000, inverted: true}\n"
    )
    assert main(["calibrate", str(session), "--workers", "0", "--json"]) == 0
    out = capsys.readouterr()
    assert "images of the board from cam_1 were taken" in out.err
    assert json.loads(out.out)["held_out_px"] < 0.6
    store = Store(str(session / "session.zarr"))
    delay_s, by_others_px = store.read("cameras", "delay"), store.read("cameras", "by_others")
    assert delay_s[1] == pytest.approx(-0.125, abs=0.015)
    assert np.abs(delay_s[[0, 2, 3]]).max() < 0.02
    assert by_others_px[1] < 1.3  # 2.60 px without
    attributes = store.attrs("cameras")
    assert attributes["delays_corrected"]
    assert "cam_1" in attributes["late_views"]
    assert attributes["held_out_mm"] < 0.45
    assert attributes["board_mm"] < 0.4
