"""Where the nodes of an animated binary glTF 2.0 file are, frame by frame. Bytes to arrays; no other file is read."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.spatial.transform import Rotation, Slerp

from ....core.errors import SessionError
from ....hand.frame_times import even_rate, even_times
from .writer import BIN_CHUNK, JSON_CHUNK, MAGIC

_DTYPE = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_REST = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0, 1.0), "scale": (1.0, 1.0, 1.0)}
MAX_JSON_BYTES = 32 << 20
"""Of nodes, accessors and channels, which take many times their size in memory; motion is in the binary chunk."""

SAME_TIME_S = 1e-4
"""Times that are nearer to each other are one; a frame is longer."""

_REMEDY = "Export it again as binary glTF (.glb) with one animation"


@dataclass(frozen=True, eq=False)
class NodeMotion:
    """The nodes of a file at even times over its animation."""

    names: tuple[str, ...]
    """Of each node; empty where it has none."""
    has_mesh: tuple[bool, ...]
    extras: tuple[dict[str, Any], ...]
    """What each node says beside glTF."""
    positions_m: ndarray
    """(frame, node, 3) in the scene."""
    times_s: ndarray
    """(frame,) evenly spaced."""
    fps: float | None
    """Their rate; of a single frame what the animation says itself, in its extras."""


def node_motion(data: bytes, where: str) -> NodeMotion:
    """The nodes' places over the first animation. Every channel has its own keys and is sampled at the same times.

    Raises:
        SessionError: not a GLB of version 2, damaged, with parts in other files, or without animation.
    """
    try:
        # A scale may well be absurd; what comes of it is judged as a hand.
        with np.errstate(over="ignore", invalid="ignore"):
            return _Document(data, where).motion()
    except SessionError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, struct.error) as error:
        # Whatever the JSON lacks or has in another type.
        raise SessionError(
            f"{where}: expected a binary glTF 2.0 file, but it is damaged ({type(error).__name__}: {error}). {_REMEDY}."
        ) from error


class _Document:
    """One file's JSON with its buffer."""

    def __init__(self, data: bytes, where: str) -> None:
        self.where = where
        if len(data) < 20 or struct.unpack_from("<I", data)[0] != MAGIC or struct.unpack_from("<I", data, 4)[0] != 2:
            self.fail("a binary glTF 2.0 file (.glb)", f"bytes that begin with {data[:8]!r}")
        chunks: dict[int, bytes] = {}
        at = 12
        while at + 8 <= len(data):
            length, kind = struct.unpack_from("<II", data, at)
            if at + 8 + length > len(data):
                self.fail(f"{length} bytes in a chunk", f"{len(data) - at - 8}: the file is truncated")
            chunks.setdefault(kind, data[at + 8 : at + 8 + length])
            at += 8 + length
        if len(chunks.get(JSON_CHUNK, b"")) > MAX_JSON_BYTES:
            self.fail(f"at most {MAX_JSON_BYTES >> 20} MiB of JSON", "more")
        try:
            self.json: dict[str, Any] = json.loads(chunks.get(JSON_CHUNK, b""))
        except (ValueError, RecursionError) as error:
            self.fail("JSON in the first chunk", str(error))
        self.data = chunks.get(BIN_CHUNK, b"")
        # Numbers of fewer bytes in meshes, which are not read.
        extensions = [str(name) for name in self.json.get("extensionsRequired", []) if name != "KHR_mesh_quantization"]
        if extensions:
            self.fail("plain glTF", f"the extensions {', '.join(extensions)}")
        if any("uri" in buffer for buffer in self.json.get("buffers", [])):
            self.fail("everything in one file", "a buffer in another one")

    def fail(self, expected: str, found: str) -> None:
        raise SessionError(f"{self.where}: expected {expected}, but found {found}. {_REMEDY}.")

    def accessor(self, number: int) -> ndarray:
        """(count, width) values; normalised integers as fractions."""
        accessor = _item(self.json["accessors"], number)
        if "sparse" in accessor or "bufferView" not in accessor:
            self.fail("plain accessors", "a sparse one")
        view = _item(self.json["bufferViews"], accessor["bufferView"])
        dtype, width = np.dtype(_DTYPE[accessor["componentType"]]), _WIDTH[accessor["type"]]
        offsets = (view.get("byteOffset", 0), accessor.get("byteOffset", 0))
        stride, count, start = view.get("byteStride", dtype.itemsize * width), accessor["count"], sum(offsets)
        numbers = (*offsets, stride, count)
        inside = all(isinstance(n, int) and n >= 0 for n in numbers) and stride >= dtype.itemsize * width and count > 0
        if not inside or start + (count - 1) * stride + dtype.itemsize * width > len(self.data):
            self.fail("accessors inside the buffer", f"one of {count} values beyond its {len(self.data)} bytes")
        steps = (stride, dtype.itemsize)
        values = np.ndarray((count, width), dtype, self.data, start, steps).astype(np.float64)
        if accessor.get("normalized") and dtype.kind in "iu":
            values = np.maximum(values / np.iinfo(dtype).max, -1.0)
        if not np.isfinite(values).all():
            self.fail("finite numbers", "NaN or infinity")
        return values

    def motion(self) -> NodeMotion:
        nodes = self.json.get("nodes", [])
        animations = self.json.get("animations", [])
        if not animations and any("handpipe" in (node.get("extras") or {}) for node in nodes):
            # One frame, as `handpipe export` once wrote it.
            animations = [{"samplers": [], "channels": []}]
        if not animations:
            self.fail("an animation", "none")
        samplers, extras_fps = animations[0]["samplers"], _number(animations[0].get("extras"))
        keys = [self.accessor(sampler["input"])[:, 0] for sampler in samplers]
        if any((np.diff(key) <= 0).any() for key in keys):
            self.fail("times that increase", "times that do not")
        times = self._times(keys, extras_fps)
        local = [{path: np.array(node.get(path, rest), float) for path, rest in _REST.items()} for node in nodes]
        for channel in animations[0]["channels"]:
            target, sampler = channel["target"], samplers[channel["sampler"]]
            if target.get("path") in _REST and "node" in target:
                values = self._sampled(sampler, keys[channel["sampler"]], times, target["path"])
                _item(local, target["node"])[target["path"]] = values
        return NodeMotion(
            tuple(str(node.get("name", "")) for node in nodes),
            tuple("mesh" in node for node in nodes),
            tuple(node["extras"] if isinstance(node.get("extras"), dict) else {} for node in nodes),
            self._positions(nodes, local, len(times)),
            times,
            even_rate(times) if len(times) > 1 else extras_fps,
        )

    def _times(self, keys: list[ndarray], fps: float | None) -> ndarray:
        """(frame,) even times; one where nothing moves in time."""
        every = np.unique(np.concatenate([*keys, *([] if keys else [np.zeros(1)])]))
        # The same time in channels that were rounded differently.
        every = every[np.r_[True, np.diff(every) > SAME_TIME_S]]
        try:
            return even_times(every, fps)
        except SessionError as error:
            raise SessionError(f"{self.where}: {error} {_REMEDY}.") from error

    def _sampled(self, sampler: dict[str, Any], keys: ndarray, times: ndarray, path: str) -> ndarray:
        """(frame, width) one channel at the times; held before its first and after its last key."""
        values = self.accessor(sampler["output"])
        how = sampler.get("interpolation", "LINEAR")
        tangents = None
        if how == "CUBICSPLINE":
            tangents, values = (values[2::3], values[0::3]), values[1::3]
        if values.shape != (len(keys), len(_REST[path])):
            self.fail(f"{len(keys)} values of {path}", f"an array of shape {values.shape}")
        if len(keys) == len(times) and (np.abs(keys - times) <= SAME_TIME_S).all():
            return values
        if how == "STEP" or len(keys) == 1:
            return values[np.clip(np.searchsorted(keys, times + SAME_TIME_S, side="right") - 1, 0, None)]
        at = np.clip(times, keys[0], keys[-1])
        if tangents is not None:
            return _spline(keys, values, *tangents, at)
        if path == "rotation":
            return Slerp(keys, Rotation.from_quat(values))(at).as_quat()
        return np.stack([np.interp(at, keys, column) for column in values.T], axis=-1)

    def _positions(self, nodes: list[dict[str, Any]], local: list[dict[str, ndarray]], frames: int) -> ndarray:
        """(frame, node, 3)"""
        parent = np.full(len(nodes), -1)
        for number, node in enumerate(nodes):
            for child in node.get("children", []):
                _item(nodes, child)
                if parent[child] >= 0 or child == number:
                    self.fail("a tree of nodes", f"node {child} below two others")
                parent[child] = number
        world: dict[int, ndarray] = {}
        out = np.empty((frames, len(nodes), 3))
        todo = [number for number in range(len(nodes)) if parent[number] < 0]
        while todo:
            number = todo.pop()
            T = self._transform(nodes[number], local[number])
            if parent[number] >= 0:
                T = world[int(parent[number])] @ T
            world[number] = T
            out[:, number] = T[..., :3, 3]
            todo += nodes[number].get("children", [])
        if len(world) < len(nodes):
            self.fail("a tree of nodes", "a circle")
        return out

    def _transform(self, node: dict[str, Any], parts: dict[str, ndarray]) -> ndarray:
        """(..., 4, 4) a node in its parent's frame; with a leading axis where it moves."""
        if "matrix" in node:
            return np.array(node["matrix"], float).reshape(4, 4).T
        quaternion = parts["rotation"]
        if (np.linalg.norm(quaternion, axis=-1) < 0.5).any():
            self.fail("unit quaternions", "one of length zero")
        R = Rotation.from_quat(quaternion).as_matrix() * parts["scale"][..., None, :]
        T = np.zeros((*np.broadcast_shapes(R.shape[:-2], parts["translation"].shape[:-1]), 4, 4))
        T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = R, parts["translation"], 1.0
        return T


def _spline(keys: ndarray, values: ndarray, leaving: ndarray, entering: ndarray, at: ndarray) -> ndarray:
    """(frame, width) of the cubic spline through (key, width) values with tangents after and before each key."""
    first = np.clip(np.searchsorted(keys, at, side="right") - 1, 0, len(keys) - 2)
    step = (keys[first + 1] - keys[first])[:, None]
    u = (at - keys[first])[:, None] / step
    ends = (1 + 2 * u) * (1 - u) ** 2 * values[first] + u**2 * (3 - 2 * u) * values[first + 1]
    return ends + step * (u * (1 - u) ** 2 * leaving[first] + u**2 * (u - 1) * entering[first + 1])


def _item(items: list[Any], number: Any) -> Any:
    """An element by a number from a file: never counted from the end."""
    if not isinstance(number, int) or not 0 <= number < len(items):
        raise IndexError(f"no element {number!r}")
    return items[number]


def _number(extras: Any) -> float | None:
    fps = extras.get("fps") if isinstance(extras, dict) else None
    return float(fps) if isinstance(fps, int | float) and 0 < fps < np.inf else None
