"""Checkpoints for the benchmarks of generation: trained here, or given; two at a time."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _generation_subject import Scene
from manipnet import fit_sequence, unpacked

from handpipe.core.storage.store import Store
from handpipe.generation import checkpoint as checkpoints
from handpipe.generation.settings import LossWeights, TrainingSettings
from handpipe.generation.training.run import train
from handpipe.screen import Screen

PROCESSES = 2

OURS, LOCAL, WITHOUT, PRIOR = "handdiffuse", ", local", ", no Interaction Loss", ", prior"
BASELINES = ("mdm", "intergen", "mdm" + PRIOR, "intergen" + PRIOR)
_PLAIN = LossWeights(contact=0.0, shape=0.0)
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    OURS: {},
    **{name: {"denoiser": name.removesuffix(PRIOR), "prior": name.endswith(PRIOR) or None} for name in BASELINES},
    OURS + WITHOUT: {"loss": _PLAIN},
    OURS + LOCAL: {"representation": "local"},
    OURS + LOCAL + WITHOUT: {"representation": "local", "loss": _PLAIN},
}
"""Models by name, and how each is trained otherwise than the first."""


@dataclass(frozen=True)
class Run:
    """One training."""

    model: str
    """Of VARIANTS."""
    seed: int
    folder: Path

    @classmethod
    def of(cls, model: str, seed: int, out: Path) -> Run:
        """One that is to be trained, in a folder of its name."""
        return cls(model, seed, out / f"{model.replace(', ', '-').replace(' ', '-')}-{seed}")

    @classmethod
    def given(cls, folder: Path) -> Run:
        """The run of an existing checkpoint, identified by its config."""
        settings = checkpoints.load(folder).config["settings"]
        model = settings["denoiser"]
        if model != OURS:
            model += PRIOR if settings["prior"] else ""
        else:
            model += LOCAL if settings["representation"] == "local" else ""
            model += WITHOUT if settings["loss"]["contact"] == settings["loss"]["shape"] == 0 else ""
        return cls(model, settings["seed"], folder)

    def settings(self, steps: int) -> TrainingSettings:
        return TrainingSettings(steps=steps, seed=self.seed, **VARIANTS[self.model])


def trained(run: Run, scene: Scene, steps: int) -> dict[str, float]:
    """Seconds it took, unless some of it was there."""
    there = (run.folder / "config.json").exists()
    start = time.perf_counter()
    train(scene.learnt, run.settings(steps), None, run.folder, Screen())
    return {} if there else {"training/seconds": time.perf_counter() - start}


def in_processes(jobs: Sequence[tuple[Any, ...]], processes: int = PROCESSES) -> list[tuple[str, dict[str, Any]]]:
    """Call every (function, run, ...), some at a time on one thread each; the model's name and what was returned."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(*job) for job in jobs]
        for number, future in enumerate(as_completed(futures)):
            work, run, *_ = jobs[futures.index(future)]
            numbers = ", ".join(f"{name} {np.mean(value):.4g}" for name, value in future.result().items())
            print(f"{number + 1} of {len(jobs)}: {work.__name__} {run.folder.name}: {numbers}", file=sys.stderr)
        return [(job[1].model, future.result()) for job, future in zip(jobs, futures, strict=True)]


def fitted_sessions(data: Path, out: Path) -> list[str]:
    """Names of the sequences, each fitted in a folder of its name; those that are there are taken as they are."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = unpacked(data, Path(temporary))
        for folder in folders:
            store = Store(str(out / folder.name / "session.zarr"))
            if not (store.exists() and store.complete("mano")):
                print(f"fit: {folder.name}", file=sys.stderr)
                fit_sequence(folder, out / folder.name, False)
    return [folder.name for folder in folders]
