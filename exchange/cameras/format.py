"""What a camera format says of itself and does; `formats.py` reads and writes files through it."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.cameras import Cameras
from ...core.cameras_file import camera_error
from ...core.files import LARGE
from ..formats import Format

FileContents = Mapping[Path, str | bytes]
"""Contents of the files to write, by path."""


@dataclass(frozen=True, kw_only=True)
class CameraFormat(Format):
    """One camera format. `recognises` of all formats must exclude each other: tests/exchange/cameras/test_laws.py."""

    recognises: Callable[[Path, str], bool]
    """Whether a path is of this format, from the path and its text; the text is empty for a folder and a zip file."""
    read: Callable[[Path, str, str | None], Cameras]
    """The cameras in the file's unit, from path, text and the part that `FILE#PART` names; raises CalibrationError."""
    write: Callable[[Path, Cameras], FileContents] | None = None
    """What to write for the calibrated views, of which there is at least one; raises CalibrationError."""
    losses: Callable[[Cameras], list[str]] = lambda _: []
    """What the format does not hold of these cameras, or holds in other words, a sentence each."""
    unit_m: float = 1.0
    """Metres in one unit of the file, unless the user says otherwise."""
    part: str = ""
    """What PART is in `FILE#PART`; empty when the format has no parts."""
    names: str
    """Where the names of the views come from. This and what follows is for the table in docs/cameras.md."""
    pose: str
    """How rotation and translation are written."""
    pixel: str = "centre of the first pixel"
    """What pixel (0, 0) is."""
    lens: str
    """Lens models."""


def distortion_px(cameras: Cameras) -> float:
    """How far the lens moves a pixel of the image's border at most, over all views, pixels; 0 without sizes.

    Pixels that a fisheye moves out of its range do not count.
    """
    t = np.linspace(0, 1, 21)
    border = np.concatenate([np.stack(xy, -1) for xy in ((t, 0 * t), (t, 0 * t + 1), (0 * t, t), (0 * t + 1, t))])
    uv = border * (np.maximum(cameras.size_px, 1) - 1)[:, None]
    focal, center = cameras.K[:, None, [0, 1], [0, 1]], cameras.K[:, None, :2, 2]
    with np.errstate(over="ignore", invalid="ignore"):
        straight = cameras.undistort(uv) * focal + center
    moved = np.linalg.norm(straight - uv, axis=-1)
    return float(np.where((cameras.size_px[:, :1] > 0) & ~np.isnan(moved), moved, 0).max(initial=0.0))


def pinhole_losses(cameras: Cameras) -> list[str]:
    """What is lost by a format that has neither lens distortion nor image sizes."""
    bend = distortion_px(cameras)
    lens = []
    if cameras.fisheye.any():
        lens = ["lenses: that they are fisheyes is lost; undistort the images before use"]
    elif bend > 0:
        lens = [f"lenses: the distortion is lost, up to {bend:.1f} px; undistort the images before use"]
    return [*lens, "sizes: image sizes are lost"]


def parse_json(path: Path, text: str) -> dict[str, Any]:
    """The object in a JSON file; raises CalibrationError."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise camera_error(path, "JSON", str(error), "Correct the file or export it again.") from error
    if not isinstance(tree, dict):
        raise camera_error(path, "an object at the top", type(tree).__name__, "docs/cameras.md shows the layout.")
    return tree


def parse_xml(text: str) -> ET.Element:
    """The root of an XML text; raises ValueError or ET.ParseError. A document type is refused: entities can unfold."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("a document type declaration, which camera files do not have")
    return ET.fromstring(text.lstrip())


def parse_vendor_xml(path: Path, text: str) -> ET.Element:
    """The same with an error that names the file."""
    try:
        return parse_xml(text)
    except (ET.ParseError, ValueError) as error:
        raise camera_error(path, "XML", str(error), "Export the calibration again.") from error


def numbers_in(where: str, text: str, count: int) -> np.ndarray:
    """So many finite numbers with spaces between; raises CalibrationError."""
    try:
        numbers = np.array(text.split(), dtype=float)
    except ValueError:
        numbers = np.array(np.nan)
    if numbers.shape != (count,) or not (np.abs(numbers) <= LARGE).all():
        raise camera_error(where, f"{count} finite numbers", text[:60], "Correct it or export the calibration again.")
    return numbers


def xml_numbers(where: str, element: ET.Element | None, *keys: str, count: int = 0) -> np.ndarray:
    """The numbers in these attributes of an element: one in each, or `count` together; raises CalibrationError."""
    given = {} if element is None else element.attrib
    missing = [key for key in keys if key not in given]
    if missing:
        raise camera_error(where, f"the attribute {missing[0]}", "none", "Export the calibration again.")
    return numbers_in(f"{where} {', '.join(keys)}", " ".join(given[key] for key in keys), count or len(keys))
