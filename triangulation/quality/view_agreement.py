"""Whether each view agrees with the hands that the rig sees.

The reprojection error of the detections that were used says little of a view whose detections are all rejected: two
cameras under each other's names lower it. So every candidate is held against the hands in space here, used or not.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.hands import median_of_known
from ..candidates import MIN_JOINTS, TOLERANCE_M

SUSPECT = 0.8
"""A view that agrees in less than this part of what the rig's better views reach is examined."""
HOPELESS = 0.2
"""A view below this part disagrees, whether or not an explanation is found."""
FARTHER, NOISE_M = 2.0, 0.004
"""A view whose median distance is this many times the rig's is examined; below `NOISE_M` it is a detector's noise."""
MIN_CANDIDATES = 8
"""Candidates with a hand in space to compare with, below which a view is not judged."""


@dataclass(frozen=True)
class Agreement:
    """Of every view with the hands in space."""

    share: ndarray
    """(view,) share of the candidates that show a hand in space; NaN for a view that cannot be judged."""
    error_px: ndarray
    """(view,) median distance of all candidates near a hand from it, pixels; NaN without any."""
    error_m: ndarray
    """(view,) the same at the hand's depth, metres."""
    count: ndarray
    """(view,) candidates that could be compared."""

    @property
    def usual(self) -> float:
        """What the rig's better views reach: the upper quartile; 0 where no view can be judged."""
        known = self.share[np.isfinite(self.share)]
        return float(np.quantile(known, 0.75)) if len(known) else 0.0

    @property
    def suspect(self) -> ndarray:
        """(view,) bool, the views to examine: they agree in few candidates, or less closely than the others."""
        few = np.nan_to_num(self.share, nan=1.0) < SUSPECT * self.usual
        known = self.error_m[np.isfinite(self.error_m)]
        usual_m = max(float(np.median(known)), NOISE_M) if len(known) else np.inf
        return few | (np.nan_to_num(self.error_m) > FARTHER * usual_m)

    def where(self, chosen: ndarray, other: Agreement) -> Agreement:
        """Of the (view,) chosen views from this one, of the others from another."""
        return Agreement(*(np.where(chosen, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    @property
    def hopeless(self) -> ndarray:
        """(view,) bool, the views that disagree."""
        return np.nan_to_num(self.share, nan=1.0) < HOPELESS * self.usual


def agreement(cameras: Cameras, hands_m: ndarray, points_px: ndarray) -> Agreement:
    """How far each view's candidates show the hands in space.

    Args:
        cameras: the rig.
        hands_m: (view, frame, hand, 21, 3) in the world, NaN where unknown: what each view is held against.
        points_px: (view, frame, candidate, 21, 2) all candidates, NaN where there is none.
    """
    views = [
        _distances(cameras.subset([v]), hands_m[v], points_px[v : v + 1]) if cameras.calibrated[v] else None
        for v in range(len(cameras))
    ]
    count, share = np.zeros(len(cameras), int), np.full(len(cameras), np.nan)
    error_px, error_m = np.full(len(cameras), np.nan), np.full(len(cameras), np.nan)
    for v, distances in enumerate(views):
        if distances is None:
            continue
        off_m, off_px, size_px = distances
        known = np.isfinite(off_m)
        near = known & (off_px < size_px)
        count[v] = known.sum()
        if count[v] >= MIN_CANDIDATES:
            share[v] = (off_m[known] < TOLERANCE_M).mean()
        if near.any():
            error_px[v], error_m[v] = np.median(off_px[near]), np.median(off_m[near])
    return Agreement(share, error_px, error_m, count)


def _distances(cameras: Cameras, hands_m: ndarray, points_px: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """(view, frame, candidate) metres at the hand's depth and pixels from the nearest hand, and that hand's size in
    pixels: medians over the joints, NaN where there is no candidate or no hand."""
    expected = cameras.project(hands_m)
    R, t = cameras.T_cam_world[:, 2, :3], cameras.T_cam_world[:, 2, 3]
    depth = np.einsum("vi,fhji->vfhj", R, hands_m) + t[:, None, None, None]
    scale = median_of_known(np.where(depth > 0, depth, np.nan)) / cameras.focal_px[:, None, None]
    distance = np.linalg.norm(points_px[:, :, :, None] - expected[:, :, None], axis=-1)
    enough = np.isfinite(distance).sum(-1) >= MIN_JOINTS
    off_px = np.where(enough, median_of_known(distance), np.nan)  # (view, frame, candidate, hand)
    off_m = off_px * scale[:, :, None]
    extent = np.fmax.reduce(expected, axis=-2) - np.fmin.reduce(expected, axis=-2)  # They pass over NaN.
    size = np.linalg.norm(extent, axis=-1)[:, :, None]
    best = np.argmin(np.where(np.isfinite(off_m), off_m, np.inf), axis=-1)[..., None]
    pick = lambda values: np.take_along_axis(np.broadcast_to(values, off_m.shape), best, axis=-1)[..., 0]  # noqa: E731
    return pick(off_m), pick(off_px), pick(size)
