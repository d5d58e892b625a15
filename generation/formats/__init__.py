"""The formats of `handpipe export` and their readers, one per module. docs/exporting.md says what each is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ..exporting import Exporter, one_file_each
from . import keypoints3d

FormatName = Literal["keypoints3d"]

EXPORTERS: Mapping[FormatName, Exporter] = {
    "keypoints3d": one_file_each(".npz", keypoints3d.write),
}
"""By the name that the command line knows: exactly those of `FormatName`."""
