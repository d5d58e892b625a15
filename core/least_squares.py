"""The damped steps of Levenberg and Marquardt: how carefully to step, which steps to keep, and when to stop.

A solver brings its own equations. Problems that share no unknown are solved side by side, each with its own damping:

    search = DampedSearch(cost(state), Damping(start=1e-3))
    for damping in search.tries(20):
        trial = step(state, damping)
        if search.improves(cost(trial)):
            state = trial

Source: Marquardt, SIAM J. Appl. Math. 11(2), 1963; Nocedal and Wright, Numerical Optimization (2006), section 10.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy import ndarray


@dataclass(frozen=True)
class Damping:
    """The range of the damping, which is relative to the diagonal of the normal matrix."""

    start: float
    least: float = 0.0
    most: float = np.inf
    """A problem whose steps still fail at this damping is given up."""
    after_failure: float = 0.0
    """At least so much after a step that failed."""


class DampedSearch:
    """The costs reached, the damping of each problem, and which problems still move."""

    def __init__(
        self, cost: float | ndarray, rule: Damping, tolerance: float, floor: float = 0.0, together: bool = False
    ) -> None:
        """
        Args:
            cost: (problem,) at the start, or the cost of the only problem.
            rule: of the damping.
            tolerance: a step that lowers the cost by less than this fraction of what is left is the last.
            floor: the fraction is of this cost at least.
            together: no problem stops before all do.
        """
        self.cost = np.atleast_1d(np.array(cost, float))
        self.rule, self.tolerance, self.floor, self.together = rule, tolerance, floor, together
        self.damping = np.full(len(self.cost), rule.start)
        self.active = np.arange(len(self.cost))
        """Indices of the problems that still move."""

    def tries(self, count: int) -> Iterator[ndarray]:
        """The damping (active,) of each try, `count` at most; the caller answers each with `improves`."""
        for _ in range(count):
            if len(self.active) == 0:
                return
            yield self.damping[self.active]

    def improves(self, cost: float | ndarray) -> ndarray:
        """(active,) bool, whose steps are to be kept, from the costs (active,) that they lead to; NaN counts as worse.

        Afterwards `active` has lost the problems that are settled or given up.
        """
        at, new = self.active, np.atleast_1d(cost)
        old = self.cost[at]
        better = new < old
        self.cost[at] = now = np.where(better, new, old)
        self.damping[at] = np.where(
            better,
            np.maximum(self.damping[at] / 10, self.rule.least),
            np.maximum(self.damping[at] * 10, self.rule.after_failure),
        )
        gain = np.where(better, old - now, np.inf)
        given_up = self.damping[at] > self.rule.most
        if self.together:
            gain, now, given_up = gain.sum(), now.sum(), given_up.all()
        settled = gain < self.tolerance * np.maximum(now, self.floor)
        self.active = at[np.broadcast_to(~(settled | given_up), at.shape)]
        return better


def damped(blocks: ndarray, damping: float | ndarray, floor: float = 0.0) -> ndarray:
    """Normal matrices (n, k, k) with more on their diagonals: the damping's part of them, and the floor.

    Args:
        damping: a number, or (n,).
        floor: keeps unknowns that nothing observes solvable.
    """
    out, diagonal = blocks.copy(), np.arange(blocks.shape[-1])
    out[:, diagonal, diagonal] += np.reshape(damping, (-1, 1)) * blocks[:, diagonal, diagonal] + floor
    return out
