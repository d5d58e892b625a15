"""Settings of a rig: what rig.yaml says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field as dataclass_field
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ...core.settings import STRICT, Count, NotNegative, Positive

Trigger = Literal["software", "free-run", "line"]

MAX_NAME = 100
"""Characters of a camera's name, which becomes a file name."""

_NO_FILE_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f]|^\.|^\s|[\s.]$|^(?i:con|prn|aux|nul|com\d|lpt\d)$|^$')
"""What no file name has, on the file systems in use: Windows is the strictest."""


@settings(frozen=True, config=STRICT)
class Stall:
    """From `frame` on, frames arrive `seconds` late; those that wait then arrive at once."""

    frame: NotNegative = 0
    seconds: NotNegative = 0.0


@settings(frozen=True, config=STRICT)
class Faults:
    """Faults that a `file` camera shows on purpose, to test a recording. Frames count from 0 since the start."""

    drop: tuple[int, ...] = ()
    """Frames that the camera counts and never delivers."""
    fail: tuple[int, ...] = ()
    """Frames whose buffer arrives incomplete."""
    stall: Stall | None = None
    """A delay in the delivery."""
    disconnect: Stall | None = None
    """The camera is unplugged at `frame` and comes back after `seconds`."""
    late_start_s: NotNegative = 0.0
    """The first frame comes so much later, seconds."""
    drift_ppm: float = 0.0
    """The camera's clock is fast by this, parts per million."""


@settings(frozen=True, config=STRICT)
class CameraConfig:
    """One camera. What is not given is taken from `defaults`; what is given in neither is left as the camera has it."""

    backend: str | None = None
    """Kind of camera: `pylon` (Basler), `genicam` (any GenTL producer), `opencv` (webcams, RTSP and HTTP streams),
    `file` (clips played in real time), or one that an installed package registers."""
    serial: str | None = None
    """Serial number, as `handpipe cameras` shows it. For `pylon` and `genicam`."""
    source: str | None = None
    """For `opencv`: device number, path or URL. For `file`: path of a clip."""
    width: Count | None = None
    """Image width, pixels."""
    height: Count | None = None
    """Image height, pixels."""
    exposure_us: Positive | None = None
    """Exposure time, microseconds."""
    gain: NotNegative | None = None
    """Gain, in the unit of the camera (mostly dB)."""
    pixel_format: str | None = None
    """Pixel format, by the name that the camera uses: Mono8, BayerRG8, BGR8, ... (8 bits)."""
    line: str | None = None
    """Input line of the trigger `line`. Default: Line1."""
    ptp: bool | None = None
    """Use the clock that all cameras of the network share (PTP, IEEE 1588). For `pylon` and `genicam`."""
    faults: Faults | None = None
    """Faults to show, for `file`."""
    images: str | None = None
    """Folder of pictures that Basler's camera emulator films in turn, for tests. For `pylon`."""


@settings(frozen=True, config=STRICT)
class EncoderSettings:
    """How images are written. One encoder for each camera, into Matroska files."""

    codec: str = "h264"
    """`h264`, `hevc`, `mjpeg`, `ffv1` (lossless), or the name of an encoder of FFmpeg such as `h264_nvenc`."""
    quality: Annotated[int | None, Field(ge=0, le=63)] = None
    """Lower is better and larger. None: 18 for h264 and hevc (their CRF), 3 for mjpeg. Ignored for ffv1."""
    preset: str = "ultrafast"
    """Preset of h264 and hevc: slower ones make smaller files."""
    keyframe_s: Positive = 1.0
    """Seconds from one key frame to the next."""


@settings(frozen=True, config=STRICT)
class RigConfig:
    """A rig of cameras, and how it records."""

    cameras: dict[str, CameraConfig] = dataclass_field(default_factory=dict)
    """Cameras by name. The name becomes the view's name and its file name."""
    defaults: CameraConfig = CameraConfig()
    rate: Annotated[float, Field(ge=0.1, le=2000)] = 30.0
    """Frames per second of all cameras."""
    trigger: Trigger = "software"
    """What starts an exposure. `software`: handpipe, by a command to each camera. `line`: an electrical signal, at each
    camera's input line. `free-run`: each camera's own clock."""
    encoder: EncoderSettings = EncoderSettings()
    duration_s: Positive | None = None
    """Length of a take, seconds. None: until a key is pressed or the process gets a signal."""
    queue_mb: Positive = 512.0
    """Memory for images that wait to be encoded, all cameras together, megabytes."""
    keep_free_gb: NotNegative = 2.0
    """The recording ends when the disk has less room than this, gigabytes."""
    start_timeout_s: Positive = 5.0
    """Time in which every camera has to deliver its first frame, seconds. Not for the trigger `line`."""
    producers: tuple[str, ...] = ()
    """Paths of GenTL producers (.cti) for `genicam`. Default: those in the variable GENICAM_GENTL64_PATH."""
    session: dict[str, Any] = dataclass_field(default_factory=dict)
    """Settings for the session.yaml of every take, such as `board`."""

    def camera(self, name: str) -> CameraConfig:
        """A camera's settings, with the defaults filled in."""
        own = self.cameras[name]
        missing = {each.name for each in fields(CameraConfig) if getattr(own, each.name) is None}
        return replace(own, **{name: getattr(self.defaults, name) for name in missing})


def unusable_names(names: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each name of a camera that cannot be a file name."""
    seen: dict[str, str] = {}
    for name in names:
        if _NO_FILE_NAME.search(name) or not name.isprintable() or len(name) > MAX_NAME:
            yield (
                f"cameras.{name!r}: expected a name that can be a file name, but it has other characters or is too "
                "long. Use letters, digits, - and _."
            )
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            yield f"cameras: {other} and {name} differ in case only. Rename one of them."
