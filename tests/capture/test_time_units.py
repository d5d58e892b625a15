"""The unit of timestamps and the rate of a session: recognised from evidence, refused with the way out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from clips import write

from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.time_units import SECONDS, agree, doubt, step_per_frame
from handpipe.capture.timeline import read_timestamps
from handpipe.core.errors import SessionError

FRAMES = 12
VIEWS = {"cam_0": FRAMES, "cam_1": FRAMES}


def table(path, fps, scale=1.0, start=0.0, cameras=("cam_0", "cam_1"), every=1):
    rows = [
        f"{n},{cam},{n * every},{(start + n * every / fps + 0.0005 * at) * scale!r}"
        for n in range(FRAMES // every)
        for at, cam in enumerate(cameras)
    ]
    path.write_text("sync_index,cam_id,frame_index,frame_time\n" + "\n".join(rows) + "\n")
    return path


def read(path, clip_fps: float, unit=None):
    return read_timestamps(path, VIEWS, clip_fps={view: clip_fps for view in VIEWS}, unit=unit)


@pytest.mark.parametrize("start", [0.0, 1.79e9], ids=["relative", "epoch"])
@pytest.mark.parametrize("fps", [6.0, 30.0, 120.0, 960.0])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_another_unit_is_named_and_the_setting_puts_it_right(tmp_path, unit, fps, start):
    path = table(tmp_path / "timestamps.csv", fps, 1 / SECONDS[unit], start)
    with pytest.raises(SessionError, match=f"frame_time of cam_0 in seconds.*`capture.timestamps_unit: {unit}`"):
        read(path, fps)
    timeline = read(path, fps, unit)
    assert timeline.fps() == pytest.approx(fps, rel=1e-3)
    assert timeline.time_s[0] == pytest.approx(np.arange(FRAMES) / fps, abs=2e-6)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_dividing_as_advised_puts_it_right(tmp_path, unit):
    path = table(tmp_path / "timestamps.csv", 25.0, 1 / SECONDS[unit])
    with pytest.raises(SessionError) as error:
        read(path, 25.0)
    (divisor,) = re.findall(r"divide frame_time by (\d+)", str(error.value))
    assert read(table(path, 25.0, 1 / SECONDS[unit] / float(divisor)), 25.0).fps() == pytest.approx(25)


@pytest.mark.parametrize("fps", [0.2, 6.0, 30.0, 240.0, 1500.0])
@pytest.mark.parametrize("clip_fps", [0.0, float("nan"), 90000.0])
def test_seconds_pass_where_the_clips_do_not_know_their_rate(tmp_path, fps, clip_fps):
    path = table(tmp_path / "timestamps.csv", fps)
    assert read(path, clip_fps).fps() == pytest.approx(fps, rel=1e-3)


def test_absolute_seconds_keep_their_precision(tmp_path):
    timeline = read(table(tmp_path / "timestamps.csv", 30.0, start=1.79e9), 30.0)
    assert timeline.time_s[1] == pytest.approx(np.arange(FRAMES) / 30 + 0.0005, abs=5e-7)


def test_every_third_frame_of_a_clip_is_no_other_rate(tmp_path):
    assert read(table(tmp_path / "timestamps.csv", 60.0, every=3), 60.0).fps() == pytest.approx(20)


def test_slow_motion_that_is_declared_as_30_per_second_passes(tmp_path):
    assert read(table(tmp_path / "timestamps.csv", 240.0), 30.0).fps() == pytest.approx(240)


def test_a_time_lapse_passes_when_the_user_says_seconds(tmp_path):
    path = table(tmp_path / "timestamps.csv", 0.2)
    with pytest.raises(SessionError, match=r"If they are seconds, set `capture.timestamps_unit: s`"):
        read(path, 30.0)
    assert read(path, 30.0, "s").fps() == pytest.approx(0.2, rel=1e-3)


def test_a_setting_that_makes_it_wrong_is_refused(tmp_path):
    with pytest.raises(SessionError, match=r"in milliseconds.*look like seconds. Set `capture.timestamps_unit: s`\.$"):
        read(table(tmp_path / "timestamps.csv", 30.0), 30.0, "ms")


def test_ticks_of_a_clock_are_divided_by_its_rate(tmp_path):
    with pytest.raises(SessionError, match="divide frame_time by 9e\\+04"):
        read(table(tmp_path / "timestamps.csv", 30.0, 90000.0), 30.0)


def test_frame_numbers_are_no_times(tmp_path):
    with pytest.raises(SessionError, match=r"found frame numbers .* divide frame_time by 30\."):
        read(table(tmp_path / "timestamps.csv", 1.0), 30.0)


def test_one_camera_in_another_unit(tmp_path):
    path = tmp_path / "timestamps.csv"
    rows = [f"{n},{cam},{n},{n / 30 * scale}" for n in range(FRAMES) for cam, scale in (("cam_0", 1), ("cam_1", 1000))]
    path.write_text("sync_index,cam_id,frame_index,frame_time\n" + "\n".join(rows))
    with pytest.raises(SessionError, match=r"frame_time of cam_1 in seconds.*milliseconds"):
        read(path, 30.0)


def test_a_camera_with_a_clock_of_its_own(tmp_path):
    path = tmp_path / "timestamps.csv"
    rows = [f"{n},{cam},{n},{start + n / 30}" for n in range(FRAMES) for cam, start in (("cam_0", 0), ("cam_1", 1.7e9))]
    path.write_text("sync_index,cam_id,frame_index,frame_time\n" + "\n".join(rows))
    with pytest.raises(SessionError, match="Write the times of all cameras by one clock"):
        read(path, 30.0)


def test_steps_are_told_from_frames_that_moved():
    assert step_per_frame(np.array([0, 0, 2, 3]), np.array([0.0, 0.0, 0.2, 0.3])) == pytest.approx(0.1)
    assert np.isnan(step_per_frame(np.array([4]), np.array([1.0])))
    assert doubt(np.nan, 30.0) is None
    assert agree(30.0, 90.0)
    assert not agree(30.0, 91.0)
    assert agree(30.0, 0.0)


def session(tmp_path, fps):
    root = tmp_path / "s"
    (root / "videos").mkdir(parents=True)
    for cam in ("cam_0", "cam_1"):
        write(root / "videos" / f"{cam}.mp4", FRAMES, fps)
    return root


@pytest.mark.parametrize("fps", [0.05, 2001.0, 1e-300])
def test_a_rate_that_no_camera_has_is_refused(tmp_path, fps):
    with pytest.raises(SessionError, match=r"expected 0.1 to 2000 frames per second"):
        read_session(session(tmp_path, 30.0), CaptureSettings(), fps)


def test_rates_that_contradict_each_other_are_said(tmp_path):
    root = session(tmp_path, 30.0)
    assert read_session(root, CaptureSettings(), 60.0).warnings == ()
    (warning,) = read_session(root, CaptureSettings(), 240.0).warnings
    assert warning.startswith("fps: 240 frames per second is set, but the header of the clips gives 30")
    table(root / "timestamps.csv", 240.0)
    (warning,) = read_session(root, CaptureSettings()).warnings
    assert "the times of cam_0 give 240 frames per second, but its clip declares 30" in warning
    assert len(read_session(root, CaptureSettings(), 30.0).warnings) == 2


def test_time_steps_that_are_minutes_apart_are_refused(tmp_path):
    root = session(tmp_path, 30.0)
    rows = [f"{n},{cam},{11 * n},{60 * n}" for n in range(2) for cam in (0, 1)]
    (root / "timestamps.csv").write_text("sync_index,cam_id,frame_index,frame_time\n" + "\n".join(rows))
    with pytest.raises(SessionError, match=r"time steps per second, but found 0.01667"):
        read_session(root, CaptureSettings(timestamps_unit="s"))
