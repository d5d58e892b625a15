"""Motion that is drawn, and written to files of every format for faults to be planted in."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from _faults_planting import handpipe
from numpy import ndarray
from numpy.random import Generator

from handpipe.core.hands import HANDS
from handpipe.core.storage.store import Store
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion

FRAMES, FPS = 40, 30.0
MODELS = tuple(HandModel.procedural(hand) for hand in HANDS)
NUMBERS = ("global_orient", "hand_pose", "transl")


def mano_arrays(rng: Generator) -> tuple[dict[str, ndarray], ndarray]:
    """A drawn motion as `import mano-motion` reads it, and its joints (frame, hand, joint, 3), metres."""
    motion = two_hand_motion(FRAMES, FPS, int(rng.integers(10_000)))
    arrays: dict[str, ndarray] = {
        "fps": np.array(FPS),
        "hand_model": np.array([model.model_id for model in MODELS]),
        "flat_hand_mean": np.array(True),
    }
    joints = []
    for index, (hand, model) in enumerate(zip(HANDS, MODELS, strict=True)):
        arrays[f"{hand}_betas"] = motion.betas[index].astype(np.float32)
        for name in NUMBERS:
            arrays[f"{hand}_{name}"] = getattr(motion, name)[:, index].astype(np.float32)
        joints.append(model.joints(motion.betas[index], *(getattr(motion, name)[:, index] for name in NUMBERS)))
    return arrays, np.stack(joints, axis=1)


def keypoints_npz(path: Path, points: ndarray) -> Path:
    """(frame, hand, joint, 3) as `import keypoints` reads it."""
    np.savez(path, points=points, fps=np.array(FPS))
    return path


def stored_points(root: Path, group: str = "keypoints") -> ndarray:
    """(frame, hand, joint, 3) of an imported session."""
    return np.asarray(Store(str(root / "session.zarr")).read(group, "points" if group == "keypoints" else "joints"))


def stored_fps(root: Path, group: str = "keypoints") -> float:
    return float(Store(str(root / "session.zarr")).attrs(group)["fps"])


def exported(folder: Path, rng: Generator, format: str, name: str) -> tuple[Path, ndarray]:
    """A file of a format, and its joints (frame, hand, joint, 3), metres."""
    arrays, points = mano_arrays(rng)
    np.savez(folder / "motion.npz", **arrays)  # pyright: ignore[reportArgumentType]
    for command in (
        ("import", "mano-motion", folder / "motion.npz", folder / "motion"),
        ("export", format, folder / "motion", "--out", folder / name),
    ):
        ran = handpipe(*command)
        assert ran.status == 0, ran.said
    return folder / name, points


class Glb:
    """A binary glTF file whose animation can be changed."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        length = struct.unpack_from("<I", data, 12)[0]
        self.path = path
        self.json: dict[str, Any] = json.loads(data[20 : 20 + length])
        self.data = data[28 + length :]

    def values(self, accessor: int) -> ndarray:
        """(count, width) float32."""
        entry = self.json["accessors"][accessor]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[entry["type"]]
        start = self.json["bufferViews"][entry["bufferView"]].get("byteOffset", 0) + entry.get("byteOffset", 0)
        return np.frombuffer(self.data, np.float32, entry["count"] * width, start).reshape(-1, width)

    def add(self, values: ndarray) -> int:
        """A new accessor of (count, width) values."""
        width = values.shape[1]
        self.data += bytes(-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": values.size * 4}
        self.data += values.astype(np.float32).tobytes()
        entry: dict[str, Any] = {"bufferView": len(self.json["bufferViews"]), "componentType": 5126}
        entry |= {"count": len(values), "type": {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[width]}
        if width == 1:
            entry |= {"min": [float(values.min())], "max": [float(values.max())]}
        self.json["bufferViews"].append(view)
        self.json["accessors"].append(entry)
        return len(self.json["accessors"]) - 1

    @property
    def samplers(self) -> list[dict[str, Any]]:
        return self.json["animations"][0]["samplers"]

    def save(self) -> Path:
        self.json["buffers"][0]["byteLength"] = len(self.data)
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        data = self.data + bytes(-len(self.data) % 4)
        whole = struct.pack("<III", 0x46546C67, 2, 28 + len(text) + len(data))
        whole += struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
        self.path.write_bytes(whole)
        return self.path
