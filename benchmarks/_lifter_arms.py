"""Training and test sets of the benchmark that measures the benefit of generated motion for a lifter."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _lifter import SHAPES, Clips, Shake, change, errors_mm, learnt, read_clips
from _report import Figure, grid
from numpy import ndarray

from handpipe.core.store import Store
from handpipe.generation import checkpoint as checkpoints
from handpipe.hand.stored_motion import motion_store, stored_motion

FPS = 30.0

GENERATED, SHAKEN = "generated", "shaken"
"""What is added to real motion: motion that a checkpoint draws; or, as a peer, the same real motion with noise."""

LIMIT = -10.0
"""Percent by which the error on unseen sequences should change."""


@dataclass(frozen=True, eq=False)
class Generated:
    """Motion that a checkpoint has drawn, and what the checkpoint was trained on."""

    clips: Clips
    learnt_from: tuple[str, ...]
    """Names of the sequences."""

    @classmethod
    def of(cls, checkpoint: Path, motion: Store) -> Generated:
        samples = range(len(stored_motion("generated", motion).valid))
        sources = checkpoints.load(checkpoint).config["sources"]
        clips = read_clips(motion.url, samples, slice(None), 10**9, SHAPES, 1)
        return cls(clips, tuple(Path(source).name for source in sources))

    @property
    def name(self) -> str:
        """Of the real motion that it had."""
        count = len(self.learnt_from)
        return f"{count} sequence{'s' if count > 1 else ''}"


@dataclass(frozen=True)
class Experiment:
    """The data and how long lifters learn."""

    folder: Path
    """Of fitted sequences."""
    test: str
    """The sequence that is not learnt from."""
    others: tuple[Path, ...]
    """Sessions of other datasets."""
    seconds: float
    """Of the small real set."""
    seeds: int
    steps: int

    def sequences(self, names: Sequence[str], shake: Shake | None = None) -> Clips:
        """All of some sequences together."""
        every = [session(self.folder / name, None, SHAPES, 0, shake) for name in names]
        return Clips(torch.cat([one.joints_m for one in every]), np.zeros(0))

    def tests(self) -> dict[str, Clips]:
        rest = {other.name: session(other, None, 0, 0) for other in self.others}
        return {f"unseen {self.test}": session(self.folder / self.test, None, 0, 0), **rest}

    def arms(self, generated: Sequence[Generated], seed: int) -> list[tuple[str, list[Clips]]]:
        """What is learnt from; names say what is added to which real motion, and may come again."""
        first = generated[0]
        name = first.learnt_from[seed % len(first.learnt_from)]
        small = session(self.folder / name, self.seconds, SHAPES, seed)
        found = [
            ("generated", [first.clips]),
            *with_and_without(self._small(), small, {GENERATED: [first.clips]}),
        ]
        for each in generated:
            shaken = self.sequences(each.learnt_from, Shake())
            added = {GENERATED: [each.clips], SHAKEN: [shaken], f"{SHAKEN} + {GENERATED}": [shaken, each.clips]}
            found += with_and_without(each.name, self.sequences(each.learnt_from), added)
        for other in self.others:
            real = session(other, None, SHAPES, seed)
            found += with_and_without(other.name, real, {GENERATED: [first.clips]})
        return found

    def run(self, generated: Sequence[Generated]) -> list[Figure]:
        """Prints a table; returns all of its numbers."""
        tests = self.tests()
        errors: dict[str, dict[str, list[tuple[ndarray, ndarray]]]] = {test: {} for test in tests}
        for seed in range(self.seeds):
            for arm, sources in self.arms(generated, seed):
                print(f"seed {seed}: {arm}", file=sys.stderr)
                model = learnt(sources, self.steps, seed)
                for test, clips in tests.items():
                    if not arm.startswith(test):
                        errors[test].setdefault(arm, []).append(errors_mm(model, clips))
        figures = []
        for number, what in enumerate(("joints", "relative wrist")):
            cells: dict[str, dict[str, str]] = {}
            for test, by_arm in errors.items():
                numbers = {arm: np.stack([found[number] for found in each]) for arm, each in by_arm.items()}
                judged = self._judged(generated) if what == "joints" and test.startswith("unseen") else set()
                for arm in numbers:
                    rows, cell = compared(numbers, arm, f"lifter on {test}: {what}", judged)
                    figures += rows
                    cells.setdefault(arm, {})[test] = cell
            grid(f"lifter: {what}, mm (change by what is added last, 95 %)", cells, list(tests))
        return figures

    def _judged(self, generated: Sequence[Generated]) -> set[str]:
        """The sets of real motion that generated motion should improve on."""
        return {self._small(), *(each.name for each in generated)}

    def _small(self) -> str:
        return f"{self.seconds:g} s"


def compared(errors_mm: Mapping[str, ndarray], arm: str, title: str, judged: Set[str]) -> tuple[list[Figure], str]:
    """The error of an arm, and how it changes by what is added last, as figures and as a cell of a table.

    Args:
        errors_mm: by arm, (seed, clip).
        arm: which of them.
        title: before the names of the figures.
        judged: arms that should improve by generated motion.
    """
    error_mm = errors_mm[arm]
    figures, cell = [Figure(f"{title}, {arm}", float(error_mm.mean()), "mm")], f"{error_mm.mean():.1f}"
    before, _, added = arm.rpartition(" + ")
    if before:
        delta, low, high = change(errors_mm[before], error_mm)
        limit = LIMIT if added == GENERATED and before in judged else None
        figures.append(Figure(f"{title}, {arm} [{low:.1f}, {high:.1f}]", delta, "%", limit))
        cell += f" ({delta:+.0f} %, {low:+.0f} to {high:+.0f})"
    return figures, cell


def with_and_without(name: str, real: Clips, added: Mapping[str, list[Clips]]) -> list[tuple[str, list[Clips]]]:
    """An arm of real motion, and one for each thing that is added to it."""
    return [(name, [real]), *((f"{name} + {what}", [real, *clips]) for what, clips in added.items())]


def session(folder: Path, seconds: float | None, shapes: int, seed: int, shake: Shake | None = None) -> Clips:
    """A session's motion at about 30 frames per second: all of it, or a clip drawn by the seed."""
    store = motion_store(str(folder))
    every = max(1, round(float(store.attrs("mano")["fps"]) / FPS))
    frames = store.read("mano", "valid").shape[0]
    start, stop = 0, frames
    if seconds is not None:
        length = min(frames, round(seconds * FPS * every))
        start = int(np.random.default_rng(seed).integers(frames - length + 1))
        stop = start + length
    return read_clips(store.url, None, slice(start, stop, every), round(FPS), shapes, seed, shake)
