"""The plan of a long recording on the real engine, cluster and store: every unit is written, none is computed.

What is left is what the engine itself costs. With what images and frames cost, measured elsewhere, follow the hours of
each stage on clusters of any size.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from _report import Figure
from numpy import ndarray
from rich.console import Console

from handpipe.capture.crop_detection import CropDetector
from handpipe.capture.detector import Detector
from handpipe.capture.installed import make_detector
from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings, DetectionSettings
from handpipe.capture.video import read_frames
from handpipe.core.engine import Engine, Plan, Unit
from handpipe.core.settings import EngineSettings
from handpipe.core.storage import schema
from handpipe.core.storage.marks import Marks
from handpipe.core.storage.spec import ArraySpec, unit_frames
from handpipe.core.storage.store import Store
from handpipe.fitting.settings import FittingSettings
from handpipe.screen import Screen

CORES = (2, 64, 1024)
IMAGES = 40
"""Of a clip, that are detected for their cost."""


@dataclass(frozen=True)
class Empty:
    """Task whose units are all fill values."""

    arrays: Mapping[str, ArraySpec]
    unit_dims: tuple[str, ...]
    units: Sequence[Unit]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        for unit in todo:
            at = dict(zip(self.unit_dims, unit, strict=True))
            yield (
                unit,
                {name: np.full(_shape(array, at), array.fill, array.dtype) for name, array in self.arrays.items()},
            )


def _shape(array: ArraySpec, at: Mapping[str, int]) -> tuple[int, ...]:
    cut = zip(array.dims, array.shape, array.chunk, strict=True)
    return tuple(min(chunk, size - at[dim] * chunk) if dim in at else size for dim, size, chunk in cut)


GROUPS: Mapping[str, tuple[schema.Columns, bool]] = {
    "detections": (schema.DETECTIONS, True),
    "groups": (schema.GROUPS, False),
    "looks": (schema.LOOKS, False),
    "second_look": (schema.SECOND_LOOK, True),
    "keypoints": (schema.KEYPOINTS, False),
    "mano": (schema.MANO, False),
}
"""Arrays of the groups that have more than a few units, and whether a unit is of one view."""


def empty_plan(name: str, views: int, frames: int, chunk_frames: int) -> Plan:
    """The units and tasks of a group, as its stage makes them."""
    columns, of_one_view = GROUPS[name]
    chunk = min(FittingSettings().window_frames if name == "mano" else chunk_frames, frames)
    sizes = {"view": views, "frame": frames, "candidate": 2}
    unit = {"view": 1, "frame": chunk} if of_one_view else {"frame": chunk}
    group = schema.group_spec(name, columns, sizes, unit, {"code": 1}, {})
    each = [(n,) for n in range(group.units[-1])]
    per_task = [[(view, *n) for n in each] for view in range(views)] if of_one_view else [[n] for n in each]
    tasks = [Empty(group.arrays, tuple(unit), units) for units in per_task]
    return Plan(group, tasks, dict.fromkeys((u for task in tasks for u in task.units), 1), "units")


@dataclass(frozen=True)
class Ran:
    """What a group took."""

    wall_s: float
    cpu_s: float
    """Of client and scheduler, which are one process here."""
    units: int
    tasks: int

    @property
    def unit_s(self) -> float:
        return self.cpu_s / self.units


class Timer:
    """How long the marks take, of all groups."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, flush: Callable[[Marks], None], marks: Marks) -> None:
        start = time.perf_counter()
        flush(marks)
        self.seconds += time.perf_counter() - start


def written(folder: Path) -> tuple[int, int]:
    """Files below a folder, and their bytes."""
    files = [Path(above) / name for above, _, names in os.walk(folder) for name in names]
    return len(files), sum(file.stat().st_size for file in files)


@dataclass(frozen=True)
class Full:
    """A recording whose hours are told, and what it costs."""

    frames: int
    image_s: Mapping[str, float]
    """As of `image_costs`."""
    frame_s: Mapping[str, float]
    """Seconds of CPU of a frame in `groups`, `tracks`, `keypoints` and `fit`; `client`: of all frames."""


def engine(frames: int, views: int, full: Full | None = None) -> list[Figure]:
    """Run the plan.

    Args:
        frames, views: of the recording of empty units.
        full: the recording whose hours are told.
    """
    timer, flush = Timer(), Marks.flush
    Marks.flush = lambda self: timer.timed(flush, self)
    each: dict[str, Ran] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine(EngineSettings(workers=2), Screen(Console(quiet=True))) as runs,
    ):
        store = Store(f"{folder}/session.zarr")
        store.open()
        runs.cluster.calls(lambda line: None)  # The cluster starts before anything is timed.
        for name in GROUPS:
            plans: list[Plan] = []

            def make(chunk: int, name: str = name, plans: list[Plan] = plans) -> Plan:
                plans.append(empty_plan(name, views, frames, chunk))
                return plans[-1]

            wall, cpu = time.perf_counter(), time.process_time()
            runs.execute(store, make)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            each[name] = Ran(wall, cpu, len(plans[-1].weight), len(plans[-1].tasks))
        files, size = written(Path(store.url))
    Marks.flush = flush
    units, wall_s = sum(one.units for one in each.values()), sum(one.wall_s for one in each.values())
    name = f"{views} views, {frames} frames of empty units"
    rows = [
        Figure(f"{name}: tasks", sum(one.tasks for one in each.values()), ""),
        Figure(f"{name}: units", units, ""),
        Figure(f"{name}: files", files, ""),
        Figure(f"{name}: bytes", size / 1e6, "MB"),
        Figure(f"{name}: wall time, 2 workers", wall_s, "s"),
        Figure(f"{name}: CPU of client and scheduler", sum(one.cpu_s for one in each.values()), "s"),
        *(Figure(f"client and scheduler: unit of {group}", 1000 * one.unit_s, "ms CPU") for group, one in each.items()),
        Figure("marks: time", timer.seconds, "s"),
        Figure("marks: share of the wall time of empty units", 100 * timer.seconds / wall_s, "%"),
    ]
    if full is None:
        return rows
    return rows + hours(views, full, {group: one.unit_s for group, one in each.items()}, timer.seconds / units)


# ---- hours -------------------------------------------------------------------------------------------------------


def image_costs(root: Path) -> dict[str, float]:
    """Seconds of CPU of an image: `decode`, `detect`, and `look` of one hand; `looks` is how many an image has."""
    session = read_session(root, CaptureSettings())
    clip, options = session.clips[0], DetectionSettings()
    start = time.process_time()
    images = list(read_frames(clip, range(min(IMAGES, clip.frames))))
    decode = (time.process_time() - start) / len(images)
    detector: Detector = make_detector(options)
    detector.detect(images[0])  # What is loaded with the first image does not count.
    start = time.process_time()
    found = [detector.detect(image) for image in images]
    detect = (time.process_time() - start) / len(images)
    look = CropDetector(options, 2.0, 256)
    hands = [
        (image, each.points_px[:1].repeat(2, 0)) for image, each in zip(images, found, strict=True) if len(each.score)
    ]
    look(*hands[0], 0)
    start = time.process_time()
    for image, hand in hands:
        look(image, hand, 0)
    looked = (time.process_time() - start) / len(hands)
    looks = Store(str(root / "session.zarr")).attrs("second_look")["looks_per_image"]
    return {"decode": decode, "detect": detect, "look": looked, "looks": float(looks)}


def hours(views: int, full: Full, per_unit_s: Mapping[str, float], mark_s: float) -> list[Figure]:
    """Hours of every stage on clusters of several sizes, and what of it is the client's and the scheduler's.

    Args:
        views: of the recording.
        full: the recording.
        per_unit_s: what a unit costs client and scheduler, by group.
        mark_s: the mark of a unit.
    """
    frames, image_s, frame_s = full.frames, full.image_s, full.frame_s
    rows = [Figure(f"an image: {name}", 1000 * image_s[name], "ms CPU") for name in ("decode", "detect", "look")]
    rows.append(Figure("looks of an image", image_s["looks"], ""))
    looking_s = image_s["looks"] * image_s["look"]
    count = {
        name: len(empty_plan(name, views, frames, unit_frames(frames, of_one_view)).weight)
        for name, (_, of_one_view) in GROUPS.items()
    }
    for cores in CORES:
        by_view = partial(_by_view, frames, views, cores, image_s["decode"])
        shared = {name: frames * frame_s[name] / min(cores, count[group]) for name, group in BY_FRAMES.items()}
        stages = {
            "detect": by_view(image_s["detect"]),
            "groups": shared["groups"],
            "tracks, one worker": frames * frame_s["tracks"],
            "second look": by_view(looking_s),
            "keypoints": shared["keypoints"],
            "fit": shared["fit"],
        }
        serial = sum(per_unit_s[name] * units for name, units in count.items()) + frame_s["client"]
        marks = mark_s * sum(count.values())
        total = sum(stages.values()) + serial
        rows += [Figure(f"{cores} cores: {stage}", seconds / 3600, "h") for stage, seconds in stages.items()]
        rows += [
            Figure(f"{cores} cores: all", total / 3600, "h"),
            Figure(f"{cores} cores: client and scheduler", 100 * serial / total, "% of the wall time", 10),
            Figure(f"{cores} cores: marks", 100 * marks / total, "% of the wall time", 1),
        ]
    return rows


BY_FRAMES = {"groups": "groups", "keypoints": "keypoints", "fit": "mano"}
"""Stages whose tasks are single units, by the group whose units they are."""


def _by_view(frames: int, views: int, cores: int, decode_s: float, image_s: float) -> float:
    """Seconds of a stage with a task for each view, which workers share; each decodes up to the end of its part."""
    parts = max(1, cores // views)
    rounds = -(-views * parts // cores)
    return rounds * frames * (decode_s + image_s / parts)
