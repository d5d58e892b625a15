"""When a hand is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy import ndarray

PER_FRAME = ("global_orient", "hand_pose", "transl")


def has_numbers(mano: Mapping[str, ndarray]) -> ndarray:
    """(..., frame, hand) bool: every number of MANO is finite.

    Args:
        mano: `betas` (..., hand, 10) and, each (..., frame, hand, n), `global_orient`, `hand_pose`, `transl`.
    """
    finite = [np.isfinite(mano[name]).all(axis=-1) for name in PER_FRAME]
    shaped = np.asarray(np.isfinite(mano["betas"]).all(axis=-1))
    return np.logical_and.reduce([*finite, np.broadcast_to(shaped[..., None, :], finite[0].shape)])


def hand_is_there(mano: Mapping[str, ndarray]) -> ndarray:
    """(..., frame, hand) bool: THE rule for when a fitted hand is there: it is `valid` and every number is finite.

    Imports, exports and labels all ask here: files from elsewhere have `valid` over NaN.

    Args:
        mano: as for `has_numbers`, and `valid` (..., frame, hand).
    """
    return mano["valid"] & has_numbers(mano)
