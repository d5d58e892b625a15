"""Files that a stranger may have made, as bytes, text or arrays: plain, of a bounded size, or one sentence."""

# Ring 2: reads and writes.

from __future__ import annotations

import sys
import tokenize
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from .errors import HandpipeError, SessionError

MAX_TEXT_BYTES = 256 << 20
"""Of a table or a BVH file, which takes several times its size in memory: twenty minutes of two hands at 120 Hz."""

MAX_NPZ_BYTES = 1 << 30
"""Of all arrays of an npz together: hours of two hands. A few kilobytes of zip can unpack to terabytes."""

NPZ_ADVICE = "Write it with numpy.savez, from arrays of numbers."

_NO_NPZ = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError),
    *(ValueError, KeyError, TypeError, MemoryError, OverflowError, SyntaxError, tokenize.TokenError),
)
"""What zipfile and numpy raise for a file that is not an npz, or a hostile one."""


def check_file(path: Path, what: str, max_bytes: int, error: type[HandpipeError] = SessionError) -> None:
    """Raise an error when a path is no plain file of at most so many bytes: a device or a pipe never ends."""
    try:
        size, plain = path.stat().st_size, path.is_file()
    except (OSError, ValueError) as cause:
        raise error(_unreadable(path, what, cause)) from cause
    if not plain:
        found = "a folder" if path.is_dir() else "no plain file"
        raise error(f"{path}: expected {what}, but found {found}. Correct the path.")
    if size > max_bytes:
        raise error(
            f"{path}: expected {what} of at most {max_bytes / 2**20:g} MiB, but it has {size / 2**20:.0f}. "
            "Check that it is the file you mean, or cut it into parts."
        )


def read_bytes(path: Path, what: str, max_bytes: int, error: type[HandpipeError] = SessionError) -> bytes:
    """A file's content.

    Args:
        path: the file.
        what: it should be, for messages: "a BVH file".
        max_bytes: a larger one is refused before it is read.
        error: the class of what is raised.

    Raises:
        SessionError: or another `error`: it is not there, may not be read, is no plain file, or is too large.
    """
    check_file(path, what, max_bytes, error)
    try:
        return path.read_bytes()
    except OSError as cause:
        raise error(_unreadable(path, what, cause)) from cause


def read_text(path: Path, what: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The same as text in UTF-8; raises SessionError when it is none."""
    content = read_bytes(path, what, max_bytes)
    try:
        check_letters(content)
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SessionError(f"{path}: expected {what}, which is text, but found other bytes.") from error
    except ValueError as error:
        raise SessionError(f"{path}: expected {what}, but {error}. Cut it into parts.") from error


def check_letters(content: bytes) -> None:
    """Raise ValueError for text that is too long with such letters: one of many bytes makes all take as many."""
    highest = int(np.frombuffer(content, np.uint8).max(initial=0))
    bytes_per_letter = 4 if highest >= 0xF0 else 2 if highest >= 0xC4 else 1
    if bytes_per_letter > 1 and len(content) * bytes_per_letter > 2 * MAX_TEXT_BYTES:
        raise ValueError(f"it would take {len(content) * bytes_per_letter / 2**20:.0f} MiB of memory as text")


def read_npz(
    path: Path,
    what: str,
    max_bytes: int | None = None,
    error: type[HandpipeError] = SessionError,
    advice: str = NPZ_ADVICE,
) -> dict[str, ndarray]:
    """The arrays of an npz file: THE place that calls numpy.load. Nothing pickled is run.

    Args:
        path: the file.
        what: it should hold, for messages: "MANO motion".
        max_bytes: a larger one is refused, packed or unpacked, before it is read; None is MAX_NPZ_BYTES.
        error: the class of what is raised.
        advice: what to do about a file that cannot be read, a sentence.

    Raises:
        SessionError: or another `error`: no such file, not an npz, damaged, with pickled objects, or too large.
    """
    max_bytes = MAX_NPZ_BYTES if max_bytes is None else max_bytes
    check_file(path, f"an .npz with {what}", max_bytes, error)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        arrays = _arrays_in(path) if size <= max_bytes else {}
    except _NO_NPZ as cause:
        raise error(f"{path}: expected an .npz with plain arrays, but it cannot be read ({cause}). {advice}") from cause
    if size > max_bytes:
        raise error(
            f"{path}: expected an .npz with {what} of at most {max_bytes / 2**20:g} MiB, but it unpacks to "
            f"{size / 2**20:.1f} MiB. Check where it is from, or cut it into parts."
        )
    return arrays


def _arrays_in(path: Path) -> dict[str, ndarray]:
    with np.load(path, allow_pickle=False) as file, warnings.catch_warnings():
        # NumPy warns that it reads a header of Python 2's more slowly.
        warnings.simplefilter("ignore")
        arrays = {name: file[name] for name in file.files}
    for name, array in arrays.items():
        if not isinstance(array, ndarray):
            raise ValueError(f"{name} is not an array")
        if not _is_unicode(array):
            raise ValueError(f"{name} is no text in Unicode")
    return {name: _quiet(array) for name, array in arrays.items()}


def _is_unicode(array: ndarray) -> bool:
    """Whether the characters of text exist: NumPy checks none. Of other arrays it is true."""
    if array.dtype.kind != "U" or array.nbytes == 0:
        return True
    code = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    return not ((code > sys.maxunicode) | ((code >= 0xD800) & (code <= 0xDFFF))).any()


def _quiet(array: ndarray) -> ndarray:
    """The same numbers, of which arithmetic does not warn: no signalling NaN, none that only a long double holds."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        long = array.dtype.itemsize > np.dtype(np.float64).itemsize
        return array.astype(np.float64) if long else np.multiply(array, 1, out=array)


def shorten(text: str, characters: int = 60) -> str:
    """A stranger's text for a message: the beginning of a long one."""
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"


def view_name(clip: Path) -> str:
    """Name of the view: the file's stem. Composed, because file systems differ in how they write an accent."""
    return unicodedata.normalize("NFC", clip.stem)


def same_name(name: str, names: Sequence[str]) -> str | None:
    """The one of some names that is the same but for Unicode form or case; None where none or several are."""
    if (composed := unicodedata.normalize("NFC", name)) in names:
        return composed
    alike = [each for each in names if each.casefold() == composed.casefold()]
    return alike[0] if len(alike) == 1 else None


UNCHECKED = np.errstate(over="ignore", invalid="ignore", divide="ignore")
"""For functions that calculate with numbers that anybody may have written: what comes of those that are too large, or
not numbers, is checked and needs no warning of NumPy's beside it."""

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
