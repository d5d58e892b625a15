"""Which units of a group are done: one small array in the group, `_engine/done`, written by one process.

A mark is set after all of the unit's chunks are written, never before. The process that hands out the work keeps the
grid in memory, a byte per unit, and writes what has changed; workers neither read nor write marks. Stores of older
versions have a chunk per unit, which is read and written by the same lines.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from math import prod

import zarr
from numpy import ndarray

from ..errors import disk_errors
from .chunks import Grid, Index

MARKS_PER_CHUNK = 1 << 16

SHARE = 0.05
"""Of the time may go into writing marks. What a kill loses of them is computed again, with the same bits."""


def chunk_shape(units: Sequence[int]) -> tuple[int, ...]:
    """Chunks of the marks: whole axes from the last on, as far as a chunk of 64 KB holds them."""
    shape: list[int] = []
    for size in reversed(units):
        shape.insert(0, max(1, min(size, MARKS_PER_CHUNK // prod(shape))))
    return tuple(shape)


class Marks:
    """The marks of one group, in memory and on disk."""

    def __init__(self, grid: ndarray, array: zarr.Array, where: str) -> None:
        """Marks as they stand on the disk; `array` is where they are written, `where` the store for messages."""
        self.grid = grid
        """True where the unit is written."""
        self._array, self._where = array, where
        self._changed: set[Index] = set()
        self._due = 0.0

    def add(self, units: Iterable[Index]) -> None:
        """These are done. They are written now, or soon: at the latest with `flush`."""
        self._set(units, True)
        if time.monotonic() >= self._due:
            self.flush()

    def remove(self, units: Iterable[Index]) -> None:
        """These are not done any more."""
        self._set(units, False)
        self.flush()

    def _set(self, units: Iterable[Index], value: bool) -> None:
        for unit in units:
            if self.grid[unit] != value:
                self.grid[unit] = value
                self._changed.add(tuple(at // size for at, size in zip(unit, self._array.chunks, strict=True)))

    def flush(self) -> None:
        """Write what has changed."""
        start = time.monotonic()
        with disk_errors(self._where):
            for chunk in sorted(self._changed):
                region = Grid.of(self._array).region(chunk)
                self._array[region] = self.grid[region].astype("u1")
        self._changed.clear()
        end = time.monotonic()
        self._due = end + (end - start) / SHARE
