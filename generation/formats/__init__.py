"""The formats of `handpipe export` and their readers, one per module. docs/exporting.md says what each is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ..exporting import Exporter, one_file_each
from . import interhand26m, keypoints3d

FormatName = Literal["keypoints3d", "interhand26m"]

EXPORTERS: Mapping[FormatName, Exporter] = {
    "keypoints3d": one_file_each(".npz", keypoints3d.write),
    "interhand26m": interhand26m.write,
}
"""By the name that the command line knows: exactly those of `FormatName`."""

KEYPOINTS_DO: frozenset[FormatName] = frozenset({"interhand26m"})
"""Formats that need no fitted hands."""
