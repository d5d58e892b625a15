"""Settings of fitting."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ..core.hands import NUM_JOINTS
from ..core.settings import STRICT, Count, Positive


@dataclass(frozen=True, config=STRICT)
class FittingSettings:
    """Fitting of the hand model to keypoints and detections."""

    landmark_sigma_m: Positive = 0.001
    """Standard deviation of a detector's landmark from the model's joint, metres; added to each keypoint's own."""
    robust_scale: Positive = 6.0
    """Scale of the Geman-McClure loss, standard deviations: a residual this large has a quarter of the weight."""
    wrist_acceleration_sd: Positive = 0.5
    """Standard deviation of the wrist's acceleration, m/s^2. Smaller is smoother; constant velocity has no cost."""
    wrist_turn_acceleration_sd: Positive = 10.0
    """Standard deviation of the wrist's angular acceleration, rad/s^2."""
    finger_acceleration_sd: Positive = 20.0
    """Standard deviation of each finger joint's angular acceleration, rad/s^2."""
    acceleration_huber: Positive = 1.25
    """Threshold of the Huber loss on accelerations, standard deviations; the cost is linear beyond it."""
    fast_motion_share: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """During fast motion the acceleration's standard deviation is raised to this multiple of the measured RMS
    acceleration (over 0.3 s), so that it is not over-smoothed. 0: the same smoothing everywhere."""
    flexion_sd_rad: Positive = 1.5
    """Standard deviation of the prior on finger flexion around a relaxed hand, radians."""
    abduction_sd_rad: Positive = 0.4
    """Standard deviation of the prior on abduction at the knuckles and the thumb, radians."""
    hinge_sd_rad: Positive = 0.05
    """Standard deviation of the prior on sideways bend and twist of the outer finger joints, radians."""
    twist_sd_rad: Positive = 0.12
    """Standard deviation of the prior on finger twist at the knuckles, radians."""
    min_observed_joints: Annotated[int, Field(ge=1, le=NUM_JOINTS)] = 6
    """Minimum number of joints that agree with the model. A frame with fewer is interpolated and marked not valid."""
    shape_frames: Count = 64
    """Number of frames, spread over the sequence, from which the hand shape is estimated."""
    shape_evidence_frames: Positive = 10.0
    """Weight of all shape frames together against the shape prior, betas ~ N(0, 1), in frames. It is less than their
    number because errors of detector and model are the same in every frame."""
    landmark_offsets: bool | None = None
    """Also estimate a constant offset of each landmark from its joint, because detectors define landmarks differently.
    None: for detected keypoints only, not for imported ones."""
    landmark_offset_sd_m: Positive = 0.002
    """Standard deviation of the prior on these offsets, metres."""
    reprojection: bool = True
    """Fit the 2D detections of all views in the last step, if there are any, instead of the triangulated keypoints."""
    reprojection_floor_px: Positive = 0.5
    """Lower limit of the measured 2D noise of a view, pixels."""
    penetration_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """Weight of hand penetration: the cost is half of this times the squared depth (mm^2). 0: hands may overlap."""
    max_carried_sd_m: Annotated[float, Field(ge=0)] = 0.005
    """Maximum standard error of an interpolated hand, metres; frames with a larger one are marked not valid."""
    window_frames: Annotated[int, Field(ge=16)] = 512
    """Window length for long sessions, frames."""
    window_overlap: Annotated[int, Field(ge=0)] = 64
    """Additional frames on either side of a window that are taken into account."""
    max_iterations: Count = 20
    """Maximum Gauss-Newton iterations in each of the three optimisation problems."""
