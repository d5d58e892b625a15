"""`handpipe record`: takes that `run` accepts, in which every frame has a row; and what cannot start says why."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pypylon import pylon
from recorded import BRIGHTER, missing_of, record, rig_of_clips, rig_of_emulated, rows_of, write_rig

from handpipe.capture.recording import recorder
from handpipe.capture.recording.accounts import LOST
from handpipe.capture.recording.backends.pylon import PylonCamera
from handpipe.capture.recording.camera import RecordingError
from handpipe.capture.recording.channel import TOO_SLOW
from handpipe.capture.recording.clip_file import ClipFile, mend
from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import read_frames
from handpipe.cli import main
from handpipe.core.errors import ConfigError, SessionError
from handpipe.doctor.recorded import recording_checks

FAULTS = {"a": {"drop": [5, 17, 18]}, "b": {"fail": [30]}}


def number_of(image):
    """Which frame of its source an image is."""
    return round(float(image.mean()) / BRIGHTER)


def opened(take):
    return read_session(take, CaptureSettings())


def test_a_triggered_take_is_a_session_in_which_every_frame_is_the_right_one(tmp_path):
    figures = record(tmp_path, rig_of_clips(tmp_path, FAULTS))
    take = tmp_path / "day" / "take-001"
    assert figures["recording"] == str(take)
    assert missing_of(take, LOST) == {"a": [5, 17, 18], "b": [], "c": []}
    assert missing_of(take, "incomplete buffer") == {"a": [], "b": [30], "c": []}
    session = opened(take)
    assert not session.warnings
    assert not session.ignored
    for clip in session.clips:
        shown = [number_of(image) for image in read_frames(clip, range(clip.frames))]
        # Every instant shows the picture that its trigger took, whatever was lost before it.
        given = [row["frame_index"] for row in rows_of(take)[clip.view] if row["missing"] != TOO_SLOW]
        assert [(at, shown[int(frame)]) for at, frame in enumerate(given) if frame] == [
            (at, at) for at, frame in enumerate(given) if frame
        ]
    said = json.loads((take / "recording.json").read_text())
    assert said["state"] == "complete"
    assert said["cameras"]["a"]["missing"][LOST] == 3
    assert said["cameras"]["a"]["frames"] == 37
    assert said["skew"]["error_s"] >= 0
    assert not (take / ".recording").exists()


def test_cameras_that_run_free_share_one_clock(tmp_path):
    faults = {"a": {"drop": [20, 27], "drift_ppm": 200.0}, "c": {"stall": {"frame": 15, "seconds": 0.2}}}
    record(tmp_path, rig_of_clips(tmp_path, faults, trigger="free-run"))
    take = tmp_path / "day" / "take-001"
    gone = missing_of(take, LOST)
    assert len(gone["a"]) == 2
    assert gone["a"][1] - gone["a"][0] == 7
    assert gone["b"] == gone["c"] == []
    for rows in rows_of(take).values():
        steps = np.diff([float(row["frame_time"]) for row in rows])
        # Arrivals stall; the times on the common clock do not.
        np.testing.assert_allclose(steps, 1 / 30, atol=3e-3)
    said = json.loads((take / "recording.json").read_text())
    assert said["cameras"]["a"]["clock"]["error_s"] < 0.005


def test_a_camera_that_was_unplugged_comes_back(tmp_path):
    faults = {"a": {"disconnect": {"frame": 10, "seconds": 0.2}}}
    figures = record(tmp_path, rig_of_clips(tmp_path, faults))
    take = tmp_path / "day" / "take-001"
    gone = missing_of(take, "not connected")["a"]
    assert gone[0] == 10
    assert len(gone) >= 6
    assert [note.split(" (")[0] for note in figures["notes"]] == [
        "a: the camera was disconnected",
        figures["notes"][1],
    ]
    assert "connected again" in figures["notes"][1]
    assert len(opened(take).clips) == 3


def test_a_queue_that_is_full_is_entered(tmp_path, monkeypatch):
    write = ClipFile.write

    def slow(self, image):
        time.sleep(0.1)
        write(self, image)

    monkeypatch.setattr(ClipFile, "write", slow)
    figures = record(tmp_path, rig_of_clips(tmp_path, queue_mb=0.06))
    for name, gone in missing_of(tmp_path / "day" / "take-001", "queue full").items():
        assert len(gone) > 20
        assert figures["cameras"][name]["missing"]["queue full"] == len(gone)
        assert figures["cameras"][name]["queue_most"] == 2
        assert figures["cameras"][name]["frames"] + len(gone) == 40


def test_a_disk_that_refuses_ends_the_clip_and_nothing_earlier_is_lost(tmp_path, monkeypatch):
    write = ClipFile.write

    def full(self, image):
        if self.path.name == "a.mkv" and self.encoded >= 30:
            raise OSError(28, "No space left on device")
        write(self, image)

    monkeypatch.setattr(ClipFile, "write", full)
    figures = record(tmp_path, rig_of_clips(tmp_path))
    take = tmp_path / "day" / "take-001"
    assert figures["notes"] == ["a: the disk refused to write (No space left on device); the clip ends there"]
    kept = figures["cameras"]["a"]["frames"]
    assert kept >= 30 - 0.5 * 30
    assert missing_of(take, "disk full")["a"] == list(range(kept, 40))
    assert figures["cameras"]["b"]["frames"] == 40
    # What is in the file is the first frames.
    assert mend(take / "videos" / "a.mkv") >= kept


def test_takes_are_numbered_and_share_the_calibration(tmp_path):
    rig = rig_of_clips(tmp_path, session={"board": {"columns": 5, "rows": 4}})
    record(tmp_path, rig, duration_s=0.1)
    record(tmp_path, rig, duration_s=0.1, calibration=True)
    record(tmp_path, rig, duration_s=0.1, intrinsics="a")
    figures = record(tmp_path, rig, duration_s=0.1)
    assert Path(figures["recording"]).name == "take-002"
    for take in ("take-001", "take-002"):
        session = opened(tmp_path / "day" / take)
        assert {clip.path.parent.name for clip in session.board_clips.values()} == {"calibration"}
        assert list(session.lens_clips) == ["a"]
        assert session.board_timeline.timestamps
        assert not session.ignored
        assert "columns: 5" in (tmp_path / "day" / take / "session.yaml").read_text()
    (tmp_path / "day" / "cameras.toml").write_text("")
    third = record(tmp_path, rig, duration_s=0.1)
    assert (Path(third["recording"]) / "cameras.toml").resolve() == tmp_path / "day" / "cameras.toml"


def test_emulated_cameras_by_command(tmp_path, capsys):
    rig = write_rig(tmp_path, rig_of_emulated(3))
    assert main(["record", str(tmp_path / "day"), "--config", str(rig), "--duration-s", "0.5", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["instants"] == 15
    for each in figures["cameras"].values():
        assert each["frames"] + sum(each["missing"].values()) == 15
    assert len(opened(tmp_path / "day" / "take-001").clips) == 3
    assert main(["cameras", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert "0815-0000" in {each["serial"] for each in listed["cameras"]}


def test_failed_buffers_of_a_camera_are_entered(tmp_path):
    arm = PylonCamera.arm

    def failing(self):
        self._camera.ForceFailedBufferCount.Value = 3
        self._camera.ForceFailedBuffer.Execute()
        arm(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PylonCamera, "arm", failing)
        figures = record(tmp_path, rig_of_emulated(1, duration_s=0.5))
    assert figures["cameras"]["c0"]["missing"].get("incomplete buffer") == 3
    assert missing_of(tmp_path / "day" / "take-001", "incomplete buffer")["c0"] == [0, 1, 2]


@pytest.mark.parametrize("seconds", [0.4, 1.3])
def test_killed_recordings_are_completed_when_they_are_opened(tmp_path, seconds):
    rig = write_rig(tmp_path, rig_of_emulated(2, duration_s=30.0))
    take = tmp_path / "day" / "take-001"
    command = [sys.executable, "-m", "handpipe", "record", str(tmp_path / "day"), "--config", str(rig)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    journal = take / ".recording" / "c0.journal"
    while not (journal.exists() and journal.stat().st_size):
        assert process.poll() is None
        time.sleep(0.02)
    with pytest.raises(SessionError, match="is going on"):
        opened(take)
    begun = time.monotonic()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    lasted = time.monotonic() - begun
    process.wait()
    session = opened(take)
    assert "interrupted" in session.warnings[0]
    for clip in session.clips:
        assert len(list(read_frames(clip, range(clip.frames)))) / 30 > lasted - 1
    assert json.loads((take / "recording.json").read_text())["state"] == "interrupted"
    assert not opened(take).warnings


def test_a_signal_ends_a_take_in_order(tmp_path):
    rig = write_rig(tmp_path, rig_of_emulated(1, trigger="free-run"))
    command = [sys.executable, "-m", "handpipe", "record", str(tmp_path / "day"), "--config", str(rig), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    journal = tmp_path / "day" / "take-001" / ".recording" / "c0.journal"
    while not (journal.exists() and journal.stat().st_size):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(said)["state"] == "complete"


def test_doctor_tells_what_recording_json_says(tmp_path):
    record(tmp_path, rig_of_clips(tmp_path, {"a": {"drop": [5, 6, 7, 8]}}))
    checks = {check.view: check for check in recording_checks(tmp_path / "day" / "take-001")}
    assert checks["a"].severity == "warning"
    assert "4 lost by the camera" in checks["a"].reason
    assert checks[""].severity == "ok"
    assert not list(recording_checks(tmp_path))


BAD = {
    "no camera": ({"cameras": {}}, "expected one camera or more"),
    "unknown backend": ({"defaults": {"backend": "kinect"}}, "expected one of pylon, genicam, opencv, file"),
    "no backend": ({"defaults": {}}, "expected `backend`"),
    "no serial": ({"cameras": {"c0": {}}}, "expected `serial`"),
    "not connected": ({"cameras": {"c0": {"serial": "123"}}}, "expected the camera 123, but it is not connected"),
    "serial twice": (
        {"cameras": {"x": {"serial": "0815-0000"}, "y": {"serial": "0815-0000"}}},
        "x and y are both the camera 0815-0000",
    ),
    "size": ({"camera": {"width": 9999}}, "width: expected 1 to 4096, but found 9999"),
    "pixel format": ({"camera": {"pixel_format": "Mono99"}}, "pixel_format: expected one of Mono8"),
    "more than 8 bits": ({"camera": {"pixel_format": "Mono12"}}, "pixel_format: expected one of 8 bits"),
    "no file name": ({"cameras": {"a/b": {"serial": "0815-0000"}}}, "expected a name that can be a file name"),
    "names alike": (
        {"cameras": {"A": {"serial": "0815-0000"}, "a": {"serial": "0815-0001"}}},
        "differ in case only",
    ),
    "encoder": ({"encoder": {"codec": "h269"}}, "'h269' cannot be used"),
    "too small disk": ({"keep_free_gb": 1e9}, "GB of free disk"),
    "no memory": ({"queue_mb": 0.001}, "expected room for two images of each camera"),
    "too much memory": ({"queue_mb": 1e9}, "expected less than the free memory"),
    "webcam with trigger": (
        {"defaults": {"backend": "opencv"}, "cameras": {"c0": {"source": "0"}}},
        "expected `free-run` for webcams",
    ),
    "no webcam": (
        {"trigger": "free-run", "defaults": {"backend": "opencv"}, "cameras": {"c0": {"source": "/dev/video77"}}},
        "expected a camera or a stream, but it cannot be opened",
    ),
    "no producer": ({"defaults": {"backend": "genicam"}, "cameras": {"c0": {"serial": "1"}}}, "GenTL producer"),
    "no clip": (
        {"defaults": {"backend": "file"}, "cameras": {"c0": {"source": "gone.mp4"}}},
        "expected a clip, but there is no such file",
    ),
    "no pictures": ({"camera": {"images": "/nowhere"}}, "expected a folder of pictures"),
}


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD.keys())
def test_what_cannot_start_says_why_and_leaves_nothing(tmp_path, change, said, monkeypatch):
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    rest = {key: value for key, value in change.items() if key != "camera"}
    rig = rig_of_emulated(1, camera=change.get("camera", {}), duration_s=0.1) | rest
    with pytest.raises(RecordingError, match=said) as caught:
        record(tmp_path, rig)
    assert all(line.rstrip().endswith(".") for line in str(caught.value).splitlines())
    assert not list((tmp_path / "day").glob("take-*"))


def test_a_setting_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key 'defaults\.exposure'"):
        record(tmp_path, rig_of_emulated(1, camera={"exposure": 3}))
    with pytest.raises(ConfigError, match=r"docs/recording\.md"):
        record(tmp_path, rig_of_emulated(1, rate="fast"))
    with pytest.raises(ConfigError, match="unknown key 'bord'"):
        record(tmp_path, rig_of_emulated(1, session={"bord": {}}))
    with pytest.raises(ConfigError, match="expected a camera of"):
        record(tmp_path, rig_of_emulated(1), intrinsics="c9")


def test_a_folder_that_holds_something_else_is_not_written_to(tmp_path):
    rig = rig_of_emulated(1, duration_s=0.1)
    record(tmp_path, rig, calibration=True)
    with pytest.raises(RecordingError, match="expected no recording of the board"):
        record(tmp_path, rig, calibration=True)
    record(tmp_path, rig, intrinsics="c0")
    with pytest.raises(RecordingError, match="expected no clip of this camera"):
        record(tmp_path, rig, intrinsics="c0")
    (tmp_path / "day" / "videos").mkdir()
    with pytest.raises(RecordingError, match="it is itself a session"):
        record(tmp_path, rig)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "day").write_text("")
    with pytest.raises(RecordingError, match="found a file"):
        record(tmp_path / "other", rig)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RecordingError, match="is not writable"):
        record(tmp_path, rig_of_emulated(1))


def test_a_rate_that_a_camera_does_not_reach_is_named(tmp_path, monkeypatch):
    get = PylonCamera._get
    monkeypatch.setattr(
        PylonCamera, "_get", lambda self, *names: 12.0 if "Resulting" in names[0] else get(self, *names)
    )
    with pytest.raises(RecordingError, match="expected 30 frames per second, but the camera reaches 12"):
        record(tmp_path, rig_of_emulated(1))


def test_a_camera_that_another_program_uses_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pylon.TlFactory, "IsDeviceAccessible", lambda *_: False)
    with pytest.raises(RecordingError, match="used by another program"):
        record(tmp_path, rig_of_emulated(1))


def test_a_camera_that_delivers_nothing_stops_all(tmp_path):
    rig = rig_of_clips(tmp_path, {"b": {"late_start_s": 60.0}}, trigger="free-run", start_timeout_s=0.3)
    with pytest.raises(RecordingError, match=r"cameras\.b: expected a first frame within 0\.3 s"):
        record(tmp_path, rig)
    assert not list((tmp_path / "day").glob("*"))
    assert not [thread for thread in threading.enumerate() if thread.name.endswith(("_fetch", "_encode"))]


def test_a_disk_that_becomes_full_ends_the_recording(tmp_path, monkeypatch):
    usage = shutil.disk_usage
    started = time.monotonic()

    def filling(path):
        free = 5e9 if time.monotonic() - started < 1.0 else 1e9
        return usage(path)._replace(free=int(free))

    monkeypatch.setattr(shutil, "disk_usage", filling)
    figures = record(tmp_path, rig_of_emulated(1, keep_free_gb=2.0))
    assert "the disk has 1.0 GB left" in figures["notes"][0]
    assert figures["state"] == "complete"


def test_a_clock_that_is_set_is_noted_and_does_not_matter(tmp_path, monkeypatch):
    started = time.monotonic()
    clock = SimpleNamespace(
        monotonic=time.monotonic,
        sleep=time.sleep,
        time=lambda: time.monotonic() + (0.0 if time.monotonic() - started < 0.8 else 3600.0),
    )
    monkeypatch.setattr(recorder, "time", clock)
    figures = record(tmp_path, rig_of_clips(tmp_path))
    (note,) = figures["notes"]
    assert note.startswith("the computer's clock was set by +3600.0")
    times = [float(row["frame_time"]) for row in rows_of(tmp_path / "day" / "take-001")["a"]]
    assert np.diff(times).max() < 1.0
