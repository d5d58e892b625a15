"""The formats of `handpipe export` and their readers, one per module. docs/exporting.md says what each is for."""

from __future__ import annotations

from collections.abc import Mapping

from .datasets.coco import writer as coco
from .datasets.hub import writer as hub
from .datasets.interhand26m import writer as interhand26m
from .exporting import Exporter, one_file_each
from .importing import KeypointReader
from .motion import keypoints3d, mano, tables
from .motion.bvh import export as bvh
from .motion.gltf import hands as gltf
from .motion.keypoints_npz import read_keypoints

EXPORTERS: Mapping[str, Exporter] = {
    "mano": one_file_each(".npz", mano.write),
    "gltf": one_file_each(".glb", gltf.write),
    "bvh": one_file_each(".bvh", bvh.write),
    "trc": one_file_each(".trc", tables.write_trc),
    "csv": one_file_each(".csv", tables.write_csv),
    "keypoints3d": one_file_each(".npz", keypoints3d.write),
    "interhand26m": interhand26m.write,
    "coco": coco.write,
    "hub": hub.write,
}
"""By the name that the command line knows."""

KEYPOINTS_DO = frozenset({"interhand26m", "coco", "hub"})
"""Formats that need no fitted hands."""

KEYPOINT_READERS: Mapping[str, KeypointReader] = {
    ".npz": read_keypoints,
    ".glb": gltf.read,
    ".gltf": gltf.read,  # which says that it has to be one binary file
    ".trc": tables.read_trc,
    ".csv": tables.read_csv,
}
"""What `handpipe import keypoints` reads, by suffix."""
