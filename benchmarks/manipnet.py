"""ManipNet's six sequences of real two-hand motion capture, 27,372 frames: BVH to keypoints to MANO.

    python benchmarks/manipnet.py [--data FILE.tar.xz] [--folder DIR] [--landmark-offsets] [--json FILE]

Everything as `handpipe import bvh` and `handpipe fit` do it, in one process. The residual is the distance of a fitted
joint from its keypoint. 15 of the 21 joints are captured: no fingertips, and no thumb_cmc as the model means it
(exchange/motion/bvh/keypoints.py). A hand is lost in a frame that the fit marks as not valid.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _report import Figure, report
from numpy import ndarray

from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store
from handpipe.exchange.importing import import_bvh
from handpipe.pipeline import Job, run
from handpipe.screen import Screen
from handpipe.settings import load_config

DATA = Path(__file__).parents[2] / "shared/data/manipnet_two_hand_bvh/manipnet_two_hand_bvh.tar.xz"


@dataclass(frozen=True)
class Fitted:
    """One sequence after the fit."""

    name: str
    distance_mm: ndarray
    """(frame, hand, joint) of fitted joints from keypoints; NaN where there is none."""
    valid: ndarray
    """(frame, hand)"""
    residual_mm: ndarray
    """(frame, hand) root mean square over the joints."""
    wall_s: float
    """Import and fit."""


def unpacked(data: Path, out: Path) -> list[Path]:
    """One folder per sequence, with its `leftHand.bvh` and `rightHand.bvh`."""
    if not data.is_file():
        sys.exit(f"{data}: expected ManipNet's BVH files, but there is no such file. Give its path with --data.")
    with tarfile.open(data) as archive:
        for member in archive:
            # Not `extractall`, whose guard against bad names Python 3.11 got in its fourth release only.
            sequence, name = Path("..", member.name).parts[-2:]
            content = archive.extractfile(member)
            if content and sequence != ".." and name in ("leftHand.bvh", "rightHand.bvh"):
                (out / sequence).mkdir(exist_ok=True)
                (out / sequence / name).write_bytes(content.read())
    return sorted(path for path in out.iterdir() if path.is_dir())


def fit_sequence(folder: Path, out: Path, landmark_offsets: bool) -> Fitted:
    """Import and fit one sequence, `leftHand.bvh` and `rightHand.bvh` in a folder."""
    config, _ = load_config(None, None)
    fitting = replace(config.fitting, landmark_offsets=landmark_offsets or None)
    config = replace(config, fitting=fitting, engine=EngineSettings(workers=0))
    start = time.perf_counter()
    import_bvh((folder / "leftHand.bvh", folder / "rightHand.bvh"), out, None, None, "auto", 0.001)
    run(Job(str(out), config, ("fit",), force=frozenset({"fit"})), Screen())
    wall_s = time.perf_counter() - start
    store = Store(str(out / "session.zarr"))
    offset = store.read("mano", "joints") - store.read("keypoints", "points")
    distance_mm = 1e3 * np.linalg.norm(offset, axis=-1)
    return Fitted(folder.name, distance_mm, store.read("mano", "valid"), 1e3 * store.read("mano", "residual"), wall_s)


def longest_gap(valid: ndarray) -> int:
    """Largest number of consecutive frames in which a hand is not valid; (frame, hand) bool."""
    longest = run_length = np.zeros(valid.shape[1], int)
    for frame in valid:
        run_length = np.where(frame, 0, run_length + 1)
        longest = np.maximum(longest, run_length)
    return int(longest.max())


def figures(fitted: list[Fitted]) -> list[Figure]:
    """Per sequence, then all together."""
    rows = []
    for one in fitted:
        joints = one.distance_mm[np.isfinite(one.distance_mm)]
        rows += [
            Figure(f"{one.name}: frames", len(one.valid), ""),
            Figure(f"{one.name}: joint residual, median", float(np.median(joints)), "mm", 3),
            Figure(f"{one.name}: joint residual, p95", float(np.percentile(joints, 95)), "mm"),
            Figure(f"{one.name}: hands' RMS residual, median", float(np.nanmedian(one.residual_mm)), "mm"),
            Figure(f"{one.name}: valid hands", 100 * float(one.valid.mean()), "%"),
            Figure(f"{one.name}: wall time", one.wall_s, "s"),
        ]
    everything = np.concatenate([one.distance_mm[np.isfinite(one.distance_mm)] for one in fitted])
    frames, wall_s = sum(len(one.valid) for one in fitted), sum(one.wall_s for one in fitted)
    lost = sum(int((~one.valid).sum()) for one in fitted)
    return [
        *rows,
        Figure("all: frames", frames, ""),
        Figure("all: joint residual, median", float(np.median(everything)), "mm", 3),
        Figure("all: hands lost", lost, f"of {2 * frames}", 0),
        Figure("all: longest loss", max(longest_gap(one.valid) for one in fitted), "frames"),
        Figure("all: wall time", wall_s, "s"),
        Figure("all: speed", frames / wall_s, "two-hand frames/s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="ManipNet's BVH files, packed")
    parser.add_argument("--folder", type=Path, help="folder for the sessions; a temporary folder by default")
    parser.add_argument("--landmark-offsets", action="store_true", help="also learn where each joint lies in its bone")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = unpacked(options.data, Path(temporary))
        out = options.folder or Path(temporary) / "sessions"
        fitted = [fit_sequence(folder, out / folder.name, options.landmark_offsets) for folder in folders]
    report("ManipNet: real two-hand motion, BVH to MANO", figures(fitted), options.json)


if __name__ == "__main__":
    main()
