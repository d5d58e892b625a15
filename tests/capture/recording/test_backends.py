"""Back ends: which there are, and what each makes of its cameras."""

from __future__ import annotations

import importlib.metadata
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from recorded import missing_of, record, rig_of_emulated

from handpipe.capture.recording.backends.opencv import lost_between
from handpipe.capture.recording.backends.pylon import unwrapped
from handpipe.capture.recording.backends.registry import backend, backend_names, cameras_of
from handpipe.capture.recording.camera import RecordingError
from handpipe.capture.recording.settings import CameraConfig, RigConfig


def test_a_package_adds_a_back_end(monkeypatch):
    offer = importlib.metadata.EntryPoint("mine", "recorded:film", "handpipe.cameras")
    broken = importlib.metadata.EntryPoint("broken", "nowhere:film", "handpipe.cameras")
    module = "handpipe.capture.recording.backends.registry.entry_points"
    monkeypatch.setattr(module, lambda group: [offer, broken] if group == "handpipe.cameras" else [])
    assert backend_names() == ["pylon", "genicam", "opencv", "file", "broken", "mine"]
    with pytest.raises(RecordingError, match="cannot be imported"):
        backend("broken", RigConfig())
    with pytest.raises(RecordingError, match="expected one of pylon, genicam, opencv, file, broken, mine"):
        backend("yours", RigConfig())


def test_what_is_missing_is_said_once_for_all_cameras(monkeypatch):
    monkeypatch.setattr("handpipe.capture.recording.backends.pylon.find_spec", lambda _: None)
    rig = RigConfig(cameras={f"c{n}": CameraConfig(backend="pylon", serial=str(n)) for n in range(50)})
    with pytest.raises(RecordingError, match=r"cameras\.c0 and 49 more: .*pip install 'handpipe\[pylon\]'"):
        cameras_of(rig)


@pytest.mark.parametrize(
    ("numbers", "wrap", "expected"),
    [
        ([0, 1, 2], 0, [0, 1, 2]),
        ([65533, 65534, 0, 2], 65535, [65533, 65534, 65535, 65537]),
        ([5, 9, 5], 10, [5, 9, 15]),
    ],
)
def test_counters_that_start_again(numbers, wrap, expected):
    found, last = [], -1
    for number in numbers:
        last = unwrapped(number, wrap, last)
        found.append(last)
    assert found == expected


@pytest.mark.parametrize(
    ("before", "now", "lost"), [(None, 1.0, 0), (1.0, None, 0), (1.0, 1.04, 0), (1.0, 1.066, 1), (1.0, 1.5, 14)]
)
def test_gaps_in_a_devices_time(before, now, lost):
    assert lost_between(before, now, 1 / 30) == lost


def test_cameras_of_a_gentl_producer_are_recorded(tmp_path):
    genicam = pytest.importorskip("genicam")
    producer = str(Path(genicam.__file__).with_name("viky.cti"))
    rig = RigConfig(producers=(producer,))
    found = backend("genicam", rig).find()
    assert [info.serial for info in found] == ["0", "1", "2"]
    rig = {
        **{"rate": 20.0, "trigger": "free-run", "producers": [producer], "duration_s": 0.6, "keep_free_gb": 0.0},
        **{"defaults": {"backend": "genicam"}, "cameras": {f"c{n}": {"serial": str(n)} for n in range(2)}},
    }
    figures = record(tmp_path, rig)
    for each in figures["cameras"].values():
        assert each["size_px"] == [400, 400]
        assert each["frames"] >= 3


class _Stream(BaseHTTPRequestHandler):
    """An MJPEG stream, as network cameras send it."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for n in range(200):
            data = cv2.imencode(".jpg", np.full((48, 64, 3), n, np.uint8))[1].tobytes()
            try:
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
                self.wfile.write(f"Content-Length: {len(data)}\r\n\r\n".encode() + data + b"\r\n")
            except OSError:
                return
            time.sleep(0.04)

    def log_message(self, format, *args):
        pass


def test_a_network_stream_is_recorded(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Stream))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        rig = {
            **{"rate": 25.0, "trigger": "free-run", "duration_s": 0.8, "keep_free_gb": 0.0},
            **{"cameras": {"c": {"backend": "opencv", "source": f"http://127.0.0.1:{server.server_port}/x.mjpg"}}},
        }
        figures = record(tmp_path, rig)
    finally:
        server.shutdown()
        server.server_close()
    assert figures["cameras"]["c"]["frames"] >= 5
    assert figures["cameras"]["c"]["size_px"] == [64, 48]


def test_the_emulator_films_pictures_without_loss(tmp_path, rng):
    folder = tmp_path / "pictures"
    folder.mkdir()
    pictures = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(6)]
    for n, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{n}.png"), picture)
    rig = rig_of_emulated(1, camera={"images": str(folder), "pixel_format": "BGR8Packed"}, rate=10.0, duration_s=0.6)
    figures = record(tmp_path, rig)
    take = tmp_path / "day" / "take-001"
    capture = cv2.VideoCapture(str(take / "videos" / "c0.mkv"))
    for n in range(figures["cameras"]["c0"]["frames"]):
        np.testing.assert_array_equal(capture.read()[1], pictures[n])
    assert figures["cameras"]["c0"]["frames"] >= 4
    assert not missing_of(take, "lost by the camera")["c0"]
