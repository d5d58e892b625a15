"""Settings of triangulation, of time synchronisation and of the second look."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT, Confidence


@settings(frozen=True, config=STRICT)
class TriangulationSettings:
    """Triangulation of 3D keypoints from 2D detections."""

    max_sigma_m: Annotated[float, Field(gt=0)] = 0.05
    """Maximum standard error of a keypoint, metres; less certain keypoints are dropped."""


@settings(frozen=True, config=STRICT)
class TimeSyncSettings:
    """Time synchronisation of the views."""

    interpolate: bool = True
    """Interpolate detections, in the image, to a common time for all views."""
    estimate: bool = True
    """Estimate the time offset of each view from the motion of the hands. Also with timestamps.csv, which contains
    arrival times: their delay differs between cameras."""
    max_offset_s: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Maximum time offset of a view from the median of the rig, seconds, without timestamps.csv."""
    min_offset_frames: Annotated[float, Field(ge=0)] = 0.1
    """If all offsets are smaller than this (frames), the views count as synchronous."""
    max_sigma_frames: Annotated[float, Field(gt=0)] = 0.1
    """Maximum standard error of an offset (frames). A view with a larger one, because the hands hardly move in it, is
    not corrected."""
    instants: Annotated[int, Field(ge=16)] = 128
    """Number of times, spread over the recording, at which offsets are estimated."""


@settings(frozen=True, config=STRICT)
class SecondLookSettings:
    """Second detection pass: detect again where a view missed a hand that other views show."""

    enabled: bool = True
    """Run the second pass. It never runs on imported detections, whose landmarks are defined differently."""
    max_error_m: Annotated[float, Field(gt=0)] = 0.009
    """A detection whose RMS distance to the triangulated hand is larger than this counts as missed, metres."""
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Maximum share of the hands in all images of one time that are detected again (0 to 1), worst first; limits the
    computing time."""
    crop_scale: Annotated[float, Field(ge=1, le=8)] = 2.25
    """Side length of the image crop as a multiple of the hand's size. Detectors that can be told where a hand is, such
    as MediaPipe, use regions of their own."""
    crop_px: Annotated[int, Field(ge=64, le=1024)] = 256
    """Side length to which the crop is scaled for the detector, pixels."""
    min_detection: Confidence = 0.1
    """As `detection.min_detection`; lower, because a hand is known to be there."""
    min_presence: Confidence = 0.2
    """As `detection.min_presence`."""
