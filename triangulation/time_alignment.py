"""Time alignment of detections: every candidate is interpolated, in its image, to the time of the instant.

Cameras that are not synchronised see a moving hand at different positions: at 1 m/s, 10 ms correspond to 1 cm. Each
candidate is matched between the view's images before and after the instant and interpolated between them, joint by
joint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

MAX_BRIDGE_S = 0.1
"""Longest time, in seconds, between two images that is interpolated if an image between them is missing."""

_STEP = 1.5  # Images no further apart than so many instants are neighbours, whatever the rate.
_HALF = 0.55  # An image within so many instants shows the instant, even where nothing can be interpolated.
_GATE = 0.75  # How far a hand may go between neighbouring images, on average over its joints, in its own sizes.
_RIVAL = 0.7  # The next best continuation must be further away by this factor.


@dataclass(frozen=True)
class Images:
    """For every instant, the images of each view before and after it."""

    base: ndarray
    """(view, instant) int, index of the image nearest in time; -1 where there is none near."""
    other: ndarray
    """(view, instant) int, the next one on the instant's other side; -1 where there is none near."""
    fraction: ndarray
    """(view, instant) where the instant lies from `base`, 0, to `other`, 1; at most 0.5."""
    near: ndarray
    """(view, instant) bool, `base` shows the instant as it is, if not to the millisecond."""

    def part(self, instants: slice) -> Images:
        """Of some instants."""
        return Images(*(a[:, instants] for a in (self.base, self.other, self.fraction, self.near)))

    def counted_from(self, first: int) -> Images:
        """The images with indices relative to image `first`; earlier ones are missing."""
        base, other = (np.where(a >= 0, a - first, -1) for a in (self.base, self.other))
        return Images(base, other, self.fraction, self.near)

    @property
    def moves(self) -> bool:
        """Whether any image has to be moved."""
        return bool(((self.base >= 0) & (self.other >= 0) & (self.fraction > 0)).any())


def images_at(time_s: ndarray, instant_s: ndarray) -> Images:
    """Find the images of each view before and after each instant.

    Args:
        time_s: (view, frame) when each image was taken, seconds, growing along a row; NaN where there is none. Of two
            images at the same time the first counts.
        instant_s: (instant,) increasing.
    """
    views, instants = len(time_s), len(instant_s)
    step_s = float(np.median(np.diff(instant_s))) if instants > 1 else np.inf
    base, other = np.full((views, instants), -1), np.full((views, instants), -1)
    fraction, near = np.zeros((views, instants)), np.zeros((views, instants), bool)
    for v, row in enumerate(time_s):
        known = _in_order(row)
        if not len(known):
            continue
        time = row[known]
        after = np.searchsorted(time, instant_s)
        sides = np.stack([after - 1, after])
        there = (sides >= 0) & (sides < len(known))
        away = np.where(there, np.abs(time[np.clip(sides, 0, len(known) - 1)] - instant_s), np.inf)
        nearest = away.argmin(0)
        base[v] = known[np.take_along_axis(sides, nearest[None], 0)[0]]
        away_base, away_other = (np.take_along_axis(away, k[None], 0)[0] for k in (nearest, 1 - nearest))
        gap = away_base + away_other
        bridged = gap <= max(_STEP * step_s, MAX_BRIDGE_S)
        at = np.clip(np.take_along_axis(sides, 1 - nearest[None], 0)[0], 0, len(known) - 1)
        other[v] = np.where(bridged, known[at], -1)
        near[v] = away_base <= _HALF * step_s
        fraction[v] = np.where(bridged, away_base / np.where(bridged, gap, 1.0), 0.0)
        base[v] = np.where(near[v] | bridged, base[v], -1)
    return Images(base, other, fraction, near)


def follow(from_px: ndarray, to_px: ndarray) -> ndarray:
    """Match the candidates of one image with those of another, shortly before or after.

    Args:
        from_px: (..., candidate, joint, 2), NaN where none.
        to_px: (..., candidate, joint, 2).

    Returns:
        (..., candidate) index into the candidates of `to_px`; -1 where none is near, or two are.
    """
    distance = _mean_distance(from_px[..., :, None, :, :], to_px[..., None, :, :, :])
    extent = np.fmax.reduce(from_px, axis=-2) - np.fmin.reduce(from_px, axis=-2)
    gate = _GATE * np.nan_to_num(np.hypot(extent[..., 0], extent[..., 1]))
    best = distance.argmin(-1)
    least = np.take_along_axis(distance, best[..., None], -1)[..., 0]
    # Nearest in both directions, with no rival in either.
    taken = np.arange(distance.shape[-1]) == best[..., None]
    rivals = [np.where(taken, np.inf, distance).min(-1)]
    own = np.arange(distance.shape[-2])[:, None]
    column = np.take_along_axis(
        distance, np.broadcast_to(best[..., None, :], distance.shape[:-1] + best.shape[-1:]), -1
    )
    rivals.append(np.where(own == own.T, np.inf, column).min(-2))
    sure = (least < gate) & (least <= _RIVAL * np.minimum(*rivals))
    return np.where(sure, best, -1)


def _mean_distance(a: ndarray, b: ndarray) -> ndarray:
    """Mean distance of the common joints; infinite where less than half are common."""
    with np.errstate(invalid="ignore"):
        distance = np.linalg.norm(a - b, axis=-1)
    known = np.isfinite(distance)
    count = known.sum(-1)
    mean = np.where(known, distance, 0.0).sum(-1) / np.maximum(count, 1)
    return np.where(2 * count >= distance.shape[-1], mean, np.inf)


@dataclass(frozen=True)
class Aligned:
    """Candidates at the instants, numbered as in the image `Images.base`."""

    points_px: ndarray
    """(view, instant, candidate, joint, 2) float, NaN where none."""
    goes_on: ndarray
    """(view, instant, candidate) which candidate of `Images.other` shows the same hand, -1 where none does for sure."""


def align(points_px: ndarray, images: Images) -> Aligned:
    """Interpolate the candidates of every view to the instants.

    A candidate without a match on the other side of the instant keeps its position if its image is close in time.

    Args:
        points_px: (view, frame, candidate, joint, 2), NaN where none.
        images: from `images_at`.

    Returns:
        The candidates. A joint that is missing in one of the two images also keeps its position.
    """
    row = np.arange(len(points_px))[:, None]
    here = np.where((images.base >= 0)[..., None, None, None], points_px[row, images.base], np.nan).astype(float)
    there = np.where((images.other >= 0)[..., None, None, None], points_px[row, images.other], np.nan).astype(float)
    goes_on = follow(here, there)
    there = np.take_along_axis(there, np.maximum(goes_on, 0)[..., None, None], axis=2)
    step = np.where((goes_on >= 0)[..., None, None], there - here, np.nan)
    shift = images.fraction[..., None, None, None] * step
    points = np.where(np.isfinite(shift), here + shift, here)
    there = (goes_on >= 0) | images.near[..., None]
    return Aligned(np.where(there[..., None, None], points, np.nan), goes_on)


def velocities(points_px: ndarray, time_s: ndarray) -> ndarray:
    """Velocities of the candidates in their images: central differences, smoothed over the joints of a hand.

    Args:
        points_px: (view, frame, candidate, joint, 2), NaN where none.
        time_s: (view, frame) seconds, NaN where there is no image.

    Returns:
        (view, frame, candidate, joint, 2) pixels per second; NaN where the hand is not in the images before and after.
    """
    out = np.full(points_px.shape, np.nan)
    for v, row in enumerate(time_s):
        known = _in_order(row)
        points, time = points_px[v, known].astype(float), row[known]
        if len(known) < 3:
            continue
        far = np.diff(time)[:, None] > max(_STEP * float(np.median(np.diff(time))), MAX_BRIDGE_S)
        after = np.where(far, -1, follow(points[:-1], points[1:]))[1:]
        before = np.where(far, -1, follow(points[1:], points[:-1]))[:-1]
        ends = [
            np.take_along_axis(p, np.maximum(k, 0)[..., None, None], axis=1)
            for p, k in ((points[:-2], before), (points[2:], after))
        ]
        step = (ends[1] - ends[0]) / (time[2:] - time[:-2])[:, None, None, None]
        out[v, known[1:-1]] = np.where(
            ((before >= 0) & (after >= 0))[..., None, None], _as_one(points[1:-1], step), np.nan
        )
    return out


def _as_one(points_px: ndarray, velocity_px: ndarray) -> ndarray:
    """(..., joint, 2) least-squares affine motion of each hand: it keeps most of the velocity and reduces noise."""
    usable = (np.isfinite(points_px) & np.isfinite(velocity_px)).all(-1, keepdims=True)
    count = usable.sum(-2, keepdims=True).clip(1)
    off = np.where(usable, points_px, 0.0)
    off = np.where(usable, points_px - off.sum(-2, keepdims=True) / count, 0.0)
    velocity = np.where(usable, velocity_px, 0.0)
    mean = velocity.sum(-2, keepdims=True) / count
    size2 = (off**2).sum((-2, -1))[..., None, None] + 1e-9
    linear = np.linalg.solve(off.swapaxes(-1, -2) @ off + 0.02 * size2 * np.eye(2), off.swapaxes(-1, -2) @ velocity)
    return np.where(usable.sum(-2, keepdims=True) > 0, mean + off @ linear, np.nan)


def velocities_at(velocity_px: ndarray, images: Images, aligned: Aligned) -> ndarray:
    """(view, instant, candidate, joint, 2) velocities at the instants, interpolated like the candidates.

    By symmetry, interpolated central differences are uncorrelated with the noise of the interpolated positions.
    Differences of two images are not; they would bias time estimates towards the middle between images.
    """
    row = np.arange(len(velocity_px))[:, None]
    fraction = images.fraction[..., None, None, None]
    goes_on = aligned.goes_on[..., None, None]
    there = np.take_along_axis(velocity_px[row, images.other], np.maximum(goes_on, 0), axis=2)
    there = np.where(goes_on >= 0, there, np.nan)
    here = velocity_px[row, images.base]
    return np.where(fraction > 0, (1 - fraction) * here + fraction * there, here)


def _in_order(time_s: ndarray) -> ndarray:
    """Indices of the existing images of a view (frame,) that are later than the previous one."""
    known = np.flatnonzero(np.isfinite(time_s))
    return known[np.diff(time_s[known], prepend=-np.inf) > 0]
