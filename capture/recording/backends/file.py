"""Clips played in real time as if they were cameras, with faults on order: for tests, and for a first try at a desk."""

# Ring 2: reads and writes.

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
from numpy import ndarray

from ....core.errors import VideoError
from ....core.recording import Clip
from ...video import CLIP_SUFFIXES, find_clips, probe
from ..camera import CameraError, CameraGone, CameraInfo, Format, FrameStamp, Grabbed, SourceEnded
from ..settings import Faults, RigConfig, Trigger

DEVICE_START_S = 1000.0
"""The cameras' clocks do not start where the computer's does."""


class FileBackend:
    """Clips as cameras."""

    def __init__(self, rig: RigConfig) -> None:
        self.rig = rig

    def missing(self) -> str:
        return ""

    def find(self) -> Sequence[CameraInfo]:
        """The clips of the current folder."""
        found = []
        for path in find_clips(Path()).values():
            try:
                clip = probe(path)
            except VideoError:  # A file that is no clip is no camera.
                continue
            found.append(CameraInfo("file", str(path), path.suffix, clip.size_px, clip.fps))
        return found

    def camera(self, name: str) -> FileCamera:
        rig = self.rig
        config = rig.camera(name)
        if config.source is None:
            raise CameraError("expected `source`, the path of a clip, but there is none. Add it.")
        path = Path(config.source).expanduser()
        if path.suffix.lower() not in CLIP_SUFFIXES:
            raise CameraError(f"source: expected the path of a clip, but found {config.source}. Correct it.")
        if rig.trigger == "line":
            raise CameraError("trigger: expected `software` or `free-run` for a clip, but found `line`. Correct it.")
        return FileCamera(path, rig.rate, rig.trigger, config.faults or Faults())


class FileCamera:
    """One clip. A frame is due when it is triggered, or when the camera's own clock says so."""

    def __init__(self, path: Path, rate: float, mode: Trigger, faults: Faults) -> None:
        self.path, self.rate, self.mode, self.faults = path, rate, mode, faults
        self._clip: Clip | None = None
        self._images: Iterator[ndarray] = iter(())
        self._at = 0
        """Frame of the clip that comes next."""
        self._armed_s = self._gone_until_s = 0.0
        self._first = 0
        """Frame of the clip with which the camera was armed; ids count from here."""
        self._due: list[float] = []
        """When the frames that were triggered were exposed."""
        self._lock = threading.Condition()

    def open(self) -> Format:
        if time.monotonic() < self._gone_until_s:
            raise CameraError(f"{self.path}: expected a camera, but it is unplugged (a fault on order).")
        try:
            self._clip = self._clip or probe(self.path)
        except VideoError as error:
            raise CameraError(str(error)) from error
        info = CameraInfo("file", str(self.path), self.path.suffix, self._clip.size_px, self._clip.fps)
        return Format(self._clip.size_px, "bgr24", self.rate, info)

    def arm(self) -> None:
        assert self._clip is not None, "the camera is open"
        if self._gone_until_s == 0.0:
            capture = cv2.VideoCapture(str(self.path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            self._images = _decode(capture)
        self._first, self._armed_s = self._at, time.monotonic()
        with self._lock:
            self._due.clear()

    def ready(self, timeout_s: float) -> bool:
        return True

    def trigger(self) -> bool:
        assert self._clip is not None
        with self._lock:
            # A camera that is unplugged, or has no pictures left, takes no trigger.
            left = self._clip.frames - self._first - len(self._due)
            if left <= 0 or time.monotonic() < self._gone_until_s:
                return False
            self._due.append(time.monotonic())
            self._lock.notify_all()
        return True

    def read(self, timeout_s: float) -> Grabbed | None:
        assert self._clip is not None
        until_s = time.monotonic() + timeout_s
        while True:
            if self._at >= self._clip.frames:
                raise SourceEnded
            fault = self.faults.disconnect
            if fault is not None and self._at == fault.frame and self._gone_until_s == 0.0:
                self._gone_until_s = time.monotonic() + fault.seconds
                self._skip(round(fault.seconds * self.rate))
                raise CameraGone("it was unplugged (a fault on order)")
            exposed_s = self._exposed(self._at - self._first)
            arrives_s = None if exposed_s is None else exposed_s + self._delay(exposed_s)
            if exposed_s is None or arrives_s is None or arrives_s > until_s:
                if time.monotonic() >= until_s:
                    return None
                with self._lock:
                    self._lock.wait(max(until_s - time.monotonic(), 0))
                continue
            time.sleep(max(arrives_s - time.monotonic(), 0))
            frame, image = self._at, next(self._images, None)
            self._at += 1
            if frame in self.faults.drop:
                continue
            return self._grabbed(frame, exposed_s, image)

    def close(self) -> None:
        if self._gone_until_s == 0.0:  # One that was unplugged goes on where it is, when it is back.
            self._images = iter(())

    def _grabbed(self, frame: int, exposed_s: float, image: ndarray | None) -> Grabbed:
        device_s = DEVICE_START_S + (exposed_s - self._armed_s) * (1 + 1e-6 * self.faults.drift_ppm)
        stamp = FrameStamp(frame - self._first, time.monotonic(), device_s)
        if frame in self.faults.fail or image is None:
            return Grabbed(stamp, None, "incomplete buffer")
        return Grabbed(stamp, image)

    def _exposed(self, number: int) -> float | None:
        """When a frame since arming was exposed, or will be; None where it waits for a trigger."""
        if self.mode == "software":
            with self._lock:
                return self._due[number] if number < len(self._due) else None
        # A camera whose clock is fast takes its frames too early.
        period_s = 1 / (self.rate * (1 + 1e-6 * self.faults.drift_ppm))
        return self._armed_s + self.faults.late_start_s * (self._first == 0) + number * period_s

    def _delay(self, exposed_s: float) -> float:
        """How long a frame waits: those after the stall's frame until the stall is over."""
        stall = self.faults.stall
        if stall is None or self._at < stall.frame:
            return 0.0
        begun_s = self._exposed(int(stall.frame) - self._first)
        return max((begun_s or exposed_s) + stall.seconds - exposed_s, 0.0)

    def _skip(self, frames: int) -> None:
        """Pictures that nobody takes while the camera is away."""
        for _ in range(frames):
            next(self._images, None)
        self._at += frames


def _decode(capture: cv2.VideoCapture) -> Iterator[ndarray]:
    try:
        while True:
            ok, image = capture.read()
            if not ok:
                return
            yield image
    finally:
        capture.release()
