"""The Zarr store: everything computed, chunk by chunk, whole or absent.

A *group* is what one stage writes. Its arrays are cut into *units*: the smallest piece a stage computes at once
(one view's 64 frames, one hand's whole motion). Zarr writes each chunk file to a temporary name and renames it; a
unit counts only once its mark in `<group>/_engine/done` is set, after all its arrays. So at any moment, also after
kill -9, a unit is whole or absent. `fingerprint`, an attribute of the group written after its arrays were created,
says what the numbers were computed from. Chunks and metadata carry checksums: what is read is what was written, or an
error.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from numpy import ndarray
from zarr.buffer.cpu import Buffer
from zarr.errors import ContainsGroupError, ZarrUserWarning
from zarr.storage import MemoryStore, StorePath

from ..errors import StoreError, disk_errors
from .atomic import move
from .checksums import CHECKSUMS, digest, is_sealed, nodes_of, sealed, short_digest
from .chunks import WRITE_ALL, ChunkError, Grid, WholeChunks, has_checksums, is_coordinate
from .creation import MARKS, make_group, write_coords
from .lease import one_writer, to_stderr
from .marks import Marks
from .nodes import EMPTY_GROUP, SCHEMA_VERSION, Nodes
from .opened_arrays import METADATA, OpenedArrays
from .spec import GroupSpec

REMOVED = ".removed"


@dataclass(frozen=True)
class Store(Nodes):
    """A store by its address: a local folder or any fsspec URL. Cheap to make, to copy and to send to a worker."""

    _to_write: OpenedArrays = field(default_factory=OpenedArrays, init=False, repr=False, compare=False)

    def open(self) -> None:
        """Make the store if it is not there; raise StoreError if it is not ours to write."""
        if not self.exists():
            try:
                with disk_errors(self.url):
                    zarr.create_group(self.zarr_store(write=True), attributes=root_attributes())
            except ContainsGroupError:  # Another process has made it in the meantime; the lock decides between the two.
                self.exists()

    def lock(self, tell: Callable[[str], None] = to_stderr) -> contextlib.AbstractContextManager[None]:
        """Keep a second writer out, as long as this process lives, wherever that one runs.

        Args:
            tell: shows the user a line, where it takes time to see whether another writer is alive; by default on
                standard error.

        Raises:
            StoreError: another process is at work on the store.
        """
        return one_writer(self.url, self.local, tell)

    def set_attrs(self, group: str, /, **attrs: Any) -> None:
        """Change attributes of a group, made if it is not there; one atomic write."""
        self.attrs(group)  # What is damaged is not sealed again.
        node = self.node(group)
        known = (node or {}).get("attributes", {})
        # An older group stays without checksums: its arrays have none.
        values = sealed(group, {**known, **attrs}, nodes_of(known)) if is_sealed(known) or not known else attrs
        parts = group.split("/")
        above = ["/".join(parts[:n]) for n in range(1, len(parts))]
        made = {each: EMPTY_GROUP for each in above if self.node(each) is None}
        made[group] = {**(node or EMPTY_GROUP), "attributes": {**known, **values}}
        with disk_errors(self.url), self.damage(group):
            for each, content in made.items():
                self.put(f"{each}/{METADATA}".lstrip("/"), json.dumps(content, indent=2).encode())
        self._opened.attributes.pop(group, None)

    def complete(self, group: str) -> bool:
        """Whether every unit of the group is written."""
        return bool(self.attrs(group).get("complete", False))

    def fingerprint(self, group: str) -> dict[str, Any] | None:
        """What the group was computed from; None when there is none."""
        return self.attrs(group).get("fingerprint")

    def digest_of(self, group: str) -> str:
        """The fingerprint in short: what a later stage's fingerprint says of this group."""
        return digest(self.fingerprint(group))

    def remove(self, group: str) -> None:
        """Delete a group, whatever state it is in; half a deletion is not taken for a result."""
        with disk_errors(self.url):
            if self.local is None:
                if self.is_absent(group):  # Looking into what is not there takes three requests.
                    return
                files, root = self._elsewhere()
                files.invalidate_cache(f"{root}/{group}")
                found = files.find(f"{root}/{group}")
                self._opened.unknown(group)
                # What says that there is a group goes before what it is about.
                first = [name for name in found if name.lstrip("/") == f"{root}/{group}/{METADATA}".lstrip("/")]
                for names in (first, [name for name in found if name not in first]):
                    if names:
                        files.rm(names)
            elif (self.local / group).exists():
                # Out of sight in one step; `clean` sweeps up what a kill leaves of it.
                gone = self.local / f".{group}{REMOVED}"
                shutil.rmtree(gone, ignore_errors=True)
                move(self.local / group, gone)
                shutil.rmtree(gone)

    def create(self, spec: GroupSpec) -> None:
        """Make the group's empty arrays, replacing what is there; its fingerprint is written last."""
        self.remove(spec.name)
        with disk_errors(self.url):
            if self.local is not None:
                root = self.local
                make_group(self.zarr_store(write=True), spec, lambda name: (root / name).read_bytes())
                return
            made: dict[str, Any] = {}
            make_group(MemoryStore(made), spec, lambda name: made[name].to_bytes())
            group = f"{spec.name}/"
            contents = {key: value.to_bytes() for key, value in made.items() if key.startswith(group)}
            self.put_all(contents, last=group + METADATA)

    def write_coords(self, spec: GroupSpec) -> None:
        """Write the group's coordinates, which no unit writes."""
        write_coords(self.zarr_store(write=True), spec)

    def done(self, group: str) -> ndarray:
        """Grid of units, True where the unit is written."""
        array = self._array(f"{group}/{MARKS}")
        with self.damage(group):
            return np.asarray(array[...]).astype(bool)

    def marks(self, group: str, grid: ndarray | None = None) -> Marks:
        """The group's marks, for the one process that writes them; `grid` are those that stand there, if known."""
        known = self.done(group) if grid is None else grid
        return Marks(known, self._array(f"{group}/{MARKS}", write=True), self.url)

    def write_marks(self, group: str, grid: ndarray) -> None:
        """Write all marks of a group, whatever they were."""
        with disk_errors(self.url):
            self._array(f"{group}/{MARKS}", write=True)[...] = grid.astype("u1")

    def write(self, group: str, unit: Sequence[int], blocks: Mapping[str, ndarray]) -> None:
        """Write one unit and its mark: for whoever is the only one at work on the group."""
        self.write_blocks(group, unit, blocks)
        with disk_errors(self.url):
            self._writable(f"{group}/{MARKS}")[tuple(unit)] = 1

    def write_blocks(self, group: str, unit: Sequence[int], blocks: Mapping[str, ndarray]) -> None:
        """Write the block of every array of one unit, without its mark.

        The unit's index picks the chunk along the axes that units cut, in the order of `unit_dims`, an attribute of the
        group. Along all others, a unit writes every chunk.
        """
        unit_dims: list[str] = self._attributes(group)["unit_dims"]

        def write(name: str) -> None:
            array, block = self._writable(f"{group}/{name}"), blocks[name]
            grid = Grid.of(array)
            region = grid.of_unit(tuple(unit), unit_dims) if len(unit_dims) == len(unit) else ()
            if block.shape != tuple(part.stop - part.start for part in region):
                raise StoreError(
                    f"{self.url}: group `{group}`: expected in the attribute `unit_dims` the axes along which its "
                    f"arrays are cut, but found {unit_dims}. Delete the folder {group} in it: it is computed again."
                )
            array[region] = block

        with disk_errors(self.url):
            self._each(write, blocks)

    def _each(self, call: Callable[[str], Any], names: Collection[str]) -> list[Any]:
        """What a call returns for each name; where each is a request, they wait for their answers together."""
        if self.local is not None or len(names) < 2:
            return [call(name) for name in names]
        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(call, names))

    def finish(self, group: str, **attrs: Any) -> None:
        """Declare the group complete."""
        self.set_attrs(group, **attrs, complete=True)

    def consolidate(self) -> None:
        """Gather the metadata of all groups in the root, as xarray expects it; nothing is written where it is there.

        Cheap, and right at any time.
        """
        if self._is_consolidated():
            return
        with disk_errors(self.url), warnings.catch_warnings(), self.damage(""):
            # Consolidated metadata is not in the Zarr v3 specification yet; xarray asks for it all the same.
            warnings.simplefilter("ignore", ZarrUserWarning)
            if self.local is not None:
                zarr.consolidate_metadata(self.zarr_store(write=True))
                return
            nodes: dict[str, Any] = {key: Buffer.from_bytes(content) for key, content in self.all_metadata().items()}
            zarr.consolidate_metadata(MemoryStore(nodes))
            self.put(METADATA, nodes[METADATA].to_bytes())

    def _is_consolidated(self) -> bool:
        """Whether the root's copy of the groups' metadata, which has checksums of what is below, is that of now."""
        with contextlib.suppress(StoreError, KeyError, TypeError, AttributeError):
            nodes = (self.node("") or {})["consolidated_metadata"]["metadata"]
            tops = {path for path in nodes if "/" not in path}
            return tops == self.groups() and all(
                nodes[group]["attributes"] == (self.node(group) or {}).get("attributes") for group in tops
            )
        return False

    def _writable(self, path: str) -> zarr.Array:
        def opened() -> zarr.Array:
            return self._array(path, write=True)

        return opened() if self.local is None else self._to_write.get(self.local / path, opened)

    def _array(self, path: str, *, write: bool = False) -> zarr.Array:
        group, _, name = path.partition("/")
        with self.damage(group):
            written = self._attributes(group)
            expected = nodes_of(written).get(name)
            if self.local is None and expected is not None:
                return _opened_elsewhere(self, path, expected, write)
            return self._open(path, expected, is_sealed(written), write)

    def _open(self, path: str, expected: str | None, in_sealed: bool, write: bool) -> zarr.Array:
        """Open an array whose metadata has the expected digest, where there is one."""
        node = self.node(path)
        if node is None:
            raise KeyError(path)
        if expected is None and has_checksums(node) and not in_sealed:
            raise ValueError("the checksums of its metadata are missing")
        if expected not in (None, short_digest(node)):
            raise ValueError(f"the metadata of `{path.partition('/')[2]}` is not what was written")
        files = self.zarr_store(write=write)
        with np.errstate(all="ignore"):  # NumPy warns of fill values that do not fit.
            if self.local is not None:
                array = zarr.open_array(files, path=path, mode="r+" if write else "r")
            else:  # Zarr looks around first, and each look is a request.
                if isinstance(files, WholeChunks):
                    files.expect(path, node)
                array = zarr.Array.from_dict(StorePath(files, path), node)
        return array.with_config(WRITE_ALL) if write else array

    def array(self, path: str) -> zarr.Array:
        """An array to read from, opened once as long as its metadata stays the same file."""
        if self.local is None:  # Elsewhere nothing tells cheaply whether it is still the same.
            return self._array(path)
        return self._opened.get(self.local / path, lambda: self._array(path))

    def read(self, group: str, name: str, region: tuple[slice | int, ...] | slice | None = None) -> ndarray:
        """Values of an array, or of a region of it; fill values where no unit was written yet.

        Raises:
            StoreError: there is none, or a chunk of a unit that was written is missing or damaged.
        """
        array = self.array(f"{group}/{name}")
        with self.damage(group):
            Grid.of(array).expect_readable(region)
            try:
                return np.asarray(array[...] if region is None else array[region])
            except ChunkError as error:
                if error.missing and not is_coordinate(array) and not self.complete(group):
                    return self._read_what_is_done(group, array, region)
                raise self._located(group, array, error) from error
            except MemoryError as error:
                if not is_coordinate(array):
                    raise
                # Names say in their chunk how many they are.
                raise ValueError("a chunk of names that would fill the memory") from error

    def read_each(
        self, group: str, names: Collection[str], region: tuple[slice | int, ...] | slice | None = None
    ) -> dict[str, ndarray]:
        """The same of several arrays; from a store that is no folder they come together, not one after the other."""
        self._attributes(group)  # Asked for once, before all ask at the same time.
        return dict(zip(names, self._each(lambda name: self.read(group, name, region), names), strict=True))

    def _read_what_is_done(self, group: str, array: zarr.Array, region: Any) -> ndarray:
        grid, done, unit_dims = Grid.of(array), self.done(group), self.attrs(group)["unit_dims"]
        for index in grid.touched(region):
            if done[grid.units(index, unit_dims)].any():
                try:
                    array[grid.region(index)]
                except ChunkError as error:
                    raise self._located(group, array, error) from error
        unchecked = zarr.open_array(self.zarr_store(write=True), path=array.path, mode="r")
        return np.asarray(unchecked[...] if region is None else unchecked[region])

    def _located(self, group: str, array: zarr.Array, error: ChunkError) -> ChunkError:
        """The error with the names of views and hands, as far as they can be read."""
        grid, labels = Grid.of(array), {}
        for dim in set(grid.dims) - {error.array.rpartition("/")[2]}:
            with contextlib.suppress(StoreError):
                labels[dim] = self.labels(group, dim) if self.has(group, dim) else ()
        return error.with_labels(grid, labels)

    def shape(self, group: str, name: str) -> tuple[int, ...]:
        """The shape of an array, none of whose values are read."""
        return self.array(f"{group}/{name}").shape

    def has(self, group: str, name: str) -> bool:
        """Whether there is such an array."""
        return name in nodes_of(self._attributes(group)) or self.node(f"{group}/{name}") is not None

    def labels(self, group: str, dim: str) -> tuple[str, ...]:
        """The names along an axis."""
        return tuple(str(name) for name in self.read(group, dim))

    def clean(self) -> None:
        """Remove what a killed writer left behind: files that never got their name, groups on their way out."""
        if self.local is not None and self.local.exists():
            for gone in self.local.glob(f".*{REMOVED}"):
                shutil.rmtree(gone)
            # Zarr's own name for a chunk on its way, which it does not document; a test kills a writer to hold it.
            # And folders of `atomic`, in which a file of metadata was on its way.
            for partial in list(self.local.rglob("*.partial")):
                if partial.is_dir():
                    shutil.rmtree(partial)
                else:
                    partial.unlink(missing_ok=True)


@lru_cache(maxsize=512)
def _opened_elsewhere(store: Store, path: str, digest: str, write: bool) -> zarr.Array:
    """An array of a store that is no folder, kept by the digest of its metadata."""
    return store._open(path, digest, True, write)


ROOT_ATTRIBUTES = {"schema_version", "handpipe_version", CHECKSUMS}


def root_attributes() -> dict[str, Any]:
    """What the root of a store says of itself."""
    from ... import __version__

    return sealed("", {"schema_version": SCHEMA_VERSION, "handpipe_version": __version__}, {})
