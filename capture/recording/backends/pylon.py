"""Basler's cameras, by pypylon (extra `pylon`). Its emulator is a camera too: PYLON_CAMEMU=4 in the environment."""

# Ring 2: reads and writes.

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..camera import PIXELS, CameraError, CameraGone, CameraInfo, Format, FrameStamp, Grabbed
from ..settings import CameraConfig, RigConfig, Trigger
from .ptp import Nodes, follow_ptp

BUFFERS = 16
"""Images that the driver holds for us while the computer is busy."""

GIGE_IDS = 65535
"""GigE Vision counts frames from 1 to this, then again from 1; the other transports from 0 on without end."""


class PylonBackend:
    """Basler's cameras."""

    def __init__(self, rig: RigConfig) -> None:
        self.rig = rig

    def missing(self) -> str:
        if find_spec("pypylon") is None:
            return "expected the package pypylon, but it is not installed. Run `pip install 'handpipe[pylon]'`."
        return ""

    def find(self) -> Sequence[CameraInfo]:
        from pypylon import pylon

        devices = pylon.TlFactory.GetInstance().EnumerateDevices()
        return [CameraInfo("pylon", device.GetSerialNumber(), device.GetModelName()) for device in devices]

    def camera(self, name: str) -> PylonCamera:
        rig = self.rig
        config = rig.camera(name)
        if config.serial is None:
            raise CameraError("expected `serial`, but there is none. `handpipe cameras` lists the serial numbers.")
        return PylonCamera(config, rig.rate, rig.trigger)


class PylonCamera:
    """One camera of Basler's."""

    def __init__(self, config: CameraConfig, rate: float, trigger: Trigger) -> None:
        self.config, self.rate, self.mode = config, rate, trigger
        self._camera: Any = None
        self._first_id, self._wrap = 0, 0
        self._last_id = -1
        self._ticks_per_s = 1e9

    def open(self) -> Format:
        from pypylon import genicam, pylon

        factory = pylon.TlFactory.GetInstance()
        device = next((d for d in factory.EnumerateDevices() if d.GetSerialNumber() == self.config.serial), None)
        if device is None:
            raise CameraError(f"expected the camera {self.config.serial}, but it is not connected. Plug it in.")
        if not factory.IsDeviceAccessible(device):
            raise CameraError(f"{self.config.serial}: the camera is used by another program. Close that program.")
        try:
            self._camera = pylon.InstantCamera(factory.CreateDevice(device))
            self._camera.Open()
        except genicam.GenericException as error:
            raise CameraError(
                f"{self.config.serial}: expected to open the camera, but it refuses ({_line(error)}). Close programs "
                "that use it."
            ) from error
        try:
            if device.GetDeviceClass() == "BaslerGigE":
                self._first_id, self._wrap = 1, GIGE_IDS
            self._apply()
            if device.GetDeviceClass() == "BaslerGigE":
                # PTP changes the unit of the camera's times.
                self._ticks_per_s = float(self._get("GevTimestampTickFrequency") or 1e9)
            return self._format(CameraInfo("pylon", str(self.config.serial), device.GetModelName()))
        except CameraError:
            self.close()
            raise
        except genicam.GenericException as error:
            self.close()
            raise CameraError(
                f"{self.config.serial}: expected the camera to take its settings, but it refuses ({_line(error)}). "
                "Leave out what it does not have."
            ) from error

    def _apply(self) -> None:
        """Everything that rig.yaml says."""
        config = self.config
        self._camera.MaxNumBuffer.Value = BUFFERS
        # Offsets limit the size, and a larger size the rate: in this order nothing is in the way of what follows.
        for name in ("OffsetX", "OffsetY"):
            if self._has(name):
                self._camera.GetNodeMap().GetNode(name).SetValue(0)
        if config.images is not None:
            self._film(Path(config.images))
        for names, key in (
            (("PixelFormat",), "pixel_format"),
            (("Width",), "width"),
            (("Height",), "height"),
            (("ExposureTime", "ExposureTimeAbs"), "exposure_us"),
            (("Gain",), "gain"),
        ):
            value = getattr(config, key)
            if value is not None:
                if key in ("exposure_us", "gain"):
                    self._set_if_there({"exposure_us": "ExposureAuto", "gain": "GainAuto"}[key], "Off")
                self._set(names, key, value)
        if config.ptp:
            nodes = Nodes(
                self._has,
                self._get,
                lambda name, value: self._set((name,), "ptp", value),
                lambda name: self._node(name).Execute(),
            )
            follow_ptp(nodes, str(config.serial))
        self._set_if_there("TriggerSelector", "FrameStart")
        if self.mode == "free-run":
            self._set_if_there("TriggerMode", "Off")
        else:
            self._set(("TriggerMode",), "trigger", "On")
            source = "Software" if self.mode == "software" else config.line or "Line1"
            self._set(("TriggerSource",), "line" if self.mode == "line" else "trigger", source)
        self._rate()

    def _rate(self) -> None:
        """The rate in free run. With a trigger the camera's own limit must be out of the way, at its maximum."""
        if self.mode == "free-run":
            self._set_if_there("AcquisitionFrameRateEnable", True)
            self._set(("AcquisitionFrameRate", "AcquisitionFrameRateAbs"), "rate", self.rate)
        else:
            self._set_if_there("AcquisitionFrameRateEnable", False)
        reached = self._get("ResultingFrameRate", "BslResultingAcquisitionFrameRate", "ResultingFrameRateAbs")
        if reached is not None and reached < 0.99 * self.rate:
            raise CameraError(
                f"{self.config.serial}: expected {self.rate:g} frames per second, but the camera reaches {reached:.4g} "
                "with this size, exposure and format. Lower one of them, or `rate`."
            )

    def _film(self, folder: Path) -> None:
        """Let the emulator film pictures."""
        if not folder.is_dir() or not any(folder.iterdir()):
            raise CameraError(f"images: expected a folder of pictures, but {folder} is none. Correct the path.")
        self._set(("ImageFilename",), "images", str(folder.absolute()))
        self._set(("ImageFileMode",), "images", "On")
        self._set(("TestImageSelector",), "images", "Off")

    def _format(self, info: CameraInfo) -> Format:
        kind = str(self._get("PixelFormat"))
        if kind not in PIXELS:
            raise CameraError(
                f"pixel_format: expected one of 8 bits ({', '.join(PIXELS)}), but the camera has {kind}. Set it."
            )
        said = {
            "pixel_format": kind,
            "exposure_us": self._get("ExposureTime", "ExposureTimeAbs"),
            "gain": self._get("Gain", "GainRaw"),
            "temperature_c": self._get("DeviceTemperature", "TemperatureAbs"),
            "transport": self._camera.GetDeviceInfo().GetDeviceClass(),
            "ptp": self.config.ptp or None,
        }
        size = int(self._get("Width") or 0), int(self._get("Height") or 0)
        known = {key: value for key, value in said.items() if value is not None}
        return Format(size, PIXELS[kind], self.rate, info, known)

    def arm(self) -> None:
        from pypylon import genicam, pylon

        try:
            self._camera.StopGrabbing()
            self._last_id = -1
            self._camera.StartGrabbing(pylon.GrabStrategy_OneByOne)
        except genicam.GenericException as error:
            raise CameraError(
                f"{self.config.serial}: expected to start, but it refuses ({_line(error)}). Plug it in again."
            ) from error

    def ready(self, timeout_s: float) -> bool:
        from pypylon import genicam, pylon

        try:
            wait_ms = max(int(1000 * timeout_s), 0)
            camera = self._camera  # The thread that reads may be about to connect it again.
            return camera is not None and camera.WaitForFrameTriggerReady(wait_ms, pylon.TimeoutHandling_Return)
        except genicam.GenericException:
            return False  # It is unplugged; `read` says so.

    def trigger(self) -> bool:
        from pypylon import genicam

        try:
            self._camera.ExecuteSoftwareTrigger()
        except genicam.GenericException:
            return False  # It is unplugged; `read` says so.
        return True

    def read(self, timeout_s: float) -> Grabbed | None:
        from pypylon import genicam, pylon

        try:
            result = self._camera.RetrieveResult(max(int(1000 * timeout_s), 1), pylon.TimeoutHandling_Return)
            if not result.IsValid():
                if self._camera.IsCameraDeviceRemoved():
                    raise CameraGone("it was unplugged")
                return None
            with result:
                self._last_id = self._number(result.BlockID)
                # Some transports and the emulator have no clock: their time stands still.
                device_s = result.TimeStamp / self._ticks_per_s if result.TimeStamp else None
                stamp = FrameStamp(self._last_id, time.monotonic(), device_s)
                if not result.GrabSucceeded():
                    return Grabbed(stamp, None, "incomplete buffer")
                return Grabbed(stamp, result.GetArray())
        except genicam.GenericException as error:
            raise CameraGone(_line(error)) from error

    def close(self) -> None:
        from pypylon import genicam

        if self._camera is None:
            return
        try:
            self._camera.Close()
            self._camera.DetachDevice()
        except genicam.GenericException:  # Unplugged: there is nothing left to close.
            self._camera = None
            return
        self._camera = None

    def _number(self, block: int) -> int:
        """Frames since arming, from 0: `unwrapped` where the transport counts in 16 bits."""
        return unwrapped(block - self._first_id, self._wrap, self._last_id)

    def _node(self, name: str) -> Any:
        from pypylon import genicam

        node = self._camera.GetNodeMap().GetNode(name)
        return node if node is not None and genicam.IsAvailable(node) else None

    def _has(self, name: str) -> bool:
        from pypylon import genicam

        return (node := self._node(name)) is not None and genicam.IsWritable(node)

    def _get(self, *names: str) -> Any:
        """The value of the first of some settings that the camera has; None if it has none."""
        from pypylon import genicam

        for name in names:
            node = self._node(name)
            if node is not None and genicam.IsReadable(node):
                return node.GetValue()
        return None

    def _set(self, names: Sequence[str], key: str, value: Any) -> None:
        from pypylon import genicam

        name = next((each for each in names if self._has(each)), None)
        if name is None:
            raise CameraError(f"{key}: the camera {self.config.serial} cannot be set to {value}. Leave it out.")
        node = self._node(name)
        try:
            node.SetValue(type(node.GetValue())(value))
        except genicam.GenericException as error:
            raise CameraError(
                f"{key}: expected {self._allowed(node)}, but found {value}. Correct it for the camera "
                f"{self.config.serial}."
            ) from error

    def _set_if_there(self, name: str, value: Any) -> None:
        if self._has(name):
            self._node(name).SetValue(value)

    def _allowed(self, node: Any) -> str:
        if hasattr(node, "Symbolics"):
            return f"one of {', '.join(node.Symbolics)}"
        step = f" in steps of {node.GetInc()}" if getattr(node, "Inc", None) not in (None, 1) else ""
        return f"{node.GetMin():g} to {node.GetMax():g}{step}" if hasattr(node, "GetMin") else "another value"


def unwrapped(number: int, wrap: int, last: int) -> int:
    """A counter that starts again after `wrap` values, as one that does not.

    Args:
        number: from 0 to wrap - 1.
        wrap: number of values; 0 if it never starts again.
        last: the frame before, unwrapped; -1 if there was none.
    """
    if wrap <= 0 or last < 0:
        return number
    return last + 1 + (number - last - 1) % wrap


def _line(error: Exception) -> str:
    return str(error).split(" : ")[0].strip().split("\n")[0]
