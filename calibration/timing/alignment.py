"""Corners seen at slightly different times, brought to one instant by interpolation in the image."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

SAME_TIME_S = 1e-4
"""No hand moves a board by a tenth of a pixel in this time."""
GAP = 1.5
"""Images of one view that are so many frames apart are not neighbours."""
NEAR = 0.05
"""Of the way from one image to the next: so near, an image shows the instant."""


def at_common_instants(corners_px: ndarray, time_s: ndarray) -> ndarray:
    """Where each corner was at the median time of its frame, linearly between two sightings of the same view.

    A camera that fired late saw the board where it had gone meanwhile. A corner that its view saw in neither
    neighbouring frame stays as it is: nothing says how fast it moved.

    Args:
        corners_px: (view, frame, corner, 2) pixels, NaN where not seen.
        time_s: (view, frame) when each image was taken, NaN where there is none.

    Returns:
        (view, frame, corner, 2) pixels at the frame's time; unchanged where the view was on time.
    """
    seen = np.isfinite(corners_px[..., 0]).any(-1) & np.isfinite(time_s)
    instant_s = np.full(time_s.shape[1], np.nan)
    shown = seen.any(0)
    instant_s[shown] = np.nanmedian(np.where(seen, time_s, np.nan)[:, shown], axis=0)
    late_s = instant_s - time_s  # how far to go on
    late = np.nan_to_num(np.abs(late_s)) > SAME_TIME_S
    if not late.any():
        return corners_px

    velocity = np.full((2, *corners_px.shape), np.nan)  # from the frame before, to the frame after
    step_s = np.diff(time_s, axis=1)[..., None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.diff(corners_px, axis=1) / np.where(step_s > 0, step_s, np.nan)
    velocity[0, :, 1:], velocity[1, :, :-1] = slope, slope
    # Between two sightings is better than beyond one.
    inward = np.where((late_s > 0)[..., None, None], velocity[1], velocity[0])
    outward = np.where((late_s > 0)[..., None, None], velocity[0], velocity[1])
    chosen = np.where(np.isfinite(inward), inward, outward)
    gone_px = np.nan_to_num(chosen * late_s[..., None, None])
    return np.where(late[..., None, None], corners_px + gone_px, corners_px)


def at_instants(corners_px: ndarray, time_s: ndarray, instant_s: ndarray) -> ndarray:
    """Where each corner was at given instants, between two images of the same view, however late its images are.

    A cubic through the images before and after the two, where a corner was seen in all four; else a line. A corner
    that was seen on one side only counts there, if that image is at most `NEAR` of the way to the next.

    Args:
        corners_px: (view, frame, corner, 2) pixels, NaN where not seen.
        time_s: (view, frame) when each image was taken, NaN where there is none.
        instant_s: (instant,) increasing.

    Returns:
        (view, instant, corner, 2) pixels; NaN where not seen.
    """
    out = np.full((len(corners_px), len(instant_s), *corners_px.shape[2:]), np.nan)
    for view, row_s in enumerate(time_s):
        there = np.flatnonzero(np.isfinite(row_s))
        there = there[np.diff(row_s[there], prepend=-np.inf) > 0]  # a repeated image was taken once
        if len(there) == 0:
            continue
        none = np.full((2, *corners_px.shape[2:]), np.nan)
        px, t = np.concatenate([none, corners_px[view, there], none]), row_s[there]
        step_s = float(np.median(np.diff(t))) if len(t) > 1 else 1.0
        t = np.concatenate([t[0] - step_s * np.array([2, 1]), t, t[-1] + step_s * np.array([1, 2])])
        left = np.clip(np.searchsorted(t, instant_s, side="right") - 1, 1, len(t) - 3)
        width_s = t[left + 1] - t[left]
        x = ((instant_s - t[left]) / width_s)[:, None, None]
        a, b = px[left], px[left + 1]
        # A gap is no neighbour: a board goes anywhere in it.
        near = ((width_s <= GAP * step_s) & (x[:, 0, 0] >= 0) & (x[:, 0, 0] <= 1))[:, None, None]
        line = np.where(near, a + x * (b - a), np.nan)
        slopes = []
        for before, at in ((left - 1, left), (left, left + 1)):
            span_s = t[at + 1] - t[before]
            slope = (px[at + 1] - px[before]) * (width_s / span_s)[:, None, None]
            slopes.append(np.where((span_s <= 2 * GAP * step_s)[:, None, None], slope, np.nan))
        bend = x * (1 - x) * ((1 - x) * (slopes[0] - (b - a)) + x * ((b - a) - slopes[1]))
        alone = np.where(np.abs(x) <= NEAR, a, np.where(np.abs(1 - x) <= NEAR, b, np.nan))
        curve = np.where(np.isfinite(bend), line + bend, line)
        out[view] = np.where(np.isfinite(curve), curve, alone)
    return out
