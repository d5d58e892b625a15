"""Where recordings go: takes with numbers, the board's clips, the lenses' clips, and what takes of a rig share."""

# Ring 2: reads and writes.

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ...core.storage.atomic import write_whole
from ..video import find_clips
from .camera import Format, RecordingError
from .clip_file import SUFFIX
from .settings import RigConfig

RECORD = "recording.json"
TIMESTAMPS = "timestamps.csv"

Kind = Literal["take", "calibration", "intrinsics"]

SHARED = ("calibration", "intrinsics", "cameras.toml")
"""What a take finds beside it, if it was recorded."""

_TAKE = re.compile(r"take-(\d+)")

COMPRESSED: Mapping[str, float] = {"ffv1": 0.6, "mjpeg": 0.2}
"""Size of a clip relative to its images, at the most; 0.1 for the others."""

LEAST_S = 10.0
"""There has to be room for a recording of this length, seconds."""


@dataclass(frozen=True)
class Place:
    """Files of one recording."""

    kind: Kind
    root: Path
    """Folder of recording.json and timestamps.csv."""
    view: str | None = None
    """The camera that films the board alone, for `intrinsics`."""

    @property
    def clips(self) -> Path:
        """Folder of the clips."""
        return self.root / "videos" if self.kind == "take" else self.root

    @property
    def record(self) -> Path:
        return self.root / (RECORD if self.view is None else f"{self.view}.{RECORD}")

    @property
    def work(self) -> Path:
        """Hidden folder of the journals, while it is recorded."""
        return self.root / (".recording" if self.view is None else f".recording-{self.view}")

    def clip(self, view: str) -> Path:
        return self.clips / f"{view}{SUFFIX}"

    def create(self, session: Mapping[str, Any]) -> None:
        """Make the folders. `session`: settings for the session.yaml of a take."""
        self.clips.mkdir(parents=True, exist_ok=True)
        self.work.mkdir()
        if self.kind == "take":
            if session:
                write_whole(self.root / "session.yaml", yaml.safe_dump(dict(session), sort_keys=False))
            share(self.root.parent, self.root)

    def discard(self) -> None:
        """Remove what was created, when the recording did not start."""
        shutil.rmtree(self.work, ignore_errors=True)
        if self.kind == "intrinsics":
            self.clip(self.view or "").unlink(missing_ok=True)
        else:
            shutil.rmtree(self.root, ignore_errors=True)


def place_for(session: Path, kind: Kind, view: str | None = None) -> Place:
    """Where the next recording goes.

    Raises:
        RecordingError: the folder is something else, or holds such a recording already.
    """
    if session.exists() and not session.is_dir():
        raise RecordingError(f"{session}: expected a folder for recordings, but found a file. Name another folder.")
    if (session / "videos").exists():
        raise RecordingError(
            f"{session}: expected a folder for takes, but it is itself a session with clips in videos/. "
            "Name another folder."
        )
    match kind:
        case "take":
            numbers = [int(found[1]) for path in _entries(session) if (found := _TAKE.fullmatch(path.name))]
            return Place(kind, session / f"take-{max(numbers, default=0) + 1:03}")
        case "calibration":
            if any(_entries(session / kind)):
                raise RecordingError(
                    f"{session / kind}: expected no recording of the board, but there is one. Remove the folder to "
                    "record it again; takes that share it then need it again."
                )
            return Place(kind, session / kind)
        case "intrinsics":
            there = find_clips(session / kind).get(view or "") if (session / kind).is_dir() else None
            if there is not None:
                raise RecordingError(
                    f"{there}: expected no clip of this camera, but there is one. Remove it to record it again."
                )
            return Place(kind, session / kind, view)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def share(session: Path, take: Path) -> None:
    """Link the rig's calibration into a take: cameras.toml if there is one, else the clips of the board and lenses."""
    has_cameras = (session / "cameras.toml").is_file()
    for name in ("cameras.toml",) if has_cameras else ("calibration", "intrinsics"):
        if (session / name).exists() and not os.path.lexists(take / name):
            (take / name).symlink_to(Path("..") / name)


def share_with_takes(session: Path) -> None:
    """The same for takes that were recorded before the board was."""
    for path in _entries(session):
        if _TAKE.fullmatch(path.name) and path.is_dir():
            share(session, path)


def check_disk(session: Path, rig: RigConfig, formats: Mapping[str, Format]) -> None:
    """Raise RecordingError where the folder cannot be written, or the disk has no room for what is to be recorded."""
    folder = session
    while not folder.exists():
        folder = folder.absolute().parent
    if not os.access(folder, os.W_OK):
        raise RecordingError(
            f"{session}: expected to write there, but {folder} is not writable. Change its permissions, or name "
            "another folder."
        )
    free = shutil.disk_usage(folder).free
    needed = bytes_per_s(rig, formats) * (rig.duration_s or LEAST_S) + 1e9 * rig.keep_free_gb
    if free < needed:
        raise RecordingError(
            f"{session}: expected {needed / 1e9:.1f} GB of free disk ({rig.keep_free_gb:g} GB of it is kept free), but "
            f"found {free / 1e9:.1f} GB. Free some space, name another folder, or lower `keep_free_gb` or `duration_s`."
        )


def bytes_per_s(rig: RigConfig, formats: Mapping[str, Format]) -> float:
    """About what is written in a second, all cameras together."""
    ratio = COMPRESSED.get(rig.encoder.codec, 0.1)
    return sum(format.frame_bytes for format in formats.values()) * rig.rate * ratio
