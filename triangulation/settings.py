"""Settings of triangulation, of time synchronisation and of the second look."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT, Confidence


@settings(frozen=True, config=STRICT)
class TriangulationSettings:
    """How points are made of detections."""

    max_sigma_m: Annotated[float, Field(gt=0)] = 0.05
    """A point that is less certain than this is dropped, metres."""


@settings(frozen=True, config=STRICT)
class ClockSettings:
    """Bringing the views to a common clock."""

    interpolate: bool = True
    """Whether detections are interpolated, in the image, to the time of their instant."""
    estimate: bool = True
    """Whether each view's clock is estimated from the hands' motion. With timestamps.csv too: it says when a frame
    arrived, and cameras differ in how long that takes."""
    max_offset_s: Annotated[float, Field(ge=0, le=10)] = 0.5
    """How far a clip without timestamps.csv may be from the rig's middle, seconds."""
    min_offset_frames: Annotated[float, Field(ge=0)] = 0.1
    """A rig whose views are all within this is taken for synchronous."""
    max_sigma_frames: Annotated[float, Field(gt=0)] = 0.1
    """A view whose clock is less certain than this, because the hands it sees hardly move, is left as it is."""
    instants: Annotated[int, Field(ge=16)] = 128
    """How many instants are looked at, spread over the recording."""


@settings(frozen=True, config=STRICT)
class SecondLookSettings:
    """Looking again where a view missed a hand that other views show."""

    enabled: bool = True
    """Whether it is done. Never with imported detections: another detector's landmarks lie elsewhere on the hand."""
    max_error_m: Annotated[float, Field(gt=0)] = 0.009
    """A detection that is further than this from the hand (root mean square over the joints) counts as missed."""
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """At most this share of all hands in all images of an instant is looked for again, the worst first: bounds the
    time."""
    crop_scale: Annotated[float, Field(ge=1, le=8)] = 2.25
    """Side of the crop, in sizes of the hand."""
    crop_px: Annotated[int, Field(ge=64, le=1024)] = 256
    """Side of the crop as the detector sees it, pixels."""
    min_detection: Confidence = 0.1
    """As in `detection`, but lower: a hand is there, it has only to be found."""
    min_presence: Confidence = 0.2
    """As in `detection`."""
