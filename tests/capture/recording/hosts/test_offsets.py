"""The offset of another computer's clock, by round trips."""

from __future__ import annotations

import numpy as np
import pytest

from handpipe.capture.recording.hosts.offsets import WINDOW_S, RoundTrip, offsets_of, quickest

AHEAD_S, DRIFT = 5000.0, 40e-6
"""The other clock at our time 0, and what it gains in a second."""


def there(here_s):
    return here_s + AHEAD_S + DRIFT * here_s


def trips_of(rng, seconds=60):
    """One a second, with delays that differ there and back."""
    found = []
    for sent_s in np.arange(seconds) + 0.5:
        out_s, back_s = 1e-4 + rng.exponential(5e-3, 2)
        found.append(RoundTrip(sent_s, sent_s + out_s + back_s, there(sent_s + out_s)))
    return found


def test_the_offset_is_known_within_the_error_that_is_said(rng):
    trips = trips_of(rng)
    assert all(abs(each.offset_s - AHEAD_S - DRIFT * each.sent_s) <= each.error_s + 1e-6 for each in trips)
    found = offsets_of(quickest(trips))
    assert len(found.at_s) == 60 / WINDOW_S
    assert found.error_s.max() < np.median([each.error_s for each in trips])
    at_s = np.linspace(5, 55, 40)
    assert np.abs(found.there_s(at_s) - there(at_s)).max() <= found.error_s.max()


def test_times_there_and_back_agree(rng):
    found = offsets_of(quickest(trips_of(rng)))
    for here_s in (0.0, 12.3, 59.0, 80.0):
        assert found.here_s(float(found.there_s(np.array([here_s]))[0])) == pytest.approx(here_s, abs=1e-6)


def test_the_quickest_stay_the_quickest(rng):
    trips = trips_of(rng)
    kept = []
    for trip in trips:
        kept = quickest([*kept, trip])
    assert kept == quickest(trips)
