"""Which frames the rows of a table are: against times and numbers that are written down by hand or drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handpipe.core.errors import SessionError
from handpipe.hand.frame_times import even_rate, frame_grid

KEPT = np.r_[0:40, 47:90]
"""Rows of 90 frames after seven are dropped."""


@pytest.mark.parametrize("fps", [6.0, 24.0, 25.0, 29.97, 30000 / 1001, 30.0, 50.0, 60.0, 119.88, 240.0])
@pytest.mark.parametrize("digits", [3, 6, 15])
@pytest.mark.parametrize("kept", [np.arange(90), KEPT, np.r_[3, 7:20, 50:90]])
def test_gaps_are_found_by_rounded_times_alone(fps, digits, kept):
    grid = frame_grid("t.csv", len(kept), np.round(kept / fps, digits), None)
    assert grid.index.tolist() == (kept - kept[0]).tolist()
    assert grid.fps == pytest.approx(fps, rel=1e-3 if digits == 3 else 1e-5)
    assert len(grid.messages) == (len(kept) < grid.frames) + int(kept[0] > 0)


@given(
    st.sampled_from([10.0, 30.0, 60.0, 120.0]),
    st.integers(2, 6),
    st.lists(st.booleans(), min_size=20, max_size=200),
    st.integers(0, 10_000),
)
def test_any_rows_of_a_numbered_table(fps, digits, kept, start_s):
    kept = np.flatnonzero([True, True, *kept, True])
    times = np.round(start_s + kept / fps, digits)
    grid = frame_grid("t.csv", len(kept), times, kept + 5.0, declared_fps=fps)
    assert grid.index.tolist() == kept.tolist()
    assert grid.fps == fps


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_two_decimals(fps):
    assert frame_grid("t", 90, np.round(np.arange(90) / fps, 2), None).fps == fps
    assert frame_grid("t", 83, np.round(KEPT / fps, 2), None).index.tolist() == KEPT.tolist()


def test_rows_that_are_missing_at_the_start_are_said():
    numbers = np.arange(7.0, 90)
    assert frame_grid("t", 83, numbers / 30, numbers).messages == (
        "the first row is at 0.2333333333 s: it becomes frame 0",
    )
    assert frame_grid("t", 83, None, numbers, fps=30.0).messages == ()
    assert frame_grid("t", 83, (numbers - 7) / 30, numbers).messages == ()


def test_even_times_give_a_common_rate_exactly():
    assert even_rate(np.arange(30, dtype=np.float32) / np.float32(30)) == 30
    assert even_rate(np.round(np.arange(99) * 1001 / 30000, 5)) == 30000 / 1001
    assert even_rate(np.arange(50) / 17.3) == pytest.approx(17.3)


def test_jitter_of_a_clock_is_no_gap():
    jitter = np.random.default_rng(0).uniform(-0.2, 0.2, 300)
    grid = frame_grid("t", 300, (np.arange(300) + jitter) / 30, None)
    assert grid.frames == 300
    assert grid.fps == pytest.approx(30, rel=1e-3)


def test_a_counter_of_rows_leaves_the_gaps_to_the_times():
    grid = frame_grid("t", len(KEPT), KEPT / 30, np.arange(len(KEPT)) + 1.0, declared_fps=30)
    assert grid.index.tolist() == KEPT.tolist()


def test_every_tenth_frame_is_a_rate_and_in_a_declared_one_a_gap():
    tenth = np.arange(0, 100, 10)
    assert frame_grid("t", 10, tenth / 30, tenth + 1.0).fps == 3
    assert frame_grid("t", 10, tenth / 30, tenth + 1.0, declared_fps=30).frames == 91


def test_fps_stands_over_everything_and_gaps_stay():
    times = np.round(KEPT / 60, 3)
    for declared in (None, 30.0, 60.0):
        grid = frame_grid("t", len(KEPT), times, KEPT + 1.0, declared, fps=25)
        assert (grid.fps, grid.frames) == (25, 90)
    assert frame_grid("t", len(KEPT), None, KEPT + 1.0, fps=25).frames == 90


def test_values_go_to_their_frames():
    spread = frame_grid("t", 3, None, np.array([4.0, 5, 8]), fps=30).spread(np.array([[1.0], [2], [3]]))
    np.testing.assert_array_equal(spread[:, 0], [1, 2, np.nan, np.nan, 3])


@pytest.mark.parametrize(
    ("times", "numbers", "declared", "message"),
    [
        (np.arange(90) / 30, np.arange(90) + 1.0, 60, "the header says 60 .* those of 30.*--fps 60 or --fps 30"),
        (np.arange(90) / 60, np.arange(90) + 1.0, 30, "the header says 30 .* those of 60"),
        (np.arange(83) / 30, KEPT + 1.0, 30, "the numbers skip frames that the times do not"),
        (np.arange(83) / 30, KEPT + 1.0, None, "the numbers skip frames that the times do not"),
        ([0, 0.1, 0.05, 0.2], None, None, "row 3 of the data has 0.05 after 0.1"),
        ([0, 0.1, np.nan, 0.2], None, None, "row 3 of the data has nan"),
        ([0, 0.1, 0.2, 0.3], [1, 2, 2, 3], None, "found 2, 2"),
        ([0, 0.1, 0.2, 0.3], [1, 2, 2.5, 3], None, "whole frame numbers"),
        (np.linspace(0, 1, 30) ** 3, None, None, "times evenly apart"),
        ([0, 0, 0, 0], None, None, "times evenly apart"),
        ([0, 0.1, 0.2, 1e9], None, None, "at most 250000 frames"),
        ([0.1], None, None, "two or more times"),
        (None, [1, 2], None, "Say the frames per second with --fps"),
    ],
)
def test_what_contradicts_itself(times, numbers, declared, message):
    rows = len(numbers if times is None else times)
    times, numbers = (None if each is None else np.array(each, float) for each in (times, numbers))
    with pytest.raises(SessionError, match=message):
        frame_grid("t", rows, times, numbers, declared)
