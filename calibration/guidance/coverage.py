"""What the cameras have seen of the board: where in their images, and which of them at the same time."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

CELLS = 6
"""An image is divided into so many rows and columns."""


def covered_cells(corners_px: ndarray, sizes_px: ndarray) -> ndarray:
    """(view, CELLS, CELLS) bool, rows and columns of each image in which a corner was seen.

    Args:
        corners_px: (view, frame, corner, 2) pixels, NaN where not seen.
        sizes_px: (view, 2) width and height.
    """
    cells = np.zeros((len(corners_px), CELLS, CELLS), bool)
    seen = np.isfinite(corners_px).all(-1)
    place = (np.nan_to_num(corners_px) + 0.5) / sizes_px[:, None, None] * CELLS
    column, row = np.moveaxis(np.clip(place.astype(int), 0, CELLS - 1), -1, 0)
    view = np.broadcast_to(np.arange(len(corners_px))[:, None, None], seen.shape)
    cells[view[seen], row[seen], column[seen]] = True
    return cells


def shared_frames(usable: ndarray) -> ndarray:
    """(view, view) in how many frames both saw the board; the diagonal is how often each did.

    Args:
        usable: (view, frame) bool.
    """
    counts = usable.astype(np.int64)
    return counts @ counts.T
