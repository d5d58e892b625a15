"""A store with given detections, triangulated without clips or a detector."""

from __future__ import annotations

import numpy as np
from hand_scenes import FPS
from toy_stage import Quiet

from handpipe.core.cameras import Cameras
from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.schema import CAMERAS, DETECTIONS, TIMELINE, UNCERTAINTY, camera_blocks, group_spec
from handpipe.core.storage.store import Store
from handpipe.triangulation.settings import TriangulationSettings
from handpipe.triangulation.stage import IDENTITY_PLANS, keypoints_plan


def fill(
    store: Store,
    cameras: Cameras,
    points: np.ndarray,
    score: np.ndarray,
    right: np.ndarray,
    sigma: np.ndarray | None = None,
) -> None:
    """What the stages before would have written; with `sigma`, by a detector that says it."""
    views, frames, candidates = score.shape
    names = {"view": (("view",), np.array(cameras.names, object))}
    nothing = {"settings": {}, "inputs": {}, "code": 1}
    time = np.broadcast_to(np.arange(frames), (views, frames))
    for name, columns, sizes, blocks in [
        ("timeline", TIMELINE, {"frame": frames}, {"source_frame": time, "time": time / FPS}),
        ("cameras", CAMERAS, {}, camera_blocks(cameras, np.zeros(views))),
        (
            "detections",
            DETECTIONS if sigma is None else {**DETECTIONS, **UNCERTAINTY},
            {"frame": frames, "candidate": candidates},
            {"points": points, "score": score, "right": right} | ({} if sigma is None else {"sigma": sigma}),
        ),
    ]:
        store.create(
            group_spec(
                name, columns, {**sizes, "view": views, "session": 1}, {"session": 1}, nothing, {"fps": FPS}, names
            )
        )
        store.write(name, (0,), blocks)
        store.finish(name)


def triangulated(folder, cameras, points, score, right, chunk_frames=50, sigma=None) -> Store:
    store = Store(str(folder / f"{chunk_frames}.zarr"))
    store.open()
    fill(store, cameras, points, score, right, sigma)
    options = TriangulationSettings()
    with Engine(EngineSettings(workers=0, chunk_frames=chunk_frames), Quiet()) as engine:
        for plan in (*IDENTITY_PLANS.values(), keypoints_plan):
            engine.execute(store, lambda chunk, plan=plan: plan(store, store, options, chunk))
    return store
