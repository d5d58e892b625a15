"""One clock from arrival times that are late, never early."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.capture.recording.clock import fit_clock


def arrivals(rng, device, slope=1.0, offset=50.0, jitter=0.002):
    return offset + slope * device + rng.exponential(jitter, len(device))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 200), drift=st.floats(-200e-6, 200e-6), frames=st.integers(60, 3000))
def test_the_line_goes_through_the_quickest_arrivals(seed, drift, frames):
    rng = np.random.default_rng(seed)
    device = 1000 + np.arange(frames) / 30
    fit = fit_clock(device, arrivals(rng, device, 1 + drift))
    late = fit(device) - (50 + (1 + drift) * device)
    assert np.abs(late).max() < 0.0045
    assert np.abs(late - np.median(late)).max() < 6 * fit.sigma_s + 1e-4


def test_its_error_is_what_it_says(rng):
    device = np.arange(900) / 30
    fits = [fit_clock(device, arrivals(rng, device)) for _ in range(60)]
    at_the_end = np.std([fit(device)[-1] for fit in fits])
    assert np.median([fit.sigma_s for fit in fits]) == pytest.approx(at_the_end, rel=0.6)


def test_a_stall_does_not_move_it(rng):
    device = np.arange(600) / 30
    host = arrivals(rng, device)
    late = host.copy()
    late[200:260] += np.linspace(2, 0, 60)
    assert np.abs(fit_clock(device, late)(device) - fit_clock(device, host)(device)).max() < 0.001


def test_it_is_better_than_single_arrivals(rng):
    device = np.arange(1800) / 30
    host = arrivals(rng, device)
    fitted = fit_clock(device, host)(device) - 50 - device
    assert np.std(fitted) < 0.1 * np.std(host - 50 - device)


@pytest.mark.parametrize("frames", [1, 2, 3, 8])
def test_a_few_frames_are_fitted_too(frames):
    device = np.arange(frames) / 30
    fit = fit_clock(device, 7 + device)
    np.testing.assert_allclose(fit(device), 7 + device, atol=1e-6)
