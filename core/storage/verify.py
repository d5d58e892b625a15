"""Is a store as it was written? Every chunk, all metadata, every mark is read.

What is found is told with what it breaks: metadata of a node, coordinates, marks, or units, which are computed again
on their own.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import zarr
from numpy import ndarray

from ..errors import StoreError
from .checksums import intact, is_sealed, nodes_of, short_digest
from .chunks import Grid, Index, has_checksums, is_coordinate, is_right
from .creation import ENGINE, MARKS
from .opened_arrays import METADATA
from .store import ROOT_ATTRIBUTES, Store

READERS = 8

GROUP = {"zarr_format": 3, "node_type": "group"}
"""The metadata of a group, but for its attributes."""
EMPTY_COPY = {"kind": "inline", "must_understand": False, "metadata": {}}
"""What Zarr writes beside each group in the root's copy."""

Kind = Literal["root", "copy", "metadata", "coordinates", "marks", "unit"]


@dataclass(frozen=True)
class Damage:
    """One thing in a store that is not as it was written."""

    kind: Kind
    """`copy` is the copy of all metadata in the root, for xarray."""
    group: str
    what: str
    """For people, without the store's name."""
    node: str = ""
    """Array or subgroup whose metadata it is; empty for the group's own."""
    unit: Index = ()
    """One that writes what is damaged."""


@dataclass(frozen=True)
class Examined:
    """What was looked at, and what was found."""

    damages: tuple[Damage, ...]
    without_checksums: tuple[str, ...]
    """Groups of older versions, in which only what cannot be decoded is found."""
    chunks: int


def examine(store: Store) -> Examined:
    """Read all of a store.

    Raises:
        StoreError: it is none of ours.
    """
    damages: list[Damage] = []
    older: list[str] = []
    chunks = 0
    root = _metadata(store, "")
    if isinstance(root, str):
        damages.append(Damage("root", "", f"the metadata of the store {root}"))
        root = {}
    attributes = root.get("attributes", {})
    others = {name: value for name, value in root.items() if name not in ("attributes", "consolidated_metadata")}
    if root and (others != GROUP or attributes.keys() - ROOT_ATTRIBUTES or not intact("", attributes)):
        damages.append(Damage("root", "", "the metadata of the store is not what was written"))
    for group in all_groups(store):
        found = list(_group_damage(store, group, is_sealed(attributes)))
        if not found:
            values = (store.node(group) or {}).get("attributes", {})
            if values and not is_sealed(values):
                older.append(group)
            for array in _arrays(store, group):
                broken = list(_array_damage(store, group, array))
                chunks += sum(1 for _ in Grid.of(array).touched())
                found += broken
        damages += found
    damages += _copy_damage(root)
    return Examined(tuple(damages), tuple(older), chunks)


def all_groups(store: Store, above: str = "") -> Iterator[str]:
    """Every group with attributes of its own, below the root and below groups of notes."""
    for name in sorted(store.names_in(above)):
        path = f"{above}/{name}".lstrip("/")
        yield path
        if path.startswith("_"):
            yield from all_groups(store, path)


def _metadata(store: Store, path: str) -> dict[str, Any] | str:
    """The metadata of a node, or what is wrong with it."""
    try:
        found = store.node(path)
    except StoreError as error:
        return f"cannot be read ({error.__cause__})"
    if found is None:
        return "is missing"
    text = (store.bytes_of(f"{path}/{METADATA}".lstrip("/")) or b"").decode(errors="replace")
    # A number or a letter may have been changed into another way to write the same.
    if "".join(text.split()) != "".join(json.dumps(found).split()):
        return "is not as it was written"
    return found


def _group_damage(store: Store, group: str, in_sealed_store: bool) -> Iterator[Damage]:
    """What is wrong with the metadata of a group and of all that is below it."""
    found = _metadata(store, group)
    if isinstance(found, str):
        yield Damage("metadata", group, f"the metadata of `{group}` {found}")
        return
    values = found.get("attributes", {})
    if not intact(group, values) or (in_sealed_store and values and not is_sealed(values)):
        yield Damage("metadata", group, f"the attributes of `{group}` are not those that were written")
        return
    if found != {**GROUP, "attributes": values}:
        yield Damage("metadata", group, f"the metadata of `{group}` is not what was written")
    nodes: Mapping[str, str | None] = nodes_of(values)
    if not nodes and not group.startswith("_"):
        nodes = dict.fromkeys(_nodes_below(store, group))
    for name, expected in nodes.items():
        node = _metadata(store, f"{group}/{name}")
        if isinstance(node, str):
            yield Damage("metadata", group, f"the metadata of `{group}/{name}` {node}", name)
        elif expected is None and has_checksums(node):
            yield Damage("metadata", group, f"the checksums of `{group}` are missing")
            return
        elif expected not in (None, short_digest(node)):
            yield Damage("metadata", group, f"the metadata of `{group}/{name}` is not what was written", name)
        elif wrong := _unusable(store, f"{group}/{name}", node):
            yield Damage("metadata", group, f"the metadata of `{group}/{name}` is no array's ({wrong})", name)


def _unusable(store: Store, path: str, node: Mapping[str, Any]) -> str:
    """Why an array cannot be read, from metadata that nobody changed, or that has no checksum; empty if it can."""
    if node.get("node_type") != "array":
        return ""
    try:
        Grid.of(store.array(path))
    except (StoreError, ValueError) as error:
        return str(error.__cause__ or error)
    return ""


def _arrays(store: Store, group: str) -> list[zarr.Array]:
    if group.startswith("_"):
        return []
    return [store.array(f"{group}/{name}") for name in _nodes_below(store, group) if name != ENGINE]


def _nodes_below(store: Store, group: str) -> list[str]:
    names = sorted(store.names_in(group))
    return [*names, MARKS] if ENGINE in names else names  # Groups that others wrote have no marks.


def _array_damage(store: Store, group: str, array: zarr.Array) -> Iterator[Damage]:
    """Chunks of an array that are missing or damaged, as far as they were written."""
    grid, name = Grid.of(array), array.path.removeprefix(f"{group}/")
    summed = has_checksums(store.node(array.path))

    def wrong(index: Index) -> str | None:
        chunk = store.bytes_of(f"{array.path}/c/{'/'.join(map(str, index))}")
        if chunk is None:
            return "missing" if summed else None
        if summed:
            return None if is_right(chunk) else "damaged"
        try:
            array[grid.region(index)]
        except (ValueError, RuntimeError, TypeError):
            return "damaged"
        return None

    with ThreadPoolExecutor(READERS) as pool:
        indices = list(grid.touched())
        broken = [(index, why) for index, why in zip(indices, pool.map(wrong, indices), strict=True) if why]
    if not broken:
        return
    if name == MARKS:
        yield Damage("marks", group, f"the marks of `{group}` are {broken[0][1]}")
        return
    written, unit_dims = _written(store, group), store.attrs(group)["unit_dims"]
    for index, why in broken:
        span = f" of {words}" if (words := grid.words(index, _labels(store, group, grid))) else ""
        what = f"`{group}/{name}`{span} is {why}"
        if is_coordinate(array):
            yield Damage("coordinates", group, what)
            continue
        units = np.zeros_like(written)
        units[grid.units(index, unit_dims)] = True
        if (units & written).any():
            yield Damage("unit", group, what, unit=tuple(map(int, np.argwhere(units & written)[0])))


def _written(store: Store, group: str) -> ndarray:
    """Which units are done; all, where the marks cannot be read."""
    try:
        done = store.done(group)
    except StoreError:  # It is told on its own.
        return np.ones(store.array(f"{group}/{MARKS}").shape, bool)
    return np.ones_like(done) if store.complete(group) else done


def _labels(store: Store, group: str, grid: Grid) -> dict[str, Sequence[str]]:
    try:
        return {dim: store.labels(group, dim) for dim in ("view", "hand") if dim in grid.dims and store.has(group, dim)}
    except StoreError:
        return {}


def _copy_damage(root: Mapping[str, Any]) -> Iterator[Damage]:
    """What is wrong in the root's copy of all metadata. It may be older than what it is a copy of."""
    if "consolidated_metadata" not in root:  # A store that was never finished.
        return
    copy = root["consolidated_metadata"]
    nodes = copy.get("metadata") if isinstance(copy, Mapping) else None
    all_sealed = is_sealed(root.get("attributes", {}))
    known = isinstance(nodes, Mapping) and copy == {**EMPTY_COPY, "metadata": nodes}
    if nodes is None or not known or not _copied_right(nodes, all_sealed):
        yield Damage("copy", "", "the copy of all metadata in the root, which xarray reads, is damaged")


def _copied_right(nodes: Mapping[str, Any], all_sealed: bool) -> bool:
    """Whether the copy agrees with its own checksums; every group has some where the root has."""
    expected = {}
    for path, node in nodes.items():
        if not isinstance(node, Mapping) or not isinstance(values := node.get("attributes", {}), Mapping):
            return False
        group = {**GROUP, "attributes": values}
        if not intact(path, values):
            return False
        right = plain(node) == group and (is_sealed(values) or not values or not all_sealed)
        if "/" not in path and not right:
            return False
        expected |= {f"{path}/{name}": value for name, value in nodes_of(values).items()}
    for path, value in expected.items():
        if path not in nodes or short_digest(plain(nodes[path])) != value:
            return False
    known = {path.rpartition("/")[0] for path in expected}
    return all(path in expected for path in nodes if path.rpartition("/")[0] in known)


def plain(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's metadata as it stands in its own file, from the root's copy."""
    return {name: value for name, value in node.items() if (name, value) != ("consolidated_metadata", EMPTY_COPY)}
