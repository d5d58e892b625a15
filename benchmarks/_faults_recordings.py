"""Sessions of given cameras and detections, run by the command line, for `faults_of_input.py`."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from _identity_scenes import Faults, Scene, detect, interacting, one_missing, third_hand
from numpy import ndarray

from handpipe.cli import main
from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import write_cameras
from handpipe.core.storage.candidates import detections_group
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.rendering.rig import dome_rig


@dataclass(frozen=True)
class Recording:
    """A rig, and what a detector found in its clips."""

    cameras: Cameras
    points_px: ndarray
    """(view, frame, candidate, 21, 2)"""
    score: ndarray
    right: ndarray
    """(view, frame, candidate)"""
    fps: float

    @classmethod
    def of_store(cls, path: str) -> Recording:
        """The cameras and detections of a computed session."""
        store = Store(path)
        store.open()
        group = detections_group(store)
        points, score, right = (store.read(group, name) for name in ("points", "score", "right"))
        return cls(read_cameras(store), points.astype(float), score, right, float(store.attrs("timeline")["fps"]))

    @classmethod
    def simulated(cls, cameras: Cameras, scene: Scene, faults: Faults, seed: int) -> Recording:
        """Detections of a simulated scene."""
        found = detect(cameras, scene, faults, seed)
        return cls(cameras, found.points_px.astype(float), found.score, found.right, scene.fps)


def run(recording: Recording) -> dict[str, Any]:
    """What `handpipe run --json` says of a recording whose detections are imported."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "session"
        root.mkdir()
        write_cameras(root / "cameras.toml", recording.cameras)
        arrays = {"points": recording.points_px, "score": recording.score, "right": recording.right}
        arrays["views"] = np.array(recording.cameras.names)
        np.savez(Path(folder) / "found.npz", **arrays)  # pyright: ignore[reportArgumentType]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            imported = [str(root), str(Path(folder) / "found.npz"), "--fps", f"{recording.fps:g}"]
            assert main(["import", "keypoints2d", *imported]) == 0
            status = main(["run", str(root), "--workers", "0", "--json"])
        assert status in (0, 3), status
        text = said.getvalue()
        return json.loads(text[text.index("{\n") :])


def complaints(summary: Mapping[str, Any]) -> list[str]:
    """Every warning and error of a run, in words."""
    checks = summary["quality"]["checks"]
    return [f"{check['view']} {check['reason']}".strip() for check in checks if check["severity"] != "ok"]


# ---- sound sessions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sound:
    """One sound session."""

    name: str
    views: int
    frames: int
    fps: float
    faults: Faults = field(default_factory=lambda: Faults(seen=0.8, wrong=0.2, mixed=0.05))
    scene: str = "two hands"


SOUND = (
    Sound("4 views", 4, 60, 30),
    Sound("5 views", 5, 60, 30),
    Sound("6 views at 6 fps", 6, 24, 6),
    Sound("8 views at 60 fps", 8, 60, 60),
    Sound("8 views at 120 fps", 8, 60, 120),
    Sound("12 views at 15 fps", 12, 40, 15),
    Sound("20 views", 20, 40, 30),
    Sound("50 views", 50, 40, 30),
    Sound("50 views, occlusion", 50, 40, 30, Faults(seen=0.4, wrong=0.5, mixed=0.1)),
    Sound("4 views, one hand", 4, 60, 30, scene="one hand"),
    Sound("16 views, one hand", 16, 40, 30, scene="one hand"),
    Sound("4 views, short", 4, 12, 30),
    Sound("50 views, short", 50, 12, 30),
    Sound("6 views, occlusion", 6, 60, 30, Faults(seen=0.5, wrong=0.4, mixed=0.1)),
    Sound("12 views, few detections", 12, 60, 30, Faults(seen=0.25, wrong=0.4, mixed=0.1)),
    Sound("4 views, blur", 4, 60, 30, Faults(seen=0.7, wrong=0.3, mixed=0.1, noise_px=7.0)),
    Sound("8 views, blur", 8, 60, 30, Faults(seen=0.7, wrong=0.3, mixed=0.1, noise_px=8.0)),
    Sound("4 views, still hands", 4, 60, 30, scene="still"),
    Sound("8 views, one hand leaves", 8, 90, 30, scene="one missing"),
    Sound("8 views, another person's hand", 8, 60, 30, scene="third hand"),
)
"""Rigs, rates and recordings in which nothing is wrong."""


def sound(kind: Sound, seed: int) -> Recording:
    """One draw of a sound session."""
    match kind.scene:
        case "one missing":
            scene = one_missing(kind.frames, seed)
        case "third hand":
            scene = third_hand(kind.frames, seed)
        case _:
            scene = interacting(kind.frames, seed, kind.fps)
    if kind.scene == "one hand":
        visible = scene.visible.copy()
        visible[:, seed % 2] = False
        scene = replace(scene, visible=visible)
    if kind.scene == "still":
        scene = replace(scene, joints_m=np.broadcast_to(scene.joints_m[:1], scene.joints_m.shape).copy())
    return Recording.simulated(dome_rig(kind.views, seed=seed), scene, kind.faults, seed)
