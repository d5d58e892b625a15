"""Files and folders of 2D hands, in any mixture of formats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import SessionError
from ...core.files import MAX_NPZ_BYTES, read_bytes
from ...core.store import digest
from . import json as keypoints2d_json
from . import npz as keypoints2d_npz
from .hands import ImageHands

MAX_BYTES = {".json": keypoints2d_json.MAX_BYTES, ".npz": MAX_NPZ_BYTES}


@dataclass(frozen=True)
class Found2d:
    """What all files together say."""

    pictures: Sequence[ImageHands]
    sha256: str
    """Of names and contents."""


def read_files(paths: Sequence[Path], min_confidence: float) -> Found2d:
    """Read .json and .npz files, and those in folders.

    Args:
        paths: files and folders.
        min_confidence: joints of this confidence or less count as missing.

    Raises:
        SessionError: no such file, too big, or not one of the formats.
    """
    pictures: list[ImageHands] = []
    marks = []
    for path, name in _find(paths):
        content = read_bytes(path, "2D hands in .json or .npz", MAX_BYTES[path.suffix])
        marks.append(f"{name} {hashlib.sha256(content).hexdigest()}")
        if path.suffix == ".npz":
            pictures += keypoints2d_npz.read_arrays(path, name)
        else:
            data = keypoints2d_json.decode(path, content)
            pictures += keypoints2d_json.pictures(path, name, data, min_confidence)
    if not pictures:
        where = ", ".join(str(path) for path in paths) or "PATH"
        raise SessionError(f"{where}: expected files with at least one frame, but found none. Check what was written.")
    return Found2d(pictures, digest(sorted(marks)))


def _find(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Files and their names, with the folder's they are given in: it may be the view's."""
    for path in paths:
        if path.is_dir():
            inside = [p for p in path.rglob("*") if p.suffix in MAX_BYTES and not p.name.startswith(".")]
            if not inside:
                raise SessionError(f"{path}: expected .json or .npz files in it, but found none. Correct the path.")
            top = path.resolve().name
            yield from ((p, f"{top}/{p.relative_to(path).as_posix()}") for p in sorted(inside))
        elif path.suffix not in MAX_BYTES or not path.exists():
            what = "another kind of file" if path.exists() else "nothing there"
            raise SessionError(
                f"{path}: expected a .json or .npz file, or a folder of them, but found {what}. Correct the path."
            )
        else:
            yield path, f"{path.resolve().parent.name}/{path.name}"
