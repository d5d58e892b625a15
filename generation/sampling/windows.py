"""Sampling of motion of any length, window by window: each window continues the previous one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...core.hands import HANDS
from ..model.canonical_frame import canonical_frame
from ..model.controls import Controls
from ..model.diffusion import SamplerSettings, make_scheduler, sample
from ..model.interpolation import interpolate
from ..model.liveliness import draw
from ..model.motion import Motion
from ..model.motion_model import MotionModel
from ..model.penetration import guided

LIVELINESS_DRAW = -2
"""Key of the random numbers for the liveliness of the first window; those of later windows follow below it."""

GUIDED_SHARE = 0.1
"""Final share of the denoising with penetration guidance. Earlier predictions do not show hands yet; a share of 0.4
takes twice the time without reducing penetration further."""


@dataclass(frozen=True)
class SamplingOptions:
    """Options of sampling."""

    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    temperature: float = 1.0
    """Scale of the noise at the start: 1 draws a motion, less one nearer to the typical. At 0, hands are as lively as
    is expected from the controls; otherwise their liveliness is drawn."""
    context: int = 10
    """Frames that a window shares with the one before it."""
    clearance: float = 0.0
    """Strength of the guidance against penetration; 0 is off."""

    mean: bool = False
    """Whether the answer is the expected motion itself, where there is a prior."""

    @classmethod
    def expected(cls, context: int = 10, clearance: float = 0.0) -> SamplingOptions:
        """Options for the expected motion: the mean of the prior given the controls, moved between observed frames by
        the network that was trained for it (expectation.py). A model without prior predicts it in one step, without
        noise."""
        return cls(SamplerSettings("ddim", 1), 0.0, context, clearance, True)


def window_starts(length: int, window: int, context: int) -> list[int]:
    """First frames of windows that cover `length` frames, each sharing `context` frames or more with the one before."""
    last = max(length - window, 0)
    starts = list(range(0, last, max(window - context, 1)))
    return [*starts, last]


def noise_for(seed: int, samples: Sequence[int], window: int, shape: Sequence[int]) -> Tensor:
    """(sample, *shape) standard normal numbers that depend on seed, sample and window, and on nothing else."""
    return _noise(_generators(seed, samples, window), shape)


def _generators(seed: int, samples: Sequence[int], window: int) -> list[torch.Generator]:
    """One for each sample, on the CPU, so that a sample is the same on every device and in any batch."""
    keys = (hashlib.sha256(f"{seed}/{number}/{window}".encode()).digest() for number in samples)
    return [torch.Generator().manual_seed(int.from_bytes(key[:8], "little") % 2**63) for key in keys]


def _noise(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    return torch.stack([torch.randn(*shape, generator=generator) for generator in generators])


@torch.no_grad()
def sample_motion(
    model: MotionModel,
    controls: Controls,
    R_home: Tensor,
    window: int,
    options: SamplingOptions,
    seed: int,
    samples: Sequence[int],
    on_step: Callable[[], None] | None = None,
) -> Motion:
    """Sample motions that meet their controls exactly.

    A window treats the frames that it shares with the previous window as observed. Through the prior, it also depends
    on controls up to one window beyond its end, so long motions move towards distant keyframes. The liveliness of a
    window is drawn given that of the one before and the controls, never from what was generated.

    Args:
        model: on some device, controls on the same.
        controls: (sample, frame, hand) in the world; the frames are how long the motions will be.
        R_home: (3, 3) the turn to the canonical frame where no orientation is observed.
        window: frames that the model was trained on.
        options: sampler and so on.
        seed, samples: of the noise; which samples these are, one number each.
        on_step: called after every denoising step of a window.

    Returns:
        (sample, frame, hand, ...) in the world.
    """
    length = controls.motion.frames
    motion = controls.over(interpolate(controls))
    known = Controls(motion, controls.has_wrist, controls.has_orient, controls.has_pose)
    level = None
    for number, start in enumerate(window_starts(length, window, options.context)):
        stop, reach = min(start + window, length), slice(start, start + 2 * window)
        ahead = known.window(reach)
        R, t_m = canonical_frame(ahead, R_home)
        told = controls.window(reach)
        generated = (ahead.has_wrist & ~told.has_wrist).any(-1).any(-1)
        recorded = told.any()
        if model.uses_prior:
            uniform = None if options.temperature == 0 else _uniform(seed, samples, LIVELINESS_DRAW - number)
            halves = max(1, round(2 * (window - options.context) / window))
            level = _liveliness(model, told.moved(R, t_m), level, halves, uniform)
        part = _window(
            model,
            ahead.moved(R, t_m),
            stop - start,
            options,
            (level, recorded, generated),
            (seed, number),
            samples,
            on_step,
        )
        part = part.moved(R.mT, -(R.mT @ t_m[..., None])[..., 0])
        motion = _joined(motion, part, start)
        known = Controls(
            motion, *(_known_until(has, stop) for has in (known.has_wrist, known.has_orient, known.has_pose))
        )
    return controls.over(motion)


def _uniform(seed: int, samples: Sequence[int], key: int) -> Tensor:
    """(sample, hand) numbers in 0 ... 1, of a key as for `noise_for`."""
    return torch.special.ndtr(noise_for(seed, samples, key, (len(HANDS),)).double())


def _liveliness(
    model: MotionModel, given: Controls, before: Tensor | None, halves: int, uniform: Tensor | None
) -> Tensor:
    """(sample, hand, group) level of a window's liveliness, given the controls and the level of the window before.

    It is drawn by uniform numbers (sample, hand), one for all groups of a hand, which rest and move together as far as
    the controls leave it open; without them, it is the one next to what is expected.
    """
    prior = model.prior(given.motion.frames)
    belief = model.belief(given, prior.liveliness.after(before, halves))
    return prior.nearest(belief) if uniform is None else draw(belief, uniform.to(belief)[..., None])


def _window(
    model: MotionModel,
    controls: Controls,
    frames: int,
    options: SamplingOptions,
    level_recorded_generated: tuple[Tensor | None, Tensor, Tensor],
    seed_window: tuple[int, int],
    samples: Sequence[int],
    on_step: Callable[[], None] | None,
) -> Motion:
    """One window in its canonical frame."""
    seed, number = seed_window
    level, recorded, generated = level_recorded_generated
    conditioning = model.conditioning(controls, frames, level=level, recorded=recorded, generated=generated)
    betas = controls.motion.betas
    shape = (frames, *conditioning.values.shape[2:])
    generators = _generators(seed, samples, number)
    noise = options.temperature * _noise(generators, shape).to(conditioning.values)
    placed = controls.any()[:, None, None, None] & (not model.representation.absolute)
    any_placed = bool(placed.any())

    def refine(x0: Tensor, progress: float) -> Tensor:
        if any_placed:
            x0 = torch.where(placed, model.pack(model.constrained(x0, controls), like=x0), x0)
        if options.clearance > 0 and progress >= 1 - GUIDED_SHARE:
            smooth = (
                conditioning.conditional.smooth
                if conditioning.conditional is not None
                else _unobserved(conditioning.mask)
            )
            x0 = guided(x0, lambda x: model.kinematics.joints(model.unpack(x, betas)), smooth, options.clearance)
        return x0

    if conditioning.conditional is not None:
        # What x_t is at the first step: mostly noise, but not only.
        first = make_scheduler(options.sampler).timesteps[0]
        noise = noise + model.schedule.alpha(first) * conditioning.conditional.base
    base = None if conditioning.conditional is None or not options.mean else conditioning.conditional.base
    x0 = sample(
        lambda x_t, t: model.predict(x_t, t, conditioning)[0] if base is None else base,
        noise,
        options.sampler,
        generator=generators,
        refine=refine,
        on_step=None if on_step is None else lambda done, of: on_step(),
    )
    return model.constrained(x0, controls)


def _unobserved(mask: Tensor) -> Callable[[Tensor], Tensor]:
    """Set a gradient to zero where entries are observed."""
    return lambda gradient: torch.where(mask, 0.0, gradient)


def _joined(motion: Motion, part: Motion, start: int) -> Motion:
    """The motion with a part of it replaced, from a frame on."""

    def put(whole: Tensor, piece: Tensor) -> Tensor:
        whole = whole.clone()
        whole[:, start : start + piece.shape[1]] = piece
        return whole

    return Motion(
        put(motion.wrist_m, part.wrist_m),
        put(motion.R_world_wrist, part.R_world_wrist),
        put(motion.R_pose, part.R_pose),
        motion.betas,
    )


def _known_until(has: Tensor, stop: int) -> Tensor:
    has = has.clone()
    has[:, :stop] = True
    return has
