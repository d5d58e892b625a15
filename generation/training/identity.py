"""What makes two trainings the same: a checkpoint that is another training is never gone on with."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core.errors import GenerationError
from .. import checkpoint as checkpoints
from ..checkpoint import Training
from ..settings import TrainingSettings
from .motion_sources import MotionSource, motion_digests

NOT_RESULTS = ("device", "save_every", "log_every")
"""Settings that may change between two runs of the same training."""

CODE = 7
"""Raised when the same sources and settings would give another model; procedural motion counts as code."""


def training_config(
    names: Sequence[str], settings: TrainingSettings, sources: Sequence[MotionSource]
) -> dict[str, Any]:
    """What identifies a training, as its checkpoint records it: settings, sources by name and content, code version."""
    relevant = {key: value for key, value in asdict(settings).items() if key not in NOT_RESULTS}
    return {
        "settings": json.loads(json.dumps(relevant)),
        "sources": list(names),
        "frames": sum(source.frames for source in sources),
        "motion": motion_digests(sources),
        "hand_model": list(sources[0].hand_model),
        "fps": settings.fps,
        "window": settings.window,
        "representation": settings.representation,
        "denoiser": settings.denoiser,
        "code": CODE,
    }


def to_resume(folder: Path, config: Mapping[str, Any]) -> Training | None:
    """The state to go on from; None where nothing was trained yet."""
    if not (folder / "config.json").exists():
        return None
    there = checkpoints.load(folder).config
    for name, value in config.items():
        if there.get(name) != value:
            before, now = _difference(there.get(name), value)
            raise GenerationError(
                f"{folder}: expected an empty folder or the same training to resume, but found one with different "
                f"{name} ({before}, now {now}). Choose another --out, or start over with --force."
            )
    training = checkpoints.load_training(folder)
    if training is None:
        raise GenerationError(
            f"{folder}: expected a training to resume, but found a checkpoint without training state. Choose another "
            "--out, or start over with --force."
        )
    return training


def _difference(before: Any, now: Any) -> tuple[str, str]:
    """What differs, in short."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in now if before.get(key) != now[key]]
        return tuple(", ".join(f"{key} {side.get(key)}" for key in keys) for side in (before, now))  # pyright: ignore
    return str(before), str(now)
