"""How much the bones of seen hands vary in length."""

from __future__ import annotations

import numpy as np
import pytest
from hand_scenes import hand

from handpipe.hand.anatomy import bone_variation


def frames(*sizes: float) -> tuple[np.ndarray, np.ndarray]:
    """A hand of these sizes, one in each frame, and that all of it is expected."""
    joints_m = np.array(sizes)[:, None, None, None] * hand(0.5)
    return joints_m, np.ones(joints_m.shape[:-1], bool)


def test_it_is_the_middle_distance_from_the_usual_length():
    """Two of three frames are a tenth off."""
    assert bone_variation(*frames(1.0, 1.0, 1.0)) == pytest.approx(0.0, abs=1e-12)
    assert bone_variation(*frames(0.9, 1.0, 1.1)) == pytest.approx(0.1)


def test_a_hand_that_moves_does_not_vary():
    bent = np.stack([hand(curl) for curl in (0.1, 0.5, 0.9)])[:, None]
    assert bone_variation(bent + np.arange(3.0)[:, None, None, None], np.ones(bent.shape[:-1], bool)) < 1e-9


def test_what_is_unknown_or_without_length_varies_without_bound():
    joints_m, expected = frames(1.0, 1.0, 1.0, 1.0, 1.0)
    few = np.where((np.arange(5) < 2)[:, None, None, None], joints_m, np.nan)
    assert bone_variation(few, expected) == np.inf
    assert bone_variation(few, np.asarray(np.isfinite(few).all(-1))) == pytest.approx(0.0, abs=1e-12)
    assert bone_variation(np.zeros_like(joints_m), expected) == np.inf
    assert bone_variation(joints_m, np.zeros_like(expected)) == np.inf
