"""The sample of the board: which instants, and whether all views are joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from handpipe.core.recording import Clip
from handpipe.doctor.board import Sightings, first_instants, joined


def test_instants_come_in_pairs_and_fewer_with_many_pixels():
    small, large = Clip(Path("a"), 900, 30, (640, 480)), Clip(Path("a"), 900, 30, (3840, 2160))
    few, many = first_instants([large] * 20, 900), first_instants([small] * 4, 900)
    assert len(few) == 18
    assert len(many) == 120
    assert (np.diff(few)[::2] == 1).all()
    assert (few[0], few[-1]) == (0, 899)
    assert first_instants([small], 1).tolist() == [0]


def test_views_are_joined_through_others():
    """a and b share 5 instants, b and c 3, a and c none: the weakest link is that of b and c."""
    seen = np.zeros((3, 8), bool)
    seen[0, :5], seen[1], seen[2, 5:] = True, True, True
    check = joined(("a", "b", "c"), seen)
    assert check is not None
    assert check.value == 3
    assert "b with c" in check.reason
    seen[1, 7] = False
    assert joined(("a", "b", "c"), seen) is None


def test_samples_are_merged_without_forgetting_what_was_seen():
    def sample(instants, rows, value):
        corners = np.full((2, len(instants), 1, 2), np.nan)
        looked = np.zeros((2, len(instants)), bool)
        corners[rows], looked[rows] = value, True
        return Sightings(np.array(instants), corners, looked)

    both = sample([0, 4], [0, 1], 1.0).merged(sample([2, 4], [1], 2.0))
    assert both.instants.tolist() == [0, 2, 4]
    assert both.looked.tolist() == [[True, False, True], [True, True, True]]
    assert np.nan_to_num(both.corners_px[:, :, 0, 0]).tolist() == [[1, 0, 1], [1, 2, 2]]
