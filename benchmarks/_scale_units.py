"""A unit of the second look: where to look in all views, and one view, without images."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy import ndarray
from rich.console import Console

from handpipe.capture.detector import Candidates
from handpipe.core.cameras import Cameras
from handpipe.core.engine import Engine
from handpipe.core.hands import NUM_JOINTS
from handpipe.core.recording import Clip, ViewFrames
from handpipe.core.settings import EngineSettings
from handpipe.core.storage import schema
from handpipe.core.storage.spec import PART_FRAMES
from handpipe.core.storage.store import Store
from handpipe.rendering.rig import dome_rig
from handpipe.screen import Screen
from handpipe.triangulation.second_look import LookAgain, looks_plan
from handpipe.triangulation.settings import SecondLookSettings

IMAGE = np.zeros((1, 1, 3), np.uint8)


def second_look(views: int, frames: int, answer: Callable[[dict[str, float]], None]) -> None:
    """Choose the looks, and take those of one view, without images; gives seconds of CPU and MB.

    Args:
        views, frames: of the unit.
        answer: called with what was measured.
    """
    cameras = dome_rig(views)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"{folder}/session.zarr")
        store.open()
        _fill(store, cameras, frames)
        clip = Clip(Path("none"), frames, 30.0, (640, 480))
        of_view = ViewFrames(clip, 0, np.arange(frames), frames, _images)
        start = time.process_time()
        with Engine(EngineSettings(workers=0), Screen(Console(quiet=True))) as engine:
            engine.execute(store, partial(looks_plan, store, store, SecondLookSettings()))
        task = LookAgain(store, store, of_view, _FindsNothing())
        ((_, blocks),) = task.run(task.units)
        assert np.isfinite(blocks["score"]).any(), "some looks are taken"
        seconds = time.process_time() - start
    answer({"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def _images(clip: Clip, wanted: Sequence[int]) -> Iterator[ndarray]:
    return (IMAGE for _ in wanted)


class _FindsNothing:
    gives_sigma = False

    def __call__(self, image_bgr: ndarray, hands_px: ndarray, hand: int) -> Candidates:
        none = np.zeros(0, np.float32)
        return Candidates(np.zeros((0, NUM_JOINTS, 2), np.float32), none, none)


def _fill(store: Store, cameras: Cameras, frames: int) -> None:
    """What earlier stages would have written: hands in the middle of the rig that no view has found."""
    views, generator = len(cameras), np.random.default_rng(0)
    sizes = {"view": views, "frame": frames, "session": 1, "candidate": 2}
    whole, made, parts = {"session": 1}, {"code": 1}, {"frame": PART_FRAMES}
    names = {"view": (("view",), np.array(cameras.names, object))}
    hands = generator.normal(0, 0.05, (frames, 2, 21, 3)).astype(np.float32)
    blocks = schema.camera_blocks(cameras, np.zeros(views))
    store.create(schema.group_spec("cameras", schema.CAMERAS, sizes, whole, made, {}, names))
    store.write("cameras", (0,), blocks)
    store.create(schema.group_spec("clock", {}, sizes, whole, made, {"moves": False}))
    store.create(schema.group_spec("tracks", schema.TRACKS, sizes, whole, made, {}, parts=parts))
    slot = np.broadcast_to(np.arange(2, dtype=np.int16), (frames, 2))
    store.write("tracks", (0,), {"slot": slot, "points": hands, "predicted": hands})
    store.create(schema.group_spec("groups", schema.GROUPS, {**sizes, "slot": 2}, {"frame": frames}, made, {}))
    member = np.full((views, frames, 2), -1, np.int16)
    store.write("groups", (0,), {"member": member, "points": hands, "votes": np.zeros((frames, 2), np.float32)})
    cut = {"view": 1, "frame": frames}
    store.create(schema.group_spec("detections", schema.DETECTIONS, sizes, cut, made, {}, names))
    for view in range(views):
        points = generator.uniform(0, 640, (1, frames, 2, 21, 2)).astype(np.float32)
        ones = np.ones((1, frames, 2), np.float32)
        store.write("detections", (view, 0), {"points": points, "score": ones, "right": ones})
