"""Zarr arrays that are opened once, for opening one takes longer than most reads; and again when they were replaced.

In a folder, the file of an array's metadata says whether it was replaced. Elsewhere each look is a request. There, a
group's attributes, which have digests of the metadata of its arrays, say it; and a store that was sent to a task reads
them once: no group is replaced while tasks run.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import zarr

METADATA = "zarr.json"
"""A node's metadata, by the specification of Zarr v3 (https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html,
"Metadata documents" and "File system store"): every store in a folder has it, whoever wrote it."""


class OpenedArrays:
    """Arrays in folders on this machine. What is kept is no chunk, only what its metadata says; a copy starts empty."""

    def __init__(self, sent: bool = False) -> None:
        self.sent = sent
        """Whether it belongs to a store that was sent to another process."""
        self.there = sent
        """Whether it is known that there is a store, which is no folder, that is ours to read."""
        self.attributes: dict[str, Any] = {}
        """Of groups of a store that was sent, and is no folder."""
        self._kept: dict[Path, tuple[tuple[int, ...], zarr.Array]] = {}

    def __reduce__(self) -> tuple[type[OpenedArrays], tuple[bool]]:
        return OpenedArrays, (True,)

    def get(self, folder: Path, opened: Callable[[], zarr.Array]) -> zarr.Array:
        """The array in a folder; `opened` opens it if it was not yet, or if its metadata is another file than then."""
        # Before it is opened: what is written meanwhile shows the next time.
        stamp = _stamp(folder / METADATA)
        kept = self._kept.get(folder)
        if stamp is None or kept is None or kept[0] != stamp:
            kept = stamp or (), opened()
            self._kept[folder] = kept
        return kept[1]


def _stamp(file: Path) -> tuple[int, ...] | None:
    """Differs for another file, also of the old one's name and number; None where there is none."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
