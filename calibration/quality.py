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


MAX_FRAMES = 60
"""Frames per view that are looked at: a median needs no more, and with fifty views all of them take long."""
MIN_CORNERS = 20
"""Corners of a view that at least two others saw; of fewer the median says nothing."""
FAR_OFF, MIN_FAR_OFF_PX = 3.0, 1.5
"""A view contradicts the others if its error is this many times the rig's median, and this many pixels."""


WEAK = 1.5
"""A view is weaker than the others if its error is this many times their median."""


@dataclass(frozen=True)
class ByOthers:
    """How far each view's corners are from where the other views alone put them."""

    px: ndarray
    """(view,) median distance in the image, pixels; NaN for a view that shares too little with two others."""
    distance_m: ndarray
    """(view,) the same at the corner's depth (of a fisheye, its distance), metres."""

    trusted: ndarray
    """(view,) bool, views by which the others were judged: they agree among themselves."""

    @property
    def typical_px(self) -> float:
        """Median over the views that agree."""
        known = self.px[self.trusted & np.isfinite(self.px)]
        return float(np.median(known)) if len(known) else float("nan")

    def far_off(self) -> ndarray:
        """(view,) bool, views that contradict the rest of the rig."""
        return np.nan_to_num(self.px, nan=0.0) > max(FAR_OFF * np.nan_to_num(self.typical_px), MIN_FAR_OFF_PX)

    def weak(self, limit_m: float) -> ndarray:
        """(view,) bool, views that are off by more than a limit at the board, and by more than the other views.

        If all views are off alike, the limits of the held-out corners say so, and no single camera is to blame.
        """
        typical_px = np.full(len(self.px), np.nan)
        for view in range(len(self.px)):
            others = np.delete(self.px, view)
            if np.isfinite(others).any():
                typical_px[view] = np.nanmedian(others)
        with np.errstate(invalid="ignore"):
            return ((self.distance_m > limit_m) & (self.px > WEAK * typical_px)) | self.far_off()


def leave_one_out(cameras: Cameras, corners_px: ndarray) -> ByOthers:
    """Triangulate the corners that a view saw by the other views only, and project them into it.

    The residuals of a joint adjustment hide a wrong camera: the corners move toward it, and the others share its error.
    So a view that the others contradict takes no part in judging them, where enough views are left.

    Args:
        cameras: the rig; uncalibrated views are ignored.
        corners_px: (view, frame, corner, 2) pixels, NaN where not seen, views in the cameras' order.
    """
    found = _by_others(cameras, corners_px, cameras.calibrated)
    while found.trusted.sum() >= 4:
        worst = int(np.where(found.trusted, np.nan_to_num(found.px, posinf=np.inf), -1.0).argmax())
        if found.px[worst] <= MIN_FAR_OFF_PX:
            break
        without = found.trusted.copy()
        without[worst] = False
        again = _by_others(cameras, corners_px, without)
        if not found.px[worst] > FAR_OFF * again.typical_px:
            break
        found = again
    return found


def _by_others(cameras: Cameras, corners_px: ndarray, trusted: ndarray) -> ByOthers:
    """Every view by the trusted ones among the others."""
    seen = np.isfinite(corners_px).all(-1) & cameras.calibrated[:, None, None]
    px, distance_m = np.full(len(cameras), np.nan), np.full(len(cameras), np.nan)
    for view in np.nonzero(cameras.calibrated)[0].tolist():
        others = trusted & (np.arange(len(cameras)) != view)
        shared = seen[view] & (seen[others].sum(0) >= 2)
        frames = np.nonzero(shared.any(-1))[0]
        if len(frames) > MAX_FRAMES:
            frames = frames[np.linspace(0, len(frames) - 1, MAX_FRAMES).astype(int)]
        if shared[frames].sum() < MIN_CORNERS:
            continue
        taken_px = np.where(shared[frames, :, None], corners_px[:, frames], np.nan)
        rest, own = cameras.subset(np.nonzero(others)[0]), cameras.subset([view])
        points_m = triangulate_corners(rest, taken_px[others])
        error_px = np.linalg.norm(own.project(points_m)[0] - taken_px[view], axis=-1)
        in_camera = points_m @ cameras.T_cam_world[view, :3, :3].T + cameras.T_cam_world[view, :3, 3]
        depth_m = np.linalg.norm(in_camera, axis=-1) if cameras.fisheye[view] else in_camera[..., 2]
        # A point behind the camera is as wrong as can be.
        error_px = np.where(np.isnan(error_px) & shared[frames], np.inf, error_px)[shared[frames]]
        px[view] = np.median(error_px)
        distance_m[view] = np.median(error_px * np.abs(depth_m[shared[frames]])) / cameras.focal_px[view]
    return ByOthers(px, distance_m, trusted)


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
    """Least squares per point: rows (point, view, 2, 3), values (point, view, 2). NaN where views in one place have no
    depth."""
    normal, right = np.einsum("pvki,pvkj->pij", rows, rows), np.einsum("pvki,pvk->pi", rows, values)[..., None]
    try:
        return np.linalg.solve(normal, right)[..., 0]
    except np.linalg.LinAlgError:  # One singular matrix among many.
        points, known = np.full(right.shape[:2], np.nan), np.isfinite(normal).all((1, 2))
        known[known] = np.linalg.matrix_rank(normal[known], hermitian=True) == 3
        points[known] = np.linalg.solve(normal[known], right[known])[..., 0]
        return points


def _rms(values: ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.sqrt((finite**2).mean())) if len(finite) else float("nan")
