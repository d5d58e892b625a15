"""Lenses from clips of their own: `intrinsics/<view>.mp4`, the board filmed by one camera, close, all over its image.

Each frame has a board pose of its own in the adjustment of the rig and is seen by one view. So it says about the lens
what it can, and the frames that views share say the rest.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from ..core.settings import Board
from .board import is_usable
from .initial import slow_sightings, spread_frames

OWN_FRAMES = 40
"""Frames of a view's own clip that are used: those that differ most, among the slower."""
MIN_OWN_FRAMES = 10
"""Fewer say too little about a lens."""


def choose_own(
    board: Board, corners_px: ndarray, seen_by: Sequence[str], views: Sequence[str], sizes_px: ndarray
) -> tuple[ndarray, dict[str, int]]:
    """The frames of the clips to adjust to.

    Args:
        board: the board in them.
        corners_px: (clip, frame, corner, 2) pixels, NaN where not seen.
        seen_by: view of each clip.
        views: all views.
        sizes_px: (view, 2) width and height of the images.

    Returns:
        (view, own frame, corner, 2), NaN where a view has fewer; and the sightings in clips that have too few.
    """
    usable = is_usable(board, corners_px)
    own = np.full((len(views), OWN_FRAMES, *corners_px.shape[2:]), np.nan)
    poor = {}
    for clip, view in enumerate(seen_by):
        seen = usable[clip]
        if seen.sum() < MIN_OWN_FRAMES:
            poor[view] = int(seen.sum())
        elif view in views:
            at = list(views).index(view)
            slow = slow_sightings(corners_px[clip], seen, 2 * OWN_FRAMES)
            chosen = spread_frames(corners_px[clip], slow, sizes_px[at], OWN_FRAMES)
            own[at, : len(chosen)] = corners_px[clip, chosen]
    return own, poor


def own_frames(own_px: ndarray) -> ndarray:
    """(view, frame, corner, 2) with a frame for each sighting (view, own frame, corner, 2), seen by its view alone."""
    view, frame = np.nonzero(np.isfinite(own_px[..., 0]).any(-1))
    out = np.full((len(own_px), len(view), *own_px.shape[2:]), np.nan)
    out[view, np.arange(len(view))] = own_px[view, frame]
    return out
