"""Zarr arrays that are opened once, for opening one takes longer than most reads; and again when they were replaced.

In a folder, the file of an array's metadata says whether it was replaced. Elsewhere each look is a request. There, a
group's attributes, which have digests of the metadata of its arrays, say it. The one process that writes a store knows
all metadata that it has read or written. It numbers the states of each group's metadata, and these numbers go with
every store that it sends to a task: a worker asks once for what it needs of a state, and not once in every task.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import zarr

METADATA = "zarr.json"
"""A node's metadata, by the specification of Zarr v3 (https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html,
"Metadata documents" and "File system store"): every store in a folder has it, whoever wrote it."""

Metadata = dict[str, dict[str, Any] | None]
"""By the name of its file; None for a file that is not there."""


class States:
    """Which states of the groups' metadata are known to be the last, and what was read of them or written here.

    As it is sent: without what was read; that is shared by all copies in a process.
    """

    seen: ClassVar[dict[str, dict[tuple[str, int], Metadata]]] = {}
    """By writer, by group and state; of one writer at a time."""

    def __init__(self, writer: str, number: dict[str, int]) -> None:
        self.writer = writer
        self.number = number
        self.groups: set[str] | None = None
        """Names of all groups, in the process that writes; None elsewhere."""
        if writer not in self.seen:
            self.seen.clear()
        self._known = self.seen.setdefault(writer, {})

    def __reduce__(self) -> tuple[type[States], tuple[str, dict[str, int]]]:
        return States, (self.writer, self.number)

    def of(self, key: str) -> Metadata:
        """What is known of the group that a file is in; what is read is put there."""
        group = key.partition("/")[0]
        return self._known.setdefault((group, self.number.get(group, 0)), {})

    def written(self, contents: Mapping[str, bytes]) -> None:
        """Files that this process has written: what was known of their groups and is not among them, stays."""
        for group in {key.partition("/")[0] for key in contents}:
            if self.groups is not None:
                self.groups.add(group)
            before, number = self.of(group), self.number.get(group, 0)
            del self._known[group, number]
            self.number[group] = number + 1
            self.of(group).update(before)
        for key, text in contents.items():
            if key.rpartition("/")[2] == METADATA:
                self.of(key)[key] = json.loads(text)

    def unknown(self, group: str) -> None:
        """A group that is gone, or may be."""
        if self.groups is not None:
            self.groups.add(group)
        self._known.pop((group, self.number.get(group, 0)), None)
        self.number[group] = self.number.get(group, 0) + 1


class OpenedArrays:
    """Arrays in folders on this machine. What is kept is no chunk, only what its metadata says; a copy starts empty."""

    def __init__(self, sent: bool = False, states: States | None = None) -> None:
        self.sent = sent
        """Whether it belongs to a store that was sent to another process."""
        self.there = sent
        """Whether it is known that there is a store, which is no folder, that is ours to read."""
        self.attributes: dict[str, Any] = {}
        """Of groups of a store that was sent, and is no folder."""
        self.states = states
        """Of the metadata of a store that is no folder; None where it is not known who writes it."""
        self.files: Any = None
        """Of a store that is no folder: its file system and its place there."""
        self.zarr_files: Any = None
        """The same for Zarr."""
        self._kept: dict[Path, tuple[tuple[int, ...], zarr.Array]] = {}

    def __reduce__(self) -> tuple[type[OpenedArrays], tuple[bool, States | None]]:
        return OpenedArrays, (True, self.states)

    @contextmanager
    def written_here(self, groups: set[str]) -> Iterator[None]:
        """While this process is the one that writes the store, which is no folder, and has these groups."""
        self.states = States(secrets.token_hex(8), {})
        self.states.groups = groups
        try:
            yield
        finally:
            self.states = None

    @contextmanager
    def writing(self, contents: Mapping[str, bytes]) -> Iterator[None]:
        """While these files are written."""
        try:
            yield
        except BaseException:
            for group in {key.partition("/")[0] for key in contents}:
                self.unknown(group)
            raise
        if self.states is not None:
            self.states.written(contents)

    def unknown(self, group: str) -> None:
        """What is in a group, and whether it is there, is not known any more."""
        if self.states is not None:
            self.states.unknown(group)

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
