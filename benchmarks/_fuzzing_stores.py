"""Stores: metadata and chunks, with and without checksums, as `export`, `verify` and the stages read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import zarr
from _fuzzing_format import Format
from _fuzzing_motion import files_in, session_of
from _fuzzing_mutations import Files, dumped, havoc, in_a_file, json_tree, of_files, tree, words

from handpipe.core.storage.checksums import CHECKSUMS, nodes_of, sealed, short_digest
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.core.storage.verify import examine
from handpipe.exchange.recording import recordings

STORE = "session.zarr"
SMALL = ("cameras", "keypoints", "mano")


def formats() -> list[Format]:
    nodes = (in_a_file(havoc, "*zarr.json"), in_a_file(words, "*zarr.json"), *[in_a_file(json_tree, "*zarr.json")] * 2)
    chunks = (*[in_a_file(havoc, "*/c/*")] * 3, of_files)
    modules = ("core.storage.store", "core.storage.nodes", "core.storage.attributes", "core.storage.chunks",
               "hand.stored_motion", "exchange.recording")  # fmt: skip
    return [
        Format("store: metadata", _sealed_store, _read, (*nodes, *[_resealed] * 3), modules),
        Format("store: chunks", _sealed_store, _read, chunks, modules),
        Format("store: without checksums", _old_store, _read, (*nodes, *chunks), modules),
        Format("store: verify", _sealed_store, _verify, (*nodes, *chunks, _resealed), ("core.storage.verify",)),
    ]


def _sealed_store(folder: Path) -> list[Files]:
    return [files_in(session_of(folder / "s", frames=3))]


def _old_store(folder: Path) -> list[Files]:
    """As handpipe wrote stores before it had checksums."""
    session = session_of(folder / "s", frames=3)
    new, old = session / STORE, session / "old"
    _copy(zarr.open_group(str(new), mode="r", use_consolidated=False), zarr.create_group(str(old)))
    shutil.rmtree(new)
    old.rename(new)
    return [files_in(session)]


def _copy(source: zarr.Group, target: zarr.Group) -> None:
    target.update_attributes({name: value for name, value in source.attrs.items() if name != CHECKSUMS})
    for name, node in source.members():
        if isinstance(node, zarr.Group):
            _copy(node, target.create_group(name))
        else:
            kind = "str" if node.dtype.kind in "UOT" else node.dtype
            names = node.metadata.dimension_names  # pyright: ignore[reportAttributeAccessIssue]
            array = target.create_array(name, shape=node.shape, chunks=node.chunks, dtype=kind, dimension_names=names)
            array[...] = node[...]


def _resealed(rng: Random, files: Files, other: Files) -> Files:
    """Attributes of a group, or the metadata of an array in it, changed by somebody who renews the checksums, too."""
    group = rng.choice(SMALL)
    path = f"{STORE}/{group}/zarr.json"
    node = json.loads(files[path])
    values, nodes, changed = node["attributes"], nodes_of(node["attributes"]), dict(files)
    if rng.random() < 0.5:
        values = {name: value for name, value in tree(rng, values).items()} if isinstance(values, dict) else values
    else:
        name = rng.choice(sorted(nodes))
        array = tree(rng, json.loads(files[f"{STORE}/{group}/{name}/zarr.json"]))
        changed[f"{STORE}/{group}/{name}/zarr.json"] = dumped(rng, array)
        nodes = {**nodes, name: short_digest(array if isinstance(array, dict) else None)}
    try:
        node["attributes"] = sealed(group, values, nodes)
    except (ValueError, TypeError, AttributeError, RecursionError):
        node["attributes"] = values
    changed[path] = dumped(rng, node)
    return changed


def _read(folder: Path) -> None:
    """What `handpipe export` reads of a session."""
    store = Store(str(folder / STORE))
    for group in sorted(store.groups()):
        store.attrs(group)
        store.fingerprint(group)
    for recording in recordings([str(folder)], None, images=False):
        assert 0 < recording.fps < np.inf
        assert recording.frames >= 0
        motion = recording.motion()
        there = motion.valid
        assert motion.joints.shape == (*there.shape, 21, 3)
        assert there.shape[1] == 2
        assert np.isfinite(motion.global_orient[there]).all()
        keypoints = recording.keypoints()
        assert keypoints is None or keypoints.sigma_m.shape == keypoints.points_m.shape[:-1]
        recording.clips()
    if store.complete("cameras"):
        cameras = read_cameras(store)
        assert cameras.K.shape == (len(cameras), 3, 3)


def _verify(folder: Path) -> None:
    examine(Store(str(folder / STORE)))
