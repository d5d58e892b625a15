"""Webcams (V4L2 and what else OpenCV opens) and network streams (RTSP, HTTP). They run free."""

# Ring 2: reads and writes.

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2

from ..camera import CameraError, CameraGone, CameraInfo, Format, FrameStamp, Grabbed
from ..settings import CameraConfig, RigConfig

MAX_DEVICES = 64

TIMEOUT_MS = 3000
"""After this a stream that sends nothing counts as gone."""

GAP = 1.75
"""Step of the device's time, in periods, from which on frames were lost in between."""


class OpencvBackend:
    """Webcams and streams."""

    def __init__(self, rig: RigConfig) -> None:
        self.rig = rig

    def missing(self) -> str:
        return ""

    def find(self) -> Sequence[CameraInfo]:
        """Video devices of Linux that can be opened. Elsewhere devices have numbers, and are found by trying them."""
        found = []
        for path in sorted(Path("/dev").glob("video*"))[:MAX_DEVICES] if sys.platform == "linux" else []:
            capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
            if capture.isOpened():
                size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
                found.append(CameraInfo("opencv", str(path), _model(path), size, capture.get(cv2.CAP_PROP_FPS) or None))
            capture.release()
        return found

    def camera(self, name: str) -> OpencvCamera:
        rig = self.rig
        config = rig.camera(name)
        if config.source is None:
            raise CameraError("expected `source`, a device number, a path like /dev/video0 or a URL. Add it.")
        if rig.trigger != "free-run":
            raise CameraError(
                f"trigger: expected `free-run` for webcams and streams, which cannot be triggered, but found "
                f"`{rig.trigger}`. Correct it."
            )
        return OpencvCamera(config, rig.rate)


class OpencvCamera:
    """A webcam or a stream. It does not count its frames: gaps show in its times, where it has times."""

    def __init__(self, config: CameraConfig, rate: float) -> None:
        self.config, self.rate = config, rate
        self.source = str(config.source)
        self._capture: cv2.VideoCapture | None = None
        self._number, self._last_s = -1, None

    @property
    def _is_stream(self) -> bool:
        return "://" in self.source

    def open(self) -> Format:
        if self._is_stream:
            wait = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
            capture = cv2.VideoCapture(self.source, cv2.CAP_FFMPEG, [*wait, cv2.CAP_PROP_N_THREADS, 1])
        else:
            capture = cv2.VideoCapture(int(self.source) if self.source.isdecimal() else self.source)
        if not capture.isOpened():
            capture.release()
            raise CameraError(
                f"{self.source}: expected a camera or a stream, but it cannot be opened. Check that it is connected, "
                "that no other program uses it, and that you may read it."
            )
        self._capture = capture
        if not self._is_stream:
            self._apply(capture)
        ok, image = capture.read()
        if not ok or image is None:
            self.close()
            raise CameraError(
                f"{self.source}: expected images, but none arrive. Close other programs that use the camera, or lower "
                "its size."
            )
        size = image.shape[1], image.shape[0]
        self._check(size, capture.get(cv2.CAP_PROP_FPS))
        said = {"exposure": capture.get(cv2.CAP_PROP_EXPOSURE), "gain": capture.get(cv2.CAP_PROP_GAIN)}
        info = CameraInfo("opencv", self.source, capture.getBackendName(), size)
        return Format(size, "bgr24" if image.ndim == 3 else "gray", self.rate, info, said)

    def _apply(self, capture: cv2.VideoCapture) -> None:
        if self.config.pixel_format is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*f"{self.config.pixel_format:4.4}"))
        for key, prop in (("width", cv2.CAP_PROP_FRAME_WIDTH), ("height", cv2.CAP_PROP_FRAME_HEIGHT)):
            if getattr(self.config, key) is not None:
                capture.set(prop, getattr(self.config, key))
        capture.set(cv2.CAP_PROP_FPS, self.rate)
        if self.config.exposure_us is not None:
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, 1)  # V4L2's word for manual.
            capture.set(cv2.CAP_PROP_EXPOSURE, self.config.exposure_us / 100)  # V4L2 counts in 100 us.
        if self.config.gain is not None:
            capture.set(cv2.CAP_PROP_GAIN, self.config.gain)

    def _check(self, size: tuple[int, int], rate: float) -> None:
        wanted = self.config.width or size[0], self.config.height or size[1]
        if size != wanted:
            self.close()
            raise CameraError(
                f"width, height: expected {wanted[0]}x{wanted[1]}, but {self.source} delivers {size[0]}x{size[1]}. "
                "Give a size that it has."
            )
        if rate > 0 and abs(rate - self.rate) > 0.02 * self.rate:
            self.close()
            raise CameraError(
                f"rate: expected {self.rate:g} frames per second, but {self.source} delivers {rate:g}. "
                "Give a rate that it has."
            )

    def arm(self) -> None:
        self._number, self._last_s = -1, None

    def ready(self, timeout_s: float) -> bool:
        return False

    def trigger(self) -> bool:
        return False

    def read(self, timeout_s: float) -> Grabbed | None:
        """The next frame. OpenCV waits as long as the driver does, whatever `timeout_s` is."""
        if self._capture is None:
            raise CameraGone("it is not open")
        ok, image = self._capture.read()
        if not ok or image is None:
            raise CameraGone("no images arrive")
        arrived_s = time.monotonic()
        device_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        moves = device_s > 0 and (self._last_s is None or device_s > self._last_s)
        self._number += 1 + lost_between(self._last_s, device_s if moves else None, 1 / self.rate)
        self._last_s = device_s if moves else None
        return Grabbed(FrameStamp(self._number, arrived_s, self._last_s), image)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def lost_between(before_s: float | None, now_s: float | None, period_s: float) -> int:
    """Number of frames that a step of a device's time passes over."""
    if before_s is None or now_s is None or now_s - before_s < GAP * period_s:
        return 0
    return round((now_s - before_s) / period_s) - 1


def _model(path: Path) -> str:
    name = Path("/sys/class/video4linux") / path.name / "name"
    return name.read_text().strip() if name.is_file() else ""
