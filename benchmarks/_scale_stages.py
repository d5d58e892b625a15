"""Triangulation and fit of a simulated recording: what they read, and their groups in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from _identity_scenes import Faults, detect, interacting

from handpipe.core.cameras import Cameras
from handpipe.core.engine import Plan
from handpipe.core.storage import schema
from handpipe.core.storage.spec import unit_frames
from handpipe.core.storage.store import Store
from handpipe.fitting import stage as fitting_stage
from handpipe.fitting.settings import FittingSettings
from handpipe.triangulation.settings import TimeSyncSettings, TriangulationSettings
from handpipe.triangulation.stage import IDENTITY_PLANS, keypoints_plan
from handpipe.triangulation.time_sync_stage import clock_plan

FPS = 30.0


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


def plans(store: Store) -> dict[str, Callable[[int], Plan]]:
    """The plans of both stages, by group, as the engine takes them."""
    options = TriangulationSettings()
    return {
        "clock": partial(clock_plan, store, store, TimeSyncSettings()),
        **{name: partial(make, store, store, options) for name, make in IDENTITY_PLANS.items()},
        "keypoints": partial(keypoints_plan, store, store, options),
        **{name: partial(make, store, store, FittingSettings(), None) for name, make in fitting_stage.PLANS.items()},
    }
