"""Cameras in a plain JSON file, for a laboratory that has no tool's file.

The file is one object. Its keys are the names of the views; each value is an object with

    K            3 x 3 pinhole matrix, pixels: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; pixel (0, 0) is the centre of the
                 first pixel
    R, t         world to camera, x_cam = R x_world + t, axes of OpenCV (x right, y down, z forward); R is a 3 x 3
                 matrix or a Rodrigues vector of 3; t is 3 numbers, metres unless --unit-m says otherwise
    T_cam_world  instead of R and t: the same as a 4 x 4 or 3 x 4 matrix
    distortion   optional, 0 to 5 numbers, OpenCV's k1, k2, p1, p2, k3; those that are missing are 0
    fisheye      optional, true for OpenCV's fisheye model; distortion is then k1, k2, k3, k4
    size         optional, [width, height] of the images in pixels; without it that of the clips is taken

Other keys are ignored. Written are K, distortion, R, t, size, and fisheye where it is true.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.cameras import Cameras
from ...core.cameras_file import NUM_FISHEYE, Section, assemble, camera_error, coefficients
from .format import CameraFormat, parse_json

WORDS = {"matrix": "K", "distortions": "distortion", "rotation": "R", "translation": "t"}
"""What `Section` calls the keys, and what they are called here."""


def section(path: Path, name: str, given: Any) -> Section:
    """A view's entry, checked; `plain_npz` has the same."""
    if not isinstance(given, dict):
        raise camera_error(f"{path}: {name}", "a table per camera", type(given).__name__, "See docs/cameras.md.")
    table = {key: given[word] for key, word in WORDS.items() if word in given}
    words: Mapping[str, str] = WORDS
    if "T_cam_world" in given and not {"R", "t"} & given.keys():
        words = WORDS | {"rotation": "T_cam_world", "translation": "T_cam_world"}
        rows = given["T_cam_world"]
        if not (
            isinstance(rows, list) and len(rows) in (3, 4) and all(isinstance(r, list) and len(r) == 4 for r in rows)
        ):
            raise camera_error(f"{path}: [{name}] T_cam_world", "4 x 4 numbers", repr(rows)[:60], "Correct it.")
        if rows[3:] not in ([], [[0, 0, 0, 1]]):
            raise camera_error(f"{path}: [{name}] T_cam_world", "0, 0, 0, 1 last", repr(rows[3])[:60], "Correct it.")
        table |= {"rotation": [row[:3] for row in rows[:3]], "translation": [row[3] for row in rows[:3]]}
    distortion, fisheye = given.get("distortion", []), given.get("fisheye", False)
    if isinstance(distortion, list) and len(distortion) < NUM_FISHEYE and not (fisheye and distortion):
        table["distortions"] = [*distortion, *[0.0] * (NUM_FISHEYE - len(distortion))]
    return Section(path, name, table | {"size": given.get("size", [0, 0]), "fisheye": fisheye}, name, words)


def entry(cameras: Cameras, view: int) -> dict[str, Any]:
    """A view as it is written."""
    return {
        "K": cameras.K[view].tolist(),
        "distortion": coefficients(cameras, view).tolist(),
        **({"fisheye": True} if cameras.fisheye[view] else {}),
        "R": cameras.T_cam_world[view, :3, :3].tolist(),
        "t": cameras.T_cam_world[view, :3, 3].tolist(),
        "size": cameras.size_px[view].tolist(),
    }


def _read(path: Path, text: str, part: str | None) -> Cameras:
    return assemble([section(path, name, given) for name, given in parse_json(path, text).items()], path)


def _write(path: Path, cameras: Cameras) -> dict[Path, str]:
    tree = {name: entry(cameras, i) for i, name in enumerate(cameras.names)}
    return {path: json.dumps(tree, indent=1, ensure_ascii=False) + "\n"}


FORMAT = CameraFormat(
    name="json",
    title="plain JSON, for cameras that are in no tool's file",
    suffixes=(".json",),
    reads="an object with `K`, `R`, `t` and more for every view, see below",
    writes="the same",
    recognises=lambda path, text: text.lstrip().startswith("{") and '"campos"' not in text,
    read=_read,
    write=_write,
    names="the keys",
    pose="matrix, or a Rodrigues vector, or one 4 x 4 matrix; world to camera",
    lens="k1, k2, p1, p2, k3; fisheye",
)
