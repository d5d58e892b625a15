"""Stores of contact episodes for benchmarks/interaction.py: `contact:N` as files, with other episodes for the test."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from _generation_subject import joined

from handpipe.core.storage.store import Store
from handpipe.generation.model.controls import Controls
from handpipe.generation.model.kinematics import Kinematics
from handpipe.generation.sampling.output import given_arrays, mano_arrays, write_motions
from handpipe.generation.settings import TrainingSettings
from handpipe.generation.training.contact_motion import BLOCK, Episode, block_of_episodes
from handpipe.hand.loading import hand_models

ARRAYS = ("betas", "global_orient", "hand_pose", "transl")


def episodes(blocks: range, fps: float) -> list[Episode]:
    """Those of some blocks, in order."""
    found = []
    for block in blocks:
        print(f"episodes: block {block} of {blocks.start} to {blocks.stop - 1}", file=sys.stderr)
        found += block_of_episodes(block, fps)
    return found


def store_of_episodes(out: Path, first: int, count: int) -> str:
    """A store with `count` episodes from number `first` on, whole blocks; what is there is taken as it is."""
    assert first % BLOCK == count % BLOCK == 0
    store = Store(str(out))
    if not (store.exists() and store.complete("mano")):
        fps = TrainingSettings().fps
        models = hand_models(None)
        kinematics = Kinematics.of_models(models)
        made = episodes(range(first // BLOCK, (first + count) // BLOCK), fps)
        numbers = (np.stack([each.arrays[name] for each in made]) for name in ARRAYS)
        motion = kinematics.from_mano(*(torch.tensor(part, dtype=torch.float32) for part in numbers))
        attrs = {"fps": fps, "hand_model": [model.model_id for model in models]}
        out.parent.mkdir(parents=True, exist_ok=True)
        nothing = given_arrays(Controls.none(joined([motion])))
        write_motions(out, mano_arrays(kinematics, motion), nothing, {"episodes": [first, count]}, attrs)
    return str(out)
