"""Rendered training data: how fast, whether a detector sees hands in it, and what generated motion is worth.

    python benchmarks/augmentation.py CHECKPOINT --folder SESSIONS --other SESSION [--test NAME] [--seconds S]
        [--seeds N] [--steps N] [--only PART ...] [--quick] [--json FILE]

- speed: `handpipe augment` at 256 x 256 with labels, masks, depth and files, two worker processes; and what the
  processor time of one process would give on two free cores.
- found: share of rendered views of a single hand in which MediaPipe finds it: a candidate whose joints are within a
  quarter of the hand's size of the true ones, on the median; of all views, of those with no thing before the hand, and
  of those in which more than 0.6 of it is to be seen. Of the motion of `--other`, of `--test`'s, and of the
  checkpoint's, which may be hands that grasp what is not there.
- lifter: a monocular two-hand lifter (_lifter.py) learns from a small real set (`--seconds` of one sequence of
  `--folder`, another clip for each seed), from motion that the checkpoint draws, and from both; the cameras, shapes and
  steps are the same for all. It is tested on `--test`, a sequence that neither lifters nor checkpoint have seen, and on
  `--other`, a dataset that nothing has seen; and, the other way, it learns from `--other`, tested on `--test`. The
  checkpoint was trained on more real motion than the small set: `all real` is a lifter that has all of `--folder` but
  `--test`, and says how much of the gain is due to that. The intervals are 95 %, by bootstrap over seeds and over clips
  of a second.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from _lifter import SHAPES, Clips, change, errors_mm, learnt, read_clips
from _report import Figure, report

from handpipe.capture.augment import augment, picture_path
from handpipe.capture.augment_shot import AugmentSettings
from handpipe.capture.detector import DetectionSettings, make_detector
from handpipe.core.engine import Engine, EngineSettings
from handpipe.core.store import Store
from handpipe.generation.generate import Request, generate
from handpipe.generation.settings import SamplingSettings
from handpipe.generation.stored_motion import motion_store, stored_motion
from handpipe.screen import Screen

FPS = 30.0

PAIRS = (("real", "both"), ("all real", "all real + generated"), ("other", "other + generated"))
"""Lifters without generated motion, and with it."""


def speed(motion: Store, other: Store, temporary: Path, options: argparse.Namespace) -> list[Figure]:
    settings = AugmentSettings(sequences=2 if options.quick else 6)
    images = settings.sequences * settings.views * settings.frames
    with Engine(EngineSettings(workers=2), Screen()) as engine:
        augment(motion, temporary / "warm", replace(settings, sequences=4, frames=4), None, engine)
        start = time.perf_counter()
        augment(motion, temporary / "speed", settings, None, engine)
        wall_s = time.perf_counter() - start
    few = replace(settings, sequences=2)
    with Engine(EngineSettings(workers=0), Screen()) as engine:
        augment(motion, temporary / "here-warm", replace(few, frames=4), None, engine)
        start = time.process_time()
        augment(motion, temporary / "here", few, None, engine)
        processor_s = (time.process_time() - start) / (few.sequences * few.views * few.frames)
    return [
        Figure("speed: two workers, wall time", images / wall_s, "images/s", 60, "higher"),
        Figure("speed: two free cores, by processor time", 2 / processor_s, "images/s", None, "higher"),
        Figure("speed: processor time of an image", 1e3 * processor_s, "ms"),
    ]


def found(motion: Store, other: Store, temporary: Path, options: argparse.Namespace) -> list[Figure]:
    rows = []
    test = motion_store(str(options.folder / options.test))
    for name, store in (("other's motion", other), ("the test's motion", test), ("generated motion", motion)):
        settings = AugmentSettings(sequences=12 if options.quick else 200, frames=1, views=3, single_hand=1.0)
        out = temporary / f"found-{name}"
        with Engine(EngineSettings(workers=2), Screen()) as engine:
            augment(store, out, settings, None, engine)
        hit, clear, open_ = _detected(out)
        rows += [
            Figure(f"found: {name}", 100 * float(np.mean(hit)), "% of views", 80, "higher"),
            Figure(f"found: {name}, nothing in the way", 100 * float(np.mean(hit[clear])), "% of views"),
            Figure(f"found: {name}, more than 0.6 to be seen", 100 * float(np.mean(hit[open_])), "% of views"),
        ]
    return rows


def _detected(out: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(view,) bool: whether the hand was found, nothing is in the way, and more than 0.6 of it is to be seen."""
    labels, detector = Store(str(out / "labels.zarr")), make_detector(DetectionSettings())
    points, box, things = labels.read("labels", "points"), labels.read("labels", "box"), labels.read("scenes", "things")
    seen, result = labels.read("labels", "seen"), []
    for sequence, view in np.ndindex(points.shape[:2]):
        hand = int(np.flatnonzero(labels.read("mano", "valid", (sequence, 0)))[0])
        x0, y0, x1, y1 = box[sequence, view, 0, hand]
        image = cv2.imread(str(picture_path(out, "images", sequence, view, 0)))
        assert image is not None
        off = [
            np.median(np.linalg.norm(one - points[sequence, view, 0, hand], axis=-1))
            for one in detector.detect(image).points_px
        ]
        hit = min(off, default=np.inf) < 0.25 * max(x1 - x0, y1 - y0)
        result.append((hit, things[sequence] == 0, seen[sequence, view, 0, hand] > 0.6))
    hits, clear, open_ = np.array(result).T
    return hits, clear, open_


def lifter(motion: Store, other: Store, temporary: Path, options: argparse.Namespace) -> list[Figure]:
    sequences = sorted(path for path in options.folder.iterdir() if (path / "session.zarr").is_dir())
    names = [path.name for path in sequences]
    if options.test not in names:
        sys.exit(f"--test: expected one of {', '.join(names)}, but got {options.test}.")
    learn_from = [path for path in sequences if path.name != options.test]
    generated = stored_motion("generated", motion)
    drawn = read_clips(motion.url, range(len(generated.valid)), slice(None), 10**9, SHAPES, 1)
    everything = [_session(path, None, SHAPES, 0) for path in learn_from]
    all_real = Clips(torch.cat([one.joints_m for one in everything]), np.zeros(0))
    tests = {
        f"unseen {options.test}": _session(options.folder / options.test, None, 0, 0),
        "another dataset": _session(options.other, None, 0, 0),
    }
    errors: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for seed in range(options.seeds):
        real = _session(learn_from[seed % len(learn_from)], options.seconds, SHAPES, seed)
        rest = _session(options.other, None, SHAPES, seed)
        arms: dict[str, list[Clips]] = {
            "real": [real],
            "generated": [drawn],
            "both": [real, drawn],
            "all real": [all_real],
            "all real + generated": [all_real, drawn],
            "other": [rest],
            "other + generated": [rest, drawn],
        }
        for arm, sources in arms.items():
            print(f"seed {seed}: {arm}", file=sys.stderr)
            model = learnt(sources, options.steps, seed)
            for test, clips in tests.items():
                if not (arm.startswith("other") and test == "another dataset"):
                    errors.setdefault((arm, test), []).append(errors_mm(model, clips))
    return _lifter_figures(errors, list(tests))


def _session(folder: Path, seconds: float | None, shapes: int, seed: int) -> Clips:
    """A session's motion at about 30 frames per second: all of it, or a clip drawn by the seed."""
    store = motion_store(str(folder))
    every = max(1, round(float(store.attrs("mano")["fps"]) / FPS))
    frames = store.read("mano", "valid").shape[0]
    start, stop = 0, frames
    if seconds is not None:
        length = min(frames, round(seconds * FPS * every))
        start = int(np.random.default_rng(seed).integers(frames - length + 1))
        stop = start + length
    return read_clips(store.url, None, slice(start, stop, every), round(FPS), shapes, seed)


def _lifter_figures(
    errors: Mapping[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]], tests: list[str]
) -> list[Figure]:
    rows = []
    for test in tests:
        both = {
            arm: [np.stack(part) for part in zip(*each, strict=True)] for (arm, t), each in errors.items() if t == test
        }
        for arm, (joints, wrists) in both.items():
            rows.append(Figure(f"lifter on {test}: {arm}: joints", float(joints.mean()), "mm"))
            rows.append(Figure(f"lifter on {test}: {arm}: relative wrist", float(wrists.mean()), "mm"))
        for before, after in PAIRS:
            if before not in both:
                continue
            for number, what in enumerate(("joints", "relative wrist")):
                delta, low, high = change(both[before][number], both[after][number])
                limit = -10.0 if (test, before, number) == (tests[0], "real", 0) else None
                name = f"lifter on {test}: {what}, {before} -> {after} [{low:.1f}, {high:.1f}]"
                rows.append(Figure(name, delta, "%", limit))
    return rows


PARTS: Mapping[str, Callable[[Store, Store, Path, argparse.Namespace], list[Figure]]] = {
    "speed": speed,
    "found": found,
    "lifter": lifter,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a model that was not trained on --test or --other")
    parser.add_argument("--folder", type=Path, required=True, help="fitted sessions, as benchmarks/generation.py has")
    parser.add_argument("--other", type=Path, required=True, help="a fitted session of another dataset")
    parser.add_argument("--test", default="cup1", help="the sequence that is not learnt from")
    parser.add_argument("--seconds", type=float, default=4.0, help="of real motion to learn from")
    parser.add_argument("--seeds", type=int, default=5, help="lifters of each kind")
    parser.add_argument("--steps", type=int, default=1500, help="of each lifter's training")
    parser.add_argument("--samples", type=int, default=128, help="generated motions")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="parts to measure")
    parser.add_argument("--quick", action="store_true", help="few of everything: to try")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.steps, options.samples = 2, 200, 16
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder)
        made = temporary / "motion.zarr"
        generate(options.checkpoint, made, Request(options.samples), SamplingSettings(), None, Screen())
        motion, other = motion_store(str(made)), motion_store(str(options.other))
        figures = [row for part in options.only for row in PARTS[part](motion, other, temporary, options)]
    report(f"augmentation: {options.checkpoint.name}", figures, options.json)


if __name__ == "__main__":
    main()
