"""Files and folders of 2D hands, in any mixture of formats."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import SessionError
from ...core.files import MAX_NPZ_BYTES, check_letters, read_bytes, read_npz
from ...core.storage.store import digest
from .format import File2d, keypoints2d_formats
from .hands import ImageHands

MAX_JSON_BYTES = 2**30
"""JSON is held in memory whole, at several times its size."""

MAX_BYTES = {".json": MAX_JSON_BYTES, ".npz": MAX_NPZ_BYTES}
"""By the suffixes that formats have."""


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
        data = read_npz(path, "2D hands") if path.suffix == ".npz" else decode(path, content)
        pictures += _pictures(File2d(path, name, data, min_confidence))
    if not pictures:
        where = ", ".join(str(path) for path in paths) or "PATH"
        raise SessionError(f"{where}: expected files with at least one frame, but found none. Check what was written.")
    return Found2d(pictures, digest(sorted(marks)))


def decode(path: Path, content: bytes) -> Any:
    """The value in a JSON file. Raises SessionError."""
    try:
        check_letters(content)
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SessionError(
            f"{path}: expected JSON, but it cannot be read ({error}). The file may be cut off: write it again."
        ) from error


def _pictures(file: File2d) -> list[ImageHands]:
    """The images that a file tells of, by the format that recognizes it."""
    formats = [each for each in keypoints2d_formats().values() if file.path.suffix in each.suffixes]
    for each in formats:
        if each.recognizes(file.data):
            return list(each.read(file))
    data = file.data
    found = f"the keys {', '.join(sorted(map(str, data))[:8])}" if isinstance(data, dict) else type(data).__name__
    known = "; ".join(f"{each.title}: {each.content}" for each in formats)
    raise SessionError(f"{file.path}: expected one of these ({known}), but found {found}. Convert it, or write an npz.")


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
