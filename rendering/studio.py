"""Hands over a table, seen by a camera that stands still or goes around them: no footage is needed."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy import ndarray
from scipy.interpolate import CubicSpline
from scipy.spatial import ConvexHull

from ..core.cameras import Cameras
from ..core.hands import HANDS, TIPS
from .moving_hands import HAND_BGR, MovingHands
from .over_image import draw_over
from .render import STUDIO

FOCAL = 2.2
"""Focal length over the image's height: a short telephoto."""

MARGIN = 1.08
"""Room around the motion."""

FLESH_M = 0.02
"""Around the joints."""

TABLE_M = 0.03
"""Distance from the lowest point of the motion to the plane of its shadow, metres."""

SHADOW_PX = 4
"""Pixels for each of the shadow's, which is soft."""

PAPER_BGR = np.array([150.0, 132.0, 120.0])


def orbit(points_m: ndarray, size_px: tuple[int, int], azimuth_deg: ndarray, elevation_deg: float) -> Cameras:
    """Cameras around points, all at the distance from which each has all of them in its picture.

    A point is inside the right edge when x - cx <= t (z - cz), and so on: only the outermost points count.

    Args:
        points_m: (n, 3), z up.
        size_px: width and height of the pictures.
        azimuth_deg: (camera,) from the left; at 0 they look along y.
        elevation_deg: from above.
    """
    w, h = size_px
    a, e = np.radians(azimuth_deg), np.radians(elevation_deg)
    x = np.stack([np.cos(a), -np.sin(a), 0 * a], axis=1)
    z = np.stack([np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e) + 0 * a], axis=1)
    R = np.stack([x, np.cross(z, x), z], axis=1)
    center = 0.5 * (points_m.min(axis=0) + points_m.max(axis=0))
    p = np.einsum("cij,nj->cni", R[:: max(1, len(R) // 36)], points_m - center)
    tangent = np.array([w, h]) / (2 * FOCAL * h * MARGIN)
    distance = (np.abs(p[..., :2]) / tangent - p[..., 2:]).max()
    T = np.tile(np.eye(4), (len(a), 1, 1))
    T[:, :3, :3] = R
    T[:, :3, 3] = -R @ center + [0, 0, distance]
    K = np.array([[FOCAL * h, 0, (w - 1) / 2], [0, FOCAL * h, (h - 1) / 2], [0, 0, 1]])
    count = len(a)
    return Cameras(
        tuple(f"azimuth {each:g}" for each in azimuth_deg),
        *(np.tile(K, (count, 1, 1)), np.zeros((count, 5)), T, np.tile([[w, h]], (count, 1))),
    )


def around(points_m: ndarray) -> ndarray:
    """(n, 3) outermost points with the flesh around them, from (..., 3) joints that may be NaN."""
    points = points_m.reshape(-1, 3)
    points = points[np.isfinite(points).all(axis=1)]
    points = points[ConvexHull(points, qhull_options="QJ").vertices]
    corners = FLESH_M * np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    return (points[:, None] + corners).reshape(-1, 3)


@dataclass(frozen=True, eq=False)
class Studio:
    """A table under moving hands."""

    hands: MovingHands
    R: ndarray
    """(3, 3) to the frame of the table, z up (`own_axes`)."""
    cameras: Cameras
    """One for each frame."""

    @cached_property
    def table(self) -> ndarray:
        """(h, w, 3) float32: a table top, lighter where the light falls."""
        w, h = self.cameras.size_px[0].tolist()
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        glow = np.exp(-(((x / w - 0.46) / 0.60) ** 2) - ((y / h - 0.40) / 0.66) ** 2)
        return (PAPER_BGR * (0.45 + 0.60 * glow[..., None])).astype(np.float32)

    @cached_property
    def joints_m(self) -> ndarray:
        """(frame, hand, 21, 3) over the table."""
        return self.hands.joints_m @ self.R.T

    @cached_property
    def table_m(self) -> float:
        """Height of the table."""
        return float(np.nanmin(self.joints_m[..., 2])) - FLESH_M - TABLE_M

    def picture(self, frame: int, trail_from: int) -> ndarray:
        """(h, w, 3) uint8, with the fingertips' way since another frame."""
        camera = self.cameras.subset([frame])
        hands = self.hands.lit(frame, self.R, STUDIO)
        image = self.table
        if hands is not None:
            image = image * self._light(camera, hands.vertices_m)[..., None]
        image = self._with_trails(image, camera, self.joints_m[max(0, trail_from) : frame + 1, :, TIPS])
        if hands is not None:
            image = draw_over(image.astype(np.float32), camera, hands, 1.0)
        return np.clip(image + 0.5, 0, 255).astype(np.uint8)

    def _light(self, camera: Cameras, vertices_m: ndarray) -> ndarray:
        """(h, w) how much of it reaches the table: the hands' soft shadow."""
        h, w = self.table.shape[:2]
        height_m = vertices_m[:, 2:] - self.table_m
        uv = camera.project(vertices_m - height_m * STUDIO.key / STUDIO.key[2])[0]
        mask = np.zeros((h // SHADOW_PX, w // SHADOW_PX), np.uint8)
        # The vertices of the smooth surface are nearer to each other than these pixels.
        x, y = np.round(uv / SHADOW_PX).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
        mask[y[inside], x[inside]] = 255
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        soft = cv2.GaussianBlur(mask, (0, 0), 0.02 * h / SHADOW_PX)
        return 1 - 0.5 / 255 * cv2.resize(soft, (w, h), interpolation=cv2.INTER_LINEAR).astype(np.float32)

    def _with_trails(self, image: ndarray, camera: Cameras, tips_m: ndarray) -> ndarray:
        width = max(1, round(image.shape[0] / 260))
        for hand in range(len(HANDS)):
            tips = tips_m[:, hand]
            # From the last frame without this hand on.
            gone = np.flatnonzero(~np.isfinite(tips).all(axis=(1, 2)))
            tips = tips[gone[-1] + 1 :] if len(gone) else tips
            if len(tips) < 3:
                continue
            steps = 4 * len(tips)
            smooth = CubicSpline(np.arange(len(tips)), tips)(np.linspace(0, len(tips) - 1, steps))
            uv = np.round(camera.project(smooth)[0] * 16).astype(np.int32)
            cover = np.zeros(image.shape[:2], np.uint8)
            for k in range(1, steps):
                for start, stop in zip(uv[k - 1], uv[k], strict=True):
                    cv2.line(cover, start, stop, int(210 * (k / steps) ** 1.2), width, cv2.LINE_AA, shift=4)
            alpha = cover[..., None].astype(np.float32) / 255
            image = image * (1 - alpha) + alpha * HAND_BGR[hand].astype(np.float32)
        return image
