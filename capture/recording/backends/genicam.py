"""Any camera with a GenTL producer, by harvesters (extra `genicam`)."""

# Ring 2: reads and writes.

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..camera import PIXELS, CameraError, CameraGone, CameraInfo, Format, FrameStamp, Grabbed
from ..settings import CameraConfig, RigConfig, Trigger
from .ptp import Nodes, follow_ptp

PRODUCERS = "GENICAM_GENTL64_PATH"
"""Variable with the folders of the GenTL producers, as the GenTL standard defines it."""

BUFFERS = 16


class GenicamBackend:
    """Cameras of any maker whose GenTL producer is installed."""

    def __init__(self, rig: RigConfig) -> None:
        self.rig, self.producers = rig, tuple(producers(rig))

    def missing(self) -> str:
        if find_spec("harvesters") is None:
            return "expected the package harvesters, but it is not installed. Run `pip install 'handpipe[genicam]'`."
        if not self.producers:
            return (
                f"expected a GenTL producer (.cti), but none is named in `producers` or {PRODUCERS}. Install the "
                "camera maker's driver."
            )
        gone = [path for path in self.producers if not Path(path).is_file()]
        return f"producers: expected the file {gone[0]}, but it is not there. Correct the path." if gone else ""

    def find(self) -> Sequence[CameraInfo]:
        found = _harvester(self.producers).device_info_list
        return [CameraInfo("genicam", _serial(each), f"{each.vendor} {each.model}") for each in found]

    def camera(self, name: str) -> GenicamCamera:
        rig = self.rig
        config = rig.camera(name)
        if config.serial is None:
            raise CameraError("expected `serial`, but there is none. `handpipe cameras` lists the serial numbers.")
        return GenicamCamera(config, rig.rate, rig.trigger, self.producers)


class GenicamCamera:
    """One camera."""

    def __init__(self, config: CameraConfig, rate: float, trigger: Trigger, producers: tuple[str, ...]) -> None:
        self.config, self.rate, self.mode, self.producers = config, rate, trigger, producers
        self._acquirer: Any = None
        self._first_id: int | None = None

    def open(self) -> Format:
        harvester = _harvester(self.producers)
        serials = [_serial(each) for each in harvester.device_info_list]
        if self.config.serial not in serials:
            raise CameraError(f"expected the camera {self.config.serial}, but it is not connected. Plug it in.")
        try:
            self._acquirer = harvester.create(serials.index(self.config.serial))
        except Exception as error:
            raise CameraError(
                f"{self.config.serial}: expected to open the camera, but it refuses ({error}). Close programs that use "
                "it."
            ) from error
        try:
            self._acquirer.num_buffers = BUFFERS
            self._apply()
            kind = str(self._get("PixelFormat"))
            if kind not in PIXELS:
                raise CameraError(
                    f"pixel_format: expected one of 8 bits ({', '.join(PIXELS)}), but the camera has {kind}. Set it."
                )
        except CameraError:
            self.close()
            raise
        said = {key: self._get(name) for key, name in SETTINGS.items()} | {"ptp": self.config.ptp or None}
        size = int(self._get("Width")), int(self._get("Height"))
        info = CameraInfo("genicam", str(self.config.serial), str(self._get("DeviceModelName") or ""))
        known = {key: value for key, value in said.items() if value is not None}
        return Format(size, PIXELS[kind], self.rate, info, known)

    def _apply(self) -> None:
        for key, name in SETTINGS.items():
            value = getattr(self.config, key, None)
            if value is not None:
                self._set(name, key, value)
        if self.config.ptp:
            nodes = Nodes(
                self._has,
                self._get,
                lambda name, value: self._set(name, "ptp", value),
                lambda name: getattr(self._acquirer.remote_device.node_map, name).execute(),
            )
            follow_ptp(nodes, str(self.config.serial))
        if self.mode == "free-run":
            if self._has("TriggerMode"):
                self._set("TriggerMode", "trigger", "Off")
            if self._has("AcquisitionFrameRateEnable"):
                self._set("AcquisitionFrameRateEnable", "rate", True)
            if self._get("AcquisitionFrameRate") != self.rate:
                self._set("AcquisitionFrameRate", "rate", self.rate)
            return
        if self._has("TriggerSelector"):
            self._set("TriggerSelector", "trigger", "FrameStart")
        self._set("TriggerMode", "trigger", "On")
        source = "Software" if self.mode == "software" else self.config.line or "Line1"
        self._set("TriggerSource", "trigger", source)

    def arm(self) -> None:
        self._acquirer.stop()
        self._first_id = None
        self._acquirer.start()

    def ready(self, timeout_s: float) -> bool:
        """GenTL has no question for it: a camera that is not ready ignores the trigger, and its frames show a gap."""
        return True

    def trigger(self) -> bool:
        try:
            self._acquirer.remote_device.node_map.TriggerSoftware.execute()
        except Exception:  # noqa: BLE001 - each producer raises its own; `read` tells that the camera is gone.
            return False
        return True

    def read(self, timeout_s: float) -> Grabbed | None:
        try:
            buffer = self._acquirer.try_fetch(timeout=timeout_s)
        except Exception as error:
            raise CameraGone(str(error)) from error
        if buffer is None:
            return None
        with buffer:
            arrived_s = time.monotonic()
            number = int(_said(buffer.module, "frame_id") or 0)
            self._first_id = number if self._first_id is None else self._first_id
            nanoseconds = _said(buffer.module, "timestamp_ns")
            stamp = FrameStamp(number - self._first_id, arrived_s, 1e-9 * nanoseconds if nanoseconds else None)
            if _said(buffer.module, "is_incomplete") or not buffer.payload.components:
                return Grabbed(stamp, None, "incomplete buffer")
            part = buffer.payload.components[0]
            channels = part.data.size // (part.width * part.height)
            shape = (part.height, part.width) if channels == 1 else (part.height, part.width, channels)
            return Grabbed(stamp, np.array(part.data, np.uint8).reshape(shape))

    def close(self) -> None:
        if self._acquirer is not None:
            self._acquirer.stop()
            self._acquirer.destroy()
            self._acquirer = None

    def _has(self, name: str) -> bool:
        return self._acquirer.remote_device.node_map.has_node(name)

    def _get(self, name: str) -> Any:
        return getattr(self._acquirer.remote_device.node_map, name).value if self._has(name) else None

    def _set(self, name: str, key: str, value: Any) -> None:
        try:
            node = getattr(self._acquirer.remote_device.node_map, name)
            node.value = type(node.value)(value)
        except Exception as error:
            raise CameraError(
                f"{key}: the camera {self.config.serial} cannot be set to {value} ({str(error).splitlines()[0]}). "
                "Correct it, or leave it out."
            ) from error


SETTINGS = {
    "pixel_format": "PixelFormat",
    "width": "Width",
    "height": "Height",
    "exposure_us": "ExposureTime",
    "gain": "Gain",
    "temperature_c": "DeviceTemperature",
}
"""Settings of rig.yaml, and what GenICam's naming convention calls them."""


def producers(rig: RigConfig) -> list[str]:
    """Paths of the GenTL producers: those of rig.yaml, else those of the standard's folders."""
    if rig.producers:
        return list(rig.producers)
    folders = [Path(each) for each in os.environ.get(PRODUCERS, "").split(os.pathsep) if each]
    return [str(path) for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.cti"))]


@cache
def _harvester(paths: tuple[str, ...]) -> Any:
    """One for the process: a producer can be opened once."""
    from harvesters.core import Harvester

    harvester = Harvester()
    for path in paths:
        harvester.add_file(path)
    harvester.update()
    return harvester


def _serial(device: Any) -> str:
    """The serial number; some producers have none and give the camera's id."""
    return str(device.property_dict.get("serial_number") or device.property_dict.get("id_"))


def _said(module: Any, name: str) -> Any:
    """What a producer says of a buffer; None where it does not say it."""
    try:
        return getattr(module, name)
    except Exception:  # noqa: BLE001 - each producer raises its own for what it lacks.
        return None
