"""How the hand model is fitted: every choice a user can make."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ..core.hands import NUM_JOINTS

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class FittingSettings:
    """How the hand model is fitted to keypoints."""

    landmark_sigma_m: Positive = 0.001
    """How far a detector's landmark may be from the model's joint (one standard deviation), added to each sigma."""
    robust_scale: Positive = 6.0
    """A point this many sigmas off counts a quarter; far outliers count nothing (Geman-McClure)."""
    wrist_acceleration_sd: Positive = 0.5
    """m/s^2 of the wrist: smaller is smoother. Steady motion is free at any speed."""
    wrist_turn_acceleration_sd: Positive = 10.0
    """rad/s^2 of the wrist's rotation."""
    finger_acceleration_sd: Positive = 20.0
    """rad/s^2 of each finger joint."""
    acceleration_huber: Positive = 1.25
    """Beyond this many standard deviations the cost of an acceleration grows linearly."""
    flexion_sd_rad: Positive = 1.5
    """Prior of bending, about a relaxed hand."""
    abduction_sd_rad: Positive = 0.4
    """Prior of spreading, at the knuckles and the thumb."""
    hinge_sd_rad: Positive = 0.05
    """Sideways bend and twist of the outer finger joints."""
    twist_sd_rad: Positive = 0.12
    """Twist of the fingers at the knuckles."""
    min_observed_joints: Annotated[int, Field(ge=1, le=NUM_JOINTS)] = 6
    """A frame with fewer joints in agreement with the model is carried by its neighbours and not valid."""
    shape_frames: Count = 64
    """How many frames, spread over the sequence, the shape is found from."""
    shape_evidence_frames: Positive = 10.0
    """All those frames together weigh against the shape's prior, betas ~ N(0, 1), as much as this many: what a
    detector or the model gets wrong, it gets wrong in every frame."""
    landmark_offsets: bool = False
    """Also learn where each landmark lies in its bone's frame: detectors' landmarks are not exactly the joints."""
    landmark_offset_sd_m: Positive = 0.003
    """Prior of those offsets."""
    max_iterations: Count = 20
    """Gauss-Newton steps in each of the three problems."""
