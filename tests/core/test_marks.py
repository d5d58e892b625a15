"""Marks: one small file for many units, written as time allows and whole at the end."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from handpipe.core.storage import marks
from handpipe.core.storage.marks import Marks, chunk_shape


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ((1,), (1,)),
        ((50, 3907), (16, 3907)),
        ((2, 100_000), (1, 65536)),
        ((3, 2, 4), (3, 2, 4)),
        ((70_000, 1), (65536, 1)),
    ],
)
def test_a_chunk_of_marks_is_whole_axes_as_far_as_64_kb_go(units, expected):
    assert chunk_shape(units) == expected


@pytest.fixture
def array(tmp_path):
    array = zarr.create_array(tmp_path / "done", shape=(4, 6), chunks=(2, 6), dtype="u1", fill_value=0)
    array[...] = 0
    return array


def test_marks_are_written_soon_and_with_flush(array, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(marks.time, "monotonic", lambda: now[0])
    mine = Marks(np.zeros((4, 6), bool), array, "s.zarr")
    mine.add([(0, 1)])
    assert np.argwhere(array[...]).tolist() == [[0, 1]]
    mine._due = 1.0
    mine.add([(3, 5), (0, 2)])
    assert array[...].sum() == 1, "not before its time"
    assert mine.grid.sum() == 3
    now[0] = 1.0
    mine.add([])
    assert np.argwhere(array[...]).tolist() == [[0, 1], [0, 2], [3, 5]]
    mine._due = 5.0
    mine.add([(1, 0)])
    mine.flush()
    mine.remove([(0, 1), (2, 2)])
    assert np.argwhere(array[...]).tolist() == [[0, 2], [1, 0], [3, 5]]


def test_only_the_chunks_that_have_changed_are_written(array, tmp_path):
    Marks(np.zeros((4, 6), bool), array, "s.zarr").add([(2, 0)])
    assert {path.name for path in (tmp_path / "done/c").iterdir()} == {"1"}
