"""The default session, run from scratch and then repeated: accuracy compared with ground truth, and time.

    python benchmarks/default_session.py [--folder DIR] [--ablation] [--detector FILE] [--json FILE]

Renders 50 views, calibrates, detects, triangulates and fits in fresh processes, as `handpipe run capture-session` does.
With --ablation also with regions from space, and without the second look, the landmark offsets, the 2D term of the fit,
and all three. With --detector, a file of `handpipe train-detector`, the ablation is repeated with this detector, in
a store of its own beside the session.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _report import Figure, report

from handpipe.core.hands import HANDS
from handpipe.core.storage.store import Store


def run(folder: Path, *flags: str) -> tuple[dict, float]:
    """The command's summary and its wall time in seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "handpipe.cli", "run", "capture-session", "--json", *flags]
    result = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout), time.perf_counter() - start


WITHOUT = {
    "second look": "--second-look.no-enabled",
    "landmark offsets": "--fitting.landmark-offsets=False",
    "2D term": "--fitting.no-reprojection",
}
"""Parts that can be disabled, and the flag for each."""
ABLATION = {
    "as it is": [],
    "regions from space": ["--detection.regions", "space"],
    **{f"without {name}": [flag] for name, flag in WITHOUT.items()},
    "without all three": list(WITHOUT.values()),
}
"""Changes of the pipeline, and the flags for each."""


def ablation(folder: Path, detector: Path | None = None) -> list[Figure]:
    """Accuracy with changes of the pipeline, by MediaPipe or another detector."""
    own, name = [], "MediaPipe"
    if detector:
        own, name = ["--detection.detector", str(detector.resolve()), "--store", "detector.zarr"], detector.name
        if not (folder / "detector.zarr").exists():
            shutil.copytree(folder / "capture-session" / "session.zarr", folder / "detector.zarr")
    rows = []
    for change, flags in ABLATION.items():
        figures, _ = run(folder, *own, *flags)
        truth, valid = figures["truth"], min(figures["frames_valid"].values())
        rows += [
            Figure(
                f"{name}, {change}: error of triangulated joints, mean", truth["triangulated_joint_mm"]["mean"], "mm"
            ),
            Figure(f"{name}, {change}: error of fitted joints, mean", truth["fitted_joint_mm"]["mean"], "mm"),
            Figure(f"{name}, {change}: error of fitted joints, p95", truth["fitted_joint_mm"]["p95"], "mm"),
            Figure(f"{name}, {change}: valid frames, worse hand", 100 * valid, "% of frames"),
        ]
    return rows


def view_figures(store: Store) -> list[Figure]:
    """Share of the views in which each hand was used, and results of the second look."""
    taken = store.read("keypoints", "assignment")
    again = taken >= store.read("detections", "score").shape[2]
    rows = [
        Figure(f"{hand} hand, images used", 100 * float(np.mean(taken[..., i] >= 0)), "% of images")
        for i, hand in enumerate(HANDS)
    ]
    if again.any():
        rows.append(Figure("second look, crops", store.attrs("second_look")["looks_per_image"], "per image"))
        rows.append(Figure("second look, results used", 100 * float(np.mean(again)), "% of hands in images"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder of the session; a temporary folder by default")
    parser.add_argument("--ablation", action="store_true", help="also measure with parts of the pipeline disabled")
    parser.add_argument("--detector", type=Path, help="a trained detector, for the ablation")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if options.detector and not options.detector.is_file():
        sys.exit(f"{options.detector}: expected a file of `handpipe train-detector`. Correct --detector.")
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
            Figure("error of camera centres, mean", truth["camera_center_mm"]["mean"], "mm"),
            Figure("error of camera centres, maximum", truth["camera_center_mm"]["max"], "mm", 2),
            Figure("board, reprojection", figures["board_px"], "px RMS"),
            Figure("board, error of corner distances", figures["board_mm"], "mm RMSE"),
        ]
        for hand, share in figures["frames_with_hand"].items():
            rows.append(Figure(f"{hand} hand triangulated", 100 * share, "% of frames"))
            rows.append(Figure(f"{hand} hand valid", 100 * figures["frames_valid"][hand], "% of frames", 99, "higher"))
        rows += [
            Figure("images with both hands detected", 100 * figures["hands_found"][2], "%"),
            *view_figures(Store(str(folder / figures["store"]))),
            Figure("reprojection error of inlier joints", figures["reprojection_px"], "px median"),
            Figure("error of triangulated joints, mean", truth["triangulated_joint_mm"]["mean"], "mm", 5),
            Figure("error of fitted joints, mean", truth["fitted_joint_mm"]["mean"], "mm", 4),
            Figure("error of fitted joints, p95", truth["fitted_joint_mm"]["p95"], "mm", 10),
            Figure("fit residual", figures["residual_mm"], "mm mean"),
        ]
        if fresh:
            rows.append(Figure("first run", first_s / 60, "min", 12))
        rows.append(Figure("second run", second_s, "s", 10))
        if options.ablation:
            rows += ablation(folder)
            rows += ablation(folder, options.detector) if options.detector else []
        report("default session: 50 views, 60 frames", rows, options.json)


if __name__ == "__main__":
    main()
