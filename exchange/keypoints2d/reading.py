"""How files of 2D hands are read: the options of `handpipe import keypoints2d`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Reading:
    """How files are read."""

    pattern: str | None = None
    """Where the file names have view and frame, matched from the right: `{view}/img_{frame}.jpg`; `*` stands for any
    characters but a slash. None: a folder or the start of the name is the view, the last number is the frame."""
    first_frame: int | None = None
    """Number that the files give the first frame of a clip; None is 0, and 1 for MMPose's demo."""
    origin: Literal["centre", "corner"] = "centre"
    """Where pixel coordinates are zero: the centre of the first pixel, or half a pixel before it, the image corner."""
    min_confidence: float = 0.0
    """Joints of this confidence or less count as missing."""
    candidates: int = 4
    """Most hands kept in one image; those with the best score."""
