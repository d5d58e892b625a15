"""Clasped hands: penetration of the fitted meshes, with and without the contact term."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from _fitting_points import NOISE_M, error_mm
from _report import Figure
from numpy import ndarray

from handpipe.core.geometry import axis_angle_from_rotation, rotation_from_axis_angle
from handpipe.core.hands import HANDS
from handpipe.fitting.solver import FittingSettings, fit_hands
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import pose_of_curl

CLASPS = 4
CLASP_BIAS_M = 0.002
MEASURED = 8
"""Every so many frames the meshes of clasped hands are measured."""


def clasped() -> list[Figure]:
    """Penetration of the fitted meshes of clasped hands, palm on palm, with and without the contact term.

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
        Figure("clasped, maximum penetration, ground truth", float(np.mean(true_depth)), "mm mean over frames"),
        Figure("clasped, maximum penetration without contact term", before, "mm mean over frames"),
        Figure("clasped, maximum penetration with contact term", after, "mm mean over frames"),
        Figure("clasped, reduction of penetration by the term", 100 * (1 - after / before), "%", 80, "higher"),
        Figure("clasped, joint error without contact term", float(np.mean(error["without"])), "mm"),
        Figure(
            "clasped, increase of joint error by the term",
            float(np.mean(error["with"]) - np.mean(error["without"])),
            "mm",
            0.5,
        ),
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
