"""glTF 2.0 (Khronos)."""

# Ring 2: reads and writes.

from __future__ import annotations

from pathlib import Path

from ....hand.keypoints import Keypoints
from ...recording import Recording
from ..format import MotionFormat


def _write(recording: Recording, out: Path) -> list[str]:
    from .hands import write

    return write(recording, out)


def _read(path: Path, sigma_m: float, fps: float | None, unit_m: float | None) -> Keypoints:
    from .hands import read

    return read(path, sigma_m, fps, unit_m)


FORMAT = MotionFormat(
    name="gltf",
    title="Skinned, animated meshes in glTF, for viewers, game engines and Blender",
    suffixes=(".glb", ".gltf"),
    reads="nodes with names like left_index_mcp or LeftHandIndex1, in the first animation; everything in one .glb file",
    writes="a mesh with 16 joints and their animation for each hand, y up",
    loses="pose correctives (0.05 mm of skin on average, at most 2 mm), skinning weights beyond four per vertex",
    write=_write,
    read=_read,
    read_back="keypoints FILE OUT",
    within=1e-6,
)
