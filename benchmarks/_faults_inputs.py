"""Faults planted in input files, every one once, and sound files of the same kinds that must pass in silence.

Which view, frames and values are wrong is drawn. Thresholds and messages were settled on seeds below 100.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import _faults_boards
import _faults_containers
import _faults_stores
import _faults_times
import _faults_units
import numpy as np
from _faults_boards import Print, calibrated, filmed
from _faults_motion import exported, keypoints_npz, mano_arrays
from _faults_planting import Fault, Planted, Ran, handpipe, plant
from _faults_sessions import FPS, FRAMES, checked, clips, session, timestamps
from _faults_times import rewritten
from numpy.random import Generator

__all__ = ["Planted", "planted_inputs", "sound_inputs"]

MODULES = (_faults_containers, _faults_units, _faults_times, _faults_stores, _faults_boards)


def faults() -> list[Fault]:
    """All of them, kind by kind."""
    every = [fault for module in MODULES for fault in module.FAULTS]
    kinds = dict.fromkeys(fault.kind for fault in every)
    return [fault for kind in kinds for fault in every if fault.kind == kind]


def planted_inputs(seed: int) -> Iterator[Planted]:
    """Plant every fault once."""
    for number, fault in enumerate(faults()):
        with tempfile.TemporaryDirectory() as folder:
            yield plant(fault, Path(folder) / "f", np.random.default_rng([seed, number]))


def sound_inputs(seed: int) -> Iterator[tuple[str, str]]:
    """Name of each sound input, and what was complained about; empty where nothing was."""
    for number, (name, run) in enumerate(SOUND.items()):
        with tempfile.TemporaryDirectory() as folder:
            yield name, run(Path(folder), np.random.default_rng([seed, 1000 + number])).complaint


def _session(suffix: str, **options: object) -> Callable[[Path, Generator], Ran]:
    return lambda folder, rng: checked(session(folder / "s", rng, suffix, **options)[0])


def _with_timestamps(start_s: float) -> Callable[[Path, Generator], Ran]:
    def run(folder: Path, rng: Generator) -> Ran:
        root, rig = session(folder / "s", rng)
        timestamps(root, rig, start_s + np.arange(FRAMES) / FPS + rng.normal(0, 0.001, FRAMES))
        return checked(root)

    return run


def _beside(folder: Path, rng: Generator) -> Ran:
    """What people keep beside their clips."""
    root, _ = session(folder / "s", rng)
    for name in ("README.md", "notes.txt", "participants.csv", "videos/.DS_Store", "videos/thumb.jpg", "photo.png"):
        (root / name).touch()
    (root / "old").mkdir()
    (root / "session.yaml").write_text(f"fps: {FPS}\n")
    return checked(root)


def _own_rate(folder: Path, rng: Generator) -> Ran:
    root, _ = session(folder / "s", rng, ".mkv")
    return checked(root, "--fps", round(FPS * float(rng.uniform(0.5, 2)), 2))


def _own_unit(folder: Path, rng: Generator) -> Ran:
    root, _ = session(folder / "s", rng)
    (root / "session.yaml").write_text("board: {columns: 7, rows: 5, square_m: 4 cm, marker_m: 30 mm}\n")
    return handpipe("config", root)


def _motion(format: str, name: str) -> Callable[[Path, Generator], Ran]:
    def run(folder: Path, rng: Generator) -> Ran:
        path, _ = exported(folder, rng, format, name)
        if format == "bvh":
            return handpipe("import", "bvh", path / "motion.bvh", path / "motion.bvh", folder / "s")
        return handpipe("import", "keypoints", path, folder / "s")

    return run


def _rounded(format: str) -> Callable[[Path, Generator], Ran]:
    """Times with two decimals, and the first row later than 0."""

    def run(folder: Path, rng: Generator) -> Ran:
        path, _ = exported(folder, rng, format, f"k.{format}")
        rewritten(path, lambda rows: [[row[0], f"{float(row[1]):.2f}", *row[2:]] for row in rows])
        return handpipe("import", "keypoints", path, folder / "s")

    return run


def _one_hand(folder: Path, rng: Generator) -> Ran:
    arrays, _ = mano_arrays(rng)
    gone = str(rng.choice(["left", "right"]))
    kept = {name: value for name, value in arrays.items() if not name.startswith(f"{gone}_")}
    np.savez(folder / "m.npz", **kept)  # pyright: ignore[reportArgumentType]
    return handpipe("import", "mano-motion", folder / "m.npz", folder / "s")


def _gaps(folder: Path, rng: Generator) -> Ran:
    points = mano_arrays(rng)[1]
    points[rng.random(points.shape[:3]) < 0.2] = np.nan
    return handpipe("import", "keypoints", keypoints_npz(folder / "k.npz", points), folder / "s")


def _board(board: Print) -> Callable[[Path, Generator], Ran]:
    return lambda folder, rng: calibrated(filmed(folder / "s", board, rng))


def _twice(folder: Path, rng: Generator) -> Ran:
    root, _ = session(folder / "s", rng)
    first = checked(root)
    return first if first.complaint or len(clips(root)) != first.figures["views"] else checked(root)


SOUND: dict[str, Callable[[Path, Generator], Ran]] = {
    "clips in mp4": _session(".mp4"),
    "clips in mkv with sound": _session(".mkv", sound_s=FRAMES / FPS),
    "clips in H.264 with B-frames": _session(".mp4", codec="libx264", encoder={"bf": "2"}),
    "clips of 120 frames per second": _session(".mp4", fps=120),
    "clips of 6 frames per second": _session(".avi", fps=6),
    "timestamps from 0": _with_timestamps(0.0),
    "timestamps since 1970": _with_timestamps(1.7e9),
    "other files in the session": _beside,
    "a rate that is set": _own_rate,
    "lengths with a unit": _own_unit,
    "the same command twice": _twice,
    "motion in csv": _motion("csv", "k.csv"),
    "motion in trc": _motion("trc", "k.trc"),
    "motion in glTF": _motion("gltf", "k.glb"),
    "motion in BVH": _motion("bvh", "bvh"),
    "rounded times in csv": _rounded("csv"),
    "rounded times in trc": _rounded("trc"),
    "one hand": _one_hand,
    "joints that are missing": _gaps,
    "a ChArUco board": _board(Print()),
    "an inverted board of a set": _board(Print(first_marker=12, inverted=True)),
    "a chessboard": _board(Print(chessboard=True)),
}
