"""Before a recording: the rig is checked, and all its cameras are opened or none is."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil

from .backends.registry import cameras_of
from .camera import Camera, CameraError, Format, RecordingError, one_sentence
from .settings import RigConfig, unusable_names


@dataclass(frozen=True)
class Opened:
    """Cameras that are ready to record."""

    rig: RigConfig
    cameras: Mapping[str, Camera]
    formats: Mapping[str, Format]

    def close(self) -> None:
        """Disconnect all of them."""
        for camera in self.cameras.values():
            camera.close()


def check_rig(rig: RigConfig) -> None:
    """Raise RecordingError for what is wrong in a rig.yaml by itself."""
    if not rig.cameras:
        raise RecordingError(
            "cameras: expected one camera or more, but there is none. `handpipe cameras` lists what is connected; "
            "name each under `cameras`."
        )
    if wrong := list(unusable_names(rig.cameras)):
        raise RecordingError("\n".join(wrong))
    seen: dict[tuple[str, str], str] = {}
    for name in rig.cameras:
        config = rig.camera(name)
        which = config.serial or config.source
        if which is None:
            continue
        other = seen.setdefault((config.backend or "", which), name)
        if other != name:
            raise RecordingError(
                f"cameras: {other} and {name} are both the camera {which}. Give each its own serial or source."
            )


def open_cameras(rig: RigConfig) -> Opened:
    """Connect to all cameras and apply the settings; if one fails, all are closed again.

    Raises:
        RecordingError: with every reason.
    """
    check_rig(rig)
    cameras = cameras_of(rig)
    problems: dict[str, str] = {}
    formats: dict[str, Format] = {}

    def one(name: str) -> None:
        try:
            formats[name] = cameras[name].open()
        except CameraError as error:
            problems[name] = str(error)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, cameras))
    opened = Opened(rig, cameras, {name: formats[name] for name in cameras if name in formats})
    if problems:
        opened.close()
        raise RecordingError(one_sentence(problems))
    return opened


def images_each(rig: RigConfig, formats: Mapping[str, Format]) -> dict[str, int]:
    """Images of each camera that may wait. Raises RecordingError where the memory is not enough for two each."""
    share = 1e6 * rig.queue_mb / len(formats)
    rooms = {name: int(share / format.frame_bytes) for name, format in formats.items()}
    if min(rooms.values()) < 2:
        needed = 2e-6 * len(formats) * max(format.frame_bytes for format in formats.values())
        raise RecordingError(
            f"queue_mb: expected room for two images of each camera, {needed:.0f} MB or more, but found "
            f"{rig.queue_mb:g}. Raise it."
        )
    if 1e6 * rig.queue_mb > 0.8 * psutil.virtual_memory().available:
        raise RecordingError(
            f"queue_mb: expected less than the free memory ({psutil.virtual_memory().available / 1e6:.0f} MB), but "
            f"found {rig.queue_mb:g}. Lower it."
        )
    return rooms
