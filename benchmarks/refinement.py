"""Refinement of poses from the hands: as calibrated, with perturbed cameras, and refined without the board.

    python benchmarks/refinement.py SESSION [--json FILE]

SESSION is one on which `handpipe triangulate` has run, and whose board was filmed. Nothing in it is changed. The hands
are detected and held out as in `handpipe calibrate --refine-from-hands`; the result is checked with board distances.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from _report import Figure, report
from scipy.spatial.transform import Rotation

from handpipe.calibration.refinement.poses import Observations, refine_poses
from handpipe.calibration.refinement.stage import gather_hands, measure
from handpipe.core.cameras import Cameras
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store

BUMPS = {
    "as calibrated": (0, 0.0, 0.0),
    "one camera, 2 degrees, 20 mm": (1, 2.0, 20.0),
    "all, 1 degree, 10 mm": (0, 1.0, 10.0),
}
"""Number of perturbed views, from the last (0: all), with rotation in degrees and translation in mm."""


def bumped(cameras: Cameras, count: int, degrees: float, mm: float) -> Cameras:
    rng = np.random.default_rng(0)
    T = cameras.T_cam_world.copy()
    for view in range(len(cameras) - count if count else 0, len(cameras)):
        axis, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
        T[view, :3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix() @ T[view, :3, :3]
        T[view, :3, 3] += mm / 1e3 * way
    return replace(cameras, T_cam_world=T)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("session", help="its folder")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    store = Store(f"{options.session.rstrip('/')}/session.zarr")
    cameras = read_cameras(store)
    hands = gather_hands(store, cameras)
    training = np.nonzero(~hands.held_out)[0]
    rows = []
    for name, bump in BUMPS.items():
        before = bumped(cameras, *bump)
        seen = Observations.from_pixels(before, hands.uv_px)
        after = refine_poses(before, seen.part(training), hands.points_m[training], before.calibrated)
        for what, rig in (("before", before), ("after", after)):
            found = measure(rig, seen, hands, store)
            rows.append(Figure(f"{name}, {what}: held-out reprojection", found.held_out_px, "px median"))
            rows.append(Figure("  spread of a bone's length", found.bones_mm, "mm"))
            if found.board is not None:
                rows.append(Figure("  error of board distances", found.board.all_rmse_mm, "mm RMSE"))
                rows.append(Figure("  board size relative to the print", found.board.scale, ""))
    report("refinement of poses from the hands", rows, options.json)


if __name__ == "__main__":
    main()
