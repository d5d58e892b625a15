"""Calibration of simulated rigs with known truth, and of a real recording, by handpipe's solver and by aniposelib's.

    python benchmarks/calibration.py [--only rig peer growth recording] [--peer-views 50] [--json FILE]

The simulated rig: cameras on a dome at 0.72 to 0.88 m, 1920x1080 pixels, 65 degrees across, each with another lens; a
7 x 5 ChArUco board of 40 mm squares, waved through a tenth of a cubic metre for 200 frames; 0.2 px of Gaussian noise
per axis on every corner, 0.5 % of the corners 20 px off. Another 50 frames of the board, never shown to a calibration,
give the held-out figures: corners triangulated from what each rig says, distances against the print. Every time is CPU
time of this process on one thread, so that a busy machine does not count.

aniposelib is `calibration.solver: aniposelib`: its bundle adjustment from handpipe's start, on the same corners. It
takes minutes at 50 cameras, so it is measured at `--peer-views` (default 8). The real recording is
`../shared/data/caliscope_charuco_4cam_hands`: blocks of half of the board's frames calibrate, the other half judges,
and the other way round; the calibration that came with it has seen all of them. Delays are estimated from the half that
calibrates. Intervals are bootstraps over blocks of frames, of differences over the same sightings: a late view
has none in the first or last frame of a block of held-out frames.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from _calibration_recording import ANIPOSELIB, recording
from _report import Figure, report
from numpy import ndarray
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from handpipe.calibration.board import corner_positions
from handpipe.calibration.calibrate import calibrate
from handpipe.calibration.joint import Solver, adjust_rig
from handpipe.calibration.quality import board_distance_errors
from handpipe.core.cameras import Cameras
from handpipe.core.engine import limit_threads
from handpipe.core.geometry import align_rigid, transform
from handpipe.core.settings import Board
from handpipe.rendering.rig import dome_rig

BOARD = Board()
FRAMES, HELD_OUT_FRAMES = 200, 50
SIZE_PX, FOCAL_PX = (1920, 1080), 1500.0
REACH_M = np.array([0.25, 0.25, 0.2])
NOISE_PX, WRONG, WRONG_PX = 0.2, 0.005, 20.0
FACING = np.cos(np.deg2rad(65.0))
"""A board that is turned away further than this is not found."""


@dataclass(frozen=True)
class RigEstimate:
    """A simulated rig and what it saw."""

    truth: Cameras
    corners_px: ndarray
    """(view, frame, corner, 2), to calibrate from."""
    held_out_px: ndarray
    """(view, frame, corner, 2), to judge by; no wrong corners."""


def scene(views: int) -> RigEstimate:
    rng = np.random.default_rng(views)
    rig = dome_rig(views, SIZE_PX)
    K = rig.K.copy()
    K[:, :2, :2] *= FOCAL_PX / np.median(rig.focal_px)
    rig = replace(rig, K=K)
    found_px = _sightings(rig, FRAMES, rng)
    wrong = rng.uniform(size=found_px.shape[:3]) < WRONG
    angle = rng.uniform(0, 2 * np.pi, wrong.shape)
    off_px = WRONG_PX * np.stack([np.cos(angle), np.sin(angle)], -1)
    return RigEstimate(rig, found_px + wrong[..., None] * off_px, _sightings(rig, HELD_OUT_FRAMES, rng))


def _sightings(rig: Cameras, frames: int, rng: np.random.Generator) -> ndarray:
    """Board poses anywhere in the volume, facing the cameras with up to about 50 degrees of tilt."""
    toward = rng.normal(0, 1, (frames, 3)) * [1, 1, 0.6] + [0, 0, 0.5]
    z = -toward / np.linalg.norm(toward, axis=1, keepdims=True)
    spin = Rotation.from_rotvec(z * rng.uniform(-np.pi, np.pi, (frames, 1)))
    x = spin.apply(np.cross(z, [0.0, 0.0, 1.0]))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    R = np.stack([x, np.cross(z, x), z], -1)
    corners_m = corner_positions(BOARD) - corner_positions(BOARD).mean(0)
    points = np.einsum("fij,cj->fci", R, corners_m) + rng.uniform(-REACH_M, REACH_M, (frames, 1, 3))
    uv = rig.project(points)
    to_camera = rig.centers_m[:, None] - points.mean(1)
    cosine = np.einsum("vfi,fi->vf", to_camera, -z) / np.linalg.norm(to_camera, axis=-1)
    inside = ((uv > 2) & (uv < rig.size_px[:, None, None] - 3)).all(-1)
    seen = inside & (cosine > FACING)[..., None]
    seen &= seen.sum(-1, keepdims=True) >= 6
    return np.where(seen[..., None], uv + rng.normal(0, NOISE_PX, uv.shape), np.nan)


@dataclass(frozen=True)
class Errors:
    """Errors of a rig after rigid alignment of the camera centres with the ground truth; the board gives the scale."""

    center_mm: ndarray
    rotation_deg: ndarray
    held_out_px: float
    """RMS distance of the held-out corners from where the rig puts their triangulation."""
    held_out_mm: float
    """RMSE of all distances between the triangulated held-out corners of a frame."""

    @classmethod
    def of(cls, found: Cameras, scene: RigEstimate) -> Errors:
        T = align_rigid(found.centers_m, scene.truth.centers_m)
        off_m = transform(T, found.centers_m) - scene.truth.centers_m
        turned = found.T_cam_world[:, :3, :3] @ T[:3, :3].T @ scene.truth.T_cam_world[:, :3, :3].transpose(0, 2, 1)
        judged = board_distance_errors(found, scene.held_out_px, BOARD)
        return cls(
            1e3 * np.linalg.norm(off_m, axis=-1),
            np.rad2deg(Rotation.from_matrix(turned).magnitude()),
            judged.reprojection_rms_px,
            judged.all_rmse_mm,
        )


COLUMNS = ("", "centres mm, median", "max", "rotations deg, median", "max", "held-out px", "mm", "CPU s")


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "" else "right")
    return table


def _cells(errors: Errors, cpu_s: float) -> list[str]:
    pairs = [f"{f(values):.3f}" for values in (errors.center_mm, errors.rotation_deg) for f in (np.median, np.max)]
    return [*pairs, f"{errors.held_out_px:.3f}", f"{errors.held_out_mm:.3f}", f"{cpu_s:.1f}"]


@dataclass(frozen=True)
class Measured:
    """A calibrated rig and what it cost."""

    cameras: Cameras
    rms_px: float
    """Over the corners used."""
    whole_cpu_s: float
    """CPU seconds from corners to cameras."""
    adjustment_cpu_s: float
    """CPU seconds of the bundle adjustments: with held-out frames, with all frames, and standard errors."""


def _measured(part: RigEstimate, solver: Solver | None = None) -> Measured:
    spent = []

    def timed(*args: Any) -> Any:
        begin = time.process_time()
        solution = adjust_rig(*args)
        spent.append(time.process_time() - begin)
        return solution

    begin = time.process_time()
    with mock.patch("handpipe.calibration.calibrate.adjust_rig", timed):
        result = calibrate(BOARD, part.corners_px, part.truth.names, part.truth.size_px, solver=solver)
    assert not result.left_out, result.left_out
    return Measured(result.cameras, result.total_rms_px, time.process_time() - begin, sum(spent))


def rig(options: argparse.Namespace) -> list[Figure]:
    """Fifty cameras against the truth."""
    part = scene(50)
    ours = _measured(part)
    errors = Errors.of(ours.cameras, part)
    table = _table("50 cameras")
    table.add_row("handpipe", *_cells(errors, ours.whole_cpu_s))
    true = Errors.of(part.truth, part)
    table.add_row("ground truth", *_cells(true, 0.0))
    Console(width=130).print(table)
    return [
        Figure("50 cameras: centres, median", float(np.median(errors.center_mm)), "mm", 0.5),
        Figure("50 cameras: rotations, median", float(np.median(errors.rotation_deg)), "deg", 0.02),
        Figure("50 cameras: reprojection, RMS", ours.rms_px, "px", 0.30),
        Figure("50 cameras: held-out mm relative to ground truth", errors.held_out_mm / true.held_out_mm, "times"),
        Figure("50 cameras: corners to cameras, CPU", ours.whole_cpu_s, "s", 15.0),
    ]


def peer(options: argparse.Namespace) -> list[Figure]:
    """Both solvers from the same start, on the same corners."""
    views = options.peer_views
    part = scene(views)
    ours = _measured(part)
    _measured(scene(3), ANIPOSELIB)  # What it compiles on first use is not counted.
    theirs = _measured(part, ANIPOSELIB)
    us, them = Errors.of(ours.cameras, part), Errors.of(theirs.cameras, part)
    table = _table(f"{views} cameras, both solvers; CPU s of the bundle adjustment alone")
    table.add_row("handpipe", *_cells(us, ours.adjustment_cpu_s))
    table.add_row("aniposelib", *_cells(them, theirs.adjustment_cpu_s))
    Console(width=130).print(table)
    faster = theirs.adjustment_cpu_s / ours.adjustment_cpu_s
    whole = theirs.whole_cpu_s / ours.whole_cpu_s
    return [
        Figure(f"{views} cameras: bundle adjustment, speed-up over aniposelib", faster, "times", 10.0, "higher"),
        Figure(f"{views} cameras: corners to cameras, speed-up over aniposelib", whole, "times"),
        Figure(f"{views} cameras: centres relative to aniposelib", _ratio(us.center_mm, them.center_mm), "times", 1.0),
        Figure(f"{views} cameras: held-out mm relative to aniposelib", us.held_out_mm / them.held_out_mm, "times", 1.0),
    ]


def _ratio(ours: ndarray, theirs: ndarray) -> float:
    return float(np.median(ours) / np.median(theirs))


def growth(options: argparse.Namespace) -> list[Figure]:
    """Accuracy and time for different numbers of cameras."""
    table = _table("scaling with the number of cameras")
    cost = {}
    for views in (4, 10, 25, 50, 100):
        part = scene(views)
        ours = _measured(part)
        cost[views] = ours.whole_cpu_s
        table.add_row(str(views), *_cells(Errors.of(ours.cameras, part), ours.whole_cpu_s))
    Console(width=130).print(table)
    return [Figure("time for 100 cameras relative to 50", cost[100] / cost[50], "times")]


PARTS: Mapping[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "rig": rig,
    "peer": peer,
    "growth": growth,
    "recording": recording,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts to run")
    parser.add_argument("--peer-views", type=int, default=8, help="number of cameras in the comparison with aniposelib")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    limit_threads()
    report("calibration", [row for part in options.only for row in PARTS[part](options)], options.json)


if __name__ == "__main__":
    main()
