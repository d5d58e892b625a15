"""Time, memory and files of long recordings with many views.

    python benchmarks/scale.py [--only plan growth units engine recording memory] [--frames 600 1200] [--views 10 20]
                               [--session FOLDER] [--json FILE]

plan: what 250,000 frames of 50 views are on disk, group by group, by the schema of the store and the lengths of units
that the engine chooses. growth: triangulation and fit really run, in one process, on simulated detections of growing
recordings: seconds of CPU, the largest memory that the process ever held, and the exponents of CPU time against frames
(of 12 views) and against views (of the fewest frames). units: memory and CPU time of single units of 50 views, as long
as they are in long recordings. engine: the plan of a long recording on a real cluster and store, with units that are
empty; the time of client and scheduler, and hours by stage of 250,000 frames on clusters that do not exist here.
recording: triangulation and fit of ten minutes of 50 views, with two workers, and the memory of client and workers.
memory: the same of all stages of a session with clips.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from math import prod
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _report import Figure, report
from _scale_engine import GROUPS, Full, engine, image_costs
from _scale_memory import recording, session
from _scale_stages import fill, plans
from _scale_units import second_look
from rich.console import Console

from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage import schema
from handpipe.core.storage.spec import LONGEST, LONGEST_OF_A_VIEW, PART_FRAMES, unit_frames
from handpipe.core.storage.store import Store
from handpipe.fitting.settings import FittingSettings
from handpipe.rendering.rig import dome_rig
from handpipe.screen import Screen
from handpipe.triangulation.stage import IDENTITY_PLANS, MOST_RUNS, RUN_FRAMES, reprojection_px

VIEWS = 12
FULL_FRAMES, FULL_VIEWS = 250_000, 50


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
        seconds = {}
        engine_options = EngineSettings(workers=0, chunk_frames=unit)
        with Engine(engine_options, Screen(Console(quiet=True))) as engine:
            for group, plan in plans(store).items():
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
    names = ("plan", "growth", "units", "engine", "recording", "memory")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--frames", nargs="+", type=int, default=[600, 1200, 2400, 4800], help="lengths of recordings")
    parser.add_argument("--views", nargs="+", type=int, default=[6, 12, 24], help="numbers of views")
    parser.add_argument("--engine-frames", type=int, default=20_000, help="length of the recording of empty units")
    parser.add_argument("--recording-frames", type=int, default=18_000, help="length of the recording of 50 views")
    parser.add_argument("--session", type=Path, help="finished session: what an image costs, and for `memory`")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    parts = {
        "plan": plan,
        "growth": lambda: growth(options.frames, options.views),
        "units": units,
        "engine": lambda: engine_part(options.engine_frames, options.session),
        "recording": lambda: recording(FULL_VIEWS, options.recording_frames),
        "memory": lambda: [] if options.session is None else session(options.session),
    }
    report("scale", [row for part in options.only for row in parts[part]()], options.json)


if __name__ == "__main__":
    main()
