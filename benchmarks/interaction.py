"""The Interaction Loss judged on motion with known contacts: does it bring the hands together as they should be?

    python benchmarks/interaction.py [--folder DIR] [--steps N] [--batch N] [--window N] [--seeds N]
        [--variants NAME ...] [--processes N] [--quick] [--json FILE]

Models are trained on episodes of contact (`contact:N`: fingertips, palms, pokes, clasps, interlaced fingers, things
handed over) with different weights of the Interaction Loss, and tested on other episodes: 10 frames, a gap of 30, one
frame; one motion is drawn for each gap. With --folder everything is kept there, and the same command goes on where it
was interrupted. Contact is joints within 2 cm. F1 counts frames with contact, or each pair of joints in each frame; the
offset error is that of the vector between the two joints of a pair that truly touches; penetration is the depth of
spheres, a mean over all frames. Differences are to weight 0, paired: same seeds, windows and noise; their 95 %
intervals are of episodes drawn anew (2000 times), runs taken together.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _generation_runs import Run, in_processes, trained
from _generation_subject import CONTEXT, Scene, Subject, real_motion
from _generation_tasks import HARD_GAP
from _interaction_episodes import store_of_episodes
from _interaction_figures import SCORES, WORDS, by_episode, difference, power, score
from _interaction_tasks import DRAWS, REFERENCE, contact, gradients
from _report import Figure, report

from handpipe.generation.model.kinematics import Kinematics
from handpipe.generation.settings import LossWeights, TrainingSettings
from handpipe.hand.loading import hand_models

WITHOUT, FULL = "weight 0", "weight 1"
VARIANTS: Mapping[str, tuple[float, float]] = {
    WITHOUT: (0, 0),
    FULL: (1, 1),
    "contact alone": (1, 0),
    "shape alone": (0, 1),
    "weight 4": (4, 4),
    "weight 0.25": (0.25, 0.25),
}
"""Models by name, and what their weights of contact and shape are, in multiples of REFERENCE."""

WAYS = ("truth", "slerp", "prior")
"""To fill a gap without a network."""

LEARNT, TESTED = 240, 160
"""Episodes; the tested ones come after the learnt ones."""
STRIDE = 30
"""Frames from one test window to the next."""
EACH = 2
"""Test windows of an episode."""
WINDOW = 60
"""Longest window of the models: longer ones would leave fewer test windows."""


@dataclass(frozen=True)
class Weighted(Run):
    """A training with weights of its own."""

    batch: int | None = None
    """Windows in a step; None: the preset's."""
    window: int = WINDOW
    """Frames of a window, at least a gap with its context."""

    def settings(self, steps: int) -> TrainingSettings:
        terms = zip(REFERENCE.items(), VARIANTS[self.model], strict=True)
        loss = LossWeights(**{name: share * weight for (name, weight), share in terms})
        return TrainingSettings(steps=steps, seed=self.seed, batch=self.batch, window=self.window, loss=loss)


PARTS: Mapping[str, Callable[[Subject, int], dict[str, Any]]] = {"contact": contact, "gradients": gradients}


def judged(run: Run, scene: Scene, part: str) -> dict[str, Any]:
    """The numbers of one part for one checkpoint; they are kept beside it, for the next time."""
    told = json.dumps({**asdict(scene), "draws": DRAWS}, default=str, sort_keys=True)
    key = hashlib.sha256((run.folder / "config.json").read_bytes() + told.encode()).hexdigest()
    path = run.folder / f"judged-{part}.json"
    if path.exists() and (kept := json.loads(path.read_text()))["key"] == key:
        return kept["numbers"]
    found = {f"{part}/{name}": value for name, value in PARTS[part](Subject.of(run.folder, scene), run.seed).items()}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "numbers": found}))
    partial.replace(path)
    return found


def tested(scene: Scene) -> torch.Tensor:
    """(window, frame, hand, 21, 3) true joints in the gaps."""
    settings = TrainingSettings()
    kinematics = Kinematics.of_models(hand_models(None))
    motion = real_motion(kinematics, [scene.test], settings.fps, WINDOW + CONTEXT + 1, scene.stride)
    return kinematics.joints(motion.window(slice(CONTEXT, CONTEXT + HARD_GAP)))


def figures(rows: list[tuple[str, dict[str, Any]]], variants: list[str], true_m: torch.Tensor) -> list[Figure]:
    """The table: the test's power, then each way's and each model's scores and differences."""
    frames = DRAWS * true_m.shape[0] * true_m.shape[1]
    runs = {
        name: [
            by_episode(found["contact/drawn"], EACH) for of, found in rows if of == name and "contact/drawn" in found
        ]
        for name in variants
    }
    first = next(found for _, found in rows if "contact/drawn" in found)
    ways = {way: by_episode(first[f"contact/{way}"], EACH) for way in ("truth", "slerp", "prior")}
    table = [Figure("test episodes", len(ways["truth"]), ""), Figure("test windows", len(true_m), "")]
    table += power(true_m, EACH)
    for way, sums in ways.items():
        count = frames if way == "prior" else frames // DRAWS
        for name, unit in SCORES.items():
            table.append(Figure(f"{way}: {WORDS[name]}", float(score(sums.sum(0), name, count)), unit))
    for variant in variants:
        for name, unit in SCORES.items():
            values = [float(score(run.sum(0), name, frames)) for run in runs[variant]]
            table.append(Figure(f"{variant}: {WORDS[name]}", float(np.mean(values)), unit))
            if variant == WITHOUT or WITHOUT not in variants:
                continue
            value, low, high, smallest = difference(runs[variant], runs[WITHOUT], name, frames)
            table += [
                Figure("  above weight 0", value, unit),
                Figure("  95 % interval, from", low, unit),
                Figure("  to", high, unit),
                Figure("  seen with power 0.8", smallest, unit, 0.05 if name in ("frames", "pairs") else None),
            ]
    if WITHOUT in variants and len(runs[WITHOUT]) > 1:
        a, b, *_ = runs[WITHOUT]
        for name in ("frames", "pairs"):
            value, low, high, _ = difference([b], [a], name, frames)
            table.append(Figure(f"weight 0, second seed above first: {WORDS[name]}", value, ""))
            table += [Figure("  95 % interval, from", low, ""), Figure("  to", high, "")]
    for _, found in rows:
        shares = {name: value for name, value in found.items() if name.startswith("gradients/")}
        for name, value in shares.items():
            words = name.removeprefix("gradients/").replace("/", ": ")
            table.append(Figure(f"gradient, {words}", value, "" if words.endswith("norm") else "%"))
    return table


def measure(options: argparse.Namespace, folder: Path) -> list[Figure]:
    learnt, tests = (16, 16) if options.quick else (LEARNT, TESTED)
    name = "quick-" if options.quick else ""
    learnt_store = store_of_episodes(folder / f"{name}learnt.zarr", 0, learnt)
    test_store = store_of_episodes(folder / f"{name}test.zarr", learnt, tests)
    scene = Scene((learnt_store,), test_store, folder / "none.pt", stride=STRIDE)
    seeds = range(1 if options.quick else options.seeds)
    runs = [
        replace(Weighted.of(variant, seed, folder), batch=options.batch, window=options.window)
        for seed in seeds
        for variant in options.variants
    ]
    in_processes([(trained, run, scene, options.steps) for run in runs], options.processes)
    jobs: list[tuple[Any, ...]] = [(judged, run, scene, "contact") for run in runs]
    jobs += [(judged, run, scene, "gradients") for run in runs if run.model == FULL][:1]
    return figures(in_processes(jobs, options.processes), options.variants, tested(scene))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder for episodes and models; a temporary folder by default")
    parser.add_argument("--steps", type=int, default=1200, help="steps of each training")
    parser.add_argument("--batch", type=int, help="windows in a step; the preset's by default")
    parser.add_argument("--window", type=int, default=WINDOW, help="frames of a window, 41 to 60")
    parser.add_argument("--seeds", type=int, default=2, help="number of trainings of each model")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS), help="what to train")
    parser.add_argument("--processes", type=int, default=2, help="number of processes, one thread each")
    parser.add_argument("--quick", action="store_true", help="a short trial run: few episodes, one seed")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if not CONTEXT + HARD_GAP < options.window <= WINDOW:
        parser.error(f"--window: expected {CONTEXT + HARD_GAP + 1} to {WINDOW} frames, but got {options.window}")
    with tempfile.TemporaryDirectory() as temporary:
        table = measure(options, options.folder or Path(temporary))
    report(f"interaction: {options.steps} steps", table, options.json)


if __name__ == "__main__":
    main()
