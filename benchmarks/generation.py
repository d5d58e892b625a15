"""Generation compared with real motion: models trained on five sequences of ManipNet and tested on the sixth.

    python benchmarks/generation.py [--folder DIR] [--checkpoints DIR] [--steps N] [--seeds N] [--only PART ...]
        [--given CHECKPOINT ...] [--test NAME] [--quick] [--json FILE]

The test sequence is `cup1`: the shortest one in which the hands touch. HandDiffuse, the baselines MDM and InterGen, and
HandDiffuse without its Interaction Loss have the same data, steps, batch and (within 10 %) parameters, and are trained
by what `handpipe train-diffusion` calls, two at a time on one thread each. Every number is a mean over the seeds of the
training (in `controls`: the worst), unless it says otherwise.

- inbetween: LaFAN1's protocol (Harvey et al. 2020): 10 frames of context, a gap, one target frame; mean joint error
  over the gap, for expected motion (`--expected`). `gap 30 keyframes` has no context. `prior only` is the
  Gaussian process without a network.
- controls: errors at keyframes and along trajectories, and seams at keyframes.
- free: unconditional motion with the hand shapes of the training windows; Frechet distance (FID) and diversity in the
  code of an autoencoder that is trained on the training split. The FID of other real windows of the same sequences
  is a lower bound; it is too low, because they overlap the first ones.
- speed: the samplers against the full chain of 1000 steps, for the model of the first seed; fewer samples than in
  `free`, so FIDs are higher and do not compare with those there.
- interaction: gaps of 30 frames with contact (2 cm) in the ground truth, with and without the Interaction Loss;
  precision and recall of frames with contact, for sampled motion, because expected motion is close to the prior.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from _generation_figures import BASELINES, FIGURES, OURS, WITHOUT, Results, training
from _generation_runs import Run, fitted_sessions, in_processes, trained
from _generation_subject import Scene, Subject, prepare
from _generation_tasks import controls, free, inbetween, interaction, speed
from _report import report
from manipnet import DATA

PARTS: Mapping[str, Callable[[Subject, int], dict[str, float]]] = {
    "speed": speed,
    "inbetween": inbetween,
    "controls": controls,
    "free": free,
    "interaction": interaction,
}
"""The slowest first: the other process does the rest meanwhile."""

SKIPPED: Mapping[str, tuple[str, ...]] = {
    "speed": (*BASELINES, WITHOUT),
    "inbetween": (WITHOUT,),
    "controls": (WITHOUT,),
    "interaction": BASELINES,
}
"""Models that a part is not about."""

EVALUATOR_STEPS = 500


def judged(run: Run, scene: Scene, part: str) -> dict[str, float]:
    """The numbers of one part for one checkpoint."""
    subject = Subject.of(run.folder, scene)
    found = {f"{part}/{name}": value for name, value in PARTS[part](subject, run.seed).items()}
    return found | {"training/parameters": float(sum(w.numel() for w in subject.loaded.checkpoint.weights.values()))}


def measure(options: argparse.Namespace, temporary: Path) -> tuple[str, Results]:
    """Fit, train and judge. Returns a title and all numbers."""
    sessions = options.folder or temporary / "sessions"
    names = fitted_sessions(options.data, sessions)
    if options.test not in names:
        sys.exit(f"--test: expected one of {', '.join(names)}, but got {options.test}.")
    learnt = tuple(str(sessions / name) for name in names if name != options.test)
    few = {"stride": 60, "samples": 64, "chain_samples": 8} if options.quick else {}
    scene = Scene(learnt, str(sessions / options.test), temporary / "real.pt", **few)
    rows = []
    if options.given:
        runs = [Run.given(folder) for folder in options.given]
    else:
        out = options.checkpoints or temporary / "checkpoints"
        seeds = range(1 if options.quick else options.seeds)
        runs = [Run.of(model, seed, out) for seed in seeds for model in (OURS, *BASELINES, WITHOUT)]
        rows += in_processes([(trained, run, scene, options.steps) for run in runs])
    if {"free", "speed"} & set(options.only):
        print("evaluator", file=sys.stderr)
        prepare(scene, EVALUATOR_STEPS)
    first = min(run.seed for run in runs)
    jobs = [
        (judged, run, scene, part)
        for part in PARTS
        for run in runs
        if part in options.only and run.model not in SKIPPED.get(part, ()) and (part != "speed" or run.seed == first)
    ]
    rows += in_processes(jobs)
    return f"generation: {len(runs)} models, tested on {options.test}", Results(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="ManipNet's BVH files, packed")
    parser.add_argument("--folder", type=Path, help="folder for the fitted sessions; a temporary folder by default")
    parser.add_argument("--checkpoints", type=Path, help="folder for the models (with --folder); temporary by default")
    parser.add_argument("--given", type=Path, nargs="+", help="evaluate these checkpoints instead of training")
    parser.add_argument("--test", default="cup1", help="the held-out test sequence")
    parser.add_argument("--steps", type=int, default=1200, help="steps of each training")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings of each model")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="parts to measure")
    parser.add_argument("--quick", action="store_true", help="a short trial run: one seed, few windows")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if options.checkpoints and not options.folder:
        parser.error("--checkpoints: expected --folder too, as models are trained on the sessions there")
    with tempfile.TemporaryDirectory() as temporary:
        title, results = measure(options, Path(temporary))
    measured = [part for part in FIGURES if part in options.only]
    report(title, [*training(results), *(row for part in measured for row in FIGURES[part](results))], options.json)


if __name__ == "__main__":
    main()
