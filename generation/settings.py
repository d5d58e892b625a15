"""Settings of training and sampling."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT, Count, NotNegative, Positive

Precision = Literal["auto", "float32", "bfloat16"]


@settings(frozen=True, config=STRICT)
class LossWeights:
    """How much each term of the loss counts: weights near one are sensible, 0 leaves a term out."""

    x0: NotNegative = 1.0
    """The denoised motion against the true one, in standard deviations."""
    joints: NotNegative = 1.0
    """Joints by forward kinematics, in centimetres."""
    velocity: NotNegative = 1.0
    """Their velocities."""
    bone: NotNegative = 0.1
    """Bone lengths between the joint channels."""
    contact: NotNegative = 10.0
    """Interaction Loss: contact potential between the hands."""
    shape: NotNegative = 5.0
    """Interaction Loss: offsets between the hands where they are in contact."""


@settings(frozen=True, config=STRICT)
class TrainingSettings:
    """What is trained, on how much. None takes the preset's value."""

    preset: Literal["small", "base"] = "small"
    """`small`: minutes on two CPU cores; `base`: about 36 million parameters, for a GPU."""
    denoiser: Literal["handdiffuse", "mdm", "intergen"] = "handdiffuse"
    """The network; `mdm` and `intergen` are baselines."""
    representation: Literal["global", "local"] = "global"
    """How motion is written as numbers."""
    window: Annotated[int, Field(ge=8, le=512)] = 60
    """Frames in a window."""
    fps: Positive = 30.0
    """Frames per second of a window; motion at another rate is resampled."""
    steps: Count | None = None
    """Optimizer steps."""
    batch: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Windows in a step."""
    learning_rate: Positive | None = None
    """At its highest, after the warm-up."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Of the averaged weights, which are the ones that generate."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything random."""
    mirror: bool = True
    """Show every second window in the mirror: left and right change places."""
    loss: LossWeights = LossWeights()
    held_out: tuple[str, ...] = ()
    """Sources, among those given, that are only for validation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU if there is one."""
    precision: Precision = "auto"
    """Of the network's products; `auto` takes bfloat16 where the machine computes it natively."""
    save_every: Count = 250
    """Steps between two checkpoints."""
    log_every: Count = 10
    """Steps between two points of the loss curves."""


@settings(frozen=True, config=STRICT)
class SamplingSettings:
    """How motion is drawn from a checkpoint."""

    sampler: Literal["dpm", "ddim", "ddpm"] = "dpm"
    """`dpm`: DPM-Solver++ of second order; `ddim`: the reference; `ddpm`: the full chain."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Denoising steps; None is 15 for dpm, 50 for ddim, 1000 for ddpm."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Scale of the noise at the start: 1 draws a motion, less one nearer to the typical."""
    expected: bool = False
    """The mean of all that the model would draw, in one step, in place of a drawn motion: the best single guess."""
    context: Annotated[int, Field(ge=1, le=64)] = 10
    """Frames that a window of a long motion shares with the one before it."""
    clearance: NotNegative = 1.0
    """Strength of the guidance that keeps the hands from sinking into each other; 0 is off."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 32
    """Motions denoised at once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to draw; `auto` takes a GPU if there is one."""
    precision: Precision = "auto"
    """Of the network's products; `auto` takes bfloat16 where the machine computes it natively."""


@settings(frozen=True, config=STRICT)
class EvaluatorSettings:
    """How the autoencoder is trained in whose code sets of motion are compared."""

    window: Annotated[int, Field(ge=8, le=512)] = 60
    """Frames in a window; motion is compared window by window."""
    fps: Positive = 30.0
    """Frames per second of a window; motion at a higher rate is resampled."""
    steps: Count = 500
    """Optimizer steps."""
    batch: Annotated[int, Field(ge=4, le=4096)] = 64
    """Windows in a step."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the first weights and of the batches."""


@settings(frozen=True, config=STRICT)
class EvaluationSettings:
    """How much motion is compared."""

    windows: Annotated[int, Field(ge=2, le=10_000)] = 1000
    """Windows of either side in the statistics of sets, at most; always as many of the one as of the other."""
    stride: Count = 15
    """Frames from one window of the reference to the next."""
    mesh_frames: Annotated[int, Field(ge=1)] = 400
    """Frames of either side whose meshes are compared, spread evenly, at most: some 30 ms each."""
    neighbours: Count = 5
    """Of a sample whose distance says how far its set's support reaches, in precision and recall."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the choice of windows."""
