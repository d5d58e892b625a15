"""Time synchronisation: accuracy of estimated offsets, and effect on triangulation and reprojection.

    python benchmarks/timing.py [--views N] [--frames N] [--seeds N] [--data DIR] [--no-real] [--json FILE]

Synthetic hands that interact, seen by a poor detector; every figure comes from the stage's own groups in a store. Then
the real recording of four webcams: reprojection of the hands as recorded, with its timestamps, and with the cameras'
clocks estimated on top of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from _identity_scenes import Faults, Scene, detect, interacting
from _report import Figure, report
from numpy import ndarray
from real_footage import DATA, lay_out
from rich.console import Console

from handpipe.core.cameras import Cameras
from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.candidates import detections_group
from handpipe.core.storage.schema import CAMERAS, DETECTIONS, TIMELINE, camera_blocks, group_spec
from handpipe.core.storage.store import Store
from handpipe.rendering.rig import dome_rig
from handpipe.screen import Screen
from handpipe.triangulation.settings import TimeSyncSettings, TriangulationSettings
from handpipe.triangulation.stage import IDENTITY_PLANS, keypoints_plan
from handpipe.triangulation.time_sync_stage import aligned_plan, clock_plan

FPS = 30.0
FINE = 10
"""Steps of the simulated motion per frame: offsets are multiples of a tenth."""
LEAD = 20
"""Frames simulated before the first instant and after the last."""
FAULTS = Faults(seen=0.8, run=10.0, mixed=0.05)


def motion(frames: int, seed: int) -> Scene:
    """Two interacting hands, ten steps per frame."""
    return interacting((frames + 2 * LEAD) * FINE, seed, FPS * FINE)


def still(scene: Scene) -> Scene:
    """Hands that stay where they are."""
    return replace(scene, joints_m=np.broadcast_to(scene.joints_m[:1], scene.joints_m.shape))


def film(cameras: Cameras, scene: Scene, late: ndarray, seed: int) -> dict[str, ndarray]:
    """Detections of clips whose frame n was taken `late` (view, frame) frames after instant n."""
    views = []
    for view, row in enumerate(late):
        at = ((np.arange(len(row)) + LEAD + row) * FINE).round().astype(int)
        seen = replace(scene, joints_m=scene.joints_m[at], visible=scene.visible[at])
        views.append(detect(cameras.subset([view]), seen, FAULTS, 1000 * seed + view))
    return {
        "points": np.concatenate([v.points_px for v in views]),
        "score": np.concatenate([v.score for v in views]),
        "right": np.concatenate([v.right for v in views]),
    }


def stage(
    folder: Path,
    cameras: Cameras,
    found: dict[str, ndarray],
    time_s: ndarray,
    timestamps: bool,
    options: TimeSyncSettings,
) -> Store:
    """The stage on these detections, from `clock` to `keypoints`."""
    store = Store(str(Path(tempfile.mkdtemp(dir=folder)) / "session.zarr"))
    store.open()
    views, frames, candidates = found["score"].shape
    source = np.where(np.isfinite(time_s), np.arange(frames), -1)
    names = {"view": (("view",), np.array(cameras.names, object))}
    sizes = {"view": views, "frame": frames, "candidate": candidates, "session": 1}
    attrs = {"fps": FPS, "timestamps": timestamps}
    for name, columns, blocks in (
        ("timeline", TIMELINE, {"source_frame": source, "time": time_s}),
        ("cameras", CAMERAS, camera_blocks(cameras, np.zeros(views))),
        ("detections", DETECTIONS, found),
    ):
        store.create(group_spec(name, columns, sizes, {"session": 1}, {"code": 1}, attrs, names))
        store.write(name, (0,), blocks)
        store.finish(name)
    with Engine(EngineSettings(workers=0), Screen(Console(quiet=True))) as engine:
        engine.execute(store, partial(clock_plan, store, store, options))
        if detections_group(store) == "aligned":
            engine.execute(store, partial(aligned_plan, store))
        for plan in (*IDENTITY_PLANS.values(), keypoints_plan):
            engine.execute(store, partial(plan, store, store, TriangulationSettings()))
    return store


def joint_error_mm(store: Store, scene: Scene, shift: float = 0.0) -> float:
    """Mean error of all the joints that were found, with the scene `shift` frames later."""
    points = store.read("keypoints", "points").astype(float)
    at = ((np.arange(len(points)) + LEAD + shift) * FINE).round().astype(int)
    return 1e3 * float(np.nanmean(np.linalg.norm(points - scene.joints_m[at], axis=-1)))


def offset_figures(folder: Path, views: int, frames: int, seeds: int) -> list[Figure]:
    """Clips without timestamps, with offsets up to 12.4 frames."""
    cameras, worst, sigma, before, after = dome_rig(views), [], [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        late = np.round(rng.permutation(np.linspace(-12.4, 12.4, views)), 1)
        late -= np.round(np.median(late), 1)
        scene = motion(frames, seed)
        found = film(cameras, scene, np.tile(late[:, None], frames), seed)
        time_s = np.tile(np.arange(frames) / FPS, (views, 1))
        store = stage(folder, cameras, found, time_s, False, TimeSyncSettings())
        offset = FPS * store.read("clock", "offset")
        error = offset - late
        worst.append(np.abs(error - np.median(error)).max())
        sigma.append(FPS * store.read("clock", "sigma").max())
        after.append(joint_error_mm(store, scene, float(np.round(-np.median(error), 1))))
        together = film(cameras, scene, np.zeros((views, frames)), seed)
        before.append(joint_error_mm(stage(folder, cameras, together, time_s, True, OFF), scene))
    return [
        Figure("offsets up to 12.4 frames, largest error", float(max(worst)), "frames", 0.1),
        Figure("  largest standard error", float(max(sigma)), "frames"),
        Figure("  joint error, mean", float(np.mean(after)), "mm"),
        Figure("  joint error with synchronised cameras, mean", float(np.mean(before)), "mm"),
    ]


OFF = TimeSyncSettings(interpolate=False)


def drop_figures(folder: Path, views: int, frames: int) -> list[Figure]:
    """A fiftieth of the frames missing, and all of them a little early or late; timestamps.csv says when."""
    cameras, scene, rng = dome_rig(views), motion(frames, 7), np.random.default_rng(7)
    late = np.round(rng.uniform(-0.5, 0.5, (views, frames)), 1)
    regular = np.tile(np.arange(frames) / FPS, (views, 1))
    kept = rng.random((views, frames)) >= 0.02
    whole = film(cameras, scene, np.zeros((views, frames)), 7)
    dropped = {name: np.where(kept.reshape(kept.shape + (1,) * (a.ndim - 2)), a, np.nan) for name, a in whole.items()}
    jittered = film(cameras, scene, late, 7)
    time_s = np.where(kept, regular, np.nan)
    base = joint_error_mm(stage(folder, cameras, whole, regular, True, TimeSyncSettings()), scene)
    cost = joint_error_mm(stage(folder, cameras, dropped, time_s, True, TimeSyncSettings()), scene)
    off = joint_error_mm(stage(folder, cameras, jittered, regular + late / FPS, True, OFF), scene)
    on = joint_error_mm(stage(folder, cameras, jittered, regular + late / FPS, True, TimeSyncSettings()), scene)
    return [
        Figure("joint error without dropped frames, mean", base, "mm"),
        Figure("  increase with 2 % dropped frames", 100 * (cost / base - 1), "%", 5),
        Figure("joint error with offsets up to half a frame, as recorded", off, "mm"),
        Figure("  interpolated", on, "mm", off),
    ]


def drift_figures(folder: Path, views: int, frames: int) -> list[Figure]:
    """One clock that loses a frame over the recording; and hands that do not move, which tell nothing."""
    cameras, scene = dome_rig(views), motion(frames, 3)
    late = np.zeros((views, frames))
    late[2] = np.linspace(-0.5, 0.5, frames)
    time_s = np.tile(np.arange(frames) / FPS, (views, 1))
    store = stage(folder, cameras, film(cameras, scene, late, 3), time_s, False, TimeSyncSettings())
    drift = store.read("clock", "drift") * frames
    resting = stage(folder, cameras, film(cameras, still(scene), late, 3), time_s, False, TimeSyncSettings())
    return [
        Figure("estimated drift of a camera that drifts by 1 frame", float(drift[2]), "frames", 0.9, "higher"),
        Figure("  largest drift of the other cameras", float(np.abs(np.delete(drift, 2)).max()), "frames", 0.2),
        Figure("resting hands: corrected views", float(resting.read("clock", "used").sum()), "", 0),
    ]


def real_figures(folder: Path, data: Path) -> list[Figure]:
    """The recording of four webcams: which offsets, and the hands' reprojection."""
    root = folder / "four-cameras"
    rows, values = [], []
    for name, flags in (
        ("without timestamps", ["--clock.no-interpolate", "--clock.no-estimate"]),
        ("with timestamps", ["--clock.no-interpolate", "--clock.no-estimate"]),
        ("with timestamps, interpolated", ["--clock.no-estimate"]),
        ("with estimated offsets", []),
    ):
        lay_out(data, root)
        if not values:
            (root / "timestamps.csv").unlink()
        command = [sys.executable, "-m", "handpipe.cli", "run", str(root), "--json", *flags]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        limit = values[0] if values else None
        values.append(figures["reprojection_px"])
        rows.append(Figure(f"real recording, reprojection error: {name}", values[-1], "px median", limit))
        rows.append(Figure("  fit residual", figures["residual_mm"], "mm mean"))
        for view, clock in figures["clock"]["views"].items():
            rows.append(Figure(f"  offset of {view} (± {clock['sigma_ms']:.1f} ms)", clock["offset_ms"], "ms"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=8, help="synthetic cameras")
    parser.add_argument("--frames", type=int, default=150, help="synthetic frames")
    parser.add_argument("--seeds", type=int, default=3, help="recordings with offsets")
    parser.add_argument("--data", type=Path, default=DATA, help="the real recording")
    parser.add_argument("--no-real", action="store_true", help="without it")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if not (options.no_real or options.data.is_dir()):
        sys.exit(
            f"{options.data}: expected the recording, but there is no such folder. Give its path with --data, or use "
            "--no-real."
        )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = [
            *offset_figures(folder, options.views, options.frames, options.seeds),
            *drop_figures(folder, options.views, options.frames),
            *drift_figures(folder, options.views, options.frames),
            *([] if options.no_real else real_figures(folder, options.data)),
        ]
    title = f"time synchronisation: {options.views} synthetic views of {options.frames} frames; 4 webcams"
    report(title, rows, options.json)


if __name__ == "__main__":
    main()
