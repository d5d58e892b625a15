"""What a camera is to the recorder, and what a kind of camera (a back end) has to offer.

A package adds a back end with an entry point in the group `handpipe.cameras`: `name = "module:function"`, a function
that takes the RigConfig and returns a `Backend`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy import ndarray

from ...core.errors import HandpipeError

PIXELS: Mapping[str, str] = {
    **{"Mono8": "gray", "BGR8": "bgr24", "BGR8Packed": "bgr24", "RGB8": "rgb24", "RGB8Packed": "rgb24"},
    **{"RGBa8": "rgba", "BGRa8": "bgra", "BayerRG8": "bayer_rggb8", "BayerBG8": "bayer_bggr8"},
    **{"BayerGB8": "bayer_gbrg8", "BayerGR8": "bayer_grbg8"},
}
"""Pixel formats of GenICam that can be recorded, and what FFmpeg calls them."""


class RecordingError(HandpipeError, ValueError):
    """A recording cannot start: cameras, settings, folder or disk are not what they should be."""


class CameraError(RecordingError):
    """A camera is missing, taken, or refuses a setting."""


def one_sentence(problems: Mapping[str, str]) -> str:
    """What is wrong with cameras, by name: the same complaint of many is said once."""
    names: dict[str, list[str]] = {}
    for name, problem in problems.items():
        names.setdefault(problem, []).append(name)
    lines = []
    for problem, who in names.items():
        more = f" and {len(who) - 1} more" if len(who) > 1 else ""
        lines.append(f"cameras.{who[0]}{more}: {problem}")
    return "\n".join(lines)


class CameraGone(Exception):
    """A camera was unplugged, or does not answer any more. It may come back."""


class SourceEnded(Exception):
    """A source has no further frames, and never will."""


@dataclass(frozen=True)
class CameraInfo:
    """A camera that was found."""

    backend: str
    serial: str
    """Serial number or source: what a rig.yaml names it by."""
    model: str = ""
    size_px: tuple[int, int] | None = None
    """Largest width and height, where it is known without opening the camera."""
    rate: float | None = None
    """Frames per second, the same."""


@dataclass(frozen=True)
class Format:
    """What a camera delivers once it is open."""

    size_px: tuple[int, int]
    """Width, height."""
    pixels: str
    """Layout of an image, by FFmpeg's name: gray, bgr24, rgb24, bayer_rggb8, ..."""
    rate: float
    """Frames per second."""
    info: CameraInfo
    settings: Mapping[str, Any] = field(default_factory=dict)
    """As read back from the camera: exposure_us, gain, pixel_format, temperature_c, ..."""

    @property
    def frame_bytes(self) -> int:
        """Size of an image."""
        channels = {"bgr24": 3, "rgb24": 3, "rgba": 4, "bgra": 4}.get(self.pixels, 1)
        return self.size_px[0] * self.size_px[1] * channels


@dataclass(frozen=True)
class FrameStamp:
    """Which frame it is, and when it was taken."""

    device_id: int
    """Number of the frame since the camera was armed, counted by the camera where it counts: a gap is a lost frame."""
    host_s: float
    """Arrival in `time.monotonic`, seconds."""
    device_s: float | None = None
    """The camera's own time of the exposure, seconds; None where it has no clock."""


@dataclass(frozen=True)
class Grabbed:
    """A frame, or what is known of one that was lost on the way."""

    stamp: FrameStamp
    image: ndarray | None
    """(height, width) or (height, width, channel) uint8 as `Format.pixels` says; None if the frame is unusable."""
    reason: str = ""
    """Why there is no image."""


class Camera(Protocol):
    """One camera. One thread calls `ready` and `trigger`, another `read`; `open`, `arm`, `close` before and after."""

    def open(self) -> Format:
        """Connect and apply the settings.

        Raises:
            CameraError: it is not there, taken by another program, or refuses a setting.
        """
        ...

    def arm(self) -> None:
        """Get ready to expose; frames count from 0 again. Raises CameraError or CameraGone."""
        ...

    def ready(self, timeout_s: float) -> bool:
        """Wait until the camera can be triggered, for the trigger `software`; False if it cannot in this time."""
        ...

    def trigger(self) -> bool:
        """Expose one frame. False if the camera takes no trigger, and nothing happened."""
        ...

    def read(self, timeout_s: float) -> Grabbed | None:
        """The next frame, in order; None if none came in time.

        Raises:
            CameraGone: it does not answer any more. `close`, `open` and `arm` may bring it back.
            SourceEnded: there are no further frames.
        """
        ...

    def close(self) -> None:
        """Stop and disconnect; also when it is not open."""
        ...


class Backend(Protocol):
    """A kind of camera."""

    def missing(self) -> str:
        """What has to be installed to use it, a sentence; empty if it can be used."""
        ...

    def find(self) -> Sequence[CameraInfo]:
        """Cameras that are connected; empty for kinds that cannot be searched for."""
        ...

    def camera(self, name: str) -> Camera:
        """The camera of this name in the rig that the back end was made for, not open yet.

        Raises:
            CameraError: its settings cannot be meant.
        """
        ...
