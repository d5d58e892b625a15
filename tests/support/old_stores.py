"""Stores as handpipe wrote them before it had checksums, from what it writes now."""

from __future__ import annotations

import shutil
from pathlib import Path

import zarr

from handpipe.core.storage.store import Store


def as_before_checksums(store: Store) -> None:
    """No checksums, no chunk of nothing but fill values, one chunk for the mark of every unit."""
    now = Path(store.url)
    was = now.with_name(f"{now.name}.old")
    with zarr.config.set({"array.write_empty_chunks": False}):
        _copy(zarr.open_group(now, mode="r", use_consolidated=False), zarr.create_group(was), "")
    shutil.rmtree(now)
    was.replace(now)
    store.consolidate()


def _copy(source: zarr.Group, target: zarr.Group, path: str) -> None:
    target.update_attributes({name: value for name, value in source.attrs.items() if name != "checksums"})
    for name, node in source.members():
        if isinstance(node, zarr.Group):
            _copy(node, target.create_group(name), f"{path}/{name}")
            continue
        marks = f"{path}/{name}".endswith("/_engine/done")
        array = target.create_array(
            name,
            shape=node.shape,
            chunks=(1,) * node.ndim if marks else node.chunks,
            dtype="str" if node.dtype.kind in "UOT" else node.dtype,
            fill_value=node.fill_value,
            dimension_names=node.metadata.dimension_names,  # pyright: ignore[reportAttributeAccessIssue]
            attributes=dict(node.attrs),
        )
        array[...] = node[...]
