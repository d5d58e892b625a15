"""A detector learnt from the real four-camera recording, against MediaPipe; no ground truth is needed.

    python benchmarks/real_detection.py [--data DIR] [--folder DIR] [--leave-out CAMERA ...] [--steps N] [--json FILE]

All cameras: frames with a hand, the variation of its length from wrist to index knuckle, and the reprojection error of
all detections that MediaPipe's run used, with misses and anything farther as 50 pixels. Most frames were learnt from.

Rendered hands are left out of the training, because they do not resemble real ones.

Each camera of --leave-out once: a session of the other cameras is run with MediaPipe, a detector learns from it, and it
is run again. Both are projected into the camera that was left out, and held against MediaPipe's own detections there.
With --folder everything is kept there, and the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _report import Figure, report
from numpy import ndarray
from real_footage import DATA, hand_figures, lay_out

from handpipe.core.storage.candidates import read_taken_px
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store

MISS_PX = 50.0
CAMERAS = ("cam_0", "cam_1", "cam_2", "cam_3")


def handpipe(*arguments: str | Path) -> None:
    """Run a command; exit status 3 is a result that is not usable, which is measured all the same."""
    command = [sys.executable, "-m", "handpipe.cli", *map(str, arguments)]
    if (status := subprocess.run(command, check=False).returncode) not in (0, 3):
        sys.exit(f"{' '.join(command)}: exit status {status}")


def without(root: Path, camera: str, other: Path) -> None:
    """A session of all cameras but one of another, with their calibration."""
    (other / "videos").mkdir(parents=True, exist_ok=True)
    for clip in sorted((root / "videos").glob("*.mp4")):
        if clip.stem != camera:
            shutil.copy2(clip, other / "videos")
    header, *rows = (root / "timestamps.csv").read_text().splitlines()
    number = camera.rsplit("_", 1)[1]
    kept = [row for row in rows if row.split(",")[header.split(",").index("cam_id")] != number]
    (other / "timestamps.csv").write_text("\n".join([header, *kept]) + "\n")
    shutil.copy2(root / "session.yaml", other)
    tables = re.split(r"(?m)^(?=\[)", (root / "cameras.toml").read_text())
    (other / "cameras.toml").write_text("".join(table for table in tables if not table.startswith(f"[{camera}]")))


def both(root: Path, steps: int | None) -> dict[str, Store]:
    """The session's results with MediaPipe, and with a detector that is learnt from them."""
    detector, own = root / "own.safetensors", root / "own.zarr"
    handpipe("run", root)
    if not detector.exists():
        handpipe(
            "train-detector", root, "--out", detector, "--renders", "0", *(["--steps", str(steps)] if steps else [])
        )
    if not own.exists():
        shutil.copytree(root / "session.zarr", own)
    handpipe("run", root, "--store", own, "--detection.detector", detector)
    return {"MediaPipe": Store(str(root / "session.zarr")), "learnt": Store(str(own))}


def distance_px(a_px: ndarray, b_px: ndarray, wanted: ndarray) -> ndarray:
    """(hand, 21) pixels between joints (..., 21, 2) of the wanted hands; at most MISS_PX, as for what is not there."""
    away = np.linalg.norm(a_px - b_px, axis=-1)[wanted]
    return np.minimum(np.nan_to_num(away, nan=MISS_PX), MISS_PX)


def pair(what: str, px: dict[str, ndarray], least: float) -> list[Figure]:
    """The errors of both, and how much lower those of the learnt detector are."""
    mean = {name: float(each.mean()) for name, each in px.items()}
    rows = [Figure(f"{name}: {what}", value, "px mean") for name, value in mean.items()]
    rows += [Figure(f"{name}: {what}, median", float(np.median(each)), "px") for name, each in px.items()]
    return [*rows, Figure(f"{what}, lower", 100 * (1 - mean["learnt"] / mean["MediaPipe"]), "%", least, "higher")]


def of_all(stores: dict[str, Store]) -> list[Figure]:
    rows = [
        Figure(f"{name}: {figure.name}", figure.value, figure.unit)
        for name, store in stores.items()
        for figure in hand_figures(store)
        if "limit" not in figure.name
    ]
    taken = {name: read_taken_px(store, slice(None)) for name, store in stores.items()}
    wanted = np.asarray(np.isfinite(taken["MediaPipe"]).all((-1, -2)))
    px = {
        name: distance_px(read_cameras(store).project(store.read("keypoints", "points").astype(float)), seen, wanted)
        for (name, store), seen in zip(stores.items(), taken.values(), strict=True)
    }
    return rows + pair("reprojection error of all detections", px, 25)


def left_out(camera: str, stores: dict[str, Store], whole: Store) -> list[Figure]:
    view = read_cameras(whole).names.index(camera)
    one, seen = read_cameras(whole).subset([view]), read_taken_px(whole, slice(None))[view]
    wanted = np.asarray(np.isfinite(seen).all((-1, -2)))

    def away_px(store: Store, group: str, array: str) -> ndarray:
        return distance_px(one.project(store.read(group, array).astype(float))[0], seen, wanted)

    what = f"{camera}, left out: distance from MediaPipe's detections there"
    fitted = away_px(stores["MediaPipe"], "mano", "joints")
    return [
        *pair(what, {name: away_px(store, "keypoints", "points") for name, store in stores.items()}, 20),
        Figure(f"MediaPipe, fitted joints: {what}", float(fitted.mean()), "px mean"),
        Figure(f"MediaPipe, fitted joints: {what}, median", float(np.median(fitted)), "px"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the recording")
    parser.add_argument("--folder", type=Path, help="where the sessions are made; a temporary folder by default")
    parser.add_argument("--leave-out", nargs="*", choices=CAMERAS, default=CAMERAS, help="cameras to leave out in turn")
    parser.add_argument("--steps", type=int, help="steps of each training; default: those of train-detector")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: expected the recording, but there is no such folder. Give its path with --data.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        root = folder / "four-cameras"
        if not root.exists():
            lay_out(options.data, root)
        stores = both(root, options.steps)
        rows = of_all(stores)
        for camera in options.leave_out:
            other = folder / f"without-{camera}"
            if not other.exists():
                without(root, camera, other)
            rows += left_out(camera, both(other, options.steps), stores["MediaPipe"])
        report("a detector learnt from four webcams", rows, options.json)


if __name__ == "__main__":
    main()
