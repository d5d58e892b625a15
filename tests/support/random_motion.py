"""Motion and controls at random, for tests of what holds for any."""

from __future__ import annotations

from dataclasses import fields, replace

import roma
import torch
from hypothesis import strategies as st

from handpipe.generation.model.controls import Controls, draw_controls
from handpipe.generation.model.motion import Motion

seeds = st.integers(0, 2**31)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_motion(seed: int = 0, batch: int = 3, frames: int = 12) -> Motion:
    """Anything: no two frames are alike."""
    g = generator(seed)

    def rotations(*shape: int) -> torch.Tensor:
        return roma.rotvec_to_rotmat(torch.randn(*shape, 3, generator=g, dtype=torch.float64))

    wrist = torch.randn(batch, frames, 2, 3, generator=g, dtype=torch.float64)
    betas = torch.randn(batch, 2, 10, generator=g, dtype=torch.float64)
    return Motion(wrist, rotations(batch, frames, 2), rotations(batch, frames, 2, 15), betas)


def some_move(seed: int, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    g = generator(seed + 1)
    R = roma.rotvec_to_rotmat(2 * torch.randn(batch, 3, generator=g, dtype=torch.float64))
    return R, torch.randn(batch, 3, generator=g, dtype=torch.float64)


def some_controls(seed: int, **kinds: float) -> Controls:
    motion = some_motion(seed, batch=3, frames=12)
    return Controls(motion, *draw_controls(kinds or None, 3, 12, generator(seed)))


def assert_close(a: Motion, b: Motion, atol: float = 1e-9) -> None:
    for field in fields(Motion):
        torch.testing.assert_close(getattr(a, field.name), getattr(b, field.name), atol=atol, rtol=0)


def hidden(controls: Controls) -> Controls:
    """The same controls with NaN wherever nothing is observed."""
    nan = replace(
        controls.motion,
        **{name: torch.full_like(getattr(controls.motion, name), torch.nan) for name in ("wrist_m", "R_world_wrist")},
        R_pose=torch.full_like(controls.motion.R_pose, torch.nan),
    )
    return replace(controls, motion=controls.over(nan))
