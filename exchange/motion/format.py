"""What a motion format says of itself."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from ...core.errors import SessionError
from ...hand.keypoints import Keypoints
from ..export_format import FileFormat
from ..formats import formats_of

ONLY_JOINTS = "The shape of the hands and the rotations of their joints: only places of joints are kept."
"""What formats of points lose."""

FITTED_FROM = "What the joints were fitted from: keypoints with their errors, cameras and detections."

KeypointReader = Callable[[Path, float, float | None, float | None], Keypoints]
"""(file, sigma_m, fps, unit_m) to keypoints.

sigma_m is the standard error where the file has none, metres; fps the frames per second, or None for what the file
says; unit_m metres in one unit of the file, or None for what the file says. Raises SessionError."""


@dataclass(frozen=True, kw_only=True)
class MotionFormat(FileFormat):
    """A format with one file for each sequence, which `handpipe export` writes."""

    read: KeypointReader | None = None
    """For `handpipe import keypoints`; None for formats with an import command of their own."""


def motion_formats() -> dict[str, MotionFormat]:
    """The motion formats, by name."""
    return formats_of("motion", MotionFormat)


def reader_of(path: Path) -> KeypointReader:
    """The reader of a file of keypoints, by its suffix.

    Raises:
        SessionError: `handpipe import keypoints` does not read such files.
    """
    readers = {suffix: each.read for each in motion_formats().values() if each.read for suffix in each.suffixes}
    if path.suffix.lower() not in readers:
        others = [
            f"{suffix} with `handpipe import {each.read_back.split()[0]}`"
            for each in motion_formats().values()
            for suffix in each.suffixes
            if suffix not in readers and each.read_back
        ]
        found = "a folder" if path.is_dir() else f"'{path.suffix}'"
        raise SessionError(
            f"{path}: expected a file that ends in {', '.join(sorted(readers))}, but found {found}. Convert the file. "
            f"Other files: {', '.join(others)}."
        )
    return readers[path.suffix.lower()]


def stored_rate(path: Path, fps: ndarray | None) -> float:
    """The frames per second that an npz states. Raises SessionError."""
    if fps is None or fps.size != 1 or fps.dtype.kind not in "fiu" or not 0 < float(fps.item()) < np.inf:
        found = "no such array" if fps is None else f"{fps!r}"
        raise SessionError(f"{path}: expected frames per second in `fps`, but found {found}. Say it with --fps.")
    return float(fps.item())
