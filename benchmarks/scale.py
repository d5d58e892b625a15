"""Time, memory and files of long recordings with many views.

    python benchmarks/scale.py [--only plan growth units engine] [--frames 600 1200] [--views 10 20] [--json FILE]

plan: what 250,000 frames of 50 views are on disk, group by group, by the schema of the store and the lengths of units
that the engine chooses. growth: triangulation and fit really run, in one process, on simulated detections of growing
recordings: seconds of CPU, the largest memory that the process ever held, and the exponents of CPU time against frames
(of 12 views) and against views (of the fewest frames). units: memory and CPU time of single units of 50 views, as long
as they are in long recordings. engine: the plan of a long recording on a real cluster and store, with units that are
empty; the time of client and scheduler, and hours by stage of 250,000 frames on clusters that do not exist here.
"""

from __future__ import annotations

import argparse
import resource
import sys
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
from _scale_engine import GROUPS, Full, engine, image_costs
from _scale_units import second_look
from rich.console import Console

from handpipe.core.cameras import Cameras
from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage import schema
from handpipe.core.storage.spec import LONGEST, LONGEST_OF_A_VIEW, PART_FRAMES, unit_frames
from handpipe.core.storage.store import Store
from handpipe.fitting import stage as fitting_stage
from handpipe.fitting.settings import FittingSettings
from handpipe.rendering.rig import dome_rig
from handpipe.screen import Screen
from handpipe.triangulation.settings import TimeSyncSettings, TriangulationSettings
from handpipe.triangulation.stage import IDENTITY_PLANS, MOST_RUNS, RUN_FRAMES, keypoints_plan, reprojection_px
from handpipe.triangulation.time_sync_stage import clock_plan

FPS, VIEWS = 30.0, 12
FULL_FRAMES, FULL_VIEWS = 250_000, 50


def fill(store: Store, cameras: Cameras, frames: int) -> None:
    """What calibration and detection would have written, in their chunks."""
    chunk = unit_frames(frames, of_one_view=True)
    views = len(cameras)
    found = detect(cameras, interacting(frames, 0, FPS), Faults(), 0)
    names = {"view": (("view",), np.array(cameras.names, object))}
    made = {"settings": {}, "inputs": {}, "code": 1}
    index = np.broadcast_to(np.arange(frames), (views, frames))
    once = {"session": 1}
    sizes = {"view": views, "frame": frames, "session": 1, "candidate": found.score.shape[-1]}
    groups: Sequence[tuple[str, schema.Columns, Mapping[str, int], Mapping[str, np.ndarray]]] = (
        ("timeline", schema.TIMELINE, once, {"source_frame": index, "time": index / FPS}),
        ("cameras", schema.CAMERAS, once, schema.camera_blocks(cameras, np.zeros(views))),
    )
    for name, columns, unit, blocks in groups:
        store.create(schema.group_spec(name, columns, sizes, unit, made, {"fps": FPS}, names))
        store.write(name, (0,), blocks)
        store.finish(name)
    cut = {"view": 1, "frame": chunk}
    store.create(schema.group_spec("detections", schema.DETECTIONS, sizes, cut, made, {"fps": FPS}, names))
    for view in range(views):
        for at in range(-(-frames // chunk)):
            part = (slice(view, view + 1), slice(at * chunk, (at + 1) * chunk))
            blocks = {"points": found.points_px[part], "score": found.score[part], "right": found.right[part]}
            store.write_blocks("detections", (view, at), blocks)
    store.write_marks("detections", np.ones((views, -(-frames // chunk)), bool))
    store.finish("detections")


def run(views: int, frames: int, unit: int | None, answer: Callable[[dict[str, float]], None]) -> None:
    """Run both stages in this process; gives seconds of CPU by stage and by group, and MB.

    Args:
        views, frames: of the recording.
        unit: frames per unit; None: as the engine chooses.
        answer: called with what was measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"{folder}/session.zarr")
        store.open()
        fill(store, dome_rig(views), frames)
        options = TriangulationSettings()
        plans = {
            "clock": partial(clock_plan, store, store, TimeSyncSettings()),
            **{name: partial(make, store, store, options) for name, make in IDENTITY_PLANS.items()},
            "keypoints": partial(keypoints_plan, store, store, options),
            **{
                name: partial(make, store, store, FittingSettings(), None) for name, make in fitting_stage.PLANS.items()
            },
        }
        seconds = {}
        engine_options = EngineSettings(workers=0, chunk_frames=unit)
        with Engine(engine_options, Screen(Console(quiet=True))) as engine:
            for group, plan in plans.items():
                start = time.process_time()
                engine.execute(store, plan)
                seconds[group] = time.process_time() - start
        start = time.process_time()
        reprojection_px(store, store)
        seconds["summary"] = time.process_time() - start
    fit = seconds["shape"] + seconds["mano"]
    triangulate = sum(seconds[name] for name in ("clock", *IDENTITY_PLANS, "keypoints"))
    answer(
        {
            **seconds,
            "triangulate": triangulate,
            "fit": fit,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )


def measured(measure: Callable[..., None], *sizes: int | None) -> dict[str, float]:
    """What a function measures in a process of its own, whose memory nothing else has touched."""
    context = get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=measure, args=(*sizes, queue.put))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{measure.__name__}{sizes}: the process ended with {process.exitcode}")
    found = queue.get()
    print(measure.__name__, *sizes, {name: round(value, 3) for name, value in found.items()}, file=sys.stderr)
    return found


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The power of the size that the time grows with."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth(frames: Sequence[int], views: Sequence[int]) -> list[Figure]:
    rows: list[Figure] = []
    along = {"frames": [(VIEWS, n) for n in frames], "views": [(n, frames[0]) for n in views]}
    for axis, cases in along.items():
        found = [measured(run, *case, None) for case in cases]
        for (v, f), one in zip(cases, found, strict=True):
            name = f"{v} views, {f} frames"
            rows += [Figure(f"{name}: {stage}", one[stage], "s CPU") for stage in ("triangulate", "fit")]
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
    by_view = {"view": 1, "frame": unit_frames(frames, of_one_view=True)}
    by_frame = {"frame": unit_frames(frames, of_one_view=False)}
    once = {"session": 1}
    groups = {
        "timeline": (schema.TIMELINE, once),
        "clock": (schema.CLOCK, once),
        "tracks": (schema.TRACKS, once),
        **{name: (columns, by_view if of_one_view else by_frame) for name, (columns, of_one_view) in GROUPS.items()},
        "mano": (schema.MANO, {"frame": FittingSettings().window_frames}),
    }
    sizes = {"view": views, "frame": frames, "session": 1, "candidate": 2}
    rows, total = [], 0
    for name, (columns, unit) in groups.items():
        parts = {"frame": PART_FRAMES} if unit == once and name != "timeline" else {}
        arrays = schema.group_spec(name, columns, sizes, unit, {}, {}, parts=parts).arrays.values()
        files = sum(prod(-(-n // cut) for n, cut in zip(a.shape, a.chunk, strict=True)) for a in arrays)
        size = sum(prod(a.shape) * np.dtype(a.dtype).itemsize for a in arrays)
        rows.append(Figure(f"{name}: files", files, ""))
        rows.append(Figure(f"{name}: before compression", size / 1e9, "GB"))
        total += files
    return [*rows, Figure("all: files", total, "", 60_000)]


def units(views: int = FULL_VIEWS) -> list[Figure]:
    """Single units of a long recording: what a worker holds at most, and what a frame costs."""
    rows = []
    for frames in (unit_frames(FULL_FRAMES, of_one_view=False), LONGEST):
        one, name = measured(run, views, frames, frames), f"unit of {views} views, {frames} frames"
        for stage in ("triangulate", "fit"):
            rows.append(Figure(f"{name}: {stage}", 1000 * one[stage] / frames, "ms CPU a frame"))
        rows.append(Figure(f"{name}: memory", one["memory"], "MB", 4000))
    for frames in (unit_frames(FULL_FRAMES, of_one_view=True), LONGEST_OF_A_VIEW):
        one, name = measured(second_look, views, frames), f"second look, one of {views} views, {frames} frames"
        rows.append(Figure(f"{name}: where to look", 1000 * one["seconds"] / frames, "ms CPU an image"))
        rows.append(Figure(f"{name}: memory", one["memory"], "MB", 4000))
    return rows


def engine_part(frames: int, session: Path | None) -> list[Figure]:
    """The engine's own costs; hours by stage with a session whose clips say what an image costs."""
    if session is None:
        return engine(frames, FULL_VIEWS)
    length = unit_frames(FULL_FRAMES, of_one_view=False)
    one = measured(run, FULL_VIEWS, length, length)
    costs_s = {name: one[name] / length for name in ("groups", "tracks", "fit")}
    costs_s["keypoints"] = (one["keypoints"] - one["summary"]) / length
    costs_s["client"] = one["summary"] / length * min(FULL_FRAMES, RUN_FRAMES * MOST_RUNS)
    return engine(frames, FULL_VIEWS, Full(FULL_FRAMES, image_costs(session), costs_s))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("plan", "growth", "units", "engine")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--frames", nargs="+", type=int, default=[600, 1200, 2400, 4800], help="lengths of recordings")
    parser.add_argument("--views", nargs="+", type=int, default=[6, 12, 24], help="numbers of views")
    parser.add_argument("--engine-frames", type=int, default=20_000, help="length of the recording of empty units")
    parser.add_argument("--session", type=Path, help="finished session whose clips say what an image costs")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    parts = {
        "plan": plan,
        "growth": lambda: growth(options.frames, options.views),
        "units": units,
        "engine": lambda: engine_part(options.engine_frames, options.session),
    }
    report("scale", [row for part in options.only for row in parts[part]()], options.json)


if __name__ == "__main__":
    main()
