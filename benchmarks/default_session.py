"""The default session, from nothing to fitted hands, and once more: accuracy against the truth, and time.

    python benchmarks/default_session.py [--folder DIR] [--json FILE]

Renders 50 views, calibrates, detects, triangulates and fits in fresh processes, as `handpipe run capture-session` does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _report import Figure, report


def run(folder: Path) -> tuple[dict, float]:
    """The command's summary and its wall time in seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "handpipe.cli", "run", "capture-session", "--json"]
    result = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the session is made; a temporary folder by default")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        fresh = not (folder / "capture-session").exists()
        figures, first_s = run(folder)
        again, second_s = run(folder)
        assert again["computed"] == []
        truth = figures["truth"]
        rows = [
            Figure("views calibrated", figures["views_calibrated"], "of 50", 50, "higher"),
            Figure("camera centres, mean", truth["camera_center_mm"]["mean"], "mm"),
            Figure("camera centres, worst", truth["camera_center_mm"]["max"], "mm", 2),
            Figure("board, reprojection", figures["board_px"], "px RMS"),
            Figure("board, corner distances", figures["board_mm"], "mm RMSE"),
        ]
        for hand, share in figures["frames_with_hand"].items():
            rows.append(Figure(f"{hand} hand triangulated", 100 * share, "% of frames"))
            rows.append(Figure(f"{hand} hand valid", 100 * figures["frames_valid"][hand], "% of frames", 95, "higher"))
        rows += [
            Figure("images with both hands found", 100 * figures["hands_found"][2], "%"),
            Figure("reprojection of used joints", figures["reprojection_px"], "px median"),
            Figure("triangulated joints, mean", truth["triangulated_joint_mm"]["mean"], "mm"),
            Figure("fitted joints, mean", truth["fitted_joint_mm"]["mean"], "mm", 10),
            Figure("fitted joints, p95", truth["fitted_joint_mm"]["p95"], "mm"),
            Figure("fit residual", figures["residual_mm"], "mm mean"),
        ]
        if fresh:
            rows.append(Figure("first run", first_s / 60, "min", 12))
        rows.append(Figure("second run", second_s, "s", 10))
        report("default session: 50 views, 60 frames", rows, options.json)


if __name__ == "__main__":
    main()
