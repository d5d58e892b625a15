"""Faults of units and rates, at every entrance. The advice that is printed is followed, and the result compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from _faults_motion import keypoints_npz, mano_arrays, stored_points
from _faults_planting import Fault, Ran, Seen, followed, handpipe, told
from _faults_sessions import FPS, FRAMES, checked, session, timestamps
from numpy.random import Generator

from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import write_cameras
from handpipe.core.storage.schema import read_cameras as stored_cameras
from handpipe.core.storage.store import Store
from handpipe.exchange.cameras.formats import WRITTEN, write_camera_file

FAULTS: list[Fault] = []

UNITS_M = {"mm": 0.001, "cm": 0.01, "inches": 0.0254}


def fault(name: str) -> Callable[[Callable[[Path, Generator], Seen]], None]:
    return lambda plant: FAULTS.append(Fault("units at entrances", name, plant))


def _scaled(rig: Cameras, factor: float) -> Cameras:
    T = rig.T_cam_world.copy()
    T[:, :3, 3] *= factor
    return replace(rig, T_cam_world=T)


# ---- boards --------------------------------------------------------------------------------------------------------


def _board(low: float, high: float, to_m: float, digits: int) -> Callable[[Path, Generator], Seen]:
    """A square and a marker as a person writes them who takes the key for another unit."""

    def plant(folder: Path, rng: Generator) -> Seen:
        root, _ = session(folder / "s", rng)
        square = round(float(rng.uniform(low, high)), digits)
        sizes = {"square_m": square, "marker_m": round(0.75 * square, digits + 1)}

        def configured() -> Ran:
            text = ", ".join(f"{key}: {value:.10f}" for key, value in sizes.items())
            (root / "session.yaml").write_text(f"board: {{columns: 7, rows: 5, {text}}}\n")
            return handpipe("config", root)

        def follow(advice: re.Match[str]) -> bool:
            sizes[advice[1]] = float(advice[2])
            ran = configured()
            other = re.search(pattern, ran.said)
            if ran.status and other is not None:
                return follow(other)
            return ran.status == 0 and abs(sizes["square_m"] / (square * to_m) - 1) < 0.01

        pattern = r" is (square_m|marker_m): ([\d.]+)"
        return followed(told(configured(), "square_m'?: expected metres: a square of"), pattern, follow)

    return plant


fault("board in millimetres")(_board(25, 90, 0.001, 0))
fault("board in centimetres")(_board(2.5, 9, 0.01, 1))
fault("board in metres, converted twice")(_board(0.00003, 0.00009, 1000, 6))


# ---- cameras -------------------------------------------------------------------------------------------------------


def _read_with_unit(seen: Seen, root: Path, rig: Cameras) -> Seen:
    """Follow the command that a message names."""

    def follow(advice: re.Match[str]) -> bool:
        ran = checked(root, "--from", advice[1], "--unit-m", advice[2])
        found = stored_cameras(Store(str(root / "session.zarr"))).centers_m if ran.status == 0 else np.zeros(3)
        return np.allclose(found, rig.centers_m, atol=1e-6)

    return followed(seen, r"--from (\S+) --unit-m ([\w.]*\w)", follow)


def _rig_in(unit: str) -> Callable[[Path, Generator], Seen]:
    def plant(folder: Path, rng: Generator) -> Seen:
        root, rig = session(folder / "s", rng)
        write_cameras(root / "cameras.toml", _scaled(rig, 1 / UNITS_M[unit]))
        return _read_with_unit(told(checked(root), "expected a rig in metres", "outermost cameras"), root, rig)

    return plant


for unit in UNITS_M:
    fault(f"cameras.toml in {unit}")(_rig_in(unit))


@fault("another tool's cameras in millimetres")
def _(folder: Path, rng: Generator) -> Seen:
    root, rig = session(folder / "s", rng)
    format = str(rng.choice([name for name in WRITTEN if name in ("json", "npz", "colmap", "opencv", "caliscope")]))
    path = folder / ("rig.npz" if format == "npz" else "rig.json" if format == "json" else "rig")
    write_camera_file(path, _scaled(rig, 1000), format)

    return _read_with_unit(told(checked(root, "--from", path), "expected a rig in metres"), root, rig)


# ---- times ---------------------------------------------------------------------------------------------------------


def _times(per_second: float, start_s: float, *reasons: str) -> Callable[[Path, Generator], Seen]:
    def plant(folder: Path, rng: Generator) -> Seen:
        root, rig = session(folder / "s", rng)
        jitter = rng.normal(0, 0.0005, FRAMES)
        times = (start_s + float(rng.uniform(0, 100)) + np.arange(FRAMES) / FPS + jitter) * per_second
        timestamps(root, rig, np.round(times) if per_second > 1 else times)

        def follow(advice: re.Match[str]) -> bool:
            (root / "session.yaml").write_text(f"capture: {{timestamps_unit: {advice[1]}}}\n")
            return abs(checked(root).figures.get("fps", 0) / FPS - 1) < 0.02

        return followed(told(checked(root), *reasons), r"timestamps_unit: (\w+)", follow)

    return plant


fault("timestamps in milliseconds")(_times(1e3, 0, "look like milliseconds"))
fault("timestamps in microseconds")(_times(1e6, 0, "look like microseconds"))
fault("timestamps in nanoseconds")(_times(1e9, 0, "look like nanoseconds"))
fault("timestamps since 1970 in milliseconds")(_times(1e3, 1.7e9, "look like milliseconds"))
fault("timestamps since 1970 in nanoseconds")(_times(1e9, 1.7e9, "look like nanoseconds"))


@fault("frame numbers as timestamps")
def _(folder: Path, rng: Generator) -> Seen:
    root, rig = session(folder / "s", rng)
    times = np.arange(FRAMES) + float(rng.integers(0, 1000))
    timestamps(root, rig, times)

    def follow(advice: re.Match[str]) -> bool:
        timestamps(root, rig, times / float(advice[1].rstrip(".")))
        return abs(checked(root).figures.get("fps", 0) / FPS - 1) < 0.02

    return followed(told(checked(root), "frame numbers"), r"divide frame_time by ([\d.e+]+)", follow)


@fault("one camera by another clock")
def _(folder: Path, rng: Generator) -> Seen:
    root, rig = session(folder / "s", rng)
    path = timestamps(root, rig, np.arange(FRAMES) / FPS)
    name, away = rig.names[int(rng.integers(len(rig)))], float(rng.uniform(5, 5000))
    lines = [line.split(",") for line in path.read_text().splitlines()]
    moved = [[*row[:3], str(float(row[3]) + away)] if row[1] == name else row for row in lines]
    path.write_text("\n".join(",".join(row) for row in moved) + "\n")
    return told(checked(root), f"those of {name} are", "by one clock")


def _rate(low: float, high: float, *reasons: str) -> Callable[[Path, Generator], Seen]:
    def plant(folder: Path, rng: Generator) -> Seen:
        root, _ = session(folder / "s", rng)
        seen = told(checked(root, "--fps", f"{rng.uniform(low, high):.4g}"), *reasons)
        return followed(seen, "leave it out|Check `fps`", lambda _: checked(root).figures.get("fps") == FPS)

    return plant


fault("seconds per frame as fps")(_rate(0.005, 0.05, "fps: expected 0.1 to 2000"))
fault("fps in thousands")(_rate(2500, 60000, "fps: expected 0.1 to 2000"))
fault("fps unlike the clips'")(_rate(100, 240, "frames per second is set, but the header of the clips gives 25"))


# ---- hands ---------------------------------------------------------------------------------------------------------


def _joints(unit: str) -> Callable[[Path, Generator], Seen]:
    def plant(folder: Path, rng: Generator) -> Seen:
        points = mano_arrays(rng)[1]
        path = keypoints_npz(folder / "k.npz", points / UNITS_M[unit])

        def follow(advice: re.Match[str]) -> bool:
            unit = advice[1].rstrip(".")
            fine = handpipe("import", "keypoints", path, folder / "s", "--unit-m", unit).status == 0
            return fine and np.allclose(stored_points(folder / "s"), points, atol=1e-5)

        seen = told(handpipe("import", "keypoints", path, folder / "s"), "expected metres, a palm of")
        return followed(seen, r"--unit-m (\S+)", follow)

    return plant


for unit in UNITS_M:
    fault(f"3D keypoints in {unit}")(_joints(unit))


def _places(unit: str) -> Callable[[Path, Generator], Seen]:
    def plant(folder: Path, rng: Generator) -> Seen:
        arrays, points = mano_arrays(rng)
        places = [name for name in arrays if name.endswith("_transl")]
        np.savez(folder / "m.npz", **arrays | {name: arrays[name] / UNITS_M[unit] for name in places})  # pyright: ignore

        def follow(advice: re.Match[str]) -> bool:
            factor = float(advice[1].rstrip("."))
            mended = {name: arrays[name] / UNITS_M[unit] * factor for name in places}
            np.savez(folder / "n.npz", **arrays | mended)  # pyright: ignore
            ran = handpipe("import", "mano-motion", folder / "n.npz", folder / "s")
            return ran.status == 0 and np.allclose(stored_points(folder / "s", "mano"), points, atol=1e-4)

        seen = told(handpipe("import", "mano-motion", folder / "m.npz", folder / "s"), "transl: expected metres")
        return followed(seen, r"multiply it by ([\d.e-]+)", follow)

    return plant


fault("MANO's places in millimetres")(_places("mm"))
fault("MANO's places in centimetres")(_places("cm"))
