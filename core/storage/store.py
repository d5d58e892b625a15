"""The Zarr store: everything computed, chunk by chunk, whole or absent.

A *group* is what one stage writes. Its arrays are cut into *units*: the smallest piece a stage computes at once
(one view's 64 frames, one hand's whole motion). Zarr writes each chunk file to a temporary name and renames it; a
unit counts only once its mark in `<group>/_engine/done` is set, after all its arrays. So at any moment, also after
kill -9, a unit is whole or absent. `fingerprint`, an attribute of the group written after its arrays were created,
says what the numbers were computed from.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import zarr
from numpy import ndarray
from zarr.errors import GroupNotFoundError, ZarrUserWarning

from ..errors import StoreError, disk_errors
from .atomic import move
from .attributes import Attributes, checked
from .lock import locked
from .opened_arrays import OpenedArrays

SCHEMA_VERSION = 1
"""Raised when a reader of the previous schema would misread the store."""

REMOVED = ".removed"


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


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Store:
    """A store by its address: a local folder or any fsspec URL. Cheap to make, to copy and to send to a worker."""

    url: str
    _opened: OpenedArrays = field(default_factory=OpenedArrays, init=False, repr=False, compare=False)

    @property
    def local(self) -> Path | None:
        """The folder, when the store is one on this machine."""
        return None if "://" in self.url else Path(self.url)

    def _root(self, mode: str) -> zarr.Group:
        # Consolidated metadata is for readers outside: during a run it is behind.
        return zarr.open_group(self.url, mode=mode, use_consolidated=False)  # type: ignore[arg-type]

    def exists(self) -> bool:
        """Whether there is a Zarr group at the address. Raises StoreError for something that is not ours."""
        self._check_address()
        try:
            root = self._root("r")
        except (FileNotFoundError, GroupNotFoundError):
            if self.local is not None and self.local.exists() and any(self.local.iterdir()):
                raise StoreError(
                    f"{self.url}: expected a Zarr v3 store or nothing, but found other files there. "
                    "Move them away, or point `--store` elsewhere."
                ) from None
            return False
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.url}: expected a Zarr v3 store, but its metadata cannot be read ({error}). "
                "Restore it, or delete the folder to compute everything again."
            ) from error
        found = root.attrs.get("schema_version")
        if not isinstance(found, int):
            raise StoreError(
                f"{self.url}: expected a store written by handpipe (attribute schema_version), but found {found!r}. "
                "Move it away, or point `--store` elsewhere."
            )
        if found > SCHEMA_VERSION:
            raise StoreError(
                f"{self.url}: expected schema version {SCHEMA_VERSION} or older, but it was written with version "
                f"{found} by a newer handpipe ({root.attrs.get('handpipe_version')}). Update handpipe to read it."
            )
        return True

    def _check_address(self) -> None:
        try:
            if self.local is None:
                fsspec.get_filesystem_class(self.url.split("://")[0])
            elif self.local.exists() and not self.local.is_dir():
                raise NotADirectoryError("a file stands there")
        except (NotADirectoryError, ValueError, ImportError) as error:
            raise StoreError(
                f"{self.url}: expected a folder, or an address that fsspec can open, but it is not ({error}). "
                "Point `--store` elsewhere, or install what it takes (`pip install s3fs` for s3://)."
            ) from error

    def open(self) -> None:
        """Make the store if it is not there; raise StoreError if it is not ours to write."""
        if not self.exists():
            from ... import __version__

            with disk_errors(self.url):
                zarr.create_group(
                    self.url, attributes={"schema_version": SCHEMA_VERSION, "handpipe_version": __version__}
                )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second writer out, as long as this process lives; only for a store on this machine.

        Raises:
            StoreError: another process is at work on the store, or its file system has no locks.
        """
        if self.local is None:
            yield
            return
        with locked(self.local, wait=False):
            yield

    def attrs(self, group: str = "") -> Attributes:
        """Attributes of a group, checked; empty when it does not exist.

        Raises:
            StoreError: one is not what it should be; also from what is returned, for one that is missing.
        """
        if not self.exists():
            return Attributes({}, self.url, group)
        root = self._root("r")
        if not group:
            return Attributes(root.attrs, self.url, group)
        with self._damage(group):
            found = dict(root[group].attrs) if group in root else {}
        return checked(found, self.url, group)

    def set_attrs(self, group: str, /, **attrs: Any) -> None:
        """Change attributes of a group, made if it is not there; one atomic write."""
        root = self._root("r+")
        with disk_errors(self.url):
            root.require_group(group).update_attributes(attrs)

    def groups(self) -> set[str]:
        """Names of the groups that are there."""
        return set(self._root("r").group_keys())

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
        """Delete a group. Its fingerprint goes first, so that half a deletion is not taken for a result."""
        root = self._root("r+")
        if group in root:
            self.set_attrs(group, fingerprint=None, complete=False)
        with disk_errors(self.url):
            if self.local is None:
                # The marks go before what they vouch for.
                del root[f"{group}/_engine"]
                del root[group]
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
            group = self._root("r+").create_group(spec.name)
            for name, array in spec.arrays.items():
                group.create_array(
                    name,
                    shape=array.shape,
                    chunks=array.unit,
                    dtype=array.dtype,
                    fill_value=array.fill,
                    dimension_names=array.dims,
                    attributes=dict(array.attrs),
                )
            for name, values in spec.coords.items():
                labels = values.dtype.kind in "UO"
                coord = group.create_array(
                    name,
                    shape=values.shape,
                    chunks=tuple(max(1, n) for n in values.shape),
                    dtype="str" if labels else values.dtype,
                    dimension_names=spec.coord_dims[name],
                )
                coord[...] = values.astype(object) if labels else values
            engine = group.create_group("_engine")
            engine.create_array(
                "done",
                shape=spec.units,
                chunks=(1,) * len(spec.units),
                dtype="u1",
                fill_value=0,
                # xarray opens no tree with a nameless axis, and none where an axis has two lengths.
                dimension_names=[f"{dim}_unit" for dim in spec.attrs["unit_dims"]],
            )
            extra = sorted(name for name in spec.coords if spec.coord_dims[name] != (name,))
            coordinates = {"coordinates": " ".join(extra)} if extra else {}
            group.update_attributes(
                {**spec.attrs, **coordinates, "complete": False, "fingerprint": dict(spec.fingerprint)}
            )

    def done(self, group: str) -> ndarray:
        """Grid of units, True where the unit is written."""
        return np.asarray(self._array(f"{group}/_engine/done")[...]).astype(bool)

    def write(self, group: str, unit: Sequence[int], blocks: Mapping[str, ndarray]) -> None:
        """Write one unit: the block of every array, then its mark.

        An array's axes are cut by its chunk; the unit's index picks the chunk along those axes that the grid cuts,
        in the order of `unit_dims`, an attribute of the group.
        """
        root = self._root("r+")
        unit_dims: list[str] = checked(root[group].attrs, self.url, group)["unit_dims"]
        with disk_errors(self.url):
            for name, block in blocks.items():
                array = self._array(f"{group}/{name}", root)
                dims = array.metadata.dimension_names  # pyright: ignore[reportAttributeAccessIssue]
                assert dims is not None
                cut = {dim for dim, chunk, size in zip(dims, array.chunks, array.shape, strict=True) if chunk < size}
                if len(unit_dims) != len(unit) or not cut <= set(unit_dims):
                    raise StoreError(
                        f"{self.url}: group `{group}`: expected in the attribute `unit_dims` the axes along which its "
                        f"arrays are cut, but found {unit_dims}. Delete the folder {group} in it: it is computed again."
                    )
                region = tuple(
                    slice(unit[unit_dims.index(dim)] * size, (unit[unit_dims.index(dim)] + 1) * size)
                    if dim in unit_dims
                    else slice(None)
                    for dim, size in zip(dims, array.chunks, strict=True)
                )
                array[region] = block
            self._array(f"{group}/_engine/done", root)[tuple(unit)] = 1

    def finish(self, group: str, **attrs: Any) -> None:
        """Declare the group complete."""
        self.set_attrs(group, **attrs, complete=True)

    def consolidate(self) -> None:
        """Gather the metadata of all groups in the root, as xarray expects it. Cheap, and right at any time."""
        with disk_errors(self.url), warnings.catch_warnings():
            # Consolidated metadata is not in the Zarr v3 specification yet; xarray asks for it all the same.
            warnings.simplefilter("ignore", ZarrUserWarning)
            zarr.consolidate_metadata(self.url)

    def _array(self, path: str, root: zarr.Group | None = None) -> zarr.Array:
        with self._damage(path.split("/")[0]):
            array = (root or self._root("r"))[path]
        assert isinstance(array, zarr.Array), path
        return array

    @contextlib.contextmanager
    def _damage(self, group: str) -> Iterator[None]:
        """Turn metadata or chunks that cannot be read into one sentence."""
        try:
            yield
        except (ValueError, KeyError, RuntimeError) as error:
            raise StoreError(
                f"{self.url}: expected to read the group `{group}`, but it is damaged ({error}). "
                f"Delete the folder {group} in it and run the same command: it is computed again."
            ) from error

    def read(self, group: str, name: str, region: tuple[slice | int, ...] | slice | None = None) -> ndarray:
        """Values of an array, or of a region of it."""
        path = f"{group}/{name}"
        if self.local is None:  # Elsewhere nothing tells cheaply whether it is still the same.
            array = self._array(path)
        else:
            array = self._opened.get(self.local / path, lambda: self._array(path))
        with self._damage(group):
            return np.asarray(array[...] if region is None else array[region])

    def has(self, group: str, name: str) -> bool:
        """Whether there is such an array."""
        return f"{group}/{name}" in self._root("r")

    def labels(self, group: str, dim: str) -> tuple[str, ...]:
        """The names along an axis."""
        return tuple(str(name) for name in self.read(group, dim))

    def clean(self) -> None:
        """Remove what a killed writer left behind: files that never got their name, groups on their way out."""
        if self.local is not None and self.local.exists():
            for gone in self.local.glob(f".*{REMOVED}"):
                shutil.rmtree(gone)
            # Zarr's own name for a chunk on its way, which it does not document; a test kills a writer to hold it.
            for partial in self.local.rglob("*.partial"):
                partial.unlink(missing_ok=True)
