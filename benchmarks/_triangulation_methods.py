"""Simulated scenes of `triangulation.py`, and the methods that it compares."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from handpipe.core.hands import HANDS
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion
from handpipe.rendering.rig import GOLDEN_ANGLE, look_at
from handpipe.triangulation.dlt import triangulate_dlt
from handpipe.triangulation.robust import triangulate_robust

FOCAL_PX = 1500.0
"""A common lens (65 degrees across), and the one at which least squares over the true inliers reaches 0.31 mm at 50
views, as the figures to reach imply: they are median distances in space, not errors per axis."""
SIZE_PX = np.array([1920, 1080])
DISTANCE_M = (0.9, 1.1)
NOISE_PX = 1.5
ELEVATION_RAD = np.deg2rad([-20.0, 80.0])
POINTS = 8400
FEW_POINTS = 840
"""Number of points for slow methods."""
GATE_PX = 4 * NOISE_PX
"""pycolmap's threshold for inliers."""
IRLS_STEPS = 10


@dataclass(frozen=True)
class Scene:
    """Simulated detections, and what is true of them."""

    P_cam_world: ndarray
    """(view, 3, 4)"""
    truth_m: ndarray
    """(n, 3)"""
    xy: ndarray
    """(n, view, 2) undistorted normalised."""
    weight: ndarray
    """(n, view) 0 where missing."""
    right: ndarray
    """(n, view) bool, not an outlier."""

    @property
    def focal_px(self) -> ndarray:
        return np.full(len(self.P_cam_world), FOCAL_PX)

    def first(self, n: int) -> Scene:
        return Scene(self.P_cam_world, self.truth_m[:n], self.xy[:n], self.weight[:n], self.right[:n])


@dataclass(frozen=True)
class Result:
    """The result of a method on a scene."""

    points_m: ndarray
    cpu_s: float
    sigma_m: ndarray | None = None


def dome(views: int) -> ndarray:
    """(view, 3, 4) cameras spread like the seeds of a sunflower, looking at the hands."""
    low, high = np.sin(ELEVATION_RAD)
    up = low + (high - low) * (np.arange(views) + 0.5) / views
    out, azimuth = np.sqrt(1 - up**2), np.arange(views) * GOLDEN_ANGLE
    direction = np.stack([out * np.cos(azimuth), out * np.sin(azimuth), up], axis=1)
    distance = np.random.default_rng(views).uniform(*DISTANCE_M, views)
    return np.stack([look_at(center, np.zeros(3))[:3] for center in direction * distance[:, None]])


def hands(points: int) -> ndarray:
    """(frame, hand, 21, 3) joints of the procedural motion, at least so many points; half a cycle per second."""
    frames = -(-points // 42)
    motion = two_hand_motion(frames, 30.0, 0)
    models = [HandModel.procedural(side) for side in HANDS]
    joints = [
        models[h].joints(motion.betas[h], motion.global_orient[:, h], motion.hand_pose[:, h], motion.transl[:, h])
        for h in range(len(HANDS))
    ]
    return np.stack(joints, axis=1)


def scene(views: int, missing: float, outliers: float, points: int = POINTS, seed: int = 0) -> Scene:
    """Detections of `points` joints in random order."""
    rng = np.random.default_rng(seed)
    P, joints = dome(views), hands(points)
    clean = project(P, joints)
    kind = rng.random(clean.shape[:-1]) / max(outliers, 1e-9)
    wrong = kind < 1
    # Another joint of the hand, the joint of the other hand, anything: a third each.
    joint = (np.arange(21)[:, None] + rng.integers(1, 21, wrong.shape)) % 21
    false = (
        np.take_along_axis(clean, joint[..., None], axis=2),
        clean[:, ::-1],
        rng.uniform(-SIZE_PX / 2, SIZE_PX / 2, clean.shape) / FOCAL_PX,
    )
    xy = clean.copy()
    for k, positions in enumerate(false):
        part = wrong & (kind >= k / 3) & (kind < (k + 1) / 3)
        xy[part] = positions[part]
    xy += rng.normal(0, NOISE_PX / FOCAL_PX, xy.shape)
    weight = (rng.random(wrong.shape) >= missing).astype(float)
    order = rng.permutation(wrong[..., 0].size)[:points]
    truth_m, xy, weight, right = (a.reshape(-1, *a.shape[3:])[order] for a in (joints, xy, weight, ~wrong))
    return Scene(P, truth_m, xy, weight, right)


def project(P_cam_world: ndarray, points_m: ndarray) -> ndarray:
    """(..., view, 2) normalised image coordinates of (..., 3) points."""
    cam = np.einsum("vij,...j->...vi", P_cam_world[:, :, :3], points_m) + P_cam_world[:, :, 3]
    return cam[..., :2] / cam[..., 2:]


def ours(scene: Scene) -> Result:
    """handpipe's robust triangulation, without knowledge of the noise."""
    start = time.process_time()
    robust = triangulate_robust(scene.P_cam_world, scene.xy, scene.weight, scene.focal_px)
    return Result(robust.points_m, time.process_time() - start, robust.sigma_m)


def dlt(scene: Scene) -> Result:
    start = time.process_time()
    return Result(triangulate_dlt(scene.P_cam_world, scene.xy, scene.weight), time.process_time() - start)


def irls(scene: Scene) -> Result:
    """Reweighted least squares from the linear solution, with Cauchy's weights: what needs no hypotheses."""
    start = time.process_time()
    points = triangulate_dlt(scene.P_cam_world, scene.xy, scene.weight)
    for _ in range(IRLS_STEPS):
        error2 = ((project(scene.P_cam_world, points) - scene.xy) ** 2).sum(-1) * FOCAL_PX**2
        robust = 1 / (1 + error2 / (2 * NOISE_PX) ** 2)
        points = triangulate_dlt(scene.P_cam_world, scene.xy, scene.weight * robust)
    return Result(points, time.process_time() - start)


def oracle(scene: Scene) -> Result:
    """Least squares of the reprojection error over the detections that are right: nothing can do better."""
    start = time.process_time()
    weight = scene.weight * scene.right
    points = triangulate_dlt(scene.P_cam_world, scene.xy, weight)
    for _ in range(2):
        depth = points @ scene.P_cam_world[:, 2, :3].T + scene.P_cam_world[:, 2, 3]
        in_px = np.where(np.isfinite(depth), weight / depth**2, 0.0)
        points = triangulate_dlt(scene.P_cam_world, scene.xy, in_px)
    return Result(points, time.process_time() - start)


def lo_ransac(scene: Scene) -> Result:
    """pycolmap's LO-RANSAC, told the noise: an inlier is within four standard deviations."""
    import pycolmap

    camera = pycolmap.Camera(model="SIMPLE_PINHOLE", width=SIZE_PX[0], height=SIZE_PX[1], params=[FOCAL_PX, 0, 0])
    poses = [pycolmap.Rigid3d(P) for P in scene.P_cam_world]
    options = pycolmap.EstimateTriangulationOptions()
    options.residual_type = pycolmap.TriangulationResidualType.REPROJECTION_ERROR
    options.ransac.max_error = GATE_PX
    options.ransac.random_seed = 0
    seen = [np.flatnonzero(w) for w in scene.weight]
    given = [(FOCAL_PX * xy[v], [poses[i] for i in v], [camera] * len(v)) for xy, v in zip(scene.xy, seen, strict=True)]
    start = time.process_time()
    found = [pycolmap.estimate_triangulation(*each, options) if len(each[1]) > 1 else None for each in given]
    cpu_s = time.process_time() - start
    return Result(np.array([np.full(3, np.nan) if f is None else f["xyz"] for f in found]), cpu_s)


def anipose(scene: Scene) -> Result:
    """aniposelib's linear triangulation, the only one of its methods that ends at 50 views."""
    import cv2
    from aniposelib.cameras import Camera, CameraGroup

    group = CameraGroup(
        [Camera(matrix=np.eye(3), rvec=cv2.Rodrigues(P[:, :3])[0].ravel(), tvec=P[:, 3]) for P in scene.P_cam_world]
    )
    seen = np.where(scene.weight[..., None] > 0, scene.xy, np.nan).swapaxes(0, 1).copy()
    group.triangulate(seen, undistort=False)  # It compiles itself for every number of points.
    start = time.process_time()
    return Result(np.asarray(group.triangulate(seen, undistort=False)), time.process_time() - start)
