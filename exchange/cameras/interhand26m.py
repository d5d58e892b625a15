"""Cameras in InterHand2.6M's JSON, in and out: campos, camrot, focal and princpt of every camera, by capture.

Millimetres; x_cam = camrot (x_world - campos); no lens distortion and no image sizes, which come from the clips.
Source: Moon et al., InterHand2.6M (ECCV 2020), `InterHand2.6M_*_camera.json`.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...core.cameras import Cameras
from ...core.cameras_file import Section, assemble, camera_error
from .format import CameraFormat, parse_json, pinhole_losses

UNIT_M = 1e-3
KEYS = ("campos", "camrot", "focal", "princpt")


def read_interhand(path: Path, text: str, capture: str | None) -> Cameras:
    """The cameras of one capture, in the file's units.

    Args:
        capture: which; None where the file has only one.

    Raises:
        CalibrationError: not such a file, no such capture, or several and none was named.
    """
    tree = parse_json(path, text)
    if _is_capture(tree):
        return _rig(path, "cameras", tree)
    captures = {key: value for key, value in tree.items() if _is_capture(value)}
    if not captures:
        raise camera_error(path, f"{', '.join(KEYS)} by capture", "none", "Give InterHand2.6M's camera file.")
    if capture is None and len(captures) > 1:
        names = ", ".join(list(captures)[:8]) + (", ..." if len(captures) > 8 else "")
        advice = f"Each has its own world: name one, as in `--from {path.name}#{next(iter(captures))}`."
        raise camera_error(path, "one capture", f"{len(captures)} ({names})", advice)
    chosen = next(iter(captures)) if capture is None else capture
    if chosen not in captures:
        raise camera_error(path, f"one of the captures {', '.join(list(captures)[:8])}", chosen, "Name one of these.")
    return _rig(path, f"capture {chosen}", captures[chosen])


def format_interhand(cameras: Cameras) -> str:
    """The text of a file with one capture, 0."""
    capture: dict[str, dict[str, Any]] = {key: {} for key in KEYS}
    for i, name in enumerate(cameras.names):
        K = cameras.K[i]
        capture["campos"][name] = (cameras.centers_m[i] / UNIT_M).tolist()
        capture["camrot"][name] = cameras.T_cam_world[i, :3, :3].tolist()
        capture["focal"][name] = [K[0, 0], K[1, 1]]
        capture["princpt"][name] = [K[0, 2], K[1, 2]]
    return json.dumps({"0": capture}, indent=1, ensure_ascii=False) + "\n"


def _is_capture(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in KEYS)


def _rig(path: Path, where: str, capture: Mapping[str, Mapping[str, Any]]) -> Cameras:
    return assemble([_section(path, f"{where}, camera {name}", name, capture) for name in capture["campos"]], path)


def _section(path: Path, where: str, name: str, capture: Mapping[str, Mapping[str, Any]]) -> Section:
    for key in KEYS:
        if name not in capture[key]:
            raise camera_error(f"{path}: {where}", f"its {key}", "none", "Give a whole file.")
    try:
        (fx, fy), (cx, cy) = capture["focal"][name], capture["princpt"][name]
        center = np.array(capture["campos"][name], dtype=float).reshape(3)
        rotation = np.array(capture["camrot"][name], dtype=float).reshape(3, 3)
    except (TypeError, ValueError, OverflowError):
        sizes = "campos (3), camrot (3 x 3), focal (2) and princpt (2)"
        raise camera_error(f"{path}: {where}", sizes, "other sizes", "Give a whole file.") from None
    table = {
        "name": name,
        "size": [0, 0],
        "matrix": [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]],
        "distortions": [0.0],
        "rotation": rotation.tolist(),
        "translation": (-rotation @ center).tolist(),
    }
    return Section(path, where, table, None)


FORMAT = CameraFormat(
    name="interhand",
    title="InterHand2.6M's camera JSON",
    suffixes=(".json",),
    reads="`campos`, `camrot`, `focal`, `princpt` by capture; `FILE#CAPTURE` takes one",
    writes="one capture, 0",
    loses="distortion (it says how many pixels that is), image sizes",
    recognises=lambda path, text: text.lstrip().startswith("{") and '"campos"' in text,
    read=read_interhand,
    write=lambda path, cameras: {path: format_interhand(cameras)},
    losses=lambda cameras: [*pinhole_losses(cameras), "units: millimetres"],
    unit_m=UNIT_M,
    part="a capture",
    names="the camera's key",
    pose="`camrot` (x - `campos`)",
    lens="none",
)
