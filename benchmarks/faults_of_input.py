"""Faults of single views, planted in simulated detections: detected, named with the right reason, false alarms.

    python benchmarks/faults_of_input.py [--views 4 8 50] [--draws 20] [--seed 100] [--json FILE]

Each draw is a rig, a film of interacting hands, and what a detector finds of it. The whole identity and triangulation
runs on it, and then the judgement of the views, as after `handpipe run`. Thresholds were set on seeds 0 to 9; the
default starts at 100. The rigs are simulated domes: other faults and real recordings are not measured here.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from _identity_scenes import Faults, detect, interacting
from _report import Figure, report
from numpy import ndarray
from rich.console import Console
from rich.table import Table

from handpipe.core.cameras import Cameras
from handpipe.rendering.rig import dome_rig
from handpipe.triangulation.quality.references import grouped
from handpipe.triangulation.quality.views import judge_views

FRAMES, LATE = 48, 5
KINDS = ("none", "exchanged", "mirrored", "size", "delay", "moved", "focal length")
DETECTOR = Faults(seen=0.8, wrong=0.2, mixed=0.05)


def planted(kind: str, cameras: Cameras, points: ndarray, view: int, other: int) -> tuple[Cameras, ndarray]:
    """The rig as its file says, and the detections as they come, with one fault."""
    points = points.copy()
    match kind:
        case "exchanged":
            order = list(range(len(cameras)))
            order[view], order[other] = other, view
            return replace(cameras.subset(order), names=cameras.names), points
        case "mirrored":
            points[view, ..., 0] = cameras.size_px[view, 0] - 1 - points[view, ..., 0]
        case "size":
            points[view] = 0.5 * (points[view] + 0.5) - 0.5
        case "delay":
            points[view] = np.concatenate([np.full_like(points[view, :LATE], np.nan), points[view, :-LATE]])
        case "moved":
            T = cameras.T_cam_world.copy()
            c, s = np.cos(0.1), np.sin(0.1)
            T[view] = np.array([[c, 0, s, 0.05], [0, 1, 0, 0.02], [-s, 0, c, 0], [0, 0, 0, 1]]) @ T[view]
            return replace(cameras, T_cam_world=T), points
        case "focal length":
            K = cameras.K.copy()
            K[view, [0, 1], [0, 1]] *= 1.3
            return replace(cameras, K=K), points
    return cameras, points


def named(cameras: Cameras, points: ndarray, score: ndarray, right: ndarray, fps: float) -> dict[str, str]:
    """What is said of each view: its explanation, or "?" for one that disagrees without any."""
    judged = judge_views(cameras, grouped(cameras, points, score, right), fps)
    said = {name: each.kind for name, each in judged.explained.items() if each is not None}
    return {name: "?" for name, bad in zip(cameras.names, judged.agreement.hopeless, strict=True) if bad} | said


def draw(kind: str, views: int, seed: int) -> tuple[bool, bool, int]:
    """Whether the fault is detected, whether it is named rightly, and how many sound views are accused."""
    rng = np.random.default_rng(seed)
    cameras, scene = dome_rig(views, seed=seed), interacting(FRAMES, seed)
    found = detect(cameras, scene, DETECTOR, seed)
    view, other = rng.choice(views, 2, replace=False).tolist()
    rig, points = planted(kind, cameras, found.points_px.astype(float), view, other)
    said = named(rig, points, found.score, found.right, scene.fps)
    bad = set() if kind == "none" else {rig.names[view], *([rig.names[other]] if kind == "exchanged" else [])}
    return bad <= said.keys(), all(said.get(name) == kind for name in bad), len(said.keys() - bad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, nargs="+", default=[4, 8, 50], help="sizes of the rig")
    parser.add_argument("--draws", type=int, default=20, help="recordings for each kind of fault")
    parser.add_argument("--seed", type=int, default=100, help="of the first recording")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    table = Table(title="planted faults of single views", title_justify="left")
    for column in ("views", "fault", "draws", "detected", "right reason", "sound views accused"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    total: Counter[str] = Counter()
    for views in options.views:
        for kind in KINDS:
            outcomes = [draw(kind, views, options.seed + i) for i in range(options.draws)]
            detected, right, accused = (sum(each) for each in zip(*outcomes, strict=True))
            total["accused"] += accused
            total["sound accused"] += accused if kind == "none" else 0
            if kind != "none":
                total.update(faults=options.draws, detected=detected, right=right)
            shown = ("", "") if kind == "none" else (str(detected), str(right))
            table.add_row(str(views), kind, str(options.draws), *shown, str(accused))
    Console(width=110).print(table)
    rows = [
        Figure("faults detected", 100 * total["detected"] / total["faults"], "%", 95, "higher"),
        Figure("faults with the right reason", 100 * total["right"] / total["faults"], "%", 85, "higher"),
        Figure("views accused in sound recordings", total["sound accused"], "views", 0),
        Figure("sound views accused beside a faulty one", total["accused"] - total["sound accused"], "views"),
    ]
    report("faults of single views, named by the verdict", rows, options.json)


if __name__ == "__main__":
    main()
