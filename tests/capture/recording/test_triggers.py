"""Signals at the cameras' inputs, and the clock that cameras of a network share: cameras that a test pulses itself."""

from __future__ import annotations

import importlib.metadata
import queue
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from recorded import missing_of, record, rig_of_clips, rig_of_emulated, rows_of

from handpipe.capture.recording.accounts import Run, numbered, shared_clock
from handpipe.capture.recording.backends.ptp import Nodes, follow_ptp
from handpipe.capture.recording.camera import CameraError, CameraInfo, Format, FrameStamp, Grabbed, RecordingError

PERIOD_S = 0.05
READY_S = 0.02


class PulsedCamera:
    """A camera that exposes when its line is pulsed."""

    def __init__(self, name, serial):
        self.name, self.serial = name, serial
        self.frames, self.armed, self.pulses = queue.Queue(), threading.Event(), 0

    def open(self):
        return Format((64, 48), "gray", 1 / PERIOD_S, CameraInfo("pulsed", self.serial))

    def arm(self):
        if self.serial == "broken":
            raise CameraError("expected to start, but it refuses. Plug it in again.")
        self.armed.set()

    def ready(self, timeout_s):
        raise AssertionError("nobody triggers a camera that waits for its line")

    def trigger(self) -> bool:
        raise AssertionError("nobody triggers a camera that waits for its line")

    def pulse(self):
        now_s = time.monotonic()
        if self.serial != "loose":
            image = np.full((48, 64), self.pulses, np.uint8)
            self.frames.put(Grabbed(FrameStamp(self.pulses, now_s, 500.0 + now_s), image))
            self.pulses += 1

    def read(self, timeout_s):
        try:
            return self.frames.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self):
        self.armed.clear()


class AskedCamera(PulsedCamera):
    """One that takes a while to say that it can be triggered."""

    def ready(self, timeout_s):
        time.sleep(min(timeout_s, READY_S))
        return timeout_s >= READY_S

    def trigger(self):
        self.pulse()
        return True


class Pulsed:
    """The back end; it keeps its cameras."""

    def __init__(self):
        self.cameras = []
        self.kind = PulsedCamera

    def __call__(self, rig):
        self.rig = rig
        return self

    def missing(self):
        return ""

    def find(self):
        return []

    def camera(self, name):
        self.cameras.append(self.kind(name, self.rig.camera(name).serial))
        return self.cameras[-1]


@pytest.fixture
def pulsed(monkeypatch):
    back_end = Pulsed()
    offer = importlib.metadata.EntryPoint("pulsed", "unused:unused", "handpipe.cameras")
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda _: back_end)
    monkeypatch.setattr("handpipe.capture.recording.backends.registry.entry_points", lambda group: [offer])
    return back_end


def line_rig(**serials):
    return {
        **{"rate": 1 / PERIOD_S, "trigger": "line", "keep_free_gb": 0.0, "queue_mb": 16.0, "duration_s": 1.2},
        **{"encoder": {"codec": "ffv1"}, "defaults": {"backend": "pulsed"}},
        "cameras": {name: {"serial": serial} for name, serial in serials.items()},
    }


def pulse(back_end, take, count):
    """The signal starts when the recording has started."""

    def send():
        while not list(take.glob(".recording/*.journal")) or not all(each.armed.is_set() for each in back_end.cameras):
            time.sleep(0.01)
        time.sleep(0.1)
        for _ in range(count):
            for camera in back_end.cameras:
                camera.pulse()
            time.sleep(PERIOD_S)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def test_the_first_pulse_is_the_first_frame_of_every_camera(tmp_path, pulsed):
    take = tmp_path / "day" / "take-001"
    thread = pulse(pulsed, take, 15)
    figures = record(tmp_path, line_rig(a="1", b="2"))
    thread.join()
    for name in "ab":
        rows = rows_of(take)[name][:15]
        assert [row["frame_index"] for row in rows] == [str(n) for n in range(15)]
        assert [int(row["sync_index"]) for row in rows] == list(range(15))
    assert figures["notes"] == []


def test_a_camera_that_never_gets_a_trigger_is_said(tmp_path, pulsed):
    take = tmp_path / "day" / "take-001"
    thread = pulse(pulsed, take, 15)
    figures = record(tmp_path, line_rig(a="1", b="loose"))
    thread.join()
    assert figures["notes"] == ["b: no frame arrived; check its cable and the signal at its input"]
    assert figures["cameras"]["a"]["frames"] == 15
    assert figures["cameras"]["b"]["frames"] == 0
    assert missing_of(take, "no frame arrived")["b"][:15] == list(range(15))


def test_many_cameras_are_asked_at_the_same_time_whether_they_are_ready(tmp_path, pulsed):
    """One after the other, they would need four times the time that they have, half a period."""
    pulsed.kind, count = AskedCamera, 10
    serials = {f"c{n}": str(n) for n in range(count)}
    rig = line_rig(**serials) | {"trigger": "software", "rate": 10.0, "duration_s": 1.0}
    figures = record(tmp_path, rig)
    take = tmp_path / "day" / "take-001"
    assert figures["instants"] == 10
    lost = missing_of(take, "not ready for the trigger")
    assert sum(len(each) for each in lost.values()) <= count, "a busy machine is late once"


def test_an_emulated_camera_waits_for_its_line(tmp_path):
    figures = record(tmp_path, rig_of_emulated(1, trigger="line", duration_s=0.5))
    assert figures["notes"] == ["c0: no frame arrived; check its cable and the signal at its input"]
    assert figures["instants"] == 0


def test_all_cameras_start_for_a_line_or_none_does(tmp_path, pulsed):
    with pytest.raises(RecordingError, match=r"cameras\.b: expected to start, but it refuses"):
        record(tmp_path, line_rig(a="1", b="broken"))
    assert not list((tmp_path / "day").glob("*"))
    assert not any(camera.armed.is_set() for camera in pulsed.cameras)


def test_a_line_that_a_camera_does_not_have_is_named(tmp_path):
    with pytest.raises(RecordingError, match=r"line: expected one of Software, Line1.* but found Line9"):
        record(tmp_path, rig_of_emulated(1, camera={"line": "Line9"}, trigger="line"))


def nodes_of(states, **values):
    """A camera's nodes; `states` are what its clock says, each time it is asked."""
    states = list(states)
    done = []

    def get(name):
        assert name in ("PtpStatus", "GevIEEE1588Status")
        return states.pop(0) if len(states) > 1 else states[0]

    return Nodes(values.__contains__, get, lambda name, value: done.append((name, value)), done.append), done


def test_the_shared_clock_is_switched_on_and_waited_for():
    nodes, done = nodes_of(["Listening", "Uncalibrated", "Slave"], PtpEnable=False, PtpDataSetLatch=None)
    follow_ptp(nodes, "123")
    assert done == [("PtpEnable", True), *["PtpDataSetLatch"] * 3]
    nodes, done = nodes_of(["Master"], GevIEEE1588=False)
    follow_ptp(nodes, "123")
    assert done == [("GevIEEE1588", True)]


def test_a_clock_that_hears_of_no_other_is_refused():
    nodes, _ = nodes_of(["Listening"], PtpEnable=False)
    with pytest.raises(CameraError, match=r"synchronised within 0\.3 s, but its state is Listening"):
        follow_ptp(nodes, "123", wait_s=0.3)


def test_ptp_is_refused_where_the_camera_has_none_and_used_where_it_has(tmp_path, monkeypatch):
    with pytest.raises(RecordingError, match=r"ptp: the camera 0815-0000 has no PTP clock\. Remove `ptp`"):
        record(tmp_path, rig_of_emulated(1, camera={"ptp": True}))
    with pytest.raises(RecordingError, match="ptp: cameras of the back end 'file' have no PTP clock"):
        record(tmp_path, rig_of_clips(tmp_path, defaults={"backend": "file", "ptp": True}))
    asked = []

    def follow(nodes, serial):
        assert nodes.has("Width")
        assert not nodes.has("PtpEnable")
        asked.append(serial)

    monkeypatch.setattr("handpipe.capture.recording.backends.pylon.follow_ptp", follow)
    figures = record(tmp_path, rig_of_emulated(1, camera={"ptp": True}, duration_s=0.2))
    assert asked == ["0815-0000"]
    assert figures["cameras"]["c0"]["settings"]["ptp"] is True


def test_ptp_of_a_gentl_camera_is_refused_where_it_has_none(tmp_path):
    genicam = pytest.importorskip("genicam")
    rig = {
        **{"rate": 20.0, "trigger": "free-run", "producers": [str(Path(genicam.__file__).with_name("viky.cti"))]},
        **{"keep_free_gb": 0.0, "cameras": {"c": {"backend": "genicam", "serial": "0", "ptp": True}}},
    }
    with pytest.raises(RecordingError, match="ptp: the camera 0 has no PTP clock"):
        record(tmp_path, rig)


def test_cameras_with_one_clock_are_apart_by_their_own_times(rng):
    # Exposed 2 ms apart; the second camera's frames arrive 30 ms later than they could.
    exposed = np.arange(200) / 30
    runs = [
        Run(np.arange(200), np.arange(200), exposed + at + late + rng.exponential(1e-3, 200), 70.0 + exposed + at)
        for at, late in ((0.0, 0.0), (2e-3, 30e-3))
    ]
    shared = shared_clock([[run] for run in runs])
    first, second = (numbered(run, 1 / 30, shared).time_s for run in runs)
    np.testing.assert_allclose(second - first, 2e-3, atol=1e-6)
    alone = [numbered(run, 1 / 30).time_s for run in runs]
    assert np.abs(alone[1] - alone[0] - 2e-3).max() > 0.02
    assert shared_clock([]) is None
