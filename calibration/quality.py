"""How good a calibration is, measured on the board: triangulated corners against the distances of the print."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.settings import Board
from .board import corner_positions


@dataclass(frozen=True)
class BoardDistances:
    """Board-corner distances of one set of sightings."""

    adjacent_rmse_mm: float
    """Over neighbouring corners (one square apart); NaN when nothing could be triangulated."""
    all_rmse_mm: float
    """Over all pairs of corners of a frame."""
    scale: float
    """Mean of measured over true distance, all pairs: 1 is right."""
    reprojection_rms_px: float
    """Of the triangulated corners, over the views that saw them."""
    num_corners: int
    """Corners triangulated."""
    num_frames: int
    """Frames with two corners or more."""


def board_distance_errors(cameras: Cameras, corners_px: ndarray, board: Board) -> BoardDistances:
    """Triangulate every corner that two calibrated views or more saw, and compare distances with the board's.

    Args:
        cameras: the rig; uncalibrated views are ignored.
        corners_px: (view, frame, corner, 2) pixels, NaN where not seen, views in the cameras' order.
    """
    points_m = triangulate_corners(cameras, corners_px)
    corners_m = corner_positions(board)
    first, second = np.triu_indices(len(corners_m), k=1)
    true_m = np.linalg.norm(corners_m[first] - corners_m[second], axis=-1)
    measured_m = np.linalg.norm(points_m[:, first] - points_m[:, second], axis=-1)
    error_mm = (measured_m - true_m) * 1e3
    adjacent = np.isclose(true_m, board.square_m)
    seen = np.isfinite(points_m[..., 0])
    both = np.isfinite(error_mm)
    put_px = cameras.project(points_m)
    return BoardDistances(
        adjacent_rmse_mm=_rms(error_mm[:, adjacent]),
        all_rmse_mm=_rms(error_mm),
        scale=float((measured_m / true_m)[both].mean()) if both.any() else float("nan"),
        reprojection_rms_px=_rms(np.linalg.norm(corners_px - put_px, axis=-1)),
        num_corners=int(seen.sum()),
        num_frames=int((seen.sum(1) >= 2).sum()),
    )


def triangulate_corners(cameras: Cameras, corners_px: ndarray, iterations: int = 5) -> ndarray:
    """(frame, corner, 3) world points, metres: linear triangulation, then Gauss-Newton on the pixels.

    NaN where fewer than two calibrated views saw the corner. No view is rejected: this measures the calibration and
    must not hide its outliers.

    Source: Hartley and Zisserman, Multiple View Geometry, section 12.2.
    """
    rig = replace(cameras, distortion=np.where(cameras.calibrated[:, None], cameras.distortion, np.nan))
    with np.errstate(invalid="ignore"):
        xy = np.moveaxis(rig.undistort(corners_px.astype(float)), 0, -2)  # (frame, corner, view, 2)
    seen = np.isfinite(xy).all(-1)
    enough = seen.sum(-1) >= 2
    points_m = np.full((*enough.shape, 3), np.nan)
    if enough.any():
        R, t = cameras.T_cam_world[:, :3, :3], cameras.T_cam_world[:, :3, 3]
        ok = cameras.calibrated
        weight = np.where(np.isfinite(xy).all(-1, keepdims=True), cameras.focal_px[:, None], 0.0)
        # A pixel of a fisheye is an angle, which counts for ever more of x/z toward the image's edge.
        weight = np.where(cameras.fisheye[:, None], weight / (1 + (xy**2).sum(-1, keepdims=True)), weight)
        points_m[enough] = _triangulate(R[ok], t[ok], weight[enough][:, ok], xy[enough][:, ok], iterations)
    return points_m


def _triangulate(R: ndarray, t: ndarray, weight: ndarray, xy: ndarray, iterations: int) -> ndarray:
    """(point, 3) from undistorted normalised coordinates (point, view, 2), NaN where not seen.

    `weight` (point, view, 1) is what an error of one costs, pixels.
    """
    weight, xy = np.where(np.isfinite(xy).all(-1, keepdims=True), weight, 0.0), np.nan_to_num(xy)
    # Rows x * R3 - R1 on the point equal t1 - x * t3.
    rows = (xy[..., None] * R[:, None, 2] - R[:, :2]) * weight[..., None]
    values = (t[:, :2] - xy * t[:, None, 2]) * weight
    points = _normal_solve(rows, values)
    for _ in range(iterations):
        in_camera = np.einsum("vij,pj->pvi", R, points) + t
        depth = in_camera[..., 2:]
        put = in_camera[..., :2] / depth
        rows = (R[:, :2] - put[..., None] * R[:, None, 2]) / depth[..., None] * weight[..., None]
        points = points + _normal_solve(rows, (xy - put) * weight)
    return points


def _normal_solve(rows: ndarray, values: ndarray) -> ndarray:
    """Least squares per point: rows (point, view, 2, 3), values (point, view, 2)."""
    normal = np.einsum("pvki,pvkj->pij", rows, rows)
    return np.linalg.solve(normal, np.einsum("pvki,pvk->pi", rows, values)[..., None])[..., 0]


def _rms(values: ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.sqrt((finite**2).mean())) if len(finite) else float("nan")
