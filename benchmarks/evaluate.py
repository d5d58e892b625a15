"""The ablation of representations, Interaction Loss and baselines in three tasks, with the metrics of `evaluate`.

    python benchmarks/evaluate.py [--folder DIR] [--checkpoints DIR] [--steps N] [--seeds N] [--models NAME ...]
        [--given CHECKPOINT ...] [--tasks TASK ...] [--test NAME] [--clearance X] [--processes N] [--quick]
        [--json FILE]

HandDiffuse in the global and the local representation, each with and without the Interaction Loss, and the baselines
MDM and InterGen, trained on five sequences of ManipNet's real motion with the same data, steps and batch, and tested
on the sixth (`cup1`). Motions are sampled; every value is a mean over the training seeds, with the standard deviation
if there are several. docs/evaluation.md explains the metrics.

- free: motion without controls, against as many windows of the training split.
- inbetween: 10 frames, a gap of 30, one frame (LaFAN1's protocol; Harvey et al. 2020), on windows of the test sequence.
- trajectory: both wrists' positions in every frame and the pose of the first, on as many windows.

`real` is the true motion of the same windows; in `free`, other windows of the training split.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from _evaluate_tasks import MEASURES, TASKS
from _generation_runs import PROCESSES, VARIANTS, Run, fitted_sessions, in_processes, trained
from _generation_subject import Scene, Subject, prepare
from _report import Figure, grid, write
from manipnet import DATA

EVALUATOR_STEPS = 500


def judged(run: Run, scene: Scene, task: str) -> dict[str, float]:
    """The numbers of one task for one checkpoint, by `task/name`; with `real ` in front what holds of real motion."""
    subject = Subject.of(run.folder, scene)
    return {f"{task}/{name}": value for name, value in TASKS[task](subject, run.seed).items()}


def found(rows: list[tuple[str, dict[str, float]]], model: str, name: str) -> str:
    """Mean and spread over the seeds; a dash where it was not measured."""
    values = np.array([numbers[name] for of, numbers in rows if of == model and name in numbers])
    if not len(values):
        return "-"
    spread = float(f"{values.std():.1g}")
    return f"{values.mean():.3g}" + (f" ± {spread:g}" if spread > 1e-9 else "")


def measure(options: argparse.Namespace, temporary: Path) -> list[tuple[str, dict[str, float]]]:
    """Fit, train and judge. Returns each model's name and its numbers, one pair for each seed and task."""
    sessions = options.folder or temporary / "sessions"
    names = fitted_sessions(options.data, sessions)
    if options.test not in names:
        sys.exit(f"--test: expected one of {', '.join(names)}, but got {options.test}.")
    learnt = tuple(str(sessions / name) for name in names if name != options.test)
    few: dict[str, int] = {"stride": 30, "samples": 80} if options.quick else {"stride": 10}
    scene = Scene(learnt, str(sessions / options.test), temporary / "real.pt", clearance=options.clearance, **few)
    if options.given:
        runs = [Run.given(folder) for folder in options.given]
    else:
        out = options.checkpoints or temporary / "checkpoints"
        seeds = range(1 if options.quick else options.seeds)
        runs = [Run.of(model, seed, out) for seed in seeds for model in options.models]
        in_processes([(trained, run, scene, options.steps) for run in runs], options.processes)
    print("evaluator", file=sys.stderr)
    prepare(scene, EVALUATOR_STEPS // 5 if options.quick else EVALUATOR_STEPS)
    return in_processes([(judged, run, scene, task) for task in options.tasks for run in runs], options.processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="ManipNet's BVH files, packed")
    parser.add_argument("--folder", type=Path, help="folder for the fitted sessions; a temporary folder by default")
    parser.add_argument("--checkpoints", type=Path, help="folder for the models (with --folder); temporary by default")
    parser.add_argument("--given", type=Path, nargs="+", help="evaluate these checkpoints instead of training")
    parser.add_argument("--models", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS), help="what to train")
    parser.add_argument("--test", default="cup1", help="the held-out test sequence")
    parser.add_argument("--steps", type=int, default=1200, help="steps of each training")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings of each model")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS), help="tasks to measure")
    parser.add_argument("--clearance", type=float, default=0.0, help="guidance against penetration; 0: the model alone")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="number of processes, one thread each")
    parser.add_argument("--quick", action="store_true", help="a short trial run: one seed, few windows")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if options.checkpoints and not options.folder:
        parser.error("--checkpoints: expected --folder too, as models are trained on the sessions there")
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(options, Path(temporary))
    models = [model for model in VARIANTS if any(of == model for of, _ in rows)]
    heads = {model: model.replace(", ", ",\n") for model in models}
    figures = []
    for task in options.tasks:
        table: dict[str, dict[str, str]] = {}
        for name, words in MEASURES.items():
            line = {heads[model]: found(rows, model, f"{task}/{name}") for model in models}
            line["real"] = found(rows, models[0], f"{task}/real {name}")
            if set(line.values()) != {"-"}:
                table[words] = line
        grid(f"{task}: tested on {options.test}", table, [*heads.values(), "real"])
    for model in models:
        names = sorted({name for of, numbers in rows if of == model for name in numbers})
        for name in names:
            values = [numbers[name] for of, numbers in rows if of == model and name in numbers]
            figures.append(Figure(f"{model}: {name}", float(np.mean(values)), ""))
    write(f"ablation: {len(models)} models, tested on {options.test}", figures, options.json)


if __name__ == "__main__":
    main()
