"""Golden outputs: small stored results of every stage, with the version of the code that made them.

A store says of every group by which code version it was computed. Somebody who changes what a stage computes and does
not raise its version leaves old numbers in all stores, and nothing notices. Here it is noticed: a stage's numbers for
a small fixed input are compared with stored ones, and stored ones are only replaced together with the version.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy import ndarray
from paths import ROOT

DATA = ROOT / "tests" / "golden" / "data"
INPUTS = DATA / "inputs"

VERSION = "code version"
"""Of the stored file's arrays, the one that is no output."""


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may be from the stored ones. Each golden says why its own are what they are."""

    absolute: float = 0.0
    relative: float = 0.0
    share: float = 0.0
    """Of an array's elements, so many may be farther off."""


EXACT = Tolerance()


@dataclass(frozen=True)
class Golden:
    """One stage's outputs."""

    name: str
    module: str
    """Where the version is: `handpipe.fitting.stage`."""
    make: Callable[[Path], Mapping[str, ndarray]]
    """Compute the outputs, given an empty folder to work in."""
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    """By output, or `*` for those that are not named; without either, equal to the bit."""
    constant: str = "CODE"

    @property
    def code(self) -> int:
        """The version of the code as it is now."""
        return getattr(importlib.import_module(self.module), self.constant)

    @property
    def place(self) -> str:
        """The constant and its file, for messages."""
        return f"{self.constant} in {self.module.removeprefix('handpipe.').replace('.', '/')}.py"

    def tolerance(self, output: str) -> Tolerance:
        """What is allowed for one output."""
        return self.tolerances.get(output, self.tolerances.get("*", EXACT))


def stored_path(golden: Golden, folder: Path = DATA) -> Path:
    """Where a golden's outputs are stored."""
    return folder / f"{golden.name}.npz"


def check(golden: Golden, work: Path, folder: Path = DATA) -> None:
    """Compare a stage's outputs with the stored ones.

    Args:
        golden: which.
        work: an empty folder.
        folder: of the stored outputs.

    Raises:
        AssertionError: they differ, or were made by another version of the code. It says what to do.
    """
    command = f"python tests/golden/refresh.py {golden.name}"
    path = stored_path(golden, folder)
    if not path.exists():
        raise AssertionError(f"{golden.name}: expected stored outputs in {path}, but there are none. Run `{command}`.")
    with np.load(path) as file:
        stored = dict(file)
    version = int(stored.pop(VERSION))
    if golden.code < version:
        raise AssertionError(
            f"{golden.name}: expected {golden.place} to be {version} or higher, as in the stored outputs, but it is "
            f"{golden.code}. Old stores would count as new: raise it above {version}, then run `{command}`."
        )
    if golden.code > version:
        raise AssertionError(
            f"{golden.name}: {golden.place} is {golden.code}, but the stored outputs were made at {version}. "
            f"Run `{command}`."
        )
    found = differences(golden, stored, golden.make(work))
    if found:
        raise AssertionError(
            f"{golden.name}: the numbers changed ({'; '.join(found[:4])}), but {golden.place} is still {golden.code}. "
            f"If they were meant to change, raise it, then run `{command}`. If not, undo the change."
        )


def refresh(golden: Golden, work: Path, folder: Path = DATA) -> Path:
    """Store a stage's outputs with the version of the code.

    Args:
        golden: which.
        work: an empty folder.
        folder: of the stored outputs.

    Raises:
        ValueError: outputs of this version, or of a higher one, are stored already.
    """
    path = stored_path(golden, folder)
    if path.exists():
        with np.load(path) as file:
            version = int(file[VERSION])
        if golden.code <= version:
            raise ValueError(
                f"{golden.name}: expected {golden.place} to be higher than {version}, at which the stored outputs were "
                f"made, but it is {golden.code}. Raise it if the stage is meant to compute other numbers: old results "
                "in users' stores are computed again then. A golden of another input is a new one: give it a new name."
            )
    outputs = {name: _small(value) for name, value in golden.make(work).items()}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{VERSION: np.array(golden.code)}, **outputs)  # pyright: ignore[reportArgumentType]
    return path


def _small(value: ndarray) -> ndarray:
    """Single precision is finer than any tolerance here."""
    value = np.asarray(value)
    return value.astype(np.float32) if value.dtype == np.float64 else value


def differences(golden: Golden, stored: Mapping[str, ndarray], made: Mapping[str, ndarray]) -> list[str]:
    """What is not within the tolerances, an entry for each output."""
    found = [f"`{name}` is gone" for name in stored.keys() - made.keys()]
    found += [f"`{name}` is new" for name in made.keys() - stored.keys()]
    for name in sorted(stored.keys() & made.keys()):
        before, now = stored[name], _small(made[name])
        if before.shape != now.shape or before.dtype.kind != now.dtype.kind:
            found.append(f"`{name}` was {before.dtype} {before.shape}, is {now.dtype} {now.shape}")
            continue
        wrong = _outside(before, now, golden.tolerance(name))
        if np.mean(wrong) > golden.tolerance(name).share:
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            found.append(f"`{name}` {before[at]} -> {now[at]} at {at}, {wrong.sum()} of {wrong.size} differ")
    return found


def _outside(before: ndarray, now: ndarray, allowed: Tolerance) -> ndarray:
    """Which elements differ by more; a NaN only equals a NaN."""
    if before.dtype.kind not in "fiu":
        return before != now
    a, b = before.astype(np.float64), now.astype(np.float64)
    return ~np.isclose(b, a, rtol=allowed.relative, atol=allowed.absolute, equal_nan=True)
