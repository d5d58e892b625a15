"""Time, memory and files of long recordings with many views.

    python benchmarks/scale.py [--only growth plan] [--frames 600 1200] [--views 10 20] [--json FILE]

growth: triangulation and fit really run, in one process, on simulated detections of growing recordings: seconds, the
largest memory that the process ever held, and the exponents of time against frames (of 12 views) and against views (of
the fewest frames). plan: what 250,000 frames of 50 views are on disk, group by group, by the schema of the store.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _identity_scenes import Faults, detect, interacting
from _report import Figure, report
from rich.console import Console

from handpipe.core.cameras import Cameras
from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage import schema
from handpipe.core.storage.store import Store
from handpipe.fitting import stage as fitting_stage
from handpipe.fitting.settings import FittingSettings
from handpipe.rendering.rig import dome_rig
from handpipe.screen import Screen
from handpipe.triangulation.settings import TimeSyncSettings, TriangulationSettings
from handpipe.triangulation.stage import IDENTITY_PLANS, keypoints_plan
from handpipe.triangulation.time_sync_stage import clock_plan

FPS, CHUNK, VIEWS = 30.0, 64, 12
FULL_FRAMES, FULL_VIEWS = 250_000, 50


def fill(store: Store, cameras: Cameras, frames: int) -> None:
    """What calibration and detection would have written, in their chunks."""
    views = len(cameras)
    found = detect(cameras, interacting(frames, 0, FPS), Faults(), 0)
    names = {"view": (("view",), np.array(cameras.names, object))}
    made = {"settings": {}, "inputs": {}, "code": 1}
    at = np.broadcast_to(np.arange(frames), (views, frames))
    once = {"session": 1}
    sizes = {"view": views, "frame": frames, "session": 1, "candidate": found.score.shape[-1]}
    groups: Sequence[tuple[str, schema.Columns, Mapping[str, int], Mapping[str, np.ndarray]]] = (
        ("timeline", schema.TIMELINE, once, {"source_frame": at, "time": at / FPS}),
        ("cameras", schema.CAMERAS, once, schema.camera_blocks(cameras, np.zeros(views))),
    )
    for name, columns, unit, blocks in groups:
        store.create(schema.group_spec(name, columns, sizes, unit, made, {"fps": FPS}, names))
        store.write(name, (0,), blocks)
        store.finish(name)
    cut = {"view": 1, "frame": CHUNK}
    store.create(schema.group_spec("detections", schema.DETECTIONS, sizes, cut, made, {"fps": FPS}, names))
    for view in range(views):
        for chunk in range(-(-frames // CHUNK)):
            part = (slice(view, view + 1), slice(chunk * CHUNK, (chunk + 1) * CHUNK))
            blocks = {"points": found.points_px[part], "score": found.score[part], "right": found.right[part]}
            store.write_blocks("detections", (view, chunk), blocks)
    store.write_marks("detections", np.ones((views, -(-frames // CHUNK)), bool))
    store.finish("detections")


def run(views: int, frames: int, answer: Callable[[dict[str, float]], None]) -> None:
    """Run both stages in this process; gives seconds by stage, and MB."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"{folder}/session.zarr")
        store.open()
        fill(store, dome_rig(views), frames)
        options = TriangulationSettings()
        plans = {
            "triangulate": [
                partial(clock_plan, store, store, TimeSyncSettings()),
                *(partial(plan, store, store, options) for plan in (*IDENTITY_PLANS.values(), keypoints_plan)),
            ],
            "fit": [partial(plan, store, store, FittingSettings(), None) for plan in fitting_stage.PLANS.values()],
        }
        seconds = {}
        engine_options = EngineSettings(workers=0, chunk_frames=CHUNK)
        with Engine(engine_options, Screen(Console(quiet=True))) as engine:
            for stage, made in plans.items():
                start = time.perf_counter()
                for plan in made:
                    engine.execute(store, plan)
                seconds[stage] = time.perf_counter() - start
    answer({**seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def measured(views: int, frames: int) -> dict[str, float]:
    """`run` in a process of its own, whose memory nothing else has touched."""
    context = get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=run, args=(views, frames, queue.put))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{views} views, {frames} frames: the process ended with {process.exitcode}")
    return queue.get()


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The power of the size that the time grows with."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth(frames: Sequence[int], views: Sequence[int]) -> list[Figure]:
    rows: list[Figure] = []
    along = {"frames": [(VIEWS, n) for n in frames], "views": [(n, frames[0]) for n in views]}
    for axis, cases in along.items():
        found = [measured(*case) for case in cases]
        for (v, f), one in zip(cases, found, strict=True):
            name = f"{v} views, {f} frames"
            rows += [Figure(f"{name}: {stage}", one[stage], "s") for stage in ("triangulate", "fit")]
            rows.append(Figure(f"{name}: memory", one["memory"], "MB", 4000))
        if len(cases) > 1:
            sizes = frames if axis == "frames" else views
            limit = 1.05 if axis == "frames" else 1.0
            for stage in ("triangulate", "fit"):
                grows = exponent(sizes, [one[stage] for one in found])
                rows.append(Figure(f"exponent of {stage} in {axis}", grows, "", limit))
    return rows


def plan(frames: int = FULL_FRAMES, views: int = FULL_VIEWS) -> list[Figure]:
    """Chunk files and bytes before compression of the groups that grow with the recording."""
    by_view, by_frame = {"view": 1, "frame": CHUNK}, {"frame": CHUNK}
    once = {"session": 1}
    groups = {
        "timeline": (schema.TIMELINE, once),
        "detections": (schema.DETECTIONS, by_view),
        "clock": (schema.CLOCK, once),
        "groups": (schema.GROUPS, by_frame),
        "tracks": (schema.TRACKS, once),
        "second_look": (schema.SECOND_LOOK, by_view),
        "keypoints": (schema.KEYPOINTS, by_frame),
        "mano": (schema.MANO, {"frame": FittingSettings().window_frames}),
    }
    sizes = {"view": views, "frame": frames, "session": 1, "candidate": 2}
    rows, total = [], 0
    for name, (columns, unit) in groups.items():
        arrays = schema.group_spec(name, columns, sizes, unit, {}, {}).arrays.values()
        files = sum(prod(-(-n // cut) for n, cut in zip(a.shape, a.unit, strict=True)) for a in arrays)
        size = sum(prod(a.shape) * np.dtype(a.dtype).itemsize for a in arrays)
        rows.append(Figure(f"{name}: files", files, ""))
        rows.append(Figure(f"{name}: before compression", size / 1e9, "GB"))
        total += files
    return [*rows, Figure("all: files", total, "", 60_000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["growth", "plan"], default=["growth", "plan"])
    parser.add_argument("--frames", nargs="+", type=int, default=[600, 1200, 2400], help="lengths of recordings")
    parser.add_argument("--views", nargs="+", type=int, default=[10, 20, 40], help="numbers of views")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    parts = {"growth": lambda: growth(options.frames, options.views), "plan": plan}
    report("scale", [row for part in options.only for row in parts[part]()], options.json)


if __name__ == "__main__":
    main()
