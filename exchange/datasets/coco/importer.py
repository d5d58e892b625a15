"""`handpipe import coco`: a folder of COCO-WholeBody hands with cameras becomes a session without clips."""

# Ring 2: reads and writes.

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....capture.settings import CaptureSettings
from ....core.cameras_file import format_cameras, read_cameras, write_cameras
from ....core.errors import SessionError, disk_errors
from ....core.files import read_bytes
from ....core.storage.store import Store
from ...keypoints2d.files import MAX_JSON_BYTES, decode
from ...keypoints2d.reading import Reading
from ...keypoints2d.session import import_keypoints2d

ANNOTATIONS = "annotations.json"
CAMERAS = "cameras.toml"


def import_coco(folder: Path, root: Path, fps: float | None) -> tuple[dict[str, Any], list[str]]:
    """`annotations.json` and `cameras.toml` of a folder to the detections of a session.

    The images' folders are the views' names, the last numbers of their names the frames. Views may be of any sizes.

    Args:
        folder: of the two files.
        root: the session's folder: new, or made by an earlier import of the same cameras.
        fps: frames per second; None is the file's `info.fps`.

    Raises:
        SessionError, CalibrationError: a file is missing or is not what it should be; a session is in the way.
        DiskError: it cannot be written.
    """
    annotations, toml = folder / ANNOTATIONS, folder / CAMERAS
    if not annotations.is_file():
        raise SessionError(
            f"{folder}: expected a folder with {ANNOTATIONS} and {CAMERAS}, but there is no {ANNOTATIONS}. For files "
            "of other names, or without cameras, put cameras.toml into a session and use `handpipe import keypoints2d`."
        )
    cameras = read_cameras(toml)
    there = root / CAMERAS
    if (root / "videos").exists() or (
        there.exists() and format_cameras(read_cameras(there)) != format_cameras(cameras)
    ):
        raise SessionError(
            f"{root}: expected a new folder, or one made from the same cameras, but it holds another session. "
            "Choose another folder."
        )
    rate = fps if fps is not None else _rate(annotations)
    with disk_errors(str(root)):
        root.mkdir(parents=True, exist_ok=True)
    if not there.exists():
        write_cameras(there, cameras)
    capture = CaptureSettings(mixed_sizes=True)
    return import_keypoints2d(root, [annotations], Reading(), capture, rate, Store(str(root / "session.zarr")))


def _rate(path: Path) -> float:
    data = decode(path, read_bytes(path, "annotations in JSON", MAX_JSON_BYTES))
    info = data.get("info") if isinstance(data, dict) else None
    rate = info.get("fps") if isinstance(info, dict) else None
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate < float("inf"):
        raise SessionError(f"{path}: expected frames per second in `info.fps`, but found {rate!r}. Say it with --fps.")
    return float(rate)
