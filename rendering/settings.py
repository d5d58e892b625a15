"""Settings of synthetic sessions and of augmentation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT, Count, Share


@settings(frozen=True, config=STRICT)
class AugmentSettings:
    """Training data from motion."""

    sequences: Annotated[int, Field(ge=1, le=9999)] = 16
    """Clips to render, each with its own person, light, room and cameras."""
    frames: Annotated[int, Field(ge=1, le=99999)] = 60
    """Frames of a clip."""
    every: Count = 1
    """Every how manieth frame of the motion is shown."""
    views: Annotated[int, Field(ge=1, le=99)] = 4
    """Cameras of a clip."""
    width: Annotated[int, Field(ge=32, le=4096)] = 256
    """Image width, pixels."""
    height: Annotated[int, Field(ge=32, le=4096)] = 256
    """Image height, pixels."""
    single_hand: Share = 0.25
    """Share of the clips that show only one of the hands."""
    occluded: Share = 0.3
    """Share of the clips in which things are before the hands."""
    facing: Share = 0.8
    """Share of the cameras that stand where they see the hands' palms or backs; the others stand anywhere."""
    shape: Annotated[float, Field(ge=0, le=2)] = 0.7
    """Standard deviation of what is added to the motion's hand shapes (betas)."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Best quality of the images; each view's is drawn from the 20 below."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything that is drawn, the motion too."""

    @property
    def motion_frames(self) -> int:
        """How many frames of the motion a clip spans."""
        return (self.frames - 1) * self.every + 1


@settings(frozen=True, config=STRICT)
class SynthesisSettings:
    """A synthetic session."""

    views: Annotated[int, Field(ge=2, le=200)] = 50
    """Cameras on the dome."""
    frames: Count = 60
    """Frames of the two hands, which approach, touch, cross and part."""
    board_frames: Count = 150
    """Frames of the calibration board, moved through the volume."""
    fps: Annotated[float, Field(gt=0)] = 30.0
    """Frames per second."""
    width: Annotated[int, Field(ge=64)] = 640
    """Image width, pixels."""
    height: Annotated[int, Field(ge=64)] = 512
    """Image height, pixels."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything that is drawn: rig, motion, noise."""
