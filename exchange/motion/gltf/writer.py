"""Binary glTF 2.0 (.glb): skinned meshes whose joints move. Arrays to bytes.

The specification is Khronos' glTF 2.0 (ISO/IEC 12113:2022). Lengths are metres, seconds count from the first frame,
quaternions are x, y, z, w.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942

INFLUENCES = 4
"""Joints that may move one vertex; every reader knows four."""

_COMPONENT = {"float32": 5126, "uint16": 5123, "uint8": 5121}
_TYPE = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_VERTICES, _INDICES = 34962, 34963


@dataclass(frozen=True, eq=False)
class SkinnedHand:
    """A mesh in its rest pose, and how its joints move."""

    name: str
    vertices_m: ndarray
    """(vertex, 3) at rest, the joints unturned."""
    faces: ndarray
    """(face, 3) vertex indices, counter-clockwise from outside."""
    weights: ndarray
    """(vertex, joint) skinning weights of the joints in front; rows sum to one."""
    names: tuple[str, ...]
    """Joints, parents first; those beyond the skinned ones are places without skin, such as fingertips."""
    parent: ndarray
    """(joint,) -1 for the root."""
    rest_m: ndarray
    """(joint, 3) at rest, in the mesh's coordinates."""
    rotation: ndarray
    """(frame, joint, 4) in the parent's frame."""
    translation_m: ndarray
    """(frame, joint, 3) in the parent's frame. What does not move is written once."""
    extras: Mapping[str, Any]
    """JSON that glTF has no place for."""


class _Builder:
    """Accessors on one growing buffer."""

    def __init__(self) -> None:
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.data = bytearray()

    def add(self, array: ndarray, target: int | None = None, *, bounds: bool = False) -> int:
        """The number of a new accessor; little-endian, aligned to four bytes."""
        packed = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": packed.nbytes}
        self.views.append(view if target is None else {**view, "target": target})
        self.data += packed.tobytes() + b"\0" * (-packed.nbytes % 4)
        accessor: dict[str, Any] = {
            "bufferView": len(self.views) - 1,
            "componentType": _COMPONENT[array.dtype.name],
            "count": len(array),
            "type": _TYPE[array.shape[1:]],
        }
        if bounds:
            accessor |= {"min": _listed(array.min(axis=0)), "max": _listed(array.max(axis=0))}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def animated_glb(
    hands: Sequence[SkinnedHand], fps: float, generator: str, world: ndarray, extras: Mapping[str, Any]
) -> bytes:
    """A GLB with a mesh, a skin and the joints of each hand, and one animation of all of them.

    Args:
        hands: all with the same frames; at least one.
        fps: frames per second.
        generator: who writes it, for the file's own record.
        world: (4,) the turn of the node `world`, which all joints are below: it makes y up, as glTF has it.
        extras: of this node.
    """
    frames = len(hands[0].rotation)
    builder = _Builder()
    wrists: list[int] = []
    root = {"name": "world", "rotation": _listed(world.astype(np.float32)), "children": wrists, "extras": dict(extras)}
    nodes: list[dict[str, Any]] = [root]
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": generator},
        "scene": 0,
        "scenes": [{"name": "hands", "nodes": [0]}],
        "nodes": nodes,
        "meshes": [],
        "skins": [],
        "materials": [_material()],
    }
    times = builder.add((np.arange(frames) / fps).astype(np.float32), bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []
    for hand in hands:
        assert len(hand.rotation) == len(hand.translation_m) == frames
        first = len(nodes)
        nodes += _joint_nodes(hand, first)
        for joint in range(len(hand.names)):
            for path, values in (("translation", hand.translation_m), ("rotation", hand.rotation)):
                moving = values[:, joint].astype(np.float32)
                # The wrist always: an animation has at least one channel, also of one frame.
                if joint == 0 or (moving != moving[0]).any():
                    samplers.append({"input": times, "interpolation": "LINEAR", "output": builder.add(moving)})
                    target = {"node": first + joint, "path": path}
                    channels.append({"sampler": len(samplers) - 1, "target": target})
        document["meshes"].append(_mesh(builder, hand))
        document["skins"].append(_skin(builder, hand, first))
        place = len(document["meshes"]) - 1
        nodes.append({"name": f"{hand.name}_mesh", "mesh": place, "skin": place, "extras": dict(hand.extras)})
        # What a skin's joints say is all that moves its mesh, so the mesh is not below `world`.
        document["scenes"][0]["nodes"].append(len(nodes) - 1)
        wrists.append(first)
    animation = {"name": "motion", "samplers": samplers, "channels": channels, "extras": {"fps": fps}}
    document["animations"] = [animation]
    document |= {"accessors": builder.accessors, "bufferViews": builder.views}
    document["buffers"] = [{"byteLength": len(builder.data)}]
    return _container(document, bytes(builder.data))


def _joint_nodes(hand: SkinnedHand, first: int) -> list[dict[str, Any]]:
    """The joints as nodes, in the pose of the first frame."""
    nodes = []
    for joint, name in enumerate(hand.names):
        node = {
            "name": name,
            "translation": _listed(hand.translation_m[0, joint].astype(np.float32)),
            "rotation": _listed(hand.rotation[0, joint].astype(np.float32)),
        }
        children = [first + int(child) for child in np.flatnonzero(hand.parent == joint)]
        nodes.append({**node, "children": children} if children else node)
    return nodes


def _mesh(builder: _Builder, hand: SkinnedHand) -> dict[str, Any]:
    joints, weights = strongest(hand.weights, INFLUENCES)
    attributes = {
        "POSITION": builder.add(hand.vertices_m.astype(np.float32), _VERTICES, bounds=True),
        "NORMAL": builder.add(vertex_normals(hand.vertices_m, hand.faces).astype(np.float32), _VERTICES),
        "JOINTS_0": builder.add(joints.astype(np.uint8), _VERTICES),
        "WEIGHTS_0": builder.add(weights.astype(np.float32), _VERTICES),
    }
    indices = builder.add(hand.faces.astype(np.uint16).reshape(-1), _INDICES)
    return {"name": hand.name, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}


def _skin(builder: _Builder, hand: SkinnedHand, first: int) -> dict[str, Any]:
    skinned = hand.weights.shape[1]
    inverse_bind = np.tile(np.eye(4, dtype=np.float32), (skinned, 1, 1))
    inverse_bind[:, 3, :3] = -hand.rest_m[:skinned]  # column by column: the last row here is the last column there
    return {
        "name": hand.name,
        "skeleton": first,
        "joints": list(range(first, first + skinned)),
        "inverseBindMatrices": builder.add(inverse_bind),
    }


def _material() -> dict[str, Any]:
    # The wrist is open: without the inside one would look through it.
    look = {"baseColorFactor": [0.8, 0.57, 0.46, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.7}
    return {"name": "skin", "pbrMetallicRoughness": look, "doubleSided": True}


def strongest(weights: ndarray, count: int) -> tuple[ndarray, ndarray]:
    """The joints with the largest weights of each vertex, and these weights, made to sum to one again.

    Args:
        weights: (vertex, joint) rows that sum to one.

    Returns:
        (vertex, count) joints, 0 where there is no weight, and (vertex, count) weights, the largest first.
    """
    order = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(weights, order, axis=1)
    return np.where(kept > 0, order, 0), kept / kept.sum(axis=1, keepdims=True)


def vertex_normals(vertices: ndarray, faces: ndarray) -> ndarray:
    """(vertex, 3) unit normals, by the area of the faces around; of a vertex without a face +z."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normal = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normal, faces[:, k], face)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.where(length > 0, normal / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])


def _listed(values: ndarray) -> list[float]:
    return np.atleast_1d(values).astype(float).tolist()


def _container(document: Mapping[str, Any], data: bytes) -> bytes:
    """Header, JSON chunk, binary chunk."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(data)
    return b"".join(
        (
            struct.pack("<III", MAGIC, 2, total),
            struct.pack("<II", len(text), JSON_CHUNK) + text,
            struct.pack("<II", len(data), BIN_CHUNK) + data,
        )
    )
