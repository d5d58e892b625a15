"""Cameras: one record for the rig, and the projection every stage shares.

Axes follow OpenCV: +z forward, +x right, +y down. Pixel (0, 0) is the centre of the first pixel.
`T_cam_world` maps world points (metres) to camera points. The lens is OpenCV's: fx, fy, cx, cy and the five
coefficients k1, k2, p1, p2, k3 (`cv2.projectPoints`), or a fisheye's four (`cv2.fisheye`; `core.fisheye`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray

from .fisheye import project_fisheye, undistort_fisheye

Lens = Callable[[ndarray, ndarray], ndarray]
"""Coordinates (..., 2) and coefficients (..., 5) to coordinates."""

LEVEL = 0.1
"""Radians by which cameras lean to the side."""

REAL = 1e-6
"""Imaginary parts below this are rounding; a root beyond 1 / this lies as good as 90 degrees off the axis."""

MIN_AGREED_UP = 0.2
"""Length of the mean of the images' up, unit vectors, below which they contradict each other."""


@dataclass(frozen=True)
class Cameras:
    """The rig. A view that is not calibrated has NaN in every array and is ignored downstream."""

    names: tuple[str, ...]
    """Names of the views, in the session's order."""
    K: ndarray
    """(view, 3, 3) pinhole matrices, pixels."""
    distortion: ndarray
    """(view, 5) OpenCV's k1, k2, p1, p2, k3; of a fisheye k1, k2, k3, k4, 0."""
    T_cam_world: ndarray
    """(view, 4, 4) world to camera, metres."""
    size_px: ndarray
    """(view, 2) width and height of the images, pixels."""
    fisheye: ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """(view,) bool, lenses of the fisheye model; none if not given."""

    def __post_init__(self) -> None:
        n = len(self.names)
        if len(self.fisheye) == 0:
            object.__setattr__(self, "fisheye", np.zeros(n, bool))
        assert self.K.shape == (n, 3, 3), self.K.shape
        assert self.distortion.shape == (n, 5), self.distortion.shape
        assert self.T_cam_world.shape == (n, 4, 4), self.T_cam_world.shape
        assert self.size_px.shape == (n, 2), self.size_px.shape
        assert self.fisheye.shape == (n,), self.fisheye.shape

    def __len__(self) -> int:
        return len(self.names)

    @property
    def calibrated(self) -> ndarray:
        """(view,) bool, True where the view has a calibration."""
        return np.asarray(np.isfinite(self.K).all((1, 2)) & np.isfinite(self.T_cam_world).all((1, 2)))

    @property
    def P_cam_world(self) -> ndarray:
        """(view, 3, 4) projection to *undistorted normalised* image coordinates: [R | t]."""
        return self.T_cam_world[:, :3, :]

    @property
    def centers_m(self) -> ndarray:
        """(view, 3) positions of the cameras in the world, metres."""
        R, t = self.T_cam_world[:, :3, :3], self.T_cam_world[:, :3, 3]
        return -np.einsum("vji,vj->vi", R, t)

    @property
    def up(self) -> ndarray:
        """(3,) unit vector that is up in the world, as far as the cameras were set up level; NaN where they do not say.

        Cameras look down or up, but few lean to the side: among the directions across all rows of pixels it is the one
        nearest the mean of the images' own up. Where all look one way, the mean decides.
        """
        R = self.T_cam_world[self.calibrated, :3, :3]
        mean_up = -R[:, 1].sum(axis=0) / max(len(R), 1)
        if np.linalg.norm(mean_up) < MIN_AGREED_UP:
            return np.full(3, np.nan)
        rows = R[:, 0].T @ R[:, 0] / len(R)
        up = np.linalg.solve(rows + LEVEL**2 * np.eye(3), mean_up)
        return up / np.linalg.norm(up)

    @property
    def focal_px(self) -> ndarray:
        """(view,) mean focal length, pixels: what turns an angle into pixels."""
        return 0.5 * (self.K[:, 0, 0] + self.K[:, 1, 1])

    def subset(self, index: Sequence[int] | ndarray) -> Cameras:
        """The views at these positions, in this order."""
        index = np.asarray(index, dtype=int)
        names = tuple(self.names[i] for i in index)
        rest = (self.T_cam_world[index], self.size_px[index], self.fisheye[index])
        return Cameras(names, self.K[index], self.distortion[index], *rest)

    def project(self, points_m: ndarray) -> ndarray:
        """Pixels of world points in every view.

        Args:
            points_m: (..., 3) world points, metres.

        Returns:
            (view, ..., 2) pixels; NaN for points behind the camera, or beyond the lens's range: farther out its
            polynomial folds back, and would put them into the image.
        """
        batch = points_m.shape[:-1]
        flat = points_m.reshape(-1, 3)
        cam = np.einsum("vij,nj->vni", self.T_cam_world[:, :3, :3], flat) + self.T_cam_world[:, None, :3, 3]
        depth = np.where(cam[..., 2:] > 0, cam[..., 2:], np.nan)
        xy = self._by_lens(project_normalised, project_fisheye, cam[..., :2] / depth, self.distortion[:, None, :])
        uv = xy * self.K[:, None, [0, 1], [0, 1]] + self.K[:, None, :2, 2]
        return uv.reshape(len(self), *batch, 2)

    def undistort(self, uv_px: ndarray) -> ndarray:
        """Normalised, undistorted image coordinates of pixels: what a straight ray through the lens has.

        Args:
            uv_px: (view, ..., 2) pixels, one leading entry per view.

        Returns:
            (view, ..., 2) x/z and y/z in the camera's frame; NaN beyond a fisheye's range.
        """
        expand = (slice(None),) + (None,) * (uv_px.ndim - 2)
        focal = self.K[:, [0, 1], [0, 1]][expand]
        center = self.K[:, :2, 2][expand]
        xy = (uv_px - center) / focal
        return self._by_lens(undistort_normalised, undistort_fisheye, xy, self.distortion[expand])

    def _by_lens(self, pinhole: Lens, fisheye: Lens, xy: ndarray, distortion: ndarray) -> ndarray:
        """Each view of (view, ..., 2) by the function of its lens."""
        if not self.fisheye.any():
            return pinhole(xy, distortion)
        out = np.empty(xy.shape)
        for lens, views in ((pinhole, ~self.fisheye), (fisheye, self.fisheye)):
            out[views] = lens(xy[views], distortion[views])
        return out


def distort(xy: ndarray, distortion: ndarray) -> ndarray:
    """OpenCV's standard lens: (..., 2) normalised coordinates to distorted ones, coefficients (..., 5)."""
    k1, k2, p1, p2, k3 = np.moveaxis(distortion, -1, 0)
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    dy = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([x * radial + dx, y * radial + dy], axis=-1)


def project_normalised(xy: ndarray, distortion: ndarray) -> ndarray:
    """`distort`; NaN beyond `max_radius`."""
    inside = np.hypot(xy[..., 0], xy[..., 1]) <= max_radius(distortion)
    return np.where(inside[..., None], distort(xy, distortion), np.nan)


def max_radius(distortion: ndarray) -> ndarray:
    """(...) up to which distance from the axis, in x/z and y/z, a ray's place in the image moves outward.

    The radial polynomial's slope is 1 + 3 k1 u + 5 k2 u^2 + 7 k3 u^3 with u the distance squared; its least positive
    root is 1 over the largest positive eigenvalue of the companion matrix. Infinite where there is none.
    """
    k1, k2, _, _, k3 = np.moveaxis(np.nan_to_num(distortion), -1, 0)
    companion = np.zeros((*k1.shape, 3, 3))
    companion[..., 0, :] = np.stack([-3 * k1, -5 * k2, -7 * k3], axis=-1)
    companion[..., 1, 0] = companion[..., 2, 1] = 1.0
    roots = np.linalg.eigvals(companion)
    largest = np.where(np.abs(roots.imag) < REAL, roots.real, 0.0).max(axis=-1)
    return np.where(largest > REAL, 1 / np.sqrt(np.maximum(largest, REAL)), np.inf)


def undistort_normalised(xy_distorted: ndarray, distortion: ndarray, iterations: int = 20) -> ndarray:
    """Inverse of `distort`, by the fixed-point iteration OpenCV uses."""
    k1, k2, p1, p2, k3 = np.moveaxis(distortion, -1, 0)
    xd, yd = xy_distorted[..., 0], xy_distorted[..., 1]
    x, y = xd, yd
    for _ in range(iterations):
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        dy = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        x, y = (xd - dx) / radial, (yd - dy) / radial
    return np.stack([x, y], axis=-1)
