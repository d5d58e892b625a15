"""The denoisers: HandDiffuse and two published baselines, with the same inputs and the same size."""

from __future__ import annotations

from ....core.errors import ConfigError
from .conditioning import Conditioning, Denoiser, DenoiserSettings
from .handdiffuse import HandDiffuse
from .intergen import InterGen
from .mdm import MDM

__all__ = ["DENOISERS", "PRESETS", "Conditioning", "Denoiser", "DenoiserSettings", "make_denoiser"]

DENOISERS: dict[str, type[HandDiffuse] | type[MDM] | type[InterGen]] = {
    "handdiffuse": HandDiffuse,
    "mdm": MDM,
    "intergen": InterGen,
}

PRESETS: dict[str, dict[str, DenoiserSettings]] = {
    "small": {
        "handdiffuse": DenoiserSettings(width=128, blocks=3, heads=2),
        "mdm": DenoiserSettings(width=104, blocks=5, heads=4),
        "intergen": DenoiserSettings(width=104, blocks=3, heads=4),
    },
    "base": {
        "handdiffuse": DenoiserSettings(width=512, blocks=12, heads=8),
        "mdm": DenoiserSettings(width=512, blocks=11, heads=8),
        "intergen": DenoiserSettings(width=512, blocks=6, heads=8),
    },
}
"""Preset, then denoiser: within a preset all have the same number of parameters, within 10 %."""


def make_denoiser(
    name: str, settings: DenoiserSettings, channels: int, groups: int, prior: bool | None = None
) -> Denoiser:
    """An untrained denoiser for a representation; the weights follow from `torch.manual_seed`.

    `prior` says whether it corrects the Gaussian-process prior; by default, HandDiffuse does and the baselines do not.

    Raises ConfigError for an unknown name.
    """
    if name not in DENOISERS:
        raise ConfigError(f"denoiser: expected one of {', '.join(DENOISERS)}, but found '{name}'. Choose one of them.")
    uses_prior = name == "handdiffuse" if prior is None else prior
    return DENOISERS[name](settings, channels, groups, uses_prior)
