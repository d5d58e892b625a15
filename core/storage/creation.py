"""A group before any unit is written: its empty arrays, coordinates, marks and attributes."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import zarr

from .checksums import digest, sealed, short_digest
from .chunks import CODECS, WRITE_ALL
from .marks import chunk_shape
from .opened_arrays import METADATA
from .spec import GroupSpec

ENGINE = "_engine"
MARKS = f"{ENGINE}/done"


def make_group(files: Any, spec: GroupSpec, read: Callable[[str], bytes]) -> None:
    """Make the group's empty arrays; its fingerprint is written last.

    Args:
        files: store of Zarr's, without such a group.
        spec: of the group.
        read: gives the content of one of its files.
    """
    group = zarr.create_group(files, path=spec.name)
    for name, array in spec.arrays.items():
        group.create_array(
            name,
            shape=array.shape,
            chunks=array.chunk,
            dtype=array.dtype,
            fill_value=array.fill,
            dimension_names=array.dims,
            attributes=dict(array.attrs),
            compressors=CODECS,
        )
    for name, values in spec.coords.items():
        group.create_array(
            name,
            shape=values.shape,
            chunks=tuple(max(1, n) for n in values.shape),
            dtype="str" if values.dtype.kind in "UO" else values.dtype,
            dimension_names=spec.coord_dims[name],
            compressors=CODECS,
        )
    marks = group.create_group(ENGINE, attributes={"fingerprint": digest(spec.fingerprint)}).create_array(
        "done",
        shape=spec.units,
        chunks=chunk_shape(spec.units),
        dtype="u1",
        fill_value=0,
        # xarray opens no tree with a nameless axis, and none where an axis has two lengths.
        dimension_names=[f"{dim}_unit" for dim in spec.attrs["unit_dims"]],
        compressors=CODECS,
        config=WRITE_ALL,
    )
    marks[...] = 0
    write_coords(files, spec)
    extra = sorted(name for name in spec.coords if spec.coord_dims[name] != (name,))
    coordinates = {"coordinates": " ".join(extra)} if extra else {}
    values = {**spec.attrs, **coordinates, "complete": False, "fingerprint": dict(spec.fingerprint)}
    below = sorted([*spec.arrays, *spec.coords, ENGINE, MARKS])
    nodes = {name: short_digest(json.loads(read(f"{spec.name}/{name}/{METADATA}"))) for name in below}
    group.update_attributes(sealed(spec.name, values, nodes))


def write_coords(files: Any, spec: GroupSpec) -> None:
    """Write the group's coordinates, which no unit writes."""
    for name, values in spec.coords.items():
        array = zarr.open_array(files, path=f"{spec.name}/{name}", mode="r+")
        array[...] = values.astype(object) if values.dtype.kind in "UO" else values
