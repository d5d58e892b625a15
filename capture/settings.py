"""Settings of capture: what makes a session, and the detector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT, Confidence


@settings(frozen=True, config=STRICT)
class CaptureSettings:
    """What makes a set of clips a session."""

    dead_views: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the views that may be unusable: they are left out with a warning. More than that is an error."""
    mixed_sizes: bool = False
    """Whether the rig mixes cameras of different resolution."""


@settings(frozen=True, config=STRICT)
class DetectionSettings:
    """How hands are found in an image."""

    detector: str = "mediapipe"
    """Which detector finds them: a name that an installed package registers in the group `handpipe.detectors`."""
    model: str | None = None
    """Path of the detector's model; for MediaPipe a .task bundle. None is its standard model."""
    candidates: Annotated[int, Field(ge=1, le=8)] = 2
    """Hands looked for in each image."""
    min_detection: Confidence = 0.3
    """Confidence below which the palm detector's finding is dropped. Low, for geometry sorts out what is no hand."""
    min_presence: Confidence = 0.5
    """Confidence below which the landmark network's finding is dropped."""
