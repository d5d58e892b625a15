"""caliscope's `camera_array.toml`, in and out: one table per camera, known by its number."""

# Ring 2: reads and writes.

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit
from scipy.spatial.transform import Rotation

from ...core.cameras import Cameras
from ...core.cameras_file import (
    Section,
    assemble,
    camera_error,
    coefficients,
    parse_toml,
    read_camera_text,
    section_number,
)
from .format import CameraFormat


def read_caliscope_cameras(path: str | Path) -> Cameras:
    """The cameras of caliscope's `camera_array.toml`, named `cam_<id>` like its clips; ignored ones are left out."""
    return parse_caliscope(path, read_camera_text(path))


def parse_caliscope(path: str | Path, text: str) -> Cameras:
    """The same from the file's text."""
    tables = parse_toml(path, text).get("cameras")
    if not isinstance(tables, dict):
        raise camera_error(path, "tables [cameras.<id>]", "none", "Give the camera_array.toml that caliscope wrote.")
    ordered = sorted(tables.items(), key=lambda item: section_number(item[0]))
    posed = [(key, value) for key, value in ordered if not isinstance(value, dict) or _is_posed(value)]
    return assemble([Section(path, f"cameras.{key}", value, f"cam_{key}") for key, value in posed], path)


def format_caliscope(cameras: Cameras) -> str:
    """The text of caliscope's `camera_array.toml`, which knows cameras by number: `caliscope_numbers`."""
    numbers, tables = caliscope_numbers(cameras.names), {}
    for i in range(len(cameras)):
        tables[str(numbers[i])] = {
            "cam_id": numbers[i],
            "size": [int(s) for s in cameras.size_px[i]],
            "rotation_count": 0,
            "matrix": cameras.K[i].tolist(),
            "distortions": coefficients(cameras, i).tolist(),
            "ignore": False,
            "translation": cameras.T_cam_world[i, :3, 3].tolist(),
            "rotation": Rotation.from_matrix(cameras.T_cam_world[i, :3, :3]).as_rotvec().tolist(),
            "fisheye": bool(cameras.fisheye[i]),
        }
    return tomlkit.dumps({"cameras": tables})


def caliscope_numbers(names: Sequence[str]) -> list[int]:
    """The numbers the names end in, where all do and they differ; otherwise 0, 1, 2, ..."""
    digits = [name[len(name.rstrip("0123456789")) :] for name in names]
    numbers = [int(d) for d in digits if d]
    return numbers if len(set(numbers)) == len(names) else list(range(len(names)))


def _is_posed(table: dict[str, Any]) -> bool:
    """Whether caliscope placed the camera: it keeps those it did not, without a pose, and those to be ignored."""
    return not table.get("ignore", False) and table.get("rotation") not in (None, "null", [])


def _losses(cameras: Cameras) -> list[str]:
    numbers = caliscope_numbers(cameras.names)
    renamed = [f"{name} is {n}" for name, n in zip(cameras.names, numbers, strict=True) if name != f"cam_{n}"]
    return [f"names: caliscope knows cameras by number; {', '.join(renamed)}"] if renamed else []


FORMAT = CameraFormat(
    name="caliscope",
    title="caliscope's `camera_array.toml`",
    suffixes=(".toml",),
    reads="one TOML file, a table `cameras.<number>` each; ignored cameras are left out",
    writes="the same",
    loses="names that are not numbers (it says which is which)",
    recognises=lambda path, text: bool(re.search(r"^\s*\[cameras[.\]]", text, re.MULTILINE)),
    read=lambda path, text, part: parse_caliscope(path, text),
    write=lambda path, cameras: {path: format_caliscope(cameras)},
    losses=_losses,
    names="`cam_<number>`",
    pose="Rodrigues vector, or a matrix (older); world to camera",
    lens="k1, k2, p1, p2, k3; fisheye",
)
