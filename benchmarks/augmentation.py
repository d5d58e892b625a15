"""Rendered training data: how fast, whether a detector sees hands in it, and what generated motion is worth.

    python benchmarks/augmentation.py CHECKPOINT ... --folder SESSIONS --other SESSION ... [--test NAME] [--seconds S]
        [--seeds N] [--steps N] [--only PART ...] [--quick] [--json FILE]

The first checkpoint and the first `--other` serve all parts.

- speed: `handpipe augment` at 256 x 256 with labels, masks, depth and files, two worker processes; and what the
  processor time of one process would give on two free cores.
- found: share of rendered views of a single hand in which MediaPipe finds it: a candidate whose joints are within a
  quarter of the hand's size of the true ones, on the median; of all views, of those with no thing before the hand, and
  of those in which more than 0.6 of it is to be seen. Of the motion of `--other`, of `--test`'s, and of the
  checkpoint's, which may be hands that grasp what is not there.
- lifter: a monocular two-hand lifter (_lifter.py) learns from real motion, and from that and what a checkpoint draws;
  cameras, shapes and steps are the same for all. It is tested on `--test`, a sequence that neither lifters nor
  checkpoints have seen, and on `--other`, datasets that nothing has seen. The real motion is
  - `--seconds` of a sequence, another clip for each seed, beside motion of the first checkpoint, which has seen more;
  - all that a checkpoint was trained on, beside its motion: for each checkpoint, those with the same number of
    sequences together. Here generated motion adds nothing but what the model makes of the same recordings. The peer is
    `shaken`: the same recordings once more, with noise on every joint;
  - each of `--other`, tested on the others and on `--test`.
  The intervals are 95 %, by bootstrap over lifters and over clips of a second.
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
from _lifter_arms import Experiment, Generated
from _report import Figure, report, write

from handpipe.capture.detector import make_detector
from handpipe.capture.settings import DetectionSettings
from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.store import Store
from handpipe.generation.sampling.run import Request, generate
from handpipe.generation.settings import SamplingSettings
from handpipe.hand.stored_motion import motion_store
from handpipe.rendering.augment import augment, picture_path
from handpipe.rendering.settings import AugmentSettings
from handpipe.screen import Screen


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
    names = sorted(path.name for path in options.folder.iterdir() if (path / "session.zarr").is_dir())
    if options.test not in names:
        sys.exit(f"--test: expected one of {', '.join(names)}, but got {options.test}.")
    rest = [drawn(path, temporary / f"{number}.zarr", options) for number, path in enumerate(options.checkpoints[1:])]
    generated = [Generated.of(path, store) for path, store in zip(options.checkpoints, [motion, *rest], strict=True)]
    known = {name for one in generated for name in one.learnt_from}
    if options.test in known or not known <= set(names):
        sys.exit(f"checkpoint: expected ones trained on {options.folder} without {options.test}, but got {known}.")
    return Experiment(
        options.folder, options.test, tuple(options.other), options.seconds, options.seeds, options.steps
    ).run(generated)


def drawn(checkpoint: Path, out: Path, options: argparse.Namespace) -> Store:
    settings = SamplingSettings(temperature=options.temperature)
    generate(checkpoint, out, Request(options.samples), settings, None, Screen())
    return motion_store(str(out))


PARTS: Mapping[str, Callable[[Store, Store, Path, argparse.Namespace], list[Figure]]] = {
    "speed": speed,
    "found": found,
    "lifter": lifter,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+", help="models that were not trained on --test or --other")
    parser.add_argument("--folder", type=Path, required=True, help="fitted sessions, as benchmarks/generation.py has")
    parser.add_argument("--other", type=Path, nargs="+", required=True, help="fitted sessions of other datasets")
    parser.add_argument("--test", default="cup1", help="the sequence that is not learnt from")
    parser.add_argument("--seconds", type=float, default=4.0, help="of real motion to learn from")
    parser.add_argument("--seeds", type=int, default=5, help="lifters of each kind")
    parser.add_argument("--steps", type=int, default=1500, help="of each lifter's training")
    parser.add_argument("--samples", type=int, default=128, help="generated motions")
    parser.add_argument("--temperature", type=float, default=1.0, help="they are drawn at; above 1 they vary more")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="parts to measure")
    parser.add_argument("--quick", action="store_true", help="few of everything: to try")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.steps, options.samples = 2, 200, 16
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder)
        motion = drawn(options.checkpoints[0], temporary / "motion.zarr", options)
        other = motion_store(str(options.other[0]))
        figures = [row for part in options.only for row in PARTS[part](motion, other, temporary, options)]
    title = f"augmentation: {options.checkpoints[0].name}"
    report(title, [row for row in figures if row.limit is not None or not row.name.startswith("lifter")], None)
    write(title, figures, options.json)


if __name__ == "__main__":
    main()
