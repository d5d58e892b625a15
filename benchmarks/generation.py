"""Generation compared with real motion: models trained on sequences of ManipNet and tested on a sequence left out.

    python benchmarks/generation.py [--folder DIR] [--checkpoints DIR] [--test NAME ...] [--models NAME ...]
        [--steps N] [--seeds N] [--only PART ...] [--given CHECKPOINT ...] [--quick] [--json FILE]

By default the test sequence is `cup1`, the shortest one in which the hands touch; `--test all` leaves out each of the
six in turn. With --folder and --checkpoints everything is kept there, and the same command goes on where it was
interrupted. HandDiffuse, the baselines MDM and InterGen, these with our prior, and HandDiffuse without its Interaction
Loss have the same data, steps, batch and (within 10 %) parameters, and are trained by what `handpipe train-diffusion`
calls, two at a time on one thread each. Every number is a mean over folds and seeds (in `controls`: the worst), unless
it says otherwise. Intervals are of blocks of test windows.

- inbetween: LaFAN1's protocol (Harvey et al. 2020): 10 frames of context, a gap, one target frame; mean joint error
  over the gap, for expected motion (`--expected`), for the mean of the prior, which the network of the expected motion
  moves, and for ways without learning (_generation_ways.py). `gap 30 keyframes` has no context. All models, `constant`
  and `nearest` get the same kriging.
- drawn: motion drawn in gaps of 30 frames, which is the network's, against motion drawn from its prior alone.
- long: 1200 frames of free motion: speed, jerk and power above 8 Hz relative to real motion, window by window.
- controls: errors at keyframes and along trajectories, and seams at keyframes.
- free: unconditional motion with the hand shapes of the training windows; Frechet distance (FID) and diversity in the
  code of an autoencoder that is trained on the training split, to the training split and to the test sequence, with
  equal numbers of windows; and the distance to the nearest training window, which tells memorising.
- speed: the samplers against the full chain of 1000 steps, for the model of the first seed; fewer samples than in
  `free`, so FIDs are higher and do not compare with those there.
- interaction: gaps of 30 frames with contact (2 cm) in the ground truth, with and without the Interaction Loss;
  precision and recall of frames with contact, for sampled motion.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _generation_figures import BASELINES, FIGURES, WITHOUT, Results, training
from _generation_long import long
from _generation_runs import LOCAL, VARIANTS, Run, fitted_sessions, in_processes, trained
from _generation_subject import Scene, Subject, prepare
from _generation_tasks import controls, drawn, free, inbetween, interaction, speed
from _report import report
from manipnet import DATA

PARTS: Mapping[str, Callable[[Subject, int], dict[str, Any]]] = {
    "speed": speed,
    "long": long,
    "drawn": drawn,
    "inbetween": inbetween,
    "controls": controls,
    "free": free,
    "interaction": interaction,
}
"""The slowest first: the other process does the rest meanwhile."""

SKIPPED: Mapping[str, tuple[str, ...]] = {
    "speed": (*BASELINES, WITHOUT),
    "long": (WITHOUT,),
    "inbetween": (WITHOUT,),
    "drawn": (WITHOUT,),
    "controls": (WITHOUT,),
    "interaction": BASELINES,
}
"""Models that a part is not about."""

EVALUATOR_STEPS = 500

MODELS = tuple(name for name in VARIANTS if LOCAL not in name)


def judged(run: Run, scene: Scene, part: str) -> dict[str, Any]:
    """The numbers of one part for one checkpoint; they are kept beside it, for the next time."""
    told = json.dumps({**asdict(scene), "evaluator": EVALUATOR_STEPS}, default=str, sort_keys=True)
    key = hashlib.sha256((run.folder / "config.json").read_bytes() + told.encode()).hexdigest()
    path = run.folder / f"judged-{part}.json"
    if path.exists() and (kept := json.loads(path.read_text()))["key"] == key:
        return kept["numbers"]
    subject = Subject.of(run.folder, scene)
    found = {f"{part}/{name}": value for name, value in PARTS[part](subject, run.seed).items()}
    found |= {"training/parameters": float(sum(w.numel() for w in subject.loaded.checkpoint.weights.values()))}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "numbers": found}))
    partial.replace(path)
    return found


def fold(options: argparse.Namespace, sessions: Path, out: Path, names: list[str], test: str) -> list[Any]:
    """Train on all sequences but one and judge on that. Returns the rows of `Results`."""
    learnt = tuple(str(sessions / name) for name in names if name != test)
    few = {"stride": 60, "samples": 64, "chain_samples": 8, "long_samples": 8, "long_frames": 300}
    out.mkdir(parents=True, exist_ok=True)
    scene = Scene(learnt, str(sessions / test), out / "real.pt", **(few if options.quick else {}))
    rows = []
    if options.given:
        runs = [Run.given(folder) for folder in options.given]
    else:
        seeds = range(1 if options.quick else options.seeds)
        runs = [Run.of(model, seed, out) for seed in seeds for model in options.models]
        rows += in_processes([(trained, run, scene, options.steps) for run in runs])
    if {"free", "speed", "long"} & set(options.only) and not scene.real.exists():
        print("evaluator", file=sys.stderr)
        prepare(scene, EVALUATOR_STEPS)
    first = min(run.seed for run in runs)
    jobs = [
        (judged, run, scene, part)
        for part in PARTS
        for run in runs
        if part in options.only and run.model not in SKIPPED.get(part, ()) and (part != "speed" or run.seed == first)
    ]
    return rows + in_processes(jobs)


def measure(options: argparse.Namespace, temporary: Path) -> tuple[str, Results]:
    """Fit, train and judge. Returns a title and all numbers."""
    sessions = options.folder or temporary / "sessions"
    names = fitted_sessions(options.data, sessions)
    tests = names if options.test == ["all"] else options.test
    unknown = sorted(set(tests) - set(names))
    if unknown:
        sys.exit(f"--test: expected all or some of {', '.join(names)}, but got {', '.join(unknown)}.")
    out = options.checkpoints or temporary / "checkpoints"
    rows = [row for test in tests for row in fold(options, sessions, out / test, names, test)]
    return f"generation: tested on {', '.join(tests)}", Results(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="ManipNet's BVH files, packed")
    parser.add_argument("--folder", type=Path, help="folder for the fitted sessions; a temporary folder by default")
    parser.add_argument("--checkpoints", type=Path, help="folder for the models (with --folder); temporary by default")
    parser.add_argument("--given", type=Path, nargs="+", help="evaluate these checkpoints instead of training")
    parser.add_argument("--test", nargs="+", default=["cup1"], help="sequences to leave out, one at a time; all")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="what to train")
    parser.add_argument("--steps", type=int, default=1200, help="steps of each training")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings of each model")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="parts to measure")
    parser.add_argument("--quick", action="store_true", help="a short trial run: one seed, few windows")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if options.given and (options.test == ["all"] or len(options.test) > 1):
        parser.error(
            "--given: expected one --test, as a checkpoint has one set of sequences that it was not trained on"
        )
    if options.checkpoints and not options.folder:
        parser.error("--checkpoints: expected --folder too, as models are trained on the sessions there")
    with tempfile.TemporaryDirectory() as temporary:
        title, results = measure(options, Path(temporary))
    measured = [part for part in FIGURES if part in options.only]
    report(title, [*training(results), *(row for part in measured for row in FIGURES[part](results))], options.json)


if __name__ == "__main__":
    main()
