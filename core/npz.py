"""Arrays in an npz file that a stranger may have made: nothing pickled is run, and it unpacks to a bounded size."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy import ndarray

from .errors import SessionError
from .files import check_file

MAX_BYTES = 1 << 30
"""Of all arrays of a file together: hours of two hands. A few kilobytes of zip can unpack to terabytes."""


def read_npz(path: Path, what: str) -> dict[str, ndarray]:
    """The arrays of an npz file.

    Args:
        path: the file.
        what: it should hold, for messages.

    Raises:
        SessionError: no such file, not an npz, damaged, with pickled objects, or too large unpacked.
    """
    check_file(path, f"an .npz with {what}", MAX_BYTES)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise SessionError(
                f"{path}: expected an .npz with {what} of at most {MAX_BYTES >> 30} GiB, but it unpacks to "
                f"{size / (1 << 30):.1f} GiB. Check where it is from, or cut it into parts."
            )
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, MemoryError) as error:
        # RuntimeError: encrypted, or compressed in a way that is not known.
        raise SessionError(_unreadable(path, error)) from error
    except ValueError as error:
        if isinstance(error, SessionError):
            raise
        raise SessionError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"{path}: expected an .npz with plain arrays, but it cannot be read ({error}). "
        "Write it with numpy.savez, from arrays of numbers."
    )
