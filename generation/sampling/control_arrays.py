"""Reading and checking control arrays from untrusted files."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import zarr
from numpy import ndarray
from zarr.errors import GroupNotFoundError

from ...core.errors import GenerationError
from ...core.storage.nodes import Nodes

MAX_BYTES = 1 << 28
"""Largest accepted size of a control file in bytes, packed or unpacked."""

_NO_GROUP = (
    *(OSError, GroupNotFoundError, ValueError, KeyError, TypeError, RuntimeError, ImportError),
    *(AttributeError, ArithmeticError, AssertionError),
)
"""What Zarr raises for something that is not a group, or for metadata that somebody has edited."""

FAR_M = 5.0
"""Wrists that are farther apart than this are not in metres."""


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
    with np.errstate(over="ignore"):  # Of numbers beyond all measure, it is infinite.
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


def _check_size(named: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise GenerationError(
            f"{named}: expected at most {max_bytes} bytes, but it is larger. Keyframes and trajectories are small: "
            "check the path."
        )


def read_zarr(named: str, max_bytes: int) -> dict[str, ndarray]:
    """The arrays of a Zarr group; raises GenerationError if there is none, or if it is a session."""
    address = named if "://" in named else str(Path(named).expanduser())
    try:
        group = zarr.open_group(address, mode="r")
        # One after the other: Zarr reads the members of a group at once, warns of what is none, and leaves the errors
        # of all but the first to be printed at the end.
        members = {name: group[name] for name in sorted(Nodes(address).names_in("")) if name in group}
        arrays = {name: node for name, node in members.items() if isinstance(node, zarr.Array)}
        if {"mano", "keypoints"} & (members.keys() - arrays.keys()):
            raise GenerationError(
                f"{named}: expected the session's keyframes after a colon, found none. Add them, as in {named}:0,30."
            )
        _check_size(named, sum(array.nbytes for array in arrays.values()), max_bytes)
        return {name: np.asarray(array[...]) for name, array in arrays.items()}
    except GenerationError:
        raise
    except _NO_GROUP as error:
        raise GenerationError(
            f"{named}: expected SESSION:FRAMES (take1:0,30,59), an .npz, or a Zarr group of keyframes, but found "
            f"something else ({error}). Check the path."
        ) from error
