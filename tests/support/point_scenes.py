"""Cameras on a sphere, points between them, and what the cameras see of them."""

from __future__ import annotations

import numpy as np

FOCAL_PX = 700.0


def look_at_345() -> np.ndarray:
    """Two cameras at (±3, 0, 0) turned toward p = (0, 0, 4).

    c- ────3──── 0 ────3──── c+        3² + 4² = 5²,
      ╲          │4         ╱          so p is on both optical axes
        5 ╲      p      ╱ 5            at depth 5.
    """
    P = []
    for x in (-3.0, 3.0):
        z = np.array([-x, 0, 4]) / 5
        R = np.stack([np.cross([0, 1, 0], z), [0, 1, 0], z])
        P.append(np.c_[R, -R @ [x, 0, 0]])
    return np.array(P)


def dome(views: int, radius_m: float = 0.8) -> np.ndarray:
    """(view, 3, 4) cameras spread evenly over most of a sphere, looking at its middle."""
    k = np.arange(views) + 0.5
    polar, azimuth = np.arccos(1 - 1.6 * k / views), np.pi * (1 + 5**0.5) * k
    spread = np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=-1)
    P = []
    for c in radius_m * spread:
        z = -c / np.linalg.norm(c)
        x = np.cross(z, [0.3, 0.2, 0.93])
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        P.append(np.c_[R, -R @ c])
    return np.array(P)


def project(P: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(..., view, 2) normalised image coordinates of (..., 3) points."""
    cam = np.einsum("vij,...j->...vi", P[:, :, :3], points) + P[:, :, 3]
    return cam[..., :2] / cam[..., 2:]


def scene(
    views: int, points: int, *, missing: float = 0.0, outliers: float = 0.0, noise_px: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cameras, true points in a 20 cm cube, observations and weights; outliers lie anywhere in a 640x480 image."""
    rng = np.random.default_rng(seed)
    P = dome(views)
    truth = rng.uniform(-0.1, 0.1, (points, 3))
    px = FOCAL_PX * project(P, truth) + rng.normal(0, noise_px, (points, views, 2))
    wild = rng.random((points, views)) < outliers
    px[wild] = rng.uniform([-320, -240], [320, 240], (wild.sum(), 2))
    weight = (rng.random((points, views)) >= missing).astype(float)
    return P, truth, px / FOCAL_PX, weight


def focal(P: np.ndarray) -> np.ndarray:
    return np.full(len(P), FOCAL_PX)
