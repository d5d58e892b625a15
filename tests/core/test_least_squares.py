"""The damped search, on problems whose answer is known."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.core.least_squares import DampedSearch, Damping, damped


def root_of(targets: np.ndarray, start: np.ndarray, search: DampedSearch, tries: int) -> np.ndarray:
    """The x of each problem with atan(x) = target: Newton's method without damping runs away from far starts."""
    x = start.copy()
    for damping in search.tries(tries):
        at = search.active
        slope = 1 / (1 + x[at] ** 2)
        error = np.arctan(x[at]) - targets[at]
        trial = x[at] - slope * error / (slope**2 * (1 + damping))
        better = search.improves((np.arctan(trial) - targets[at]) ** 2)
        x[at] = np.where(better, trial, x[at])
    return x


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_problems_side_by_side_end_where_each_ends_alone(seed):
    rng = np.random.default_rng(seed)
    targets, start = rng.uniform(-1, 1, 5), rng.uniform(-20, 20, 5)

    def search(start, targets):
        return DampedSearch((np.arctan(start) - targets) ** 2, Damping(1e-3), 0.0)

    together = root_of(targets, start, search(start, targets), 60)
    alone = [root_of(targets[[i]], start[[i]], search(start[[i]], targets[[i]]), 60)[0] for i in range(5)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(np.arctan(together), targets, atol=1e-6)


def test_a_failed_step_raises_the_damping_and_a_good_one_lowers_it():
    search = DampedSearch(10.0, Damping(1e-3, least=1e-4, most=1.0, after_failure=0.5), tolerance=0.01)
    seen, answers = [], iter([11.0, np.nan, 5.0, 4.0, 3.99])
    for damping in search.tries(100):
        seen.append(float(damping[0]))
        search.improves(next(answers))
    # 11 fails, NaN fails: the next damping, 5, is more than `most`.
    assert seen == [1e-3, 0.5]
    assert search.cost[0] == 10
    assert len(search.active) == 0
    search = DampedSearch(10.0, Damping(1e-3, least=1e-4), tolerance=0.01)
    seen, answers = [], iter([11.0, 5.0, 4.0, 3.99])
    for damping in search.tries(100):
        seen.append(float(damping[0]))
        search.improves(next(answers))
    np.testing.assert_allclose(seen, [1e-3, 1e-2, 1e-3, 1e-4])
    assert search.cost[0] == 3.99, "a gain of less than a hundredth is the last, but it is kept"


def test_settled_problems_drop_out_unless_they_stop_together():
    cost = np.array([10.0, 10.0])
    alone = DampedSearch(cost, Damping(1.0), 0.01)
    alone.improves(np.array([9.99, 5.0]))
    assert alone.active.tolist() == [1]
    both = DampedSearch(cost, Damping(1.0), 0.01, together=True)
    both.improves(np.array([9.99, 5.0]))
    assert both.active.tolist() == [0, 1]
    both.improves(np.array([9.98, 5.0]))
    assert both.active.tolist() == [0, 1], "one failed"
    both.improves(np.array([9.979, 4.999]))
    assert len(both.active) == 0
    assert cost.tolist() == [10.0, 10.0], "the caller's costs stay"


def test_the_damping_scales_each_diagonal_and_touches_nothing_else():
    blocks = np.arange(18.0).reshape(2, 3, 3)
    out = damped(blocks, np.array([0.5, 1.0]), 0.25)
    np.testing.assert_array_equal(out - blocks, [np.diag([0.25, 2.25, 4.25]), np.diag([9.25, 13.25, 17.25])])
