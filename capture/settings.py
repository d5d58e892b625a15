"""Settings of capture: what makes a session, and the detector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT, Confidence


@settings(frozen=True, config=STRICT)
class CaptureSettings:
    """Requirements on the clips of a session."""

    dead_views: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Maximum share of unusable views (0 to 1). They are left out with a warning; more than this is an error."""
    mixed_sizes: bool = False
    """Allow cameras of different resolution."""
    timestamps_unit: Literal["s", "ms", "us", "ns"] | None = None
    """Unit of frame_time in timestamps.csv. None: seconds, and an error if the rates show another unit."""


@settings(frozen=True, config=STRICT)
class DetectionSettings:
    """Detection of 2D hands in images."""

    detector: str = "mediapipe"
    """Detector, by its name in the entry-point group `handpipe.detectors` of an installed package."""
    model: str | None = None
    """Path of the detector's model file; for MediaPipe a .task bundle. None: the detector's default model."""
    candidates: Annotated[int, Field(ge=1, le=8)] = 2
    """Maximum number of hands per image."""
    min_detection: Confidence = 0.3
    """Minimum confidence of the palm detector (0 to 1). Low, because triangulation rejects false detections."""
    min_presence: Confidence = 0.5
    """Minimum confidence of the landmark network (0 to 1)."""
