"""How the hand model is fitted: every choice a user can make."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ..core.hands import NUM_JOINTS
from ..core.settings import STRICT, Count, Positive


@dataclass(frozen=True, config=STRICT)
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
    fast_motion_share: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Where the hand accelerates hard for a while, the standard deviation grows to this share of its acceleration there
    (RMS over 0.3 s), so that fast motion keeps its speed; 0 smooths everything alike."""
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
    landmark_offsets: bool | None = None
    """Also learn where each landmark lies in its bone's frame: detectors' landmarks are not exactly the joints.
    None does so for detected keypoints, and takes imported ones for the joints they say they are."""
    landmark_offset_sd_m: Positive = 0.002
    """Prior of those offsets."""
    reprojection: bool = True
    """Fit the detections of every view in the end, where there are any, instead of the points made of them."""
    reprojection_floor_px: Positive = 0.5
    """A view's noise is measured, and never taken to be less than this."""
    penetration_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """Cost of the hands' flesh overlapping: this half of its squared depth in millimetres; 0 lets hands overlap."""
    max_carried_sd_m: Annotated[float, Field(ge=0)] = 0.005
    """A frame without observations is valid as long as smoothness carries the hand to within this standard error."""
    window_frames: Annotated[int, Field(ge=16)] = 512
    """Long sessions are fitted in windows of this many frames."""
    window_overlap: Annotated[int, Field(ge=0)] = 64
    """How many frames beyond its own a window takes into account, on either side."""
    max_iterations: Count = 20
    """Gauss-Newton steps in each of the three problems."""
