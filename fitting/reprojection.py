"""Reprojection term of the fit: robust reprojection errors of the landmarks in every view."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras

MIN_DEPTH_M = 0.05
"""Nearer to a camera, or behind it, a point is not seen by it."""
ROBUST_SCALE = 3.0
"""An error of this many standard deviations counts a quarter (Geman-McClure)."""
MEDIAN_OF_RAYLEIGH = np.sqrt(2 * np.log(2))
"""Median length of a two-dimensional normal error of unit standard deviation."""


@dataclass(frozen=True, eq=False)
class Reprojection:
    """Detections of one hand in all views: undistorted, in pixels about each view's principal point."""

    P_cam_world: ndarray
    """(view, 3, 4) world to camera, its first two rows scaled by the focal length: pixels of undistorted rays."""
    uv_px: ndarray
    """(frame, view, 21, 2) NaN where there is none."""
    sigma_px: ndarray
    """(view,) standard deviation of a detection in each view."""
    share: ndarray
    """(frame, 21) weight for errors that are correlated between views; 1 if they were independent."""
    of_model: bool = False

    @property
    def covers(self) -> ndarray:
        """(frame, 21) bool: landmarks that have detections."""
        return self.share > 0

    def take(self, frames: ndarray | slice) -> Reprojection:
        """The term of these frames."""
        return replace(self, uv_px=self.uv_px[frames], share=self.share[frames])

    def cost(self, points_m: ndarray) -> ndarray:
        """(frame,) of (frame, 21, 3) landmarks."""
        r2 = self._errors(points_m)[0]
        scale2 = ROBUST_SCALE**2
        return (0.5 * self.share * (scale2 * r2 / (scale2 + r2)).sum(axis=1)).sum(axis=1)

    def normal(self, points_m: ndarray) -> tuple[ndarray, ndarray]:
        """Gradient (frame, 21, 3) and Gauss-Newton matrix (frame, 21, 3, 3) by the landmarks."""
        r2, error, pixel, depth = self._errors(points_m)
        scale2 = ROBUST_SCALE**2
        weight = np.where(r2 > 0, (scale2 / (scale2 + r2)) ** 2, 0.0) * self.share[:, None]
        weight = weight / self.sigma_px[:, None] ** 2
        # A pixel is (P_xy p) / (P_z p): its derivative is (P_xy - pixel P_z) / depth.
        rows = self.P_cam_world[:, None, :2, :3] - pixel[..., None] * self.P_cam_world[:, None, 2:, :3]
        rows = rows / depth[..., None, None]
        frames, views, joints = r2.shape
        rows = rows.transpose(0, 2, 1, 3, 4).reshape(frames, joints, 2 * views, 3)
        weighted = rows * np.repeat(weight.transpose(0, 2, 1), 2, axis=2)[..., None]
        flat = error.transpose(0, 2, 1, 3).reshape(frames, joints, 2 * views, 1)
        transposed = weighted.swapaxes(-1, -2)
        return (transposed @ flat)[..., 0], transposed @ rows

    def _errors(self, points_m: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Squared error in sigmas (frame, view, 21), error and pixel (..., 2), depth (...); no error where unseen."""
        P = self.P_cam_world
        cam = np.einsum("vij,njx->vnix", P[:, :, :3], points_m.swapaxes(1, 2), optimize=True) + P[:, None, :, 3:]
        cam = cam.transpose(1, 0, 3, 2)
        ahead = cam[..., 2] > MIN_DEPTH_M
        depth = np.where(ahead, cam[..., 2], 1.0)
        pixel = cam[..., :2] / depth[..., None]
        error = pixel - self.uv_px
        error = np.where(ahead[..., None] & np.isfinite(error), error, 0.0)
        return np.sum(error**2, axis=-1) / self.sigma_px[:, None] ** 2, error, pixel, depth


def reprojection_term(
    cameras: Cameras,
    detected_px: ndarray,
    sigma_px: ndarray,
    points_m: ndarray,
    landmark_sigma_m: float,
) -> Reprojection:
    """The term of one hand's detections.

    All views observe the landmark of the detector, which is about `landmark_sigma_m` from that of the model. The
    information A of a point, summed over views, is therefore reduced to A / (1 + landmark_sigma_m^2 tr(A) / 3).

    Args:
        cameras: the rig.
        detected_px: (view, frame, 21, 2) pixels of the hand's candidate in each view, NaN where there is none.
        sigma_px: (view,) their standard deviation.
        points_m: (frame, 21, 3) triangulated points, at which the information is evaluated; NaN where unknown.
        landmark_sigma_m: how far a landmark may be from the model's.
    """
    known = cameras.calibrated & np.isfinite(sigma_px)
    cameras = cameras.subset(np.flatnonzero(known))
    focal = cameras.K[:, [0, 1], [0, 1]]
    P = cameras.P_cam_world.copy()
    P[:, :2] *= focal[..., None]
    uv = cameras.undistort(detected_px[known].astype(np.float64)) * focal[:, None, None]
    uv = uv.transpose(1, 0, 2, 3)
    frames, joints = points_m.shape[:2]
    term = Reprojection(P, uv, sigma_px[known], np.ones((frames, joints)))
    _, A = term.normal(np.where(np.isfinite(points_m), points_m, 0.0))
    share = 1 / (1 + landmark_sigma_m**2 * np.trace(A, axis1=-2, axis2=-1) / 3)
    return replace(term, share=np.where(np.isfinite(points_m).all(axis=-1), share, 0.0))


def view_sigma_px(cameras: Cameras, detected_px: ndarray, points_m: ndarray, floor_px: float) -> ndarray:
    """(view,) robust standard deviation of (view, ..., 21, 2) detections about (..., 21, 3) points; NaN: none seen."""
    distance = np.linalg.norm(cameras.project(points_m) - detected_px, axis=-1).reshape(len(cameras), -1)
    out = np.full(len(cameras), np.nan)
    for view, values in enumerate(distance):
        seen = values[np.isfinite(values)]
        if len(seen):
            out[view] = max(floor_px, np.median(seen) / MEDIAN_OF_RAYLEIGH)
    return out
