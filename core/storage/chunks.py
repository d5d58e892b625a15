"""Chunks with checksums: how they are written, and a Zarr store through which none is read that is not as written.

Every chunk of a group is written, also one of nothing but fill values, and ends with its CRC-32C. So a chunk file that
is not there is no "nothing was found": it was not written yet, or it is lost. Arrays of older stores have neither.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import google_crc32c
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import WrapperStore

from ..errors import StoreError

CODECS = (ZstdCodec(level=0, checksum=False), Crc32cCodec())

WRITE_ALL: Any = {"write_empty_chunks": True}
"""Zarr leaves out chunks of nothing but fill values unless it is told so whenever an array is opened for writing."""

MOST_CHUNKS = 1_000_000
"""Of an array: fifty times as many as those of 250,000 frames of 50 views have."""

MOST_VALUES = 1 << 31
"""That are read at once: twice the largest array of 250,000 frames of 50 views."""

Index = tuple[int, ...]


def _parts(region: Sequence[slice | int] | slice | None) -> tuple[slice | int, ...]:
    """What a region asks for of the first axes; all of the others."""
    return () if region is None else (region,) if isinstance(region, slice) else tuple(region)


@dataclass(frozen=True)
class Grid:
    """How an array is cut into chunks, from its metadata."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]

    def __post_init__(self) -> None:
        count = prod(-(-size // max(chunk, 1)) for size, chunk in zip(self.shape, self.chunks, strict=True))
        if count > MOST_CHUNKS:
            raise ValueError(f"an array of more than {MOST_CHUNKS:,} chunks")

    @classmethod
    def of(cls, array: zarr.Array) -> Grid:
        dims = array.metadata.dimension_names  # pyright: ignore[reportAttributeAccessIssue]
        return cls(tuple(dim or "" for dim in dims or ("",) * array.ndim), array.shape, array.chunks)

    @classmethod
    def from_metadata(cls, node: Mapping[str, Any]) -> Grid:
        shape = tuple(node["shape"])
        chunks = node["chunk_grid"]["configuration"]["chunk_shape"]
        return cls(tuple(node.get("dimension_names") or ("",) * len(shape)), shape, tuple(chunks))

    def expect_readable(self, region: Sequence[slice | int] | slice | None = None) -> None:
        """Raise ValueError for more values than anybody reads at once: the metadata is not right."""
        asked = _parts(region)
        lengths = [
            len(range(size)[part]) if isinstance(part, slice) else 1
            for size, part in zip(self.shape, asked, strict=False)
        ]
        values = prod(lengths) * prod(self.shape[len(asked) :])
        if values > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values at once")

    def touched(self, region: Sequence[slice | int] | slice | None = None) -> Iterator[Index]:
        """Every chunk that a region touches; all without one."""
        asked = _parts(region)
        ranges = []
        for axis, (size, chunk) in enumerate(zip(self.shape, self.chunks, strict=True)):
            at = range(size)[asked[axis] if axis < len(asked) else slice(None)]
            ends = [at] if isinstance(at, int) else [at[0], at[-1]] if len(at) else []
            ranges.append(range(min(ends) // chunk, max(ends) // chunk + 1) if ends else range(0))
        yield from product(*ranges)

    def region(self, index: Index) -> tuple[slice, ...]:
        """The values that a chunk holds."""
        return tuple(slice(i * chunk, (i + 1) * chunk) for i, chunk in zip(index, self.chunks, strict=True))

    def of_unit(self, unit: Index, unit_dims: Sequence[str]) -> tuple[slice, ...]:
        """The values that a unit writes: of one chunk along the axes that units cut, all along the others."""
        at = dict(zip(unit_dims, unit, strict=True))
        return tuple(
            slice(at[dim] * chunk, min((at[dim] + 1) * chunk, size)) if dim in at else slice(0, size)
            for dim, size, chunk in zip(self.dims, self.shape, self.chunks, strict=True)
        )

    def units(self, index: Index, unit_dims: Sequence[str]) -> tuple[int | slice, ...]:
        """Which units write a chunk, as an index into their grid: one, or all along an axis the array does not have."""
        place = dict(zip(self.dims, index, strict=True))
        return tuple(place.get(dim, slice(None)) for dim in unit_dims)

    def words(self, index: Index, labels: Mapping[str, Sequence[str]] | None = None) -> str:
        """Where a chunk is, for people: `view cam3, frames 64 to 127`; empty where it is all of the array.

        Args:
            index: of the chunk.
            labels: names along axes, as far as they are known.
        """
        parts = []
        for dim, at, size, chunk in zip(self.dims, index, self.shape, self.chunks, strict=True):
            first, last = at * chunk, min((at + 1) * chunk, size) - 1
            names = (labels or {}).get(dim, ())
            if first == last and size > 1:
                parts.append(f"{dim} {names[first] if first < len(names) else first}")
            elif chunk < size or dim in ("frame", "board_frame"):
                parts.append(f"{dim}s {first} to {last}")
        return ", ".join(parts).replace("board_frame", "board frame")


class ChunkError(StoreError):
    """A chunk of an array with checksums is missing, or is not as it was written."""

    def __init__(self, store: str, array: str, index: Index, missing: bool, span: str) -> None:
        self.store, self.array, self.index, self.missing, self.span = store, array, index, missing, span
        found = "missing" if missing else "damaged (its checksum does not match)"
        super().__init__(
            f"{store}: expected all of `{array}` as it was written, but {f'what it has of {span}' if span else 'it'} "
            f"is {found}. `handpipe verify {store} --repair` finds all such damage and computes it again."
        )

    def __reduce__(self) -> tuple[type[ChunkError], tuple[Any, ...]]:
        return ChunkError, (self.store, self.array, self.index, self.missing, self.span)

    def with_labels(self, grid: Grid, labels: Mapping[str, Sequence[str]]) -> ChunkError:
        """The same with the names of views and hands in it."""
        return ChunkError(self.store, self.array, self.index, self.missing, grid.words(self.index, labels))


class WholeChunks(WrapperStore):
    """A Zarr store that raises ChunkError where an array with checksums has a missing or damaged chunk."""

    def __init__(self, store: Any, url: str) -> None:
        super().__init__(store)
        self._url = url
        self._grids: dict[str, Grid] = {}
        """Arrays whose metadata was read through here and says that they have checksums."""

    def _with_store(self, store: Any) -> WholeChunks:
        return WholeChunks(store, self._url)

    def expect(self, path: str, metadata: Mapping[str, Any]) -> None:
        """Test what is read of the array with this metadata, if it has checksums."""
        if has_checksums(metadata):
            self._grids[path] = Grid.from_metadata(metadata)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        found = await super().get(key, prototype, byte_range)
        node, _, name = key.rpartition("/")
        if name == "zarr.json":
            if found is not None:
                self.expect(node, json.loads(found.to_bytes()))
            return found
        array, _, place = key.rpartition("/c/")
        if array in self._grids and (found is None or not is_right(found.to_bytes())):
            index = tuple(map(int, place.split("/")))
            raise ChunkError(self._url, array, index, found is None, self._grids[array].words(index))
        return found


def has_checksums(node: Any) -> bool:
    """Whether the chunks of an array with this metadata end with their CRC-32C."""
    try:
        return node["codecs"][-1]["name"] == "crc32c"
    except (KeyError, IndexError, TypeError):
        return False


def is_right(chunk: bytes) -> bool:
    """Whether a chunk with a checksum is as it was written."""
    return google_crc32c.value(chunk[:-4]).to_bytes(4, "little") == chunk[-4:]


def is_coordinate(array: zarr.Array) -> bool:
    """Whether it is written with its group and not by a unit."""
    return "description" not in array.attrs
