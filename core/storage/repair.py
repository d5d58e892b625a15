"""What is damaged in a store is put right from the store itself, or its units are made to be computed again.

Metadata comes back from the root's copy where that has the right checksums. Of damaged chunks only the marks of the
units that write them are taken away: the next run of the stage computes these, with the same bits.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import StoreError
from .checksums import intact, is_sealed, nodes_of, sealed, short_digest
from .creation import ENGINE, MARKS
from .opened_arrays import METADATA
from .store import ROOT_ATTRIBUTES, Store, root_attributes
from .verify import GROUP, Damage, examine, plain

ROUNDS = 4
"""Under damaged metadata there may be damaged chunks, which are found when it is restored."""


def repair(store: Store) -> list[str]:
    """Put right what is damaged, as far as it can be without computing.

    Returns:
        Groups that are to be computed, or completed, by the stage that makes them.

    Raises:
        StoreError: what is damaged was imported: nothing here can make it again.
    """
    touched: set[str] = set()
    for _ in range(ROUNDS):
        damages = [damage for damage in examine(store).damages if not _waits(store, damage)]
        if not damages:
            break
        for group in dict.fromkeys(damage.group for damage in damages):
            of_group = [damage for damage in damages if damage.group == group]
            if group:
                _mend(store, group, of_group)
                touched.add(group)
            else:
                _mend_root(store)
    store.consolidate()
    return sorted(group for group in touched if not group.startswith("_"))


def _waits(store: Store, damage: Damage) -> bool:
    """Whether the stage that makes the group will put it right."""
    return damage.kind == "coordinates" and not store.complete(damage.group)


def _mend_root(store: Store) -> None:
    """Write the root's own metadata again, and its copy of the others'."""
    try:
        attributes = (store.node("") or {}).get("attributes", {})
    except StoreError:
        attributes = {}
    if attributes.keys() - ROOT_ATTRIBUTES or not attributes or not intact("", attributes):
        attributes = root_attributes()
    _write_node(store, "", {**GROUP, "attributes": attributes})  # Without the copy, so that it is made.


def _mend(store: Store, group: str, damages: Sequence[Damage]) -> None:
    """Put a group right, or make its stage go on with it."""
    metadata = [damage for damage in damages if damage.kind == "metadata"]
    if metadata:
        if not all(_restore(store, group, damage.node) for damage in metadata):
            _refuse_imported(store, group)
            store.remove(group)
        return
    _refuse_imported(store, group)
    if any(damage.kind == "marks" for damage in damages):
        array = store.array(f"{group}/{MARKS}")
        # Every chunk that can be read was written whole, and is the same whoever writes it.
        broken = {damage.unit for damage in damages if damage.kind == "unit"}
        grid = np.ones(array.shape, "u1")
        for unit in broken:
            grid[unit] = 0
        store.write_marks(group, grid)
    else:
        store.marks(group).remove(damage.unit for damage in damages if damage.kind == "unit")
    store.set_attrs(group, complete=False)


def _refuse_imported(store: Store, group: str) -> None:
    text = store.bytes_of(f"{group}/{METADATA}") or b""
    if b'"imported"' in text:
        raise StoreError(
            f"{store.url}: expected to compute the group `{group}` again, but it was imported and is damaged. "
            "Import the same files again with --force."
        )


def _restore(store: Store, group: str, name: str) -> bool:
    """Write the metadata of a node again as the root's copy has it, if that is what was written."""
    try:
        nodes: Mapping[str, Any] = (store.node("") or {})["consolidated_metadata"]["metadata"]
        copied = plain(nodes[f"{group}/{name}" if name else group])
        if name:
            if short_digest(copied) != nodes_of(store.attrs(group)).get(name):
                return False
        else:
            copied = _as_group(store, group, copied)
    except (StoreError, KeyError, TypeError, ValueError):
        return False
    _write_node(store, f"{group}/{name}" if name else group, copied)
    return True


def _as_group(store: Store, group: str, copied: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a group from the copy; it may be the copy of an earlier one, whose numbers were others.

    Raises:
        ValueError: it is.
    """
    values = copied["attributes"]
    nodes = nodes_of(values)
    if not is_sealed(values) or not intact(group, values):
        raise ValueError("the copy is damaged")
    if ENGINE in nodes:
        # What the group was computed from stands below it too.
        if short_digest(store.node(f"{group}/{ENGINE}")) != nodes[ENGINE]:
            raise ValueError("the copy is of an earlier group")
        values = sealed(group, {**values, "complete": False}, nodes)
    return {**GROUP, "attributes": values}


def _write_node(store: Store, path: str, node: Mapping[str, Any]) -> None:
    store.put(f"{path}/{METADATA}".lstrip("/"), json.dumps(node, indent=2).encode())
