"""MANO fitting: speed and error against smplx with PyTorch's optimisers, accuracy, the default session, clasped hands.

    python benchmarks/fitting.py [--only speed exact noise session clasped] [--session DIR] [--json FILE]

The part `session` needs a folder in which `handpipe run capture-session` has been run: give it with --session.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from _peers import fit_with_torch
from _report import Figure, report
from numpy import ndarray

from handpipe.core.engine import Engine, EngineSettings, limit_threads
from handpipe.core.geometry import align_rigid, transform
from handpipe.core.hand_model import HandModel, rotation_from_axis_angle
from handpipe.core.hands import HANDS
from handpipe.core.motion import pose_of_curl, two_hand_motion
from handpipe.core.procedural_hand import random_pose
from handpipe.core.schema import read_cameras
from handpipe.core.store import Store
from handpipe.fitting import stage as fitting_stage
from handpipe.fitting.kinematics import anatomical_frames, axis_angle_from_rotation
from handpipe.fitting.solver import FittingSettings, HandFit, fit_hand, fit_hands

NOISE_M = 0.001
MISSING = 0.1
CLASPS = 4
CLASP_BIAS_M = 0.002
MEASURED = 8
"""Every so many frames the meshes of clasped hands are measured."""
SLOWER = 2.0
"""The procedural motion plays a cycle in three seconds; conversation-like motion takes about twice as long."""
GIVEN_JOINTS = FittingSettings(landmark_offsets=False)
"""Points that are the model's own joints: there is no detector whose habits could be learnt."""
PEERS: tuple[tuple[str, Literal["lbfgs", "adam"], int, int], ...] = (
    ("L-BFGS, 60 evaluations", "lbfgs", 60, 2),
    ("Adam, 300 steps", "adam", 300, 1),
)
"""Name, optimiser, evaluations, runs to take the best of."""


def truth_motion(frames: int, fps: float, seed: int = 0) -> ndarray:
    """(hand, frame, 21, 3) joints of the procedural two-hand motion."""
    motion = two_hand_motion(frames, SLOWER * fps, seed)
    models = [HandModel.procedural(side) for side in HANDS]
    return np.stack(
        [
            models[h].joints(motion.betas[h], motion.global_orient[:, h], motion.hand_pose[:, h], motion.transl[:, h])
            for h in range(2)
        ]
    )


def noisy(points_m: ndarray, seed: int = 0) -> ndarray:
    """With NOISE_M per axis, and a share of points missing."""
    rng = np.random.default_rng(seed)
    points = points_m + NOISE_M * rng.standard_normal(points_m.shape)
    points[rng.random(points.shape[:-1]) < MISSING] = np.nan
    return points


def error_mm(joints_m: ndarray, truth_m: ndarray) -> ndarray:
    return 1e3 * np.linalg.norm(joints_m - truth_m, axis=-1)


def fit(side: int, points_m: ndarray, fps: float, options: FittingSettings = GIVEN_JOINTS) -> HandFit:
    sigma = np.where(np.isfinite(points_m[..., 0]), NOISE_M, np.nan)
    return fit_hand(HandModel.procedural(HANDS[side]), points_m, sigma, fps, options)


# ---- speed -------------------------------------------------------------------------------------------------------


def fit_joints(side: int, points_m: ndarray, fps: float) -> ndarray:
    """What one process does in the speed test."""
    limit_threads()
    return fit(side, points_m, fps).joints_m


def fit_peer(side: int, points_m: ndarray, method: Literal["lbfgs", "adam"], evaluations: int) -> ndarray:
    """What one process does in the peers' speed test."""
    limit_threads()
    return fit_with_torch(HandModel.procedural(HANDS[side]), points_m, NOISE_M, method, evaluations)


def speed() -> list[Figure]:
    """Ours and the peers on the same points: two hands, one process of one thread each; the best of a few runs."""
    frames, peer_frames, fps = 1024, 256, 30.0
    truth = truth_motion(frames, fps)
    points = noisy(truth)
    # Spawned: PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:

        def ours() -> ndarray:
            return np.stack(list(pool.map(fit_joints, (0, 1), points, (fps, fps))))

        ours()  # processes started, modules imported
        seconds, joints = best_of(3, ours)
        rate = frames / seconds
        rows = [
            Figure("ours", rate, "two-hand frames/s", 500, "higher"),
            Figure("ours, joint error", float(error_mm(joints, truth).mean()), "mm"),
        ]
        for name, method, evaluations, runs in PEERS:

            def peer(method=method, evaluations=evaluations) -> ndarray:
                part = points[:, :peer_frames]
                return np.stack(list(pool.map(fit_peer, (0, 1), part, (method,) * 2, (evaluations,) * 2)))

            seconds, joints = best_of(runs, peer)
            peer_rate = peer_frames / seconds
            rows += [
                Figure(f"smplx + {name}", peer_rate, "two-hand frames/s"),
                Figure(f"smplx + {name}, joint error", float(error_mm(joints, truth[:, :peer_frames]).mean()), "mm"),
                Figure(f"ours / smplx + {name}", rate / peer_rate, "x", 10, "higher"),
            ]
    return rows


def best_of(runs: int, call: Callable[[], ndarray]) -> tuple[float, ndarray]:
    """Least wall time in seconds, and the result."""
    seconds, result = np.inf, np.empty(0)
    for _ in range(runs):
        start = time.perf_counter()
        result = call()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, result


# ---- accuracy ----------------------------------------------------------------------------------------------------


def exact() -> list[Figure]:
    """Exact keypoints of unrelated poses: a hundred people, ten poses each, no smoothness."""
    options = FittingSettings(
        wrist_acceleration_sd=1e6,
        wrist_turn_acceleration_sd=1e7,
        finger_acceleration_sd=1e7,
        landmark_sigma_m=1e-4,
        landmark_offsets=False,
    )
    rng = np.random.default_rng(0)
    joints_mm, vertices_mm = [], []
    for person in range(100):
        model = HandModel.procedural(HANDS[person % 2])
        parameters = (
            rng.standard_normal(10),
            2 * rng.standard_normal((10, 3)),
            random_pose(rng, model.side, 10),
            0.3 * rng.standard_normal((10, 3)),
        )
        joints = model.joints(*parameters)
        found = fit_hand(model, joints, np.full((10, 21), 1e-5), 30.0, options)
        vertices = model.vertices(found.betas, found.global_orient, found.hand_pose, found.transl)
        joints_mm.append(error_mm(found.joints_m, joints))
        vertices_mm.append(error_mm(vertices, model.vertices(*parameters)))
    return [
        Figure("exact keypoints, joints", float(np.mean(joints_mm)), "mm", 0.2),
        Figure("exact keypoints, joints, worst pose", float(np.mean(joints_mm, axis=-1).max()), "mm"),
        Figure("exact keypoints, vertices", float(np.mean(vertices_mm)), "mm", 2),
        Figure("exact keypoints, vertices, worst pose", float(np.mean(vertices_mm, axis=-1).max()), "mm"),
    ]


def noise() -> list[Figure]:
    """One millimetre of noise and a tenth missing: error, jitter, and what is left of fast motion."""
    rows = []
    for fps in (30.0, 60.0):
        errors, ratios = [], []
        for seed in range(3):
            truth = truth_motion(600, fps, seed)
            points = noisy(truth, seed)
            found = np.stack([fit(h, points[h], fps).joints_m for h in range(2)])
            errors.append(error_mm(found, truth).mean())
            raw, ours = (np.linalg.norm(np.diff(p - truth, 2, axis=1), axis=-1) for p in (points, found))
            ratios.append(ours.mean() / np.nanmean(raw))
        rows += [
            Figure(f"noisy keypoints, joints, {fps:g} fps", float(np.mean(errors)), "mm", 0.8),
            Figure(f"noisy keypoints, acceleration error / raw, {fps:g} fps", float(np.mean(ratios)), "", 0.2),
        ]
    for fps in (30.0, 60.0, 120.0):
        rows.append(
            Figure(f"peak speed of a 5 Hz finger motion, change, {fps:g} fps", 100 * abs(lost_speed(fps)), "%", 2)
        )
    return rows


def lost_speed(fps: float) -> float:
    """How much of the index fingertip's peak speed is lost (or added) when it beats at 5 Hz by 30 degrees."""
    model = HandModel.procedural("right")
    t = np.arange(round(4 * fps)) / fps
    bend = np.deg2rad(25 + 15 * np.sin(2 * np.pi * 5 * t))
    pose = np.zeros((len(t), 15, 3))
    pose[:, 0] = bend[:, None] * anatomical_frames(model)[0, 0]
    truth = model.joints(np.zeros(10), np.zeros((len(t), 3)), pose.reshape(-1, 45), np.zeros((len(t), 3)))
    lost = []
    for seed in range(3):
        found = fit(1, noisy(truth, seed), fps).joints_m
        ours, true = (np.diff(joints[:, 8] - joints[:, 5], axis=0) for joints in (found, truth))
        # Where the finger is at its fastest, along its true motion: noise adds nothing to this on average.
        fast = np.linalg.norm(true, axis=-1) > 0.9 * np.linalg.norm(true, axis=-1).max()
        lost.append(1 - np.sum(ours[fast] * true[fast]) / np.sum(true[fast] ** 2))
    return float(np.mean(lost))


# ---- the default session -----------------------------------------------------------------------------------------


class Silent:
    """A `Progress` that shows nothing."""

    def start(self, stage: str, total: int, done: int, noun: str) -> None: ...
    def advance(self, amount: int) -> None: ...
    def stop(self) -> None: ...
    def say(self, text: str) -> None: ...


def session(folder: Path) -> list[Figure]:
    """The fit of a session with truth, by itself, with and without what was learnt from it; on a copy of its store."""
    truth = Store(str(folder / "truth.zarr"))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "session.zarr"
        shutil.copytree(folder / "session.zarr", copy)
        store = Store(str(copy))
        T_truth_world = align_rigid(read_cameras(store).centers_m, read_cameras(truth).centers_m)
        reference = truth.read("mano", "joints")
        points = transform(T_truth_world, store.read("keypoints", "points").astype(float))
        rows.append(Figure("session, triangulated", float(np.nanmean(error_mm(points, reference))), "mm"))
        for offsets, reprojection in ((False, False), (True, False), (False, True), (True, True)):
            options = FittingSettings(landmark_offsets=offsets, reprojection=reprojection)
            with Engine(EngineSettings(workers=0), Silent()) as engine:
                for plan in fitting_stage.PLANS.values():
                    engine.execute(store, partial(plan, store, store, options, None))
            errors = error_mm(transform(T_truth_world, store.read("mano", "joints").astype(float)), reference)
            kept = store.read("mano", "valid")
            name = f"session, {'with' if offsets else 'no'} offsets, {'with' if reprojection else 'no'} 2D term"
            rows.append(Figure(name, float(errors[kept].mean()), "mm", 6 if offsets and reprojection else None))
            rows.append(Figure(name + ", p95", float(np.percentile(errors[kept], 95)), "mm"))
            if offsets and reprojection:
                rows.append(Figure("session, frames valid", 100 * float(kept.mean()), "%"))
    return rows


# ---- clasped hands -----------------------------------------------------------------------------------------------


def clasped() -> list[Figure]:
    """Palm on palm, fingers round the other hand: how deep the fitted meshes are in each other, with the term or not.

    Points are off by 1 mm in every frame and by CLASP_BIAS_M in all frames alike, each joint by itself.
    """
    models = [HandModel.procedural(side) for side in HANDS]
    apart, together = (
        FittingSettings(landmark_offsets=False, penetration_weight=w) for w in (0.0, FittingSettings.penetration_weight)
    )
    depth, error, true_depth = {"without": [], "with": []}, {"without": [], "with": []}, []
    for seed in range(CLASPS):
        parameters = clasp(models, seed)
        truth = np.stack([models[h].joints(*parameters[h]) for h in range(2)], axis=1)
        true_depth.append(penetration_mm(models, [models[h].vertices(*parameters[h]) for h in range(2)]))
        rng = np.random.default_rng(seed)
        points = truth + CLASP_BIAS_M * rng.standard_normal((2, 21, 3)) + NOISE_M * rng.standard_normal(truth.shape)
        sigma = np.full(points.shape[:3], float(np.hypot(NOISE_M, CLASP_BIAS_M)))
        for name, options in (("without", apart), ("with", together)):
            fits = fit_hands(models, points, sigma, 30.0, options)
            meshes = [
                m.vertices(f.betas, f.global_orient, f.hand_pose, f.transl) for m, f in zip(models, fits, strict=True)
            ]
            depth[name].append(penetration_mm(models, meshes))
            error[name].append(error_mm(np.stack([f.joints_m for f in fits], axis=1), truth).mean())
    before, after = (float(np.mean(depth[name])) for name in ("without", "with"))
    return [
        Figure("clasped, truth, penetration", float(np.mean(true_depth)), "mm mean of the deepest"),
        Figure("clasped, penetration without the term", before, "mm mean of the deepest"),
        Figure("clasped, penetration with the term", after, "mm mean of the deepest"),
        Figure("clasped, penetration depth less by", 100 * (1 - after / before), "%", 80, "higher"),
        Figure("clasped, joint error without the term", float(np.mean(error["without"])), "mm"),
        Figure("clasped, joint error added", float(np.mean(error["with"]) - np.mean(error["without"])), "mm", 0.5),
    ]


def clasp(models: list[HandModel], seed: int, frames: int = 24) -> list[tuple[ndarray, ...]]:
    """Parameters of two hands, palm on palm and crosswise, fingers closed round the other hand, moving together.

    The palms are as near and the fingers as far closed as the meshes allow.
    """
    rng = np.random.default_rng(seed)
    cross, betas = rng.uniform(0.35, 0.75), 0.5 * rng.standard_normal(10)
    share = 1 + 0.1 * rng.standard_normal(5)

    def posed(gap_m: float, curl: float) -> list[tuple[ndarray, ...]]:
        return [_half_clasp(models[h], betas, (-1.0, 1.0)[h], cross, gap_m, curl * share) for h in range(2)]

    def meet(value: Callable[[float], list[tuple[ndarray, ...]]], free: float, inside: float) -> float:
        for _ in range(9):
            middle = 0.5 * (free + inside)
            depth = penetration_mm(models, [models[h].vertices(*value(middle)[h])[None] for h in range(2)])
            free, inside = (middle, inside) if depth <= 0 else (free, middle)
        return free

    gap = meet(lambda gap: posed(gap, 0.1), 0.08, 0.0)
    curl = meet(lambda curl: posed(gap, curl), 0.1, 0.7)
    turn = np.linspace(0, 1, frames)[:, None] * rng.standard_normal(3)
    R_move = rotation_from_axis_angle(turn)
    out = []
    for h, (_, orient, pose, transl) in enumerate(posed(gap, curl)):
        root = models[h].rest_joints[0] + models[h].rest_joint_dirs[0] @ betas
        R = R_move @ rotation_from_axis_angle(orient)
        place = R_move @ (root + transl) - root + 0.1 * turn
        out.append((betas, axis_angle_from_rotation(R), np.tile(pose, (frames, 1)), place))
    return out


def _half_clasp(
    model: HandModel, betas: ndarray, sign: float, cross: float, gap_m: float, curl: ndarray
) -> tuple[ndarray, ...]:
    """One hand of a clasp at x = sign gap / 2, fingers up and turned by `cross` in the palm's plane."""
    fingers = np.array([0.0, sign * np.sin(cross), np.cos(cross)])
    palm = np.array([-sign, 0.0, 0.0])
    # The right hand's fingers lie along its -x and its palm faces -y; the left one is its mirror image.
    x = -sign * fingers
    R = np.stack([x, -palm, np.cross(x, -palm)], axis=1)
    orient, pose = axis_angle_from_rotation(R), pose_of_curl(model.side, np.clip(curl, 0, 1), np.zeros(5))
    joints = model.joints(betas, orient, pose, np.zeros(3))
    center = 0.5 * (joints[0] + joints[[5, 9, 13, 17]].mean(axis=0))
    return betas, orient, pose, np.array([0.5 * sign * gap_m, 0.0, 0.0]) - center


def penetration_mm(models: list[HandModel], vertices_m: list[ndarray]) -> float:
    """Mean over frames of the depth of the vertex that lies deepest in the other hand's mesh."""
    deepest = []
    for left, right in zip(vertices_m[0][::MEASURED], vertices_m[1][::MEASURED], strict=True):
        depths = [depth_inside_m(left, right[models[1].faces]), depth_inside_m(right, left[models[0].faces])]
        deepest.append(1e3 * max(d.max() for d in depths))
    return float(np.mean(deepest))


def depth_inside_m(points_m: ndarray, triangles_m: ndarray) -> ndarray:
    """(point,) distance to the closed mesh's surface for points inside it, else 0.

    Inside is where the mesh winds around the point (van Oosterom & Strackee 1983; Jacobson et al. 2013).
    """
    low, high = triangles_m.min(axis=(0, 1)), triangles_m.max(axis=(0, 1))
    depth = np.zeros(len(points_m))
    near = np.flatnonzero(((points_m > low) & (points_m < high)).all(axis=1))
    a, b, c = (triangles_m[None, :, k] - points_m[near, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    up = np.sum(a * np.cross(b, c), axis=-1)
    down = la * lb * lc + np.sum(a * b, -1) * lc + np.sum(b * c, -1) * la + np.sum(c * a, -1) * lb
    winding = np.arctan2(up, down).sum(axis=1) / (2 * np.pi)
    for point in near[winding > 0.5]:
        depth[point] = distance_m(points_m[point], triangles_m)
    return depth


def distance_m(point_m: ndarray, triangles_m: ndarray) -> float:
    """From a point to the nearest of (triangle, 3, 3): inside a triangle's prism to its plane, else to its edges."""
    a, b, c = triangles_m.swapaxes(0, 1)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    best = np.full(len(a), np.inf)
    above = np.ones(len(a), dtype=bool)
    for start, end in ((a, b), (b, c), (c, a)):
        edge = end - start
        share = np.clip(np.sum((point_m - start) * edge, -1) / np.sum(edge**2, -1), 0, 1)
        best = np.minimum(best, np.linalg.norm(start + share[:, None] * edge - point_m, axis=-1))
        above &= np.sum(np.cross(normal, edge) * (point_m - start), axis=-1) >= 0
    plane = np.abs(np.sum((point_m - a) * normal, axis=-1))
    return float(np.where(above, plane, best).min())


# ---- command -----------------------------------------------------------------------------------------------------


PARTS: Mapping[str, Callable[[], list[Figure]]] = {"speed": speed, "exact": exact, "noise": noise, "clasped": clasped}
"""Those that need nothing but themselves."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "session"], help="parts to run; all by default")
    parser.add_argument("--session", type=Path, help="folder of a session with truth whose keypoints are computed")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    limit_threads()
    only = options.only or [*PARTS, *(["session"] if options.session else [])]
    if "session" in only and options.session is None:
        parser.error("the part `session` needs --session DIR: a folder where `handpipe run capture-session` has run")
    rows = [row for part in only for row in (session(options.session) if part == "session" else PARTS[part]())]
    report("MANO fitting", rows, options.json)


if __name__ == "__main__":
    main()
