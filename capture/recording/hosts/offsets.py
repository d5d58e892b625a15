"""The clock of another computer: how far it is from ours, by round trips, and how well that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

WINDOW_S = 10.0
"""Of the round trips in such a time the quickest one counts. Clocks drift by less than a millisecond in it."""


@dataclass(frozen=True)
class RoundTrip:
    """A question to the other computer, and its answer."""

    sent_s: float
    """When it was asked, on our clock."""
    received_s: float
    """When the answer arrived, on our clock."""
    there_s: float
    """What the other's clock said in between."""

    @property
    def offset_s(self) -> float:
        """The other's clock minus ours."""
        return self.there_s - (self.sent_s + self.received_s) / 2

    @property
    def error_s(self) -> float:
        """The offset is not further off than this: the other's clock was read between question and answer."""
        return (self.received_s - self.sent_s) / 2


@dataclass(frozen=True)
class Offsets:
    """The other's clock minus ours, through a recording; straight lines in between, the nearest one beyond."""

    at_s: ndarray
    """(time,) on our clock, ascending, seconds."""
    offset_s: ndarray
    """(time,) seconds."""
    error_s: ndarray
    """(time,) largest possible error, seconds."""

    def there_s(self, here_s: ndarray) -> ndarray:
        """Times of our clock on the other's."""
        return here_s + np.interp(here_s, self.at_s, self.offset_s)

    def here_s(self, there_s: float) -> float:
        """A time of the other's clock on ours."""
        here_s = there_s - float(self.offset_s[-1])
        # The offset changes by microseconds in a second: where it is read hardly matters.
        return there_s - float(np.interp(here_s, self.at_s, self.offset_s))


def quickest(trips: Sequence[RoundTrip]) -> list[RoundTrip]:
    """The quickest round trip of each window, in order."""
    best: dict[int, RoundTrip] = {}
    for trip in trips:
        window = int(trip.sent_s // WINDOW_S)
        if window not in best or trip.error_s < best[window].error_s:
            best[window] = trip
    return list(best.values())


def offsets_of(trips: Sequence[RoundTrip]) -> Offsets:
    """By round trips of ascending times, one or more."""
    columns = [((trip.sent_s + trip.received_s) / 2, trip.offset_s, trip.error_s) for trip in trips]
    at_s, offset_s, error_s = np.array(columns, np.float64).T
    return Offsets(at_s, offset_s, error_s)
