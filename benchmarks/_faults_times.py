"""Faults of times in motion files, and of arrays that no hand gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _faults_motion import (
    FPS,
    FRAMES,
    MODELS,
    NUMBERS,
    Glb,
    exported,
    keypoints_npz,
    mano_arrays,
    stored_fps,
    stored_points,
)
from _faults_planting import Fault, Ran, Seen, followed, handpipe, put_right, told
from numpy import ndarray
from numpy.random import Generator

from handpipe.core.hands import HANDS

FAULTS: list[Fault] = []

Rows = list[list[str]]


def fault(kind: str, name: str) -> Callable[[Callable[[Path, Generator], Seen]], None]:
    return lambda plant: FAULTS.append(Fault(kind, name, plant))


times, arrays = (lambda name, kind=kind: fault(kind, name) for kind in ("times in motion files", "implausible arrays"))


def _imported(path: Path, *flags: object) -> Ran:
    return handpipe("import", "keypoints", path, path.parent / "s", *flags)


def _is(root: Path, points: ndarray, fps: float = FPS, atol: float = 2e-5) -> bool:
    """Whether an import has these joints, (frame, hand, joint, 3), NaN where a frame has none."""
    found = stored_points(root)
    same = found.shape == points.shape and np.allclose(found, points, atol=atol, equal_nan=True)
    return same and abs(stored_fps(root) / fps - 1) < 1e-3


def rewritten(path: Path, change: Callable[[Rows], Rows]) -> Path:
    """Change the rows of a CSV or TRC file; a row is frame number, time, and numbers."""
    tab, head = ("\t", 6) if path.suffix == ".trc" else (",", 1)
    lines = path.read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if n >= head - 1 and line[:1].isdigit())
    rows = change([line.split(tab) for line in lines[first:]])
    if path.suffix == ".trc":
        header = lines[2].split("\t")
        header[2] = str(len(rows))
        lines[2] = "\t".join(header)
    path.write_text("\n".join(lines[:first] + [tab.join(row) for row in rows]) + "\n")
    return path


def _table(change: Callable[[Rows, Generator], Rows], *reasons: str) -> Callable[[Path, Generator], Seen]:
    """A change to the rows of a CSV or TRC file that has to be complained about."""

    def plant(folder: Path, rng: Generator) -> Seen:
        format = str(rng.choice(["csv", "trc"]))
        path, _ = exported(folder, rng, format, f"k.{format}")
        return told(_imported(rewritten(path, lambda rows: change(rows, rng))), *reasons)

    return plant


def _gaps(format: str, keep_numbers: bool) -> Callable[[Path, Generator], Seen]:
    """Rows are left out: these frames have no hand, the others stay where they were."""

    def plant(folder: Path, rng: Generator) -> Seen:
        path, points = exported(folder, rng, format, f"k.{format}")
        start, length = int(rng.integers(4, 25)), int(rng.integers(2, 9))
        gone = np.arange(start, start + length)

        def change(rows: Rows) -> Rows:
            kept = [row for n, row in enumerate(rows) if n not in gone]
            return kept if keep_numbers else [[str(n), *row[1:]] for n, row in enumerate(kept)]

        ran = _imported(rewritten(path, change))
        expected = points.copy()
        expected[gone] = np.nan
        seen = put_right(ran, ran.status == 0 and _is(folder / "s", expected))
        said = f"{length} of {FRAMES} frames have no row" in ran.said
        return Seen(seen.detected or said, seen.right_reason and said, ran.said)

    return plant


times("rows left out of a CSV")(_gaps("csv", True))
times("rows left out of a TRC")(_gaps("trc", True))
times("rows left out of a CSV, numbered anew")(_gaps("csv", False))


def _swap(rows: Rows, rng: Generator) -> Rows:
    n = int(rng.integers(3, 30))
    rows[n], rows[n + 1] = rows[n + 1], rows[n]
    return rows


def _double(rows: Rows, rng: Generator) -> Rows:
    n = int(rng.integers(3, 30))
    return [*rows[: n + 1], *rows[n:]]


def _contradict(rows: Rows, rng: Generator) -> Rows:
    n, skipped = int(rng.integers(10, 25)), int(rng.integers(3, 12))
    return [[str(int(row[0]) + (skipped if k >= n else 0)), *row[1:]] for k, row in enumerate(rows)]


def _warp(rows: Rows, rng: Generator) -> Rows:
    bend = float(rng.uniform(0.3, 0.8))
    return [[row[0], f"{float(row[1]) * (1 + bend * k / FRAMES):.6f}", *row[2:]] for k, row in enumerate(rows)]


times("rows in another order")(_table(_swap, "increas"))
times("a row twice")(_table(_double, "increas|each once"))
times("frame numbers that contradict the times")(_table(_contradict, "times", "numbers|frames"))
times("times that drift")(_table(_warp, "even|times"))


@times("another rate in the header of a TRC")
def _(folder: Path, rng: Generator) -> Seen:
    path, points = exported(folder, rng, "trc", "k.trc")
    rate = str(rng.choice([15, 25, 60, 100, 120]))
    lines = path.read_text().splitlines()
    header = lines[2].split("\t")
    header[0] = header[1] = header[5] = rate
    path.write_text("\n".join([*lines[:2], "\t".join(header), *lines[3:]]) + "\n")
    seen = told(_imported(path), rf"the header says {rate} frames per second and the times are those of 30")

    def follow(advice: re.Match[str]) -> bool:
        return _imported(path, "--fps", advice[1].rstrip(".")).status == 0 and _is(folder / "s", points)

    return followed(seen, r"or --fps ([\d.]+)", follow)


def _in_milliseconds(format: str) -> Callable[[Path, Generator], Seen]:
    def plant(folder: Path, rng: Generator) -> Seen:
        path, points = exported(folder, rng, format, f"k.{format}")
        rewritten(path, lambda rows: [[row[0], f"{1000 * float(row[1]):.3f}", *row[2:]] for row in rows])
        seen = told(_imported(path), "frames per second")

        def follow(_: re.Match[str]) -> bool:
            return _imported(path, "--fps", 30).status == 0 and _is(folder / "s", points)

        return followed(seen, "--fps", follow)

    return plant


times("times of a CSV in milliseconds")(_in_milliseconds("csv"))
times("times of a TRC in milliseconds")(_in_milliseconds("trc"))


@times("frame time of a BVH in milliseconds")
def _(folder: Path, rng: Generator) -> Seen:
    exported(folder, rng, "bvh", "bvh")
    path = folder / "bvh" / "motion.bvh"
    text = re.sub(r"Frame Time: [\d.]+", f"Frame Time: {rng.choice(['33.3333', '33.333333', '33'])}", path.read_text())
    path.write_text(text)
    seen = told(handpipe("import", "bvh", path, path, folder / "s"), "frames per second", "Frame Time|--fps")

    def follow(_: re.Match[str]) -> bool:
        ran = handpipe("import", "bvh", path, path, folder / "s", "--fps", 30)
        return ran.status == 0 and stored_fps(folder / "s") == FPS and len(stored_points(folder / "s")) == FRAMES

    return followed(seen, "--fps", follow)


@times("keys of a glTF of their own in each channel")
def _(folder: Path, rng: Generator) -> Seen:
    path, points = exported(folder, rng, "gltf", "k.glb")
    glb, candidates = Glb(path), np.arange(2, FRAMES - 2, 4)
    for sampler in glb.samplers:
        keys, values = glb.values(sampler["input"]), glb.values(sampler["output"])
        kept = np.delete(np.arange(FRAMES), rng.choice(candidates, int(rng.integers(1, 6)), False))
        sampler |= {"input": glb.add(keys[kept]), "output": glb.add(values[kept])}
    ran = _imported(glb.save())
    # Where a key is missing, the motion between its neighbours is lost: there only the frame must be.
    points[candidates] = stored_points(folder / "s")[candidates] if ran.status == 0 else np.nan
    return put_right(ran, ran.status == 0 and _is(folder / "s", points))


@times("times of a glTF in milliseconds")
def _(folder: Path, rng: Generator) -> Seen:
    path, _ = exported(folder, rng, "gltf", "k.glb")
    glb = Glb(path)
    keys = glb.add(1000 * glb.values(glb.samplers[0]["input"]))
    for sampler in glb.samplers:
        sampler["input"] = keys
    return told(_imported(glb.save()), "frames per second|frames")


# ---- arrays --------------------------------------------------------------------------------------------------------


def _mano(
    change: Callable[[dict[str, ndarray], str, Generator], object], *reasons: str
) -> Callable[[Path, Generator], Seen]:
    """A change to the numbers of a drawn hand that has to be complained about."""

    def plant(folder: Path, rng: Generator) -> Seen:
        numbers, _ = mano_arrays(rng)
        change(numbers, str(rng.choice(HANDS)), rng)
        np.savez(folder / "m.npz", **numbers)  # pyright: ignore[reportArgumentType]
        return told(handpipe("import", "mano-motion", folder / "m.npz", folder / "s"), *reasons)

    return plant


def _zeros(numbers: dict[str, ndarray], hand: str, rng: Generator) -> None:
    first, length = int(rng.integers(0, 25)), int(rng.integers(3, 12))
    for name in NUMBERS:
        numbers[f"{hand}_{name}"][first : first + length] = 0


def _all_zero(numbers: dict[str, ndarray], hand: str, rng: Generator) -> None:
    for name in NUMBERS:
        numbers[f"{hand}_{name}"][:] = 0


def _degrees(which: str) -> Callable[[dict[str, ndarray], str, Generator], None]:
    def change(numbers: dict[str, ndarray], hand: str, rng: Generator) -> None:
        numbers[f"{hand}_{which}"] = np.rad2deg(numbers[f"{hand}_{which}"])

    return change


def _pca(numbers: dict[str, ndarray], hand: str, rng: Generator) -> None:
    del numbers["flat_hand_mean"]
    for each, model in zip(HANDS, MODELS, strict=True):
        pose = numbers[f"{each}_hand_pose"] - model.hands_mean
        numbers[f"{each}_hand_pose"] = (pose @ np.linalg.inv(model.hands_components)).astype(np.float32)


def _still(numbers: dict[str, ndarray], hand: str, rng: Generator) -> None:
    every = int(rng.integers(2, 5))
    for name in NUMBERS:
        numbers[f"{hand}_{name}"] = numbers[f"{hand}_{name}"][np.arange(FRAMES) // every * every]


def _nan(numbers: dict[str, ndarray], hand: str, rng: Generator) -> None:
    numbers[f"{hand}_valid"] = np.ones(FRAMES, bool)
    numbers[f"{hand}_{rng.choice(NUMBERS)}"][int(rng.integers(0, 30)) :] = np.nan


def _exchanged(numbers: dict[str, ndarray], hand: str, rng: Generator) -> None:
    for name in (*NUMBERS, "betas"):
        one, other = (numbers[f"{each}_{name}"] for each in HANDS)
        numbers[f"left_{name}"], numbers[f"right_{name}"] = other, one


def _copied(numbers: dict[str, ndarray], hand: str, rng: Generator) -> None:
    other = HANDS[1 - HANDS.index(hand)]
    for name in (*NUMBERS, "betas"):
        numbers[f"{other}_{name}"] = numbers[f"{hand}_{name}"].copy()


arrays("zeros for a missing hand")(_mano(_zeros, "all is 0 are taken as missing"))
arrays("a hand of zeros")(_mano(_all_zero, "are 0 in every frame"))
arrays("orientation in degrees")(_mano(_degrees("global_orient"), "look like degrees"))
arrays("pose in degrees")(_mano(_degrees("hand_pose"), "look like degrees"))
arrays("PCA coefficients as pose")(_mano(_pca, "PCA coefficients"))
arrays("frames that are repeated")(_mano(_still, "exactly the frame before"))
arrays("hands exchanged, as MANO")(_mano(_exchanged, "left|right", "other hand|swapped|back"))
arrays("one hand copied to both, as MANO")(_mano(_copied, "left|right", "other hand|swapped|back|same"))


@arrays("NaN where valid is true")
def _(folder: Path, rng: Generator) -> Seen:
    numbers, _ = mano_arrays(rng)
    hand = str(rng.choice(HANDS))
    _nan(numbers, hand, rng)
    np.savez(folder / "m.npz", **numbers)  # pyright: ignore[reportArgumentType]
    ran = handpipe("import", "mano-motion", folder / "m.npz", folder / "s")
    there = np.isfinite(stored_points(folder / "s", "mano")[:, HANDS.index(hand)]).all(axis=(-1, -2))
    return put_right(ran, int(there.sum()) < FRAMES and "hand in" in ran.said)


def _points(change: Callable[[ndarray, int, Generator], ndarray], *reasons: str) -> Callable[[Path, Generator], Seen]:
    """A change to joints, (frame, hand, joint, 3), of a drawn hand that has to be complained about."""

    def plant(folder: Path, rng: Generator) -> Seen:
        points = change(mano_arrays(rng)[1].copy(), int(rng.integers(2)), rng)
        return told(_imported(keypoints_npz(folder / "k.npz", points)), *reasons)

    return plant


def _joints_at_zero(points: ndarray, hand: int, rng: Generator) -> ndarray:
    points[rng.integers(0, FRAMES, 8), hand, rng.integers(0, 21, 8)] = 0
    return points


def _copied_points(points: ndarray, hand: int, rng: Generator) -> ndarray:
    points[:, 1 - hand] = points[:, hand]
    return points


def _shuffled(points: ndarray, hand: int, rng: Generator) -> ndarray:
    points[:, hand] = points[:, hand][:, rng.permutation(21)]
    return points


def _some_larger(points: ndarray, hand: int, rng: Generator) -> ndarray:
    points[int(rng.integers(10, 30)) :] *= 1000
    return points


arrays("hands exchanged")(_points(lambda points, hand, rng: points[:, ::-1], "the shape of the other"))
arrays("mirrored joints")(_points(lambda points, hand, rng: points * [1, 1, -1], "the shape of the other"))
arrays("joints at zero")(_points(_joints_at_zero, r"exactly \(0, 0, 0\)"))
arrays("one hand copied to both")(_points(_copied_points, "the shape of the other|same"))
arrays("joints in another order")(_points(_shuffled, "order"))
arrays("millimetres from some frame on")(_points(_some_larger, "one unit|one size"))
