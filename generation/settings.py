"""Settings of training, sampling and evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT, Count, NotNegative, Positive

MIN_WINDOW = 8
"""Frames. Shorter windows hold too little motion to learn from."""

Precision = Literal["auto", "float32", "bfloat16"]


@settings(frozen=True, config=STRICT)
class LossWeights:
    """Weights of the loss terms. 0 disables a term."""

    x0: NotNegative = 1.0
    """Error of the denoised motion, in standard deviations of each channel."""
    joints: NotNegative = 1.0
    """Error of the joint positions from forward kinematics, centimetres."""
    velocity: NotNegative = 1.0
    """Error of the joint velocities."""
    bone: NotNegative = 0.1
    """Error of the bone lengths between the joint channels."""
    contact: NotNegative = 0.0
    """Interaction Loss: error of the contact potential between the hands; off, see docs/evaluation.md."""
    shape: NotNegative = 5.0
    """Interaction Loss: error of the offsets between the hands where they are in contact."""


@settings(frozen=True, config=STRICT)
class TrainingSettings:
    """Training of the diffusion model. None: the value of the preset."""

    preset: Literal["small", "base"] = "small"
    """`small` trains in minutes on two CPU cores; `base` has about 36 million parameters and needs a GPU."""
    denoiser: Literal["handdiffuse", "mdm", "intergen"] = "handdiffuse"
    """Denoising network; `mdm` and `intergen` are baselines."""
    prior: bool | None = None
    """Let the network correct the Gaussian-process prior. None: yes for `handdiffuse`, no for the baselines."""
    representation: Literal["global", "local"] = "global"
    """Motion representation: `global` (positions in a common frame) or `local` (each hand relative to its wrist)."""
    window: Annotated[int, Field(ge=MIN_WINDOW, le=512)] = 60
    """Window length, frames."""
    fps: Positive = 30.0
    """Frame rate of the windows, frames per second; motion at other rates is resampled."""
    steps: Count | None = None
    """Number of optimizer steps."""
    batch: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Batch size, windows."""
    learning_rate: Positive | None = None
    """Peak learning rate, after the warm-up."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average of the weights; the averaged weights are used for sampling."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed."""
    mirror: bool = True
    """Mirror half of the windows, exchanging left and right, as data augmentation."""
    perturb: bool = True
    """Vary the distance between the hands and their shapes, where they do not touch, as data augmentation."""
    loss: LossWeights = LossWeights()
    held_out: tuple[str, ...] = ()
    """Sources that are used for validation only."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for training; `auto` uses a GPU if there is one."""
    precision: Precision = "auto"
    """Precision of the network; `auto` uses bfloat16 if the hardware supports it natively."""
    save_every: Count = 250
    """Steps between checkpoints."""
    log_every: Count = 10
    """Steps between points of the loss curves."""


@settings(frozen=True, config=STRICT)
class SamplingSettings:
    """Sampling of motion from a checkpoint."""

    sampler: Literal["dpm", "ddim", "ddpm"] = "dpm"
    """Sampler: `dpm` (second-order DPM-Solver++), `ddim`, or `ddpm` (the full chain)."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Number of denoising steps. None: 15 for dpm, 50 for ddim, 1000 for ddpm."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Scale of the initial noise. 1: normal sampling; smaller values give more typical motion."""
    expected: bool = False
    """Return the expected motion instead of a random sample: the best single estimate."""
    context: Annotated[int, Field(ge=1, le=64)] = 10
    """Overlap of consecutive windows in long motion, frames."""
    clearance: NotNegative = 1.0
    """Strength of the guidance against hand penetration. 0: off."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 32
    """Number of samples denoised at once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for sampling; `auto` uses a GPU if there is one."""
    precision: Precision = "auto"
    """Precision of the network; `auto` uses bfloat16 if the hardware supports it natively."""


@settings(frozen=True, config=STRICT)
class EvaluatorSettings:
    """Training of the evaluator: the autoencoder whose features are used to compare sets of motion."""

    window: Annotated[int, Field(ge=MIN_WINDOW, le=512)] = 60
    """Window length, frames; motion is compared window by window."""
    fps: Positive = 30.0
    """Frame rate of the windows, frames per second; motion at higher rates is resampled."""
    steps: Count = 500
    """Number of optimizer steps."""
    batch: Annotated[int, Field(ge=4, le=4096)] = 64
    """Batch size, windows."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed of the initial weights and of the batches."""


@settings(frozen=True, config=STRICT)
class EvaluationSettings:
    """Extent of an evaluation."""

    windows: Annotated[int, Field(ge=2, le=10_000)] = 1000
    """Maximum number of windows per set for the distances between sets; both sets use the same number."""
    stride: Count = 15
    """Frames between the starts of consecutive reference windows."""
    mesh_frames: Annotated[int, Field(ge=1)] = 400
    """Maximum number of frames per set, evenly spread, whose meshes are checked for overlap (about 30 ms per frame)."""
    neighbours: Count = 5
    """Number k of nearest neighbours that defines the support of a set, for precision and recall."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed of the choice of windows."""
