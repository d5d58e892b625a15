"""Corners seen at slightly different times, brought to one instant by interpolation in the image."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

SAME_TIME_S = 1e-4
"""No hand moves a board by a tenth of a pixel in this time."""


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
