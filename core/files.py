"""Files that a stranger may have made, as bytes or text: a plain file of a bounded size, or one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from .errors import SessionError

MAX_TEXT_BYTES = 256 << 20
"""Of a table or a BVH file, which takes several times its size in memory: twenty minutes of two hands at 120 Hz."""


def check_file(path: Path, what: str, max_bytes: int) -> None:
    """Raise SessionError when a path is no plain file of at most so many bytes: a device or a pipe never ends."""
    try:
        size, plain = path.stat().st_size, path.is_file()
    except (OSError, ValueError) as error:
        raise SessionError(_unreadable(path, what, error)) from error
    if not plain:
        found = "a folder" if path.is_dir() else "no plain file"
        raise SessionError(f"{path}: expected {what}, but found {found}. Correct the path.")
    if size > max_bytes:
        raise SessionError(
            f"{path}: expected {what} of at most {max_bytes / 2**20:g} MiB, but it has {size / 2**20:.0f}. "
            "Check that it is the file you mean, or cut it into parts."
        )


def read_bytes(path: Path, what: str, max_bytes: int) -> bytes:
    """A file's content.

    Args:
        path: the file.
        what: it should be, for messages: "a BVH file".
        max_bytes: a larger one is refused before it is read.

    Raises:
        SessionError: it is not there, may not be read, is no plain file, or is too large.
    """
    check_file(path, what, max_bytes)
    try:
        return path.read_bytes()
    except OSError as error:
        raise SessionError(_unreadable(path, what, error)) from error


def read_text(path: Path, what: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The same as text in UTF-8; raises SessionError when it is none."""
    try:
        return read_bytes(path, what, max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SessionError(f"{path}: expected {what}, which is text, but found other bytes.") from error


LARGE = 1e12
"""Nothing that is measured about hands is larger, in whatever unit."""


def numbers_in(value: Any) -> ndarray | None:
    """Nested lists from a JSON file as float64, null as NaN; None when they are ragged, hold text, or are too large."""
    try:
        array = np.asarray(value)
        array = None if array.dtype.kind in "US" else array.astype(np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return None if array is None or (np.abs(array) > LARGE).any() else array


def _unreadable(path: Path, what: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: expected {what}, but there is no such file. Correct the path."
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"{path}: expected {what}, but it cannot be read ({reason}). Correct the path."
