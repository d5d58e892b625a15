"""Hand identity: simulated interacting hands, wrong left/right labels in half of the views, a poor detector.

    python benchmarks/identity.py [--views 50 16 8 4] [--seeds 3] [--quick] [--json FILE]

Every hand is detected in 40 % of the views only; 10 % of the candidates mix two hands; some hands are detected twice. A
hand-frame (one hand in one frame) is *correct* if the keypoints are nearest to that hand and within 3 cm of it,
*undecided* if there are none, and *wrong* otherwise, also if there are keypoints for a hand that no view can see.
Hand-frames with two unmixed candidates are *decidable*. A *swap* is a hand-frame that is nearer to another hand; it is
*persistent* if the next frame is also swapped. With few views, a second row is for a detector that finds each hand in
80 % of them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from _identity_scenes import SCENES, Detections, Faults, Scene, detect, short_film
from _report import Figure, report
from numpy import ndarray
from rich.console import Console
from rich.table import Table

from handpipe.core.cameras import Cameras
from handpipe.core.hands import HANDS
from handpipe.rendering.rig import dome_rig
from handpipe.triangulation.assignment import assign, triangulate_assigned
from handpipe.triangulation.settings import TriangulationSettings

FRAMES = 150
SHORT_FILMS = 8
"""Of each seed, for they have few frames."""
NEAR_M = 0.03


@dataclass
class Score:
    """Counts of hand-frames."""

    present: int = 0
    decidable: int = 0
    right: int = 0
    wrong: int = 0
    undecided: int = 0
    swaps: int = 0
    lasting: int = 0
    """Swaps of which the next frame is one too."""
    frames: int = 0
    seconds: float = 0.0

    def __add__(self, other: Score) -> Score:
        return Score(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})

    def share(self, count: int) -> float:
        return 100 * count / max(self.present, 1)


def keypoints(cameras: Cameras, found: Detections, fps: float) -> ndarray:
    """(frame, hand, joint, 3) what the stage stores."""
    assignment = assign(cameras, found.points_px, found.score, found.right, fps)
    robust = triangulate_assigned(cameras, found.points_px, found.score, assignment)
    return np.where(robust.sigma_m[..., None] <= TriangulationSettings().max_sigma_m, robust.points_m, np.nan)


def score(scene: Scene, found: Detections, points: ndarray) -> Score:
    """Hold (frame, hand, joint, 3) keypoints against the scene."""
    distance = np.linalg.norm(points[:, :, None] - scene.joints_m[:, None], axis=-1)
    known = np.isfinite(distance).sum(-1) >= 8
    distance = np.where(known, np.nanmedian(np.where(known[..., None], distance, 0.0), axis=-1), np.inf)
    distance = np.where(scene.visible[:, None], distance, np.inf)
    own, present, given = np.arange(len(HANDS)), scene.visible[:, : len(HANDS)], known.any(-1)
    right = present & given & (distance.argmin(-1) == own) & (distance[:, own, own] < NEAR_M)
    swapped = given & np.isfinite(distance).any(-1) & (distance.argmin(-1) != own)
    views_of = np.stack([((found.shown == hand) & found.pure).any(-1).sum(0) for hand in own], axis=-1)
    return Score(
        present=int(present.sum()),
        decidable=int((present & (views_of >= 2)).sum()),
        right=int(right.sum()),
        wrong=int((given & ~right).sum()),
        undecided=int((present & ~given).sum()),
        swaps=int(swapped.sum()),
        lasting=int((swapped[1:] & swapped[:-1]).sum()),
        frames=len(points),
    )


def run(scene: Scene, views: int, faults: Faults, seed: int) -> Score:
    """One film through grouping, tracking and triangulation."""
    cameras = dome_rig(views, seed=seed)
    found = detect(cameras, scene, faults, seed)
    start = time.process_time()
    points = keypoints(cameras, found, scene.fps)
    result = score(scene, found, points)
    result.seconds = time.process_time() - start
    return result


def measure(views: int, faults: Faults, seeds: int, frames: int, table: Table) -> Score:
    """All scenes, a row each."""
    every = Score()
    for make in SCENES:
        total, name = Score(), ""
        for seed in range(seeds * (SHORT_FILMS if make is short_film else 1)):
            scene = make(frames, seed)
            name = scene.name
            total += run(scene, views, faults, seed)
        every += total
        add_row(table, views, faults, name, total)
    add_row(table, views, faults, "all", every)
    table.add_section()
    return every


def add_row(table: Table, views: int, faults: Faults, name: str, total: Score) -> None:
    shares = (total.right, total.wrong, total.undecided, total.decidable)
    table.add_row(
        str(views),
        f"{100 * faults.seen:.0f} %",
        name,
        str(total.present),
        *(f"{total.share(count):.2f} %" for count in shares),
        str(total.swaps),
        str(total.lasting),
        f"{1e3 * total.seconds / max(total.frames, 1):.0f} ms",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, nargs="+", default=[50, 16, 8, 4], help="sizes of the rig")
    parser.add_argument("--seeds", type=int, default=3, help="films of each scene")
    parser.add_argument("--quick", action="store_true", help="one film of 60 frames of each scene")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    seeds, frames = (1, 60) if options.quick else (options.seeds, FRAMES)
    table = Table(title="hand identity: hand-frames by scene", title_justify="left")
    for column in ("views", "found in", "scene", "hand-frames", "right", "wrong", "not decided", "decidable"):
        table.add_column(column, justify="left" if column == "scene" else "right")
    for column in ("swaps", "lasting", "time/frame"):
        table.add_column(column, justify="right")
    rows: list[Figure] = []
    for views in options.views:
        for seen in (0.4, 0.8) if views < 20 else (0.4,):
            total = measure(views, Faults(seen=seen), seeds, frames, table)
            what = f"{views} views, each hand detected in {100 * seen:.0f} %:"
            rows += [
                Figure(f"{what} right", total.share(total.right), "%", 99.9 if views >= 50 else None, "higher"),
                Figure(f"{what} wrong", total.share(total.wrong), "%"),
                Figure(f"{what} undecided", total.share(total.undecided), "%"),
                Figure(f"{what} persistent swaps", total.lasting, "hand-frames", 0),
            ]
    Console(width=130).print(table)
    report("hand identity, wrong labels in half of the views", rows, options.json)


if __name__ == "__main__":
    main()
