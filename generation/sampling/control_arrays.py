"""Reading and checking control arrays from untrusted files."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import zarr
from numpy import ndarray
from zarr.errors import GroupNotFoundError

from ...core.errors import GenerationError

MAX_BYTES = 1 << 28
"""Largest accepted size of a control file in bytes, packed or unpacked."""

FAR_M = 5.0
"""Wrists that are farther apart than this are not in metres."""

NO_NPZ = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError),
    *(ValueError, KeyError, TypeError, MemoryError),
)
"""Exceptions of zipfile and numpy for invalid or malicious files."""


def check_frames(named: str, frame: ndarray, length: int) -> None:
    """Raise GenerationError for frames outside of the clip."""
    outside = frame[(frame < 0) | (frame >= length)]
    if len(outside):
        more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
        raise GenerationError(
            f"{named}: expected frames of the clip, 0 to {length - 1}, but got {outside[0]}{more}: the clip has "
            f"{length} frames. Increase --frames, or remove these frames."
        )


def check_metres(named: str, places: ndarray) -> None:
    """Raise GenerationError for (..., 3) positions that cannot be wrists in metres."""
    span = float(np.linalg.norm(np.ptp(places, axis=0))) if len(places) else 0.0
    if span > FAR_M:
        raise GenerationError(
            f"{named}: expected metres, but the wrists are up to {span:.4g} m apart; that looks like millimetres. "
            "Divide the positions by 1000."
        )


def check_arrays(
    named: str,
    arrays: Mapping[str, ndarray],
    needed: Mapping[str, tuple[int | None, ...]],
    optional: Mapping[str, tuple[int | None, ...]],
) -> None:
    """Raise GenerationError unless the arrays are these, of these shapes (None: as many as there are frames), and hold
    numbers where they should."""
    known = {**needed, **optional}
    if not needed.keys() <= arrays.keys() <= known.keys():
        extra = f", and optionally {', '.join(optional)}" if optional else ""
        raise GenerationError(
            f"{named}: expected the arrays {', '.join(needed)}{extra}, but found "
            f"{', '.join(sorted(arrays)) or 'none'}. Rename them."
        )
    count = len(arrays["frame"]) if arrays["frame"].ndim else 0
    for name, array in arrays.items():
        expected = tuple(count if size is None else size for size in known[name])
        kinds = {"frame": "iu", "hand": "iuU", "has_hand": "b"}.get(name, "fiu")
        if array.shape != expected or array.dtype.kind not in kinds:
            what = {"frame": "whole numbers", "hand": "names or whole numbers", "has_hand": "booleans"}
            raise GenerationError(
                f"{named}: {name}: expected {what.get(name, 'numbers')} of shape {expected}, but found {array.dtype} "
                f"of shape {array.shape}. Correct it."
            )


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """A file's content; raises GenerationError if it is not there, or too large."""
    if not path.is_file():
        found = "no such file" if not path.exists() else "a folder or special file"
        raise GenerationError(f"{path}: expected a file, but found {found}. Check the path.")
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise GenerationError(
            f"{path}: expected a readable file, but it cannot be read ({error.strerror}). Check its permissions."
        ) from error
    _check_size(str(path), len(content), max_bytes)
    return content


def _check_size(named: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise GenerationError(
            f"{named}: expected at most {max_bytes} bytes, but it is larger. Keyframes and trajectories are small: "
            "check the path."
        )


def read_npz(path: Path, max_bytes: int) -> dict[str, ndarray]:
    """The arrays of an npz; nothing pickled is loaded, and nothing that unpacks to more than the limit."""
    content = read_bytes(path, max_bytes)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_size(str(path), sum(member.file_size for member in archive.infolist()), max_bytes)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            strange = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
            if strange:
                raise ValueError(f"{strange[0]} is no array")
            return arrays
    except GenerationError:
        raise
    except NO_NPZ as error:
        raise GenerationError(
            f"{path}: expected an .npz with plain arrays, but it cannot be read ({error}). "
            "Write it with numpy.savez from numeric arrays."
        ) from error


def read_zarr(named: str, max_bytes: int) -> dict[str, ndarray]:
    """The arrays of a Zarr group; raises GenerationError if there is none, or if it is a session."""
    address = named if "://" in named else str(Path(named).expanduser())
    try:
        group = zarr.open_group(address, mode="r")
        arrays = dict(group.arrays())
        if {"mano", "keypoints"} & set(group.group_keys()):
            raise GenerationError(
                f"{named}: expected the session's keyframes after a colon, found none. Add them, as in {named}:0,30."
            )
        _check_size(named, sum(array.nbytes for array in arrays.values()), max_bytes)
        return {name: np.asarray(array[...]) for name, array in arrays.items()}
    except GenerationError:
        raise
    except (OSError, GroupNotFoundError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise GenerationError(
            f"{named}: expected SESSION:FRAMES (take1:0,30,59), an .npz, or a Zarr group of keyframes, but found "
            f"something else ({error}). Check the path."
        ) from error
