"""What a session folder holds and handpipe does not use, although it looks like a part of the session."""

# Ring 2: reads and writes.

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from difflib import SequenceMatcher
from pathlib import Path

from ..core.files import view_name
from .video import CLIP_SUFFIXES

USED = {"timestamps.csv", "session.yaml", "cameras.toml"}

FOLDERS = ("videos", "calibration", "intrinsics")

VIDEO_SUFFIXES = {
    *CLIP_SUFFIXES,
    *(".3g2", ".amv", ".braw", ".divx", ".dv", ".h264", ".264", ".h265", ".265", ".hevc", ".insv", ".ivf", ".lrv"),
    *(
        ".m1v",
        ".m2v",
        ".mj2",
        ".mjpg",
        ".mjpeg",
        ".mod",
        ".mp4v",
        ".mpe",
        ".ogg",
        ".qt",
        ".r3d",
        ".rm",
        ".rmvb",
        ".seq",
    ),
    *(".swf", ".tod", ".vob", ".xvid", ".y4m", ".yuv"),
}
"""Of files that hold video."""

SETTINGS_SUFFIXES = {".yaml", ".yml", ".toml"}

TABLE_SUFFIXES = {"", ".csv", ".tsv", ".txt", ".json", ".xls", ".xlsx", ".ods", ".parquet", ".dat", ".ini", ".cfg"}
"""Of files that may be timestamps, settings or cameras, where their name says so."""

_WORDS = {
    "timestamps": "timestamps.csv",
    "timestamp": "timestamps.csv",
    "frame_times": "timestamps.csv",
    "frame_time_history": "timestamps.csv",
    "session": "session.yaml",
    "settings": "session.yaml",
    "config": "session.yaml",
    "cameras": "cameras.toml",
    "camera": "cameras.toml",
    "calibration": "cameras.toml",
}
"""What such files are called, and the file that handpipe reads."""

_OWN = re.compile(r"cameras\.before-.*\.toml")
"""Copies that handpipe itself keeps."""


def ignored_files(root: Path, taken: Collection[Path]) -> list[str]:
    """A sentence for each file or folder of a session that looks like a part of it and is not used.

    Args:
        root: the session's folder.
        taken: paths of the clips that are used, or that are complained about elsewhere.
    """
    found = [sentence for path in _entries(root) if (sentence := _in_root(path)) is not None]
    for folder in FOLDERS:
        if (root / folder).is_dir():
            for path in _entries(root / folder):
                sentence = None if path in taken else _in_folder(path, taken)
                if sentence is not None:
                    found.append(sentence)
    return found


def _entries(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.name.isprintable())


def _in_root(path: Path) -> str | None:
    if path.name in USED or path.name in FOLDERS or _OWN.fullmatch(path.name) or path.suffix == ".zarr":
        return None
    if path.is_dir():
        name = "calibration" if path.name.casefold() == "calib" else path.name
        meant = next((folder for folder in FOLDERS if _similar(name, folder)), None)
        return None if meant is None else f"{path}: this folder is not read. Rename it to `{meant}` to use it."
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return f"{path}: this clip is not read. Move it to `videos` to use it."
    return _settings_or_table(path, path.parent)


def _in_folder(path: Path, taken: Collection[Path]) -> str | None:
    if path.name == "timestamps.csv" and path.parent.name == "calibration":
        return None
    if path.is_dir():
        inside = any(inner.suffix.lower() in VIDEO_SUFFIXES for inner in _entries(path))
        return f"{path}: clips in this folder are not read. Move them to `{path.parent.name}`." if inside else None
    twin = next((each for each in taken if each.parent == path.parent and view_name(each) == view_name(path)), None)
    if path.suffix.lower() in CLIP_SUFFIXES and twin is not None:
        return f"{path}: this file is not read, because {twin.name} is the clip of this view. Keep one of them."
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return (
            f"{path}: this file is not read as a clip. Convert it to .mp4 to use it, or remove it "
            f"(suffixes that are read: {', '.join(CLIP_SUFFIXES)})."
        )
    return _settings_or_table(path, path.parent if path.parent.name == "calibration" else path.parent.parent)


def _settings_or_table(path: Path, folder: Path) -> str | None:
    """A sentence for what looks like settings, cameras or timestamps, and should stand in a folder."""
    suffix = path.suffix.lower()
    # session.yaml.txt is what an editor makes of session.yaml.
    name = path.name.lower().split(".")[0]
    meant = next((use for word, use in _WORDS.items() if _similar(name, word)), None)
    if suffix in SETTINGS_SUFFIXES:
        meant = meant or ("cameras.toml" if suffix == ".toml" else "session.yaml")
    elif meant is None or suffix not in TABLE_SUFFIXES:
        return None
    if meant != "timestamps.csv" and path.parent.name in FOLDERS:
        folder = path.parent.parent
    kind = {"timestamps.csv": "timestamps", "session.yaml": "settings", "cameras.toml": "a calibration"}[meant]
    return f"{path}: this file is not read. If it holds {kind}, save it as {folder / meant}" + (
        ", or use `handpipe calibrate --from`." if meant == "cameras.toml" else "."
    )


def _similar(name: str, word: str) -> bool:
    plain = re.sub(r"[^a-z]", "", unicodedata.normalize("NFKC", name).casefold())
    return SequenceMatcher(None, plain, re.sub("_", "", word)).ratio() >= 0.85
