"""Golden outputs of the imports.

Files that are long to write by hand are among the inputs: `handpipe export hub`, `interhand26m`, `bvh`, `trc` and `csv`
wrote them from the same five frames. What an import makes of a file does not depend on how the file came to be.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from golden import EXACT, INPUTS, Golden, Tolerance
from golden_recording import METRES, arrays
from hand_scenes import dome, hand, waving
from numpy import ndarray
from toy_stage import Quiet

from handpipe.capture.settings import CaptureSettings
from handpipe.core.cameras_file import write_cameras
from handpipe.core.hands import HANDS
from handpipe.core.storage.store import Store
from handpipe.exchange.datasets.hub.importer import import_hub
from handpipe.exchange.datasets.interhand26m.importer import import_interhand26m
from handpipe.exchange.importing import import_bvh, import_keypoints
from handpipe.exchange.keypoints2d.session import Reading, import_keypoints2d
from handpipe.exchange.motion.mano.motion_import import import_mano_motion

MANO = ("betas", "global_orient", "hand_pose", "transl", "joints", "residual", "valid")
KEYPOINTS = ("points", "sigma")


def of_session(root: Path, group: str, *names: str) -> dict[str, ndarray]:
    """Arrays of an imported session's group."""
    return arrays(Store(str(root / "session.zarr")), group, *names)


def mano_motion(work: Path) -> dict[str, ndarray]:
    motion = waving(3)
    sides = {
        f"{side}_{name}": value[h] if name == "betas" else value[:, h]
        for h, side in enumerate(HANDS)
        for name, value in motion.items()
    }
    np.savez(work / "motion.npz", **sides, fps=30.0)  # pyright: ignore[reportArgumentType]
    import_mano_motion(work / "motion.npz", work / "session", None, None)
    return of_session(work / "session", "mano", *MANO)


def keypoints(work: Path) -> dict[str, ndarray]:
    """The same hands from every format that `handpipe import keypoints` and `bvh` read."""
    hands = np.stack([hand(np.array([0.3, 0.5]), side) + [0.2 * side, 0.0, 0.5] for side in range(len(HANDS))], axis=1)
    hands[1, 0, 4] = np.nan
    np.savez(work / "hands.npz", points=1000 * hands * [-1, 1, 1], fps=30.0)
    files = {"npz": work / "hands.npz", "trc": INPUTS / "hands.trc", "csv": INPUTS / "hands.csv"}
    found = {}
    for name, file in files.items():
        unit_m = 0.001 if name == "npz" else None
        import_keypoints(file, work / name, None, unit_m, False, name == "npz", 0.001)
        found |= {f"{name}.{key}": value for key, value in of_session(work / name, "keypoints", *KEYPOINTS).items()}
    import_bvh([INPUTS / "hands.bvh"] * 2, work / "bvh", None, None, "auto", 0.001)
    return found | {f"bvh.{key}": value for key, value in of_session(work / "bvh", "keypoints", *KEYPOINTS).items()}


def keypoints2d(work: Path) -> dict[str, ndarray]:
    """OpenPose's files of three views without clips."""
    rig, frames = dome(3), 2
    motion = np.stack(
        [hand(np.array([0.3, 0.5]), side) + [0.2 * side - 0.1, 0.0, 0.0] for side in range(len(HANDS))], axis=1
    )
    root, seen = work / "session", rig.project(motion)
    root.mkdir()
    write_cameras(root / "cameras.toml", rig)
    for view, name in enumerate(rig.names):
        (work / "hands" / name).mkdir(parents=True)
        for frame in range(frames):
            rows = {
                f"hand_{side}_keypoints_2d": np.c_[seen[view, frame, h], np.full(21, 0.8 - 0.1 * h)].ravel().tolist()
                for h, side in enumerate(HANDS)
            }
            path = work / "hands" / name / f"{name}_{frame:012d}_keypoints.json"
            path.write_text(json.dumps({"version": 1.3, "people": [rows]}))
    store = Store(str(root / "session.zarr"))
    import_keypoints2d(root, [work / "hands"], Reading(origin="corner"), CaptureSettings(), 30.0, store)
    return arrays(store, "detections", "points", "score", "right")


def hub(work: Path) -> dict[str, ndarray]:
    import_hub(INPUTS / "hub", work, (), Quiet())
    found = of_session(work / "touching", "keypoints", *KEYPOINTS) | of_session(work / "touching", "mano", *MANO)
    return found | of_session(work / "touching", "cameras", "K", "T_cam_world")


def interhand26m(work: Path) -> dict[str, ndarray]:
    import_interhand26m(INPUTS / "interhand26m", work, (), 30.0, 0.001, 0.001, None, Quiet())
    (root,) = (path.parent for path in work.glob("*/*/session.zarr"))
    found = of_session(root, "keypoints", *KEYPOINTS) | of_session(root, "mano", *MANO)
    return found | of_session(root, "cameras", "K", "T_cam_world")


ROUNDED = Tolerance(1e-6, 1e-6)
"""Products and turned vectors in single precision, whose last bit depends on the processor's fused operations."""

GOLDENS = (
    Golden(
        "mano_motion", "handpipe.exchange.motion.mano.motion_import", mano_motion, {"mano.valid": EXACT, "*": ROUNDED}
    ),
    Golden("keypoints", "handpipe.exchange.importing", keypoints, {"*": METRES}),
    # Pixels of up to 640, in single precision.
    Golden("keypoints2d", "handpipe.exchange.keypoints2d.session", keypoints2d, {"detections.points": Tolerance(1e-3)}),
    Golden("hub", "handpipe.exchange.datasets.hub.importer", hub),
    Golden(
        "interhand26m",
        "handpipe.exchange.datasets.interhand26m.importer",
        interhand26m,
        {"mano.valid": EXACT, "*": ROUNDED},
    ),
)
