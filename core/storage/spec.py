"""Arrays and groups before they exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy import ndarray

SHORT_UNIT = 64
"""Frames per unit of a recording that is not long."""
MOST_UNITS_OF_A_VIEW = 128
"""A group with units of one view has files of each view, so its units grow soonest: at 8,192 frames."""
MOST_UNITS = 1024
"""Of a group whose units hold all views: as many workers as a large cluster has can work on it."""
LONGEST_OF_A_VIEW, LONGEST = 8192, 512
"""Frames per unit that fit into a worker's memory, however long the recording is."""

PART_FRAMES = 4096
"""Frames per chunk of arrays that one unit writes for the whole recording and others read in parts."""


def unit_frames(frames: int, of_one_view: bool) -> int:
    """Frames per unit where the user does not choose: 64, doubled until the number of units is bounded.

    Args:
        frames: length of the recording.
        of_one_view: whether a unit holds one view, or all.
    """
    most, longest = (MOST_UNITS_OF_A_VIEW, LONGEST_OF_A_VIEW) if of_one_view else (MOST_UNITS, LONGEST)
    length = SHORT_UNIT
    while length < longest and -(-frames // length) > most:
        length *= 2
    return length


@dataclass(frozen=True)
class ArraySpec:
    """One array of a group, before it exists."""

    dims: tuple[str, ...]
    """Name of each axis."""
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    """Shape of a chunk. A unit writes one along the axes that units cut, and every one along all others."""
    dtype: str
    fill: Any
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """Units and meaning, for whoever opens the store."""


@dataclass(frozen=True)
class GroupSpec:
    """One group, before it exists."""

    name: str
    arrays: Mapping[str, ArraySpec]
    coords: Mapping[str, ndarray]
    """Coordinates: the labels of an axis (same name as the axis), or values along one (`time_s (frame)`)."""
    coord_dims: Mapping[str, tuple[str, ...]]
    fingerprint: Mapping[str, Any]
    """What the numbers are computed from: `settings`, `inputs`, `code`. Decides what is stale."""
    attrs: Mapping[str, Any]
    units: tuple[int, ...]
    """Shape of the grid of units."""

    @property
    def frames(self) -> int:
        """Length of the axis of frames that units cut; 0 where they cut none."""
        sizes = {dim: size for array in self.arrays.values() for dim, size in zip(array.dims, array.shape, strict=True)}
        return sum(sizes[dim] for dim in ("frame", "board_frame") if dim in self.attrs["unit_dims"])

    def __post_init__(self) -> None:
        # Two units that wrote parts of one chunk would undo each other's work without an error.
        units = dict(zip(self.attrs["unit_dims"], self.units, strict=True))
        for name, array in self.arrays.items():
            for dim, size, chunk in zip(array.dims, array.shape, array.chunk, strict=True):
                chunks = -(-size // max(chunk, 1))
                assert units.get(dim, chunks) == chunks, f"{self.name}/{name}: units of whole chunks along {dim}"
