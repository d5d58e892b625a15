"""Every frame has a row, and every missing frame one, at its instant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.capture.recording.accounts import (
    LOST,
    NOT_CONNECTED,
    SLOWER,
    STARTED_LATE,
    STOPPED_EARLY,
    Run,
    Triggered,
    common_grid,
    numbered,
    skew,
    timed_entries,
    trigger_times,
    triggered_entries,
)

RATE = 30.0
FRAMES = 100


def run(rng, dropped=(), phase=0.0, drift=0.0, first=0, frames=FRAMES, clock=True, start_s=100.0, **more):
    """A camera whose frames arrive a little late, without those that were dropped."""
    number = np.array([n for n in range(first, frames) if n not in set(dropped)])
    exposed = start_s + phase / RATE + number / RATE * (1 + drift)
    device = 5000 + number / RATE if clock else np.full(len(number), np.nan)
    return Run(number, np.arange(len(number)), exposed + rng.exponential(0.001, len(number)), device, **more)


def entries_of(cameras, end_s=100 + FRAMES / RATE):
    placed = [[numbered(each, 1 / RATE) for each in runs] for runs in cameras]
    grid = common_grid(placed, 1 / RATE)
    return [timed_entries(each, grid, end_s) for each in placed]


def missing(entries):
    return entries.instant[entries.frame < 0].tolist()


@settings(max_examples=50, deadline=None)
@given(
    dropped=st.lists(st.sets(st.integers(1, FRAMES - 2), max_size=20), min_size=3, max_size=3),
    phases=st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3),
    clock=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_n_drops_are_n_entries_at_their_instants(dropped, phases, clock, seed):
    rng = np.random.default_rng(seed)
    cameras = [[run(rng, gone, phase, clock=clock)] for gone, phase in zip(dropped, phases, strict=True)]
    for gone, found in zip(dropped, entries_of(cameras), strict=True):
        assert missing(found) == sorted(gone)
        assert (np.diff(found.instant) == 1).all()
        assert found.missing() == ({LOST: len(gone)} if gone else {})


@settings(max_examples=20, deadline=None)
@given(phase=st.floats(0, 1), seed=st.integers(0, 100))
def test_a_camera_half_an_instant_off_does_not_flip(phase, seed):
    rng = np.random.default_rng(seed)
    free = entries_of([[run(rng)], [run(rng, phase=phase, dropped=(50,))]])[1]
    assert len(missing(free)) == 1
    assert (np.diff(free.instant) == 1).all()


def test_clocks_that_differ_pass_over_an_instant_and_say_so(rng):
    frames = 3000
    fast, slow = entries_of([[run(rng, frames=frames)], [run(rng, frames=frames, drift=0.001)]], 100 + frames / RATE)
    assert missing(fast) == []
    assert (slow.frame[slow.frame >= 0] == np.arange(frames)).all()
    assert (np.diff(slow.instant) == 1).all()
    assert slow.missing() == {SLOWER: 3}
    # Frames of one instant are within an instant of each other.
    has = slow.frame[:frames] >= 0
    assert np.abs(fast.time_s - slow.time_s[:frames])[has].max() < 1 / RATE


def test_times_of_a_camera_without_clock_and_regular_rate_follow_its_arrivals(rng):
    steady = run(rng)
    number = np.arange(60)
    host_s = 100 + np.cumsum(rng.uniform(0.5, 2.8, 60)) / RATE
    uneven = Run(number, number, host_s, np.full(60, np.nan))
    found = entries_of([[steady], [uneven]])[1]
    times = found.time_s[found.frame >= 0]
    assert (times <= host_s + 1e-9).all()
    assert (np.diff(times) > 1 / RATE - 1e-9).all()
    assert (np.diff(found.instant) == 1).all()


def test_a_burst_after_a_stall_is_put_back_to_its_instants(rng):
    number = np.arange(60)
    host_s = 100 + number / RATE
    host_s[20:50] = host_s[49] + np.arange(30) * 1e-4
    stalled = Run(number, number, host_s, np.full(60, np.nan))
    found = entries_of([[run(rng)], [stalled]])[1]
    assert missing(found)[:1] in ([60], [61])
    assert found.frame[found.frame >= 0].tolist() == number.tolist()


def test_reasons(rng):
    late = run(rng, phase=10)
    away = [run(rng, frames=30), run(rng, frames=40, start_s=100 + 50 / RATE)]
    early = run(rng, frames=80)
    told = run(rng, dropped=(3, 4), lost={3: "queue full"})
    found = entries_of([[run(rng)], [late], away, [early], [told]])
    assert found[1].missing() == {STARTED_LATE: 10}
    assert found[2].missing() == {NOT_CONNECTED: 20, STOPPED_EARLY: FRAMES - 90 - 4}
    assert missing(found[2])[:20] == list(range(30, 50))
    assert found[3].missing() == {STOPPED_EARLY: FRAMES - 80 - 4}
    assert found[4].missing() == {"queue full": 1, LOST: 1}


def test_a_first_frame_that_is_lost_is_entered(rng):
    known = run(rng, first=2, first_id=0)
    found = entries_of([[run(rng)], [known]])
    assert missing(found[1]) == [0, 1]


def test_a_camera_without_a_frame_is_missing_throughout(rng):
    found = entries_of([[run(rng)], []])
    assert len(missing(found[1])) == FRAMES - 4


@settings(max_examples=50, deadline=None)
@given(gone=st.sets(st.integers(0, FRAMES - 1), max_size=FRAMES - 1), refused=st.sets(st.integers(0, FRAMES - 1)))
def test_triggers_without_a_frame_are_entered(gone, refused):
    kept = np.array([n for n in range(FRAMES) if n not in gone | refused], np.int64)
    trigger_s = 100 + kept / RATE
    nothing = np.full(len(kept), np.nan)
    one = Triggered(kept, np.arange(len(kept)), trigger_s, trigger_s, nothing, dict.fromkeys(refused, "not ready"))
    every = np.arange(FRAMES)
    other = Triggered(every, every, 100.001 + every / RATE, 100.02 + every / RATE, np.full(FRAMES, np.nan), {})
    times = trigger_times([one, other], RATE)
    found = triggered_entries(one, times)
    assert missing(found) == sorted(gone | refused)
    assert found.missing().get("not ready", 0) == len(refused)
    assert (np.diff(found.time_s) > 0).all()


def test_triggers_before_any_frame_have_times():
    nothing = np.zeros(0)
    none = Triggered(np.zeros(0, np.int64), np.zeros(0, np.int64), nothing, nothing, nothing, {0: "x", 4: "x"})
    np.testing.assert_allclose(trigger_times([none], RATE), np.arange(5) / RATE)


def test_skew_is_measured(rng):
    found = skew(entries_of([[run(rng)], [run(rng, phase=0.3)]]))
    assert found is not None
    assert found.median_s == pytest.approx(0.01, abs=0.001)
    assert skew(entries_of([[run(rng)]])) is None
