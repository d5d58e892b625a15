"""Arrays and groups before they exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy import ndarray


@dataclass(frozen=True)
class ArraySpec:
    """One array of a group, before it exists."""

    dims: tuple[str, ...]
    """Name of each axis."""
    shape: tuple[int, ...]
    unit: tuple[int, ...]
    """Shape of the block one unit writes: the chunk."""
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
