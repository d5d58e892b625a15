"""The real four-camera recording, run as a session: figures that need no ground truth.

    python benchmarks/real_footage.py [--data DIR] [--folder DIR] [--no-second-look] [--json FILE]

Distances of board corners are compared with the print. For hands, the figures are the number of frames, the
reprojection error and the variation of bone lengths. The shipped caliscope calibration is measured with the same
corners.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _report import Figure, report
from default_session import view_figures

from handpipe.calibration.quality import board_distance_errors
from handpipe.core.cameras_file import match_views
from handpipe.core.hands import HANDS, JOINTS
from handpipe.core.settings import Board
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.exchange.cameras.caliscope import read_caliscope_cameras

DATA = Path(__file__).parents[2] / "shared" / "data" / "caliscope_charuco_4cam_hands"

SESSION_YAML = """\
board:
  type: charuco
  columns: 4
  rows: 5
  square_m: 0.054
  marker_m: 0.0405
  dictionary: DICT_4X4_1000
  inverted: true
"""


def lay_out(data: Path, root: Path) -> None:
    """Make a session of the recording, as docs/real-footage.md does by hand."""
    (root / "videos").mkdir(parents=True, exist_ok=True)
    for clip in sorted(data.glob("cam_*.mp4")):
        shutil.copy2(clip, root / "videos")
    shutil.copy2(data / "timestamps.csv", root)
    (root / "session.yaml").write_text(SESSION_YAML)


def hand_figures(store: Store) -> list[Figure]:
    points = store.read("keypoints", "points").astype(float)
    seen = np.asarray(np.isfinite(points[..., 0]).any(-1))
    rows = []
    for hand, name in enumerate(HANDS):
        bone = points[:, hand, JOINTS.index("index_mcp")] - points[:, hand, JOINTS.index("wrist")]
        length_cm = 100 * np.linalg.norm(bone, axis=-1)
        length_cm = length_cm[np.isfinite(length_cm)]
        wrist = points[:, hand, 0]
        jump_cm = 100 * np.linalg.norm(np.diff(wrist, axis=0), axis=-1)
        rows += [
            Figure(f"{name} hand triangulated", float(seen[:, hand].sum()), f"of {len(points)} frames", 90, "higher"),
            Figure(f"{name} wrist to index MCP, mean, upper limit", float(length_cm.mean()), "cm", 11),
            Figure(f"{name} wrist to index MCP, mean, lower limit", float(length_cm.mean()), "cm", 8, "higher"),
            Figure(f"{name} wrist to index MCP, variation", 100 * float(length_cm.std() / length_cm.mean()), "%", 6),
            Figure(f"{name} wrist jumps over 10 cm", float((jump_cm > 10).sum()), "frames", 0),
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the recording")
    parser.add_argument("--folder", type=Path, help="where the session is made; a temporary folder by default")
    parser.add_argument("--no-second-look", action="store_true", help="without the second look")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: expected the recording, but there is no such folder. Give its path with --data.")
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.folder or Path(temporary)) / "four-cameras"
        lay_out(options.data, root)
        flags = ["--second-look.no-enabled"] if options.no_second_look else []
        command = [sys.executable, "-m", "handpipe.cli", "run", str(root), "--json", *flags]
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        store = Store(str(root / "session.zarr"))
        cameras = read_cameras(store)
        board = Board(**store.attrs("board")["board"])
        corners = store.read("board", "corners").astype(float)
        ours = board_distance_errors(cameras, corners, board)
        file = options.data / "camera_array.toml"
        caliscope = board_distance_errors(match_views(read_caliscope_cameras(file), cameras.names), corners, board)
        rows = [
            Figure("views calibrated", figures["views_calibrated"], "of 4", 4, "higher"),
            Figure("board, neighbouring corners", ours.adjacent_rmse_mm, "mm RMSE", 1.5),
            Figure("board, all pairs of corners", ours.all_rmse_mm, "mm RMSE", 1.5),
            Figure("  caliscope's calibration, neighbouring corners", caliscope.adjacent_rmse_mm, "mm RMSE"),
            Figure("  caliscope's calibration, all pairs", caliscope.all_rmse_mm, "mm RMSE"),
            *view_figures(store),
            Figure("reprojection error of inlier joints", figures["reprojection_px"], "px median", 3.0),
            *hand_figures(store),
            Figure("fit residual", figures["residual_mm"], "mm mean"),
        ]
        report("real footage: 4 webcams, 111 frames", rows, options.json)


if __name__ == "__main__":
    main()
