"""caliscope's `camera_array.toml`, in and out: one table per camera, known by its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
from scipy.spatial.transform import Rotation

from ...core.cameras import Cameras
from ...core.cameras_file import Section, _load_toml, _section_number, assemble, camera_error, coefficients


def read_caliscope_cameras(path: str | Path) -> Cameras:
    """The cameras of caliscope's `camera_array.toml`, named `cam_<id>` like its clips; ignored ones are left out."""
    return parse_caliscope(path, _load_toml(path))


def parse_caliscope(path: str | Path, document: Mapping[str, Any]) -> Cameras:
    """The same from the file's tables."""
    tables = document.get("cameras")
    if not isinstance(tables, dict):
        raise camera_error(path, "tables [cameras.<id>]", "none", "Give the camera_array.toml that caliscope wrote.")
    ordered = sorted(tables.items(), key=lambda item: _section_number(item[0]))
    posed = [(key, value) for key, value in ordered if not isinstance(value, dict) or _is_posed(value)]
    return assemble([Section(path, f"cameras.{key}", value, f"cam_{key}") for key, value in posed], path)


def format_caliscope(cameras: Cameras) -> str:
    """The text of caliscope's `camera_array.toml`, which knows cameras by number: `caliscope_numbers`."""
    numbers, tables = caliscope_numbers(cameras.names), {}
    for i in np.nonzero(cameras.calibrated)[0]:
        tables[str(numbers[i])] = {
            "cam_id": numbers[i],
            "size": [int(s) for s in cameras.size_px[i]],
            "rotation_count": 0,
            "matrix": cameras.K[i].tolist(),
            "distortions": coefficients(cameras, int(i)).tolist(),
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
