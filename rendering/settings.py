"""Settings of synthetic sessions and of augmentation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT, Count, Share


@settings(frozen=True, config=STRICT)
class AugmentSettings:
    """Rendering of motion as training data (`handpipe augment`)."""

    sequences: Annotated[int, Field(ge=1, le=9999)] = 16
    """Number of clips, each with its own hand shape, skin, light, background and cameras."""
    frames: Annotated[int, Field(ge=1, le=99999)] = 60
    """Frames per clip."""
    every: Count = 1
    """Frame step: render every n-th frame of the motion."""
    views: Annotated[int, Field(ge=1, le=99)] = 4
    """Cameras per clip."""
    width: Annotated[int, Field(ge=32, le=4096)] = 256
    """Image width, pixels."""
    height: Annotated[int, Field(ge=32, le=4096)] = 256
    """Image height, pixels."""
    single_hand: Share = 0.25
    """Share of clips that show only one hand (0 to 1)."""
    occluded: Share = 0.3
    """Share of clips with objects in front of the hands (0 to 1)."""
    facing: Share = 0.8
    """Share of cameras that face the palms or backs of the hands (0 to 1); the others are placed at random."""
    shape: Annotated[float, Field(ge=0, le=2)] = 0.7
    """Standard deviation of the random variation that is added to the hand shapes (betas)."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Maximum JPEG quality; each view's is drawn from the 20 values up to it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed, also of the generated motion."""

    @property
    def motion_frames(self) -> int:
        """Frames of the motion that a clip spans."""
        return (self.frames - 1) * self.every + 1


@settings(frozen=True, config=STRICT)
class SynthesisSettings:
    """A synthetic session (`handpipe synthesize`)."""

    views: Annotated[int, Field(ge=2, le=200)] = 50
    """Number of cameras, on a dome around the hands."""
    frames: Count = 60
    """Frames of the hand clips, in which two hands approach, touch, cross and part."""
    board_frames: Count = 100
    """Frames of the board clips, in which the board moves through the volume."""
    fps: Annotated[float, Field(gt=0)] = 30.0
    """Frame rate, frames per second."""
    width: Annotated[int, Field(ge=64)] = 640
    """Image width, pixels."""
    height: Annotated[int, Field(ge=64)] = 512
    """Image height, pixels."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed of rig, hands, motion and noise."""
    rig_seed: Annotated[int, Field(ge=0)] | None = None
    """Random seed of the cameras and of the room, so that sessions of other hands have the same. None: `seed`."""

    @property
    def seed_of_rig(self) -> int:
        """The seed of what stays where it is from session to session."""
        return self.seed if self.rig_seed is None else self.rig_seed
