"""A detector learnt from a session, against MediaPipe, and against the truth.

    handpipe run capture-session
    handpipe train-detector capture-session --out my-rig.safetensors
    python benchmarks/detection.py capture-session my-rig.safetensors [--bare] [--json FILE]
    python benchmarks/detection.py capture-session my-rig.safetensors --regions [--views N] [--frames N] [--json FILE]

2D: the landmarks of both detectors in the images, held-out frames and views apart, against the true joints projected by
the true cameras. 3D: triangulated and fitted joints with each. The session's own results are those of its detector;
those of the new one are computed in a store beside them, `session-learnt.zarr`. Bias, which is the same in all images
or frames, and spread about it are told apart, in the frame of the hand.

Regions: the same images are searched one by one (with and without the second look) and by `detection.regions: space`,
with MediaPipe and with the other detector; time is CPU time of one process, decoding included, also as a multiple of
MediaPipe alone on every image. These rows are computed anew, in a temporary folder.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _detection_errors import BOTH_PX, figures_3d, nearest, visible
from _detection_regions import region_rows
from _report import Figure, grid, report
from numpy import ndarray

from handpipe.capture.learning.detector_file import load_detector
from handpipe.capture.learning.judge import bias_and_spread, sizes
from handpipe.capture.learning.labels import held_out_frames, held_out_views
from handpipe.core.hands import HANDS, JOINTS
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store


@dataclass(frozen=True)
class Scene:
    """The truth in every image. Pixels."""

    true_px: ndarray
    """(view, frame, hand, 21, 2)"""
    visible: ndarray
    """(view, frame, hand) bool"""
    parts: Mapping[str, ndarray]
    """(view, frame) bool by name: images that were learnt from, and those held out."""


def scene_of(truth: Store, settings: Mapping[str, float]) -> Scene:
    """The truth of a synthetic session, and how a training with these settings divides it."""
    cameras = read_cameras(truth)
    true = cameras.project(truth.read("mano", "joints").astype(float))
    frames = np.broadcast_to(held_out_frames(true.shape[1], settings["held_out_frames"]), true.shape[:2])
    views = np.broadcast_to(held_out_views(true.shape[0], settings["held_out_views"])[:, None], true.shape[:2])
    parts = {
        "learnt from": ~frames & ~views,
        "held-out frames": frames & ~views,
        "held-out views": views & ~frames,
        "held-out frames of held-out views": frames & views,
    }
    return Scene(true, visible(true, cameras), parts)


def figures_2d(name: str, found_px: ndarray, scene: Scene) -> list[Figure]:
    """Errors of the landmarks, by part; and how many images show both hands well."""
    error = np.linalg.norm(found_px - scene.true_px, axis=-1)
    rows = []
    for part, chosen in scene.parts.items():
        of = error[chosen[..., None] & scene.visible]
        known = of[np.isfinite(of)]
        if len(known):
            rows.append(Figure(f"{name}: landmarks, {part}", float(np.median(known)), "px median"))
    hand = np.nan_to_num(np.median(error, axis=-1), nan=np.inf)
    both = np.all(hand <= BOTH_PX, axis=-1)[scene.visible.all(-1)]
    rows.append(Figure(f"{name}: both hands within {BOTH_PX:g} px", 100 * float(both.mean()), "% of images"))
    missed = ~np.isfinite(hand)[scene.visible]
    rows.append(Figure(f"{name}: hands missed", 100 * float(missed.mean()), "% of hands in images"))
    return rows


def joint_rows(found_px: ndarray, scene: Scene) -> dict[str, tuple[float, float]]:
    """Bias and spread of each joint in held-out frames, in pixels of a hand of median size."""
    chosen = ~scene.parts["learnt from"][..., None] & scene.visible & np.isfinite(found_px).all((-1, -2))
    true, found = scene.true_px[chosen], found_px[chosen]
    right = np.broadcast_to(np.arange(len(HANDS)) == 1, chosen.shape)[chosen]
    size = float(np.median(sizes(true)))
    bias, spread = bias_and_spread(found, true, right)
    return {joint: (size * float(b), size * float(s)) for joint, b, s in zip(JOINTS, bias, spread, strict=True)}


def compute(session: Path, detector: Path) -> Store:
    """The session's results with a detector, in a store beside its own, from which the calibration is taken."""
    place = session / "session-learnt.zarr"
    if not place.exists():
        shutil.copytree(session / "session.zarr", place)
    command = [sys.executable, "-m", "handpipe.cli", "run", str(session), "--store", str(place)]
    done = subprocess.run([*command, "--detection.detector", str(detector)], check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}")
    return Store(str(place))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("session", type=Path, help="a computed synthetic session")
    parser.add_argument("detector", type=Path, help="a file of `handpipe train-detector`")
    parser.add_argument("--bare", action="store_true", help="2D figures of the first detection only, without crops")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--regions", action="store_true", help="the rows of regions from space, and no others")
    parser.add_argument("--views", type=int, help="number of views in these rows; default: all")
    parser.add_argument("--frames", type=int, help="number of frames in these rows; default: all")
    options = parser.parse_args()
    if options.regions:
        rows = region_rows(options.session, options.detector.resolve(), options.views, options.frames)
        report("regions from space", rows, options.json)
        return
    record = load_detector(options.detector).record
    truth = Store(str(options.session / "truth.zarr"))
    scene = scene_of(truth, record["settings"])
    stores = {
        "before": Store(str(options.session / "session.zarr")),
        "learnt": compute(options.session, options.detector.resolve()),
    }
    rows, joints = [], {}
    for name, store in stores.items():
        found = nearest(store, scene.true_px, second_look=not options.bare)
        rows += figures_2d(name, found, scene)
        rows += figures_3d(name, store, truth, name == "learnt")
        joints[name] = joint_rows(found, scene)
    cells = {
        joint: {
            f"{name} {what}": f"{joints[name][joint][i]:.1f} px"
            for name in joints
            for i, what in enumerate(("bias", "spread"))
        }
        for joint in JOINTS
    }
    grid("landmarks in held-out images, by joint", cells, [f"{n} {w}" for n in joints for w in ("bias", "spread")])
    report("a detector that learns from the rig", rows, options.json)


if __name__ == "__main__":
    main()
