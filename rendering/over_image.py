"""Hands drawn over an image of any camera, with smooth edges and in their order of depth."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from .render import FAR_M, Light, LitHands, contact_shadow, draw_alone

FINE = 2
"""Pixels rendered for each pixel shown, in both directions."""

NEAR_ENOUGH_M = 2.0
"""Hands that are farther from the camera are drawn smaller and nearer by the same factor: the same picture."""

KEY_CAM = np.array([-0.35, -0.80, -0.55])
FILL_CAM = np.array([0.75, 0.35, -0.45])
"""Directions toward the lamps, seen from the camera: every view shows lit hands."""


def through(camera: Cameras, box: tuple[int, int, int, int], size_px: tuple[int, int]) -> Cameras:
    """The camera of a part of its image that is scaled.

    Args:
        camera: a single view.
        box: x0, y0, x1, y1 of the part, pixels.
        size_px: width and height that it is scaled to.
    """
    x0, y0, x1, y1 = box
    K = camera.K[0].copy()
    for row, (start, length, size) in enumerate(((x0, x1 - x0, size_px[0]), (y0, y1 - y0, size_px[1]))):
        scale = size / length
        K[row] *= scale
        K[row, 2] = scale * (camera.K[0, row, 2] - start + 0.5) - 0.5
    return replace(camera, K=K[None], size_px=np.array([size_px]))


def lamps(camera: Cameras) -> Light:
    """Light from beside the camera, a single view."""
    R_world_cam = camera.T_cam_world[0, :3, :3].T
    return Light(R_world_cam @ KEY_CAM, R_world_cam @ FILL_CAM, 0.72, 0.20, 0.36, 0.06)


def draw_over(image: ndarray, camera: Cameras, hands: LitHands, opacity: float) -> ndarray:
    """Draw over an image.

    Args:
        image: (h, w, 3) uint8 or float32 BGR, 0 to 255; it is left as it is.
        camera: of this image, a single view.
        hands: in the camera's world.
        opacity: 0 to 1.

    Returns:
        (h, w, 3) of the image's type.
    """
    h, w = image.shape[:2]
    fine = through(camera, (0, 0, w, h), (FINE * w, FINE * h))
    window, color, depth = draw_alone(*_nearer(fine, hands))
    seen = depth < 0.9 * FAR_M
    if not seen.any():
        return image.copy()
    color = color * (contact_shadow(depth, seen, 7 * h * FINE / 1024) * seen)[..., None]
    # Whole pixels of the image around the window.
    y, x = (slice(part.start // FINE, -(-part.stop // FINE)) for part in window)
    top, left = window[0].start - FINE * y.start, window[1].start - FINE * x.start
    bottom, right = FINE * y.stop - window[0].stop, FINE * x.stop - window[1].stop
    whole = np.concatenate([color * 255, seen[..., None]], axis=-1).astype(np.float32)
    whole = cv2.copyMakeBorder(whole, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    whole = cv2.resize(whole, (x.stop - x.start, y.stop - y.start), interpolation=cv2.INTER_AREA)
    out = image.copy()
    mixed = out[y, x] * (1 - opacity * whole[..., 3:]) + opacity * np.clip(whole[..., :3], 0, 255)
    out[y, x] = np.clip(mixed + (0.5 if out.dtype == np.uint8 else 0), 0, 255)
    return out


def _nearer(camera: Cameras, hands: LitHands) -> tuple[Cameras, LitHands]:
    """Both scaled about the world's origin, so that the renderer's range of depth holds the hands."""
    T = camera.T_cam_world[0]
    depth_m = np.abs(hands.vertices_m @ T[2, :3] + T[2, 3]).max()
    if depth_m < NEAR_ENOUGH_M:
        return camera, hands
    scale, T = NEAR_ENOUGH_M / depth_m, T.copy()
    T[:3, 3] *= scale
    vertices = (scale * hands.vertices_m).astype(np.float32)
    return replace(camera, T_cam_world=T[None]), replace(hands, vertices_m=vertices)
