"""Settings of the calibration."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro
from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT

World = Literal["first-camera", "board", "gravity"]


@settings(frozen=True, config=STRICT)
class KnownDistance:
    """Two cameras whose distance was measured."""

    first: str
    """Name of a view."""
    second: str
    """Name of the other."""
    distance_m: Annotated[float, Field(gt=0)]
    """From lens to lens, metres; two centimetres and one percent are allowed for."""


@settings(frozen=True, config=STRICT)
class CalibrationSettings:
    """How the cameras are calibrated from the board, and how good they must be."""

    lens: Literal["pinhole", "fisheye"] = "pinhole"
    """Model of all lenses: OpenCV's with five coefficients, for fields of view up to about 100 degrees; or its fisheye,
    beyond."""
    max_frames: Annotated[int, Field(ge=10)] = 300
    """Frames in the joint adjustment, chosen so that every view's sightings are spread widely."""
    min_frames: Annotated[int, Field(ge=3)] = 5
    """A view that saw the board in fewer frames stays without a calibration."""
    max_reprojection_px: Annotated[float, Field(gt=0)] = 3.0
    """Limit of each view's RMS error over held-out corners of the board, pixels."""
    max_distance_mm: Annotated[float, Field(gt=0)] = 2.0
    """Limit of the RMS error of distances between held-out corners, triangulated, millimetres."""
    outside_limits: Literal["stop", "warn"] = "stop"
    """What becomes of a calibration outside these limits: an error, or a warning and on with it."""
    world: World = "first-camera"
    """Where the world is: the first calibrated camera; the board in `world_frame`; or `gravity`, the same board as it
    lies on a table, face up, with z up. A supplied cameras.toml brings its own world."""
    world_frame: Annotated[int, Field(ge=0)] = 0
    """Which frame of the board's clips, for `board` and `gravity`."""
    known_distances: Annotated[tuple[KnownDistance, ...], tyro.conf.Suppress] = ()
    """Distances between cameras that were measured: a board of another size than stated contradicts them."""
