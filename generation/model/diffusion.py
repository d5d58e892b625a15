"""The noise schedule and the samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from ...core.errors import ConfigError

TIMESTEPS = 1000
"""Noise levels of the diffusion; a timestep is 0 (almost no noise) ... 999 (only noise)."""

COSINE: dict[str, Any] = {
    "num_train_timesteps": TIMESTEPS,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "sample",
}
"""Common options of diffusers' schedulers. Samples are not clipped: normalised motion is not limited to -1 ... 1."""

FIRST_LOG_SNR = -4.5
"""log(alpha / sigma) where dpm starts: a hundredth of motion in the noise. Below it the cosine schedule is cut off
(beta <= 0.999), and one step would cross half of the range."""

Denoise = Callable[[Tensor, Tensor], Tensor]
"""x0 of x_t (batch, ...) and t (batch,) long."""


class Schedule:
    """x_t = alpha x0 + sigma noise, with the cosine schedule of Nichol and Dhariwal (2021); alpha^2 + sigma^2 = 1."""

    steps = TIMESTEPS

    def __init__(self) -> None:
        alpha_bar = DDPMScheduler(**COSINE).alphas_cumprod.double()
        self._alpha = alpha_bar.sqrt().float()
        self._sigma = (1 - alpha_bar).sqrt().float()

    def alpha(self, t: Tensor) -> Tensor:
        """Share of the motion at timesteps t, any shape, 0 ... 999."""
        return self._alpha.to(t.device)[t]

    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise at timesteps t."""
        return self._sigma.to(t.device)[t]

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha / sigma) at timesteps t."""
        return (self.alpha(t) / self.sigma(t)).log()

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t of x0 (batch, ...) at the timesteps t (batch,)."""
        shape = (-1, *(1,) * (x0.ndim - 1))
        return self.alpha(t).view(shape) * x0 + self.sigma(t).view(shape) * noise


@dataclass(frozen=True)
class SamplerSettings:
    """A sampler and its number of steps."""

    name: Literal["dpm", "ddim", "ddpm"] = "dpm"
    """dpm: DPM-Solver++ of second order (Lu et al. 2022). ddim: Song et al. 2021, without noise. ddpm: Ho et al. 2020,
    new noise in every step."""
    steps: int = 15
    """Number of denoiser evaluations. For the quality of dpm with 15, ddim needs about 50 and ddpm 1000."""

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= TIMESTEPS:
            raise ConfigError(f"sampler: expected 1 to {TIMESTEPS} steps, but found {self.steps}. Choose one of these.")
        if self.name == "ddim" and TIMESTEPS % self.steps:
            raise ConfigError(
                f"sampler: expected a number of steps that divides {TIMESTEPS} for ddim, but found {self.steps}. "
                "Choose 10, 20, 25, 40, 50 or 100, or the sampler dpm, which takes any."
            )


def dpm_timesteps(steps: int) -> list[int]:
    """Timesteps, all different, spaced evenly in log(alpha / sigma) (Lu et al. 2022).

    Spaced evenly in time, the last of 15 would still have a tenth of the noise, and whatever moves less than that
    would be smoothed away: modes of a tenth of a standard deviation would keep 66 % of it, in place of 102 %.
    """
    log_snr = Schedule().log_snr(torch.arange(TIMESTEPS))
    wanted = torch.linspace(FIRST_LOG_SNR, log_snr[0].item(), steps).flip(0)
    nearest = (log_snr - wanted[:, None]).abs().argmin(-1)
    order = torch.arange(steps)
    apart = order + (nearest - order).cummax(0).values
    return apart.minimum(order + TIMESTEPS - steps).flip(0).tolist()


def make_scheduler(settings: SamplerSettings) -> DDIMScheduler | DDPMScheduler | DPMSolverMultistepScheduler:
    """diffusers' scheduler with its timesteps set, the first of them (almost) only noise (Lin et al. 2024)."""
    match settings.name:
        case "dpm":
            # The usual remedy for the cosine schedule, lambda_min_clipped, is in where the timesteps start.
            scheduler = DPMSolverMultistepScheduler(**COSINE)
            scheduler.set_timesteps(timesteps=dpm_timesteps(settings.steps))
        case "ddim":
            scheduler = DDIMScheduler(**COSINE, clip_sample=False, timestep_spacing="trailing")
            scheduler.set_timesteps(settings.steps)
        case "ddpm":
            scheduler = DDPMScheduler(**COSINE, clip_sample=False, timestep_spacing="trailing")
            scheduler.set_timesteps(settings.steps)
        case _:
            assert_never(settings.name)
    return scheduler


def sample(
    denoise: Denoise,
    noise: Tensor,
    settings: SamplerSettings,
    *,
    generator: torch.Generator | list[torch.Generator] | None = None,
    refine: Callable[[Tensor, float], Tensor] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """x0 (batch, ...) float32 from standard normal noise (batch, ...) float32; the same noise gives the same bits.

    `refine(x0, progress)` may change every prediction before the step that follows from it; progress goes from 0 at
    the first to 1 at the last. `generator` draws ddpm's noise, one for all or one for each sample. `on_step(done, of)`
    is called after each step.
    """
    scheduler = make_scheduler(settings)
    timesteps, x_t, x0 = scheduler.timesteps.tolist(), noise, noise
    draws: dict[str, Any] = {"generator": generator} if settings.name == "ddpm" else {}
    for i, timestep in enumerate(timesteps):
        t = torch.full(noise.shape[:1], timestep, device=noise.device)
        x0 = denoise(x_t, t)
        if refine is not None:
            x0 = refine(x0, i / (len(timesteps) - 1) if len(timesteps) > 1 else 1.0)
        if i < len(timesteps) - 1:
            # The last step would remove all noise and return x0; using x0 directly is exact to the bit.
            x_t = scheduler.step(x0, timestep, x_t, return_dict=False, **draws)[0]
        if on_step is not None:
            on_step(i + 1, len(timesteps))
    return x0
