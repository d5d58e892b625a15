"""Camera files of every format: which one a file is, reading it, writing it, and what is lost.

A format is found by what a file holds, not by its name. docs/cameras.md has the table of their conventions.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np

from ...core.cameras import Cameras
from ...core.cameras_file import camera_error, check_metres, read_camera_text
from ...core.files import UNCHECKED
from ...core.storage.atomic import appearing, write_whole
from ..formats import formats_of
from .format import CameraFormat, FileContents


@dataclass(frozen=True)
class CameraFile:
    """What was found in a file."""

    cameras: Cameras
    """In metres; a size of 0 x 0 where the format does not tell."""
    format: str
    """The format's name."""
    unit_m: float
    """Metres in one unit of the file."""


@UNCHECKED
def read_camera_file(source: str, unit_m: float | None = None) -> CameraFile:
    """The cameras of a file, or of a folder of files, in any of the formats.

    Args:
        source: its path; `FILE#PART` for one part of a file: a capture of InterHand2.6M's.
        unit_m: metres in one unit of the file; None is what the format has by default.

    Raises:
        CalibrationError: no such file, an unknown format, a camera that is incomplete or impossible, or a rig that
            is too large or too small for the unit.
    """
    if unit_m is not None and not 0 < unit_m < inf:
        raise camera_error("--unit-m", "a positive number of metres", f"{unit_m:g}", "Millimetres are 0.001.")
    path, part = Path(source), None
    if not path.exists() and "#" in source:
        name, part = source.rsplit("#", 1)
        path = Path(name)
    binary = path.is_dir() or (path.is_file() and zipfile.is_zipfile(path))
    text = "" if binary else read_camera_text(path)
    format = next((format for format in FORMATS.values() if format.recognises(path, text)), None)
    if format is None:
        known = ", ".join(FORMATS)
        raise camera_error(
            path, f"cameras in one of the formats {known}", "none of them", "docs/cameras.md shows what each holds."
        )
    if part is not None and not format.part:
        raise camera_error(source, f"a path alone for the format {format.name}", f"#{part}", f"Leave out #{part}.")
    cameras = format.read(path, text, part)
    metres = unit_m or format.unit_m
    T_cam_world = cameras.T_cam_world.copy()
    T_cam_world[:, :3, 3] *= metres
    cameras = replace(cameras, T_cam_world=T_cam_world)
    check_metres(cameras, path, metres)
    return CameraFile(cameras, format.name, metres)


def write_camera_file(path: Path, cameras: Cameras, format: str) -> list[str]:
    """Write the calibrated views in one of the formats `WRITTEN`.

    Returns:
        What the format does not hold, a sentence each.

    Raises:
        CalibrationError: nothing to write, or cameras that the format cannot hold.
        DiskError: it cannot be written.
    """
    if not cameras.calibrated.any():
        raise camera_error(path, "a calibrated camera to write", "none", "Calibrate first.")
    write = FORMATS[format].write
    assert write is not None, format
    _put(path, write(path, cameras.subset(np.nonzero(cameras.calibrated)[0])))
    return losses(cameras, format)


def losses(cameras: Cameras, format: str) -> list[str]:
    """What a file of the format does not hold of the rig, or holds in other words."""
    left_out = [
        f"{name}: left out, it has no calibration"
        for name, ok in zip(cameras.names, cameras.calibrated, strict=True)
        if not ok
    ]
    return left_out + FORMATS[format].losses(cameras.subset(np.nonzero(cameras.calibrated)[0]))


def _put(path: Path, files: FileContents) -> None:
    """Write one file, or a folder of files that appears whole where there was none."""
    new_folder = path not in files and (not path.exists() or (path.is_dir() and not any(path.iterdir())))
    if new_folder:
        with appearing(path) as place:
            place.mkdir()
            for file, content in files.items():
                write_whole(place / file.name, content)
        return
    for file, content in files.items():
        write_whole(file, content)


# At the end, because it imports every module of the folder, and some of them import this one.
FORMATS = formats_of("cameras", CameraFormat)
"""All formats by name."""
WRITTEN = tuple(name for name, format in FORMATS.items() if format.write is not None)
"""The names of those that can be written."""
