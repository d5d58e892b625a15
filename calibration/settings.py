"""Settings of the calibration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT
from ..core.units import DISTANCE_M, TYPICAL_DISTANCE_M, length_check, metres

World = Literal["first-camera", "board", "gravity"]


@settings(frozen=True, config=STRICT)
class KnownDistance:
    """A measured distance between two cameras."""

    first: str
    """Name of the first view."""
    second: str
    """Name of the second view."""
    distance_m: Annotated[
        float,
        BeforeValidator(metres),
        Field(gt=0),
        AfterValidator(length_check("distance_m", "a distance", DISTANCE_M, TYPICAL_DISTANCE_M)),
    ]
    """Distance between the lenses, metres, or with a unit: `62 cm`. Tolerance: 2 cm plus 1 %."""


@settings(frozen=True, config=STRICT)
class CalibrationSettings:
    """Camera calibration from the board, and the accuracy it must reach."""

    lens: Literal["pinhole", "fisheye"] = "pinhole"
    """Lens model of all cameras: `pinhole` is OpenCV's with five distortion coefficients, for fields of view up to
    about 100 degrees; `fisheye` is OpenCV's fisheye model, for wider ones."""
    solver: Literal["handpipe", "aniposelib"] = "handpipe"
    """Bundle adjustment: `handpipe`, or `aniposelib` for comparison, from the same start and the same corners.
    aniposelib fits one focal length and k1 per camera, and is slower."""
    max_frames: Annotated[int, Field(ge=10)] = 300
    """Maximum number of frames in the bundle adjustment, chosen to cover the image of every view."""
    min_frames: Annotated[int, Field(ge=3)] = 5
    """Minimum number of frames with a visible board; a view with fewer is not calibrated."""
    max_reprojection_px: Annotated[float, Field(gt=0)] = 3.0
    """Maximum RMS reprojection error of each view on held-out board corners, pixels."""
    max_distance_mm: Annotated[float, Field(gt=0)] = 2.0
    """Maximum RMS error of distances between triangulated held-out board corners, millimetres."""
    outside_limits: Literal["stop", "warn"] = "stop"
    """Action if a limit is exceeded: `stop` with an error, or `warn` and continue."""
    correct_delays: bool = True
    """Estimate from the board how late each camera is, and calibrate at the corrected times where a delay is clear."""
    world: World = "first-camera"
    """World coordinates: `first-camera` (the first calibrated camera), `board` (the board in frame `world_frame`), or
    `gravity` (the board in that frame, lying face up on a table; z is up). Ignored if cameras.toml is supplied."""
    world_frame: Annotated[int, Field(ge=0)] = 0
    """Frame of the board clips that defines the world, for `board` and `gravity`."""
    known_distances: tuple[KnownDistance, ...] = ()
    """Measured distances between cameras, which reveal a wrong board size: [{first: VIEW, second: VIEW,
    distance_m: METRES}]."""
