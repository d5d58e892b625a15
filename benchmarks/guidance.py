"""Filming the board by handpipe's advice, beside a random walk and a systematic sweep: frames until it is enough.

    python benchmarks/guidance.py [--seeds 1001 1002 1003] [--rigs arc ring dome] [--json FILE]

Simulated corners with noise of 0.25 px; no pictures. A person moves the board, with the same greatest speed in all
three ways. Two frames a second count. For each way: frames until the quality gate passes; until it is enough (the
gate passes, and no camera is known much less well than the others); and until the gate passes and the error is as small
as that of filming by the advice when it was enough. The error is that of distances between corners of 80 other frames,
all over the volume. The ratios that count are those of the frames at equal error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _report import Figure, grid, report
from numpy import ndarray
from scipy.spatial.transform import Rotation, Slerp

from handpipe.calibration.board import corner_positions
from handpipe.calibration.calibrate import calibrate
from handpipe.calibration.guidance.advice import Advice
from handpipe.calibration.guidance.guide import Guidance, guidance
from handpipe.calibration.guidance.poses import REGIONS, TILTS
from handpipe.calibration.quality import board_distance_errors
from handpipe.calibration.settings import CalibrationSettings
from handpipe.core.cameras import Cameras
from handpipe.core.settings import Board

BOARD = Board(columns=7, rows=5, square_m=0.04, marker_m=0.03)
CORNERS_M = corner_positions(BOARD) - corner_positions(BOARD).mean(0)
OPTIONS = CalibrationSettings()
NOISE_PX = 0.25
STEP_M, STEP_RAD = 0.15, np.deg2rad(30)
"""A person moves the board no more than this from one frame to the next."""
REACH_M = 0.25
STEEPEST_RAD = np.deg2rad(65)
LOOK_EVERY = 3
"""Frames between two looks at what is known."""
MOST_FRAMES = 120
"""Who needs more is counted with these: the ratios are at least as good as they are said to be."""


@dataclass(frozen=True)
class Rig:
    """The true cameras."""

    cameras: Cameras
    azimuth_rad: tuple[float, float]
    """Between which directions they stand, around the vertical."""


def rig_of(kind: str, rng: np.random.Generator) -> Rig:
    """Cameras that look roughly at the origin, each a little different."""
    views, span, heights = {
        "arc": (8, 2.2, (-0.2, 0.3)),
        "ring": (10, 2 * np.pi, (-0.1, 0.4)),
        "dome": (16, 2 * np.pi, (-0.1, 0.4, 0.8)),
    }[kind]
    angle = np.linspace(-span / 2, span / 2, views, endpoint=span < 6) + rng.normal(0, 0.05, views)
    height = np.array([heights[view % len(heights)] for view in range(views)]) + rng.normal(0, 0.05, views)
    distance = rng.uniform(0.85, 1.25, views)
    centers = np.stack([np.sin(angle) * distance, -height, -np.cos(angle) * distance], -1)
    T = np.tile(np.eye(4), (views, 1, 1))
    for view, center in enumerate(centers):
        z = rng.normal(0, 0.04, 3) - center
        z /= np.linalg.norm(z)
        x = np.cross([0.0, 1.0, 0.0], z)
        x /= np.linalg.norm(x)
        T[view, :3, :3] = [x, np.cross(z, x), z]
        T[view, :3, 3] = -T[view, :3, :3] @ center
    K = np.tile(np.eye(3), (views, 1, 1))
    K[:, [0, 1], [0, 1]] = rng.uniform(0.85, 1.15) * rng.uniform(620, 720, (views, 1))
    K[:, :2, 2] = [319.5, 239.5] + rng.normal(0, 4, (views, 2))
    distortion = np.zeros((views, 5))
    distortion[:, 0], distortion[:, 1] = rng.normal(-0.1, 0.03, views), rng.normal(0.01, 0.01, views)
    cameras = Cameras(tuple(f"c{n}" for n in range(views)), K, distortion, T, np.tile([640, 480], (views, 1)))
    return Rig(cameras, (-span / 2, span / 2))


Pose = tuple[Rotation, ndarray]
"""Of the board's middle in the world."""


def facing(azimuth: float, pitch: float, roll: float = 0.0) -> Rotation:
    """A board whose front looks into a direction; azimuth 0 is toward -z."""
    return Rotation.from_euler("yxz", [-azimuth, pitch, roll])


def sighted(rig: Rig, pose: Pose) -> tuple[ndarray, ndarray]:
    """(view,) who sees the whole board, and (view, corner, 2) pixels."""
    R, t = pose
    uv = rig.cameras.project(R.apply(CORNERS_M) + t)
    toward = rig.cameras.centers_m - t
    direct = toward @ -R.as_matrix()[:, 2] > np.cos(STEEPEST_RAD) * np.linalg.norm(toward, axis=1)
    return ((uv > 2) & (uv < rig.cameras.size_px[:, None] - 3)).all((-1, -2)) & direct, uv


def filmed(rig: Rig, pose: Pose, rng: np.random.Generator) -> ndarray:
    """(view, corner, 2) with noise, NaN where not seen."""
    sees, uv = sighted(rig, pose)
    return np.where(sees[:, None, None], uv + rng.normal(0, NOISE_PX, uv.shape), np.nan)


def any_pose(rig: Rig, rng: np.random.Generator) -> Pose:
    return facing(rng.uniform(*rig.azimuth_rad), rng.normal(0.15, 0.35), rng.normal(0, 0.3)), rng.uniform(
        -REACH_M, REACH_M, 3
    )


def toward(now: Pose, goal: Pose) -> Pose:
    """One step on the way, as far as a person moves in a frame."""
    far_m, far_rad = float(np.linalg.norm(goal[1] - now[1])), float((goal[0] * now[0].inv()).magnitude())
    share = min(1.0, STEP_M / max(far_m, 1e-9), STEP_RAD / max(far_rad, 1e-9))
    turn = Slerp([0, 1], Rotation.concatenate([now[0], goal[0]]))(share)
    return turn, now[1] + share * (goal[1] - now[1])


Mover = Callable[[Pose, "Guidance | None"], Pose]
"""Where the board is in the next frame, from where it is and what is known."""


def random_walk(rig: Rig, rng: np.random.Generator) -> Mover:
    """From one random pose to another."""
    goal = any_pose(rig, rng)

    def move(now: Pose, _: Guidance | None) -> Pose:
        nonlocal goal
        if arrived(now, goal):
            goal = any_pose(rig, rng)
        return toward(now, goal)

    return move


def arrived(now: Pose, goal: Pose) -> bool:
    return bool(np.linalg.norm(goal[1] - now[1]) < 1e-6 and (goal[0] * now[0].inv()).magnitude() < 1e-6)


def sweep(rig: Rig, rng: np.random.Generator) -> Mover:
    """At the middle and eight places around it, the board is turned past all cameras, tilted in alternation."""
    places = [(0, 0, 0), *((x, y, z) for y in (-1, 1) for x, z in ((-1, -1), (1, -1), (1, 1), (-1, 1)))]
    low, high = rig.azimuth_rad
    steps = int(np.ceil((high - low) / STEP_RAD)) + 1
    goals: list[Pose] = []
    for turn, place in enumerate(places * 3):
        azimuths = np.linspace(low, high, steps)[:: 1 if turn % 2 == 0 else -1]
        goals += [
            (
                facing(azimuth, 0.15 + 0.4 * (-1) ** (n + turn), 0.2 * (-1) ** turn),
                0.6 * REACH_M * np.array(place, float),
            )
            for n, azimuth in enumerate(azimuths)
        ]

    def move(now: Pose, _: Guidance | None) -> Pose:
        if arrived(now, goals[0]):
            goals.append(goals.pop(0))
        return toward(now, goals[0])

    return move


def guided(rig: Rig, rng: np.random.Generator) -> Mover:
    """A person who does what the advice says as far as the cameras' places allow, by the shortest way."""
    goal: Pose | None = None

    def move(now: Pose, known: Guidance | None) -> Pose:
        nonlocal goal
        if goal is None or arrived(now, goal):
            goal = any_pose(rig, rng) if known is None else followed(rig, now, known.advice, rng)
        return toward(now, goal)

    return move


def followed(rig: Rig, now: Pose, advice: Advice, rng: np.random.Generator) -> Pose:
    """Of many poses, one that does most of what is asked; of equal ones the nearest, but another one than now."""
    best, most = now, (-1.0, -np.inf)
    for _ in range(400):
        pose = any_pose(rig, rng)
        if advice.views:
            x, _, z = rig.cameras.centers_m[advice.views[0]]
            azimuth = np.arctan2(x, -z) + rng.normal(0, 0.5)
            pose = facing(azimuth, rng.normal(0.15, 0.4), rng.normal(0, 0.3)), pose[1]
        sees, uv = sighted(rig, pose)
        done = does(rig, pose, advice, sees, uv) if advice.views else float(sees.sum())
        steps = np.linalg.norm(pose[1] - now[1]) / STEP_M + (pose[0] * now[0].inv()).magnitude() / STEP_RAD
        if (done, -abs(steps - 1)) > most:
            best, most = pose, (done, -abs(steps - 1))
    return best


def does(rig: Rig, pose: Pose, advice: Advice, sees: ndarray, uv: ndarray) -> float:
    """How much of an advice a pose does."""
    first, rest = advice.views[0], [*advice.views[1:], *advice.or_any]
    if not sees[first]:
        return 0.0
    done = 2.0 + bool(not rest or sees[rest].any()) + sees[list(advice.also)].sum() / 100
    if advice.region is not None:
        at = (uv[first].mean(0) / rig.cameras.size_px[first] * REGIONS).astype(int)
        done += tuple(at[::-1].tolist()) == advice.region
    return done + (advice.closer is not None and tilted(rig, pose, first, advice.closer))


def tilted(rig: Rig, pose: Pose, view: int, closer: str) -> bool:
    """Whether an edge of the board is the closer one, by 15 degrees or more."""
    normal = rig.cameras.T_cam_world[view, :3, :3] @ pose[0].as_matrix()[:, 2]
    x, y = TILTS[closer]
    # Turned by a about x, the normal goes to (0, -sin a, cos a); about y, to (sin a, 0, cos a).
    return float(normal @ [y, -x, 0.0]) > np.sin(np.deg2rad(15))


WAYS: dict[str, Callable[[Rig, np.random.Generator], Mover]] = {"advice": guided, "walk": random_walk, "sweep": sweep}


@dataclass(frozen=True)
class Filmed:
    """What one way took."""

    gate: int
    """Frames until the quality gate passed."""
    enough: int
    """Until it was enough."""
    equal: int
    """Until the gate passed, and the error was as small as that of filming by the advice when it was enough."""
    gate_mm: float
    """Error on other frames when the gate passed."""
    enough_mm: float


def film(rig: Rig, way: str, seed: int, equal_mm: float | None = None) -> Filmed:
    """Film until it is enough, and until the error is `equal_mm`, if it is given."""
    rng = np.random.default_rng(seed)
    others_px = np.stack([filmed(rig, any_pose(rig, rng), rng) for _ in range(80)], 1)
    move, now, known = WAYS[way](rig, rng), any_pose(rig, rng), None
    frames, gate, enough, equal, gate_mm, enough_mm = [], 0, 0, 0, np.nan, np.nan
    while len(frames) < MOST_FRAMES and not (enough and equal):
        now = move(now, known)
        frames.append(filmed(rig, now, rng))
        if len(frames) % LOOK_EVERY:
            continue
        px = np.stack(frames, 1)
        if not enough:
            known = guidance(BOARD, px, rig.cameras.names, rig.cameras.size_px, OPTIONS)
        if known is None or not (gate or known.passes):
            continue
        error = error_mm(rig, px, others_px)
        if not gate:
            gate, gate_mm = len(frames), error
        if not enough and known.enough:
            enough, enough_mm = len(frames), error
        if not equal and (equal_mm is None or error <= equal_mm):
            equal = len(frames) if equal_mm is not None or enough else 0
    return Filmed(gate or MOST_FRAMES, enough or MOST_FRAMES, equal or MOST_FRAMES, gate_mm, enough_mm)


def error_mm(rig: Rig, px: ndarray, others_px: ndarray) -> float:
    """RMSE of distances between corners of other frames, by the calibration with these."""
    found = calibrate(BOARD, px, rig.cameras.names, rig.cameras.size_px)
    return board_distance_errors(found.cameras, others_px, BOARD).all_rmse_mm


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1001, 1002, 1003])
    parser.add_argument("--rigs", nargs="+", default=["arc", "ring", "dome"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: dict[str, dict[str, str]] = {}
    found: dict[str, list[Filmed]] = {way: [] for way in WAYS}
    for kind in options.rigs:
        for seed in options.seeds:
            row: dict[str, str] = {}
            for way in WAYS:
                equal_mm = None if way == "advice" else found["advice"][-1].enough_mm
                each = film(rig_of(kind, np.random.default_rng(seed)), way, seed, equal_mm)
                found[way].append(each)
                row |= {
                    way: f"{each.gate} / {each.enough} / {each.equal}",
                    f"{way}, mm": f"{each.gate_mm:.2f} / {each.enough_mm:.2f}",
                }
            rows[f"{kind} {seed}"] = row
            print(f"{kind} {seed}: {row}", file=sys.stderr)
    grid(
        f"frames until the gate passes / until enough / until the error of the advice (at most {MOST_FRAMES})",
        rows,
        [each for way in WAYS for each in (way, f"{way}, mm")],
    )

    def mean(way: str, what: str) -> float:
        return float(np.nanmean([getattr(each, what) for each in found[way]]))

    figures = [Figure("frames by advice, mean", mean("advice", "enough"), ""),
               Figure("error by advice, mean", mean("advice", "enough_mm"), "mm")]  # fmt: skip
    for way, limit in (("walk", 0.6), ("sweep", 1.0)):
        share = mean("advice", "equal") / mean(way, "equal")
        figures.append(Figure(f"equal error: frames by advice, of those of a {way}", share, "", limit))
        for what in ("gate", "enough"):
            frames, error = (mean("advice", each) / mean(way, each) for each in (what, f"{what}_mm"))
            figures.append(Figure(f"{what}: frames by advice, of those of a {way}", frames, ""))
            figures.append(Figure(f"{what}: error by advice, of that of a {way}", error, ""))
    return report("guidance", figures, options.json)


if __name__ == "__main__":
    raise SystemExit(bool(main()))
