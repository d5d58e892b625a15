"""What a report measures: reprojection, lengths, accelerations, coverage, and which frames and views to show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray
from scipy.spatial import KDTree

from ..core.cameras import Cameras
from ..core.hands import BONES, CONTACT_M


def project(cameras: Cameras, points_m: ndarray) -> ndarray:
    """(view, ..., 2) float64 pixels of (..., 3) points; NaN where there is no point or no calibration."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return cameras.project(np.asarray(points_m, float))


def reprojection_px(projected_px: ndarray, detected_px: ndarray) -> ndarray:
    """(...) float32 distances of (..., 2) pixels."""
    return np.linalg.norm(projected_px - detected_px, axis=-1).astype(np.float32)


def median(values: ndarray, axis: int | tuple[int, ...] | None = None) -> ndarray:
    """Median of what is finite; NaN where nothing is."""
    values = np.asarray(values, float)
    axes = tuple(range(values.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = tuple(a % values.ndim for a in axes)
    kept = [a for a in range(values.ndim) if a not in axes]
    flat = np.transpose(values, (*kept, *axes)).reshape(*(values.shape[a] for a in kept), -1)
    some = np.asarray(np.isfinite(flat).any(axis=-1))
    return np.where(some, np.nanmedian(np.where(some[..., None], flat, 0.0), axis=-1), np.nan)


def bone_lengths_m(joints_m: ndarray) -> ndarray:
    """(..., 20) lengths of the bones of (..., 21, 3) joints, metres."""
    return np.linalg.norm(joints_m[..., BONES[:, 1], :] - joints_m[..., BONES[:, 0], :], axis=-1)


def acceleration_m_s2(joints_m: ndarray, fps: float) -> ndarray:
    """(frame, hand) median acceleration of the joints, m/s^2; NaN at the ends and where a neighbour is missing."""
    out = np.full(joints_m.shape[:2], np.nan)
    if len(joints_m) > 2:
        second = joints_m[2:] - 2 * joints_m[1:-1] + joints_m[:-2]
        out[1:-1] = median(np.linalg.norm(second, axis=-1) * fps**2, axis=-1)
    return out


def derivative(joints_m: ndarray, fps: float, order: int) -> ndarray:
    """(sample, frame - order, hand, joint) size of a derivative of (sample, frame, hand, joint, 3) metres."""
    return np.linalg.norm(np.diff(joints_m, n=order, axis=1), axis=-1) * fps**order


def touching(joints_m: ndarray) -> ndarray:
    """(sample, frame) whether some joints of both hands are nearer than `CONTACT_M`.

    Args:
        joints_m: (sample, frame, 2, joint, 3).
    """
    apart = joints_m[:, :, 0, :, None] - joints_m[:, :, 1, None]
    return np.square(apart).sum(axis=-1).min(axis=(-2, -1)) < CONTACT_M**2


def gap_m(vertices_m: ndarray) -> ndarray:
    """(frame,) smallest distance between vertices of the left and the right hand, metres; NaN without both.

    Args:
        vertices_m: (frame, 2, vertex, 3), NaN where there is no hand.
    """
    both = np.isfinite(vertices_m[:, :, 0, 0]).all(axis=1)
    out = np.full(len(vertices_m), np.nan)
    for frame in np.flatnonzero(both):
        left, right = vertices_m[frame]
        out[frame] = KDTree(left).query(right)[0].min()
    return out


def binned(values: ndarray, bins: int, reduce: Callable[..., ndarray]) -> tuple[ndarray, ndarray]:
    """Frames in at most `bins` bins of equal length.

    Args:
        values: (frame, ...) numbers.
        bins: at most so many.
        reduce: `np.nanmax` keeps what is worst, `np.nanmean` is for shares.

    Returns:
        (bin,) first frame of each bin, and (bin, ...) values; NaN where a bin has none.
    """
    width = max(1, -(-len(values) // bins))
    starts = np.arange(0, len(values), width)
    out = np.full((len(starts), *values.shape[1:]), np.nan)
    for i, start in enumerate(starts):
        part = np.asarray(values[start : start + width], float)
        some = np.isfinite(part).any(axis=0)
        out[i] = np.where(some, reduce(np.where(some, part, 0.0), axis=0), np.nan)
    return starts, out


def spread_views(cameras: Cameras, used: ndarray, count: int) -> list[int]:
    """Up to `count` views that see the hands often and from different sides, the best first.

    Args:
        cameras: the rig.
        used: (view,) how often a view is used; views that are never used come last.
        count: at most so many.
    """
    known = np.flatnonzero(cameras.calibrated)
    if not len(known):
        return []
    centers = cameras.centers_m
    offset = centers - centers[known].mean(axis=0)
    direction = offset / np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-9)
    weight = 0.05 + used / max(float(used.max(initial=0)), 1.0)
    chosen = [int(known[np.argmax(weight[known])])]
    while len(chosen) < min(count, len(known)):
        apart = np.linalg.norm(direction[:, None] - direction[chosen], axis=-1).min(axis=1) * weight
        apart[[v for v in range(len(cameras)) if v in chosen or v not in known]] = -1
        chosen.append(int(np.argmax(apart)))
    return sorted(chosen)


def worst_frames(residual: ndarray, count: int, apart: int) -> list[tuple[int, int]]:
    """(frame, hand) of the largest values, at least `apart` frames from each other.

    Args:
        residual: (frame, hand), NaN where there is none.
        count: at most so many.
        apart: frames.
    """
    left = np.where(np.isfinite(residual), residual, -np.inf)
    found: list[tuple[int, int]] = []
    while len(found) < count and left.size and np.isfinite(left.max()):
        frame, hand = (int(i) for i in np.unravel_index(np.argmax(left), left.shape))
        found.append((frame, hand))
        left[max(0, frame - apart) : frame + apart + 1] = -np.inf
    return found


def hands_box(
    uv_px: ndarray, size_px: ndarray, shape: tuple[int, int] | None = None, margin: float = 0.06
) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the part of an image that shows the hands.

    Args:
        uv_px: (..., 2) where the hands are in this view over time, NaN where they are not.
        size_px: (2,) width and height of the image.
        shape: width and height, in any unit, of the part's shape; None: the shape of the image.
        margin: around the hands, as a share of the image's width.
    """
    width, height = (float(n) for n in size_px)
    uv = uv_px.reshape(-1, 2)
    uv = uv[np.isfinite(uv).all(axis=1)]
    uv = uv[((uv > -0.5 * size_px) & (uv < 1.5 * size_px)).all(axis=1)]
    if not len(uv):
        return 0, 0, int(width), int(height)
    low, high = np.percentile(uv, [1, 99], axis=0)
    form = size_px if shape is None else np.array(shape) * min(size_px / shape)
    scale = min(1.0, max((high - low + 2 * margin * width) / form))
    size = scale * form
    start = np.clip((low + high - size) / 2, 0, size_px - size)
    x0, y0 = np.floor(start).astype(int).tolist()
    return x0, y0, min(int(width), x0 + int(np.ceil(size[0]))), min(int(height), y0 + int(np.ceil(size[1])))
