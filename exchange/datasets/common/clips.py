"""The images of a dataset, a file for each frame, as the clips of a session."""

# Ring 2: reads and writes.

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from ....capture.session import TIMESTAMPS
from ....capture.timeline import COLUMNS
from ....capture.video import clip_writer
from ....core.cameras import Cameras
from ....core.cameras_file import write_cameras
from ....core.engine import Progress
from ....core.errors import SessionError, disk_errors
from ....core.files import read_bytes

MAX_IMAGE_BYTES = 64 << 20


@dataclass(frozen=True)
class ImageRig:
    """Calibrated cameras and where their images are."""

    cameras: Cameras
    images: Mapping[str, Mapping[int, Path]]
    """By view and instant; a view that misses an instant has no entry."""
    fps: float


def film(root: Path, rig: ImageRig, progress: Progress) -> list[str]:
    """Write `videos/<view>.mp4`, `timestamps.csv`, `cameras.toml` and, for mixed sizes, `session.yaml` to a new folder.

    A frame that is not there has no row in timestamps.csv, and a camera without any image is left out.

    Args:
        root: the session's folder, where nothing of this is yet.
        rig: at least one image of two cameras.
        progress: it has been started, in images.

    Returns:
        The cameras that were left out.

    Raises:
        SessionError: an image cannot be decoded, or is not of its camera's size.
        DiskError: something cannot be written.
    """
    views = [view for view, name in enumerate(rig.cameras.names) if rig.images.get(name)]
    cameras = rig.cameras.subset(views)
    rows = []
    for name, (width, height) in zip(cameras.names, cameras.size_px.tolist(), strict=True):
        with clip_writer(root / "videos" / f"{name}.mp4", rig.fps, (width, height)) as writer:
            for frame, (instant, path) in enumerate(sorted(rig.images[name].items())):
                writer.write(_image(path, (width, height)))
                rows.append((instant, name, frame, f"{instant / rig.fps:.6f}"))
                progress.advance(1)
    write_cameras(root / "cameras.toml", cameras)
    with disk_errors(str(root)):
        with (root / TIMESTAMPS).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *sorted(rows)])
        if (cameras.size_px != cameras.size_px[0]).any():
            (root / "session.yaml").write_text("capture:\n  mixed_sizes: true\n", encoding="utf-8")
    return [name for view, name in enumerate(rig.cameras.names) if view not in views]


def _image(path: Path, size_px: tuple[int, int]) -> ndarray:
    data = np.frombuffer(read_bytes(path, "an image", MAX_IMAGE_BYTES), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None or image.shape[:2] != size_px[::-1]:
        found = "it cannot be decoded" if image is None else f"it has {image.shape[1]}x{image.shape[0]}"
        raise SessionError(
            f"{path}: expected an image of {size_px[0]}x{size_px[1]} pixels, as the annotations say, but {found}. "
            "Get it again, or take it away: then this camera has no image of the instant."
        )
    return image
