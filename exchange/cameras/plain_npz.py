"""Cameras in a plain npz file, the same as `plain_json` as arrays with the view first.

    names        (view,) text
    K            (view, 3, 3)
    R, t         (view, 3, 3) or (view, 3); (view, 3)
    T_cam_world  instead of R and t: (view, 4, 4) or (view, 3, 4)
    distortion   optional, (view, 0 to 5)
    fisheye      optional, (view,) bool; distortion is then k1, k2, k3, k4 and, where there is a fifth column, 0
    size         optional, (view, 2)

Meanings and units are those of `plain_json`. A view whose K has NaN is not calibrated and is left out.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from ...core.cameras import Cameras
from ...core.cameras_file import NUM_DISTORTION, NUM_FISHEYE, assemble, camera_error
from ...core.errors import CalibrationError
from ...core.files import read_npz
from .format import CameraFormat
from .plain_json import section

KEYS = ("K", "R", "t", "T_cam_world", "distortion", "fisheye", "size")


def _read(path: Path, text: str, part: str | None) -> Cameras:
    arrays = read_npz(path, "cameras", error=CalibrationError)
    missing = [key for key in ("names", "K") if key not in arrays]
    if missing:
        found = ", ".join(list(arrays)[:8]) or "nothing"
        raise camera_error(path, f"the array {missing[0]}", f"only {found}", "docs/cameras.md shows the layout.")
    names = [str(name) for name in arrays["names"].ravel()]
    for key in (key for key in KEYS if key in arrays):
        if arrays[key].shape[:1] != (len(names),):
            found = " x ".join(map(str, arrays[key].shape)) or "one number"
            raise camera_error(f"{path}: {key}", f"{len(names)} views first, as in names", found, "Correct it.")
    sections = []
    for i, name in enumerate(names):
        given = {key: arrays[key][i].tolist() for key in KEYS if key in arrays}
        distortion = given.get("distortion")
        if given.get("fisheye") is True and isinstance(distortion, list) and distortion[NUM_FISHEYE:] == [0.0]:
            given["distortion"] = distortion[:NUM_FISHEYE]
        if arrays["K"].dtype.kind != "f" or not np.isnan(arrays["K"][i]).any():
            sections.append(section(path, name, given))
    return assemble(sections, path)


def _write(path: Path, cameras: Cameras) -> dict[Path, bytes]:
    file = io.BytesIO()
    np.savez(
        file,
        names=np.array(cameras.names, dtype=str),
        K=cameras.K,
        distortion=cameras.distortion[:, :NUM_DISTORTION],
        fisheye=cameras.fisheye,
        R=cameras.T_cam_world[:, :3, :3],
        t=cameras.T_cam_world[:, :3, 3],
        size=cameras.size_px,
    )
    return {path: file.getvalue()}


FORMAT = CameraFormat(
    name="npz",
    title="plain npz (`numpy.savez`), for cameras that are in no tool's file",
    suffixes=(".npz",),
    reads="arrays `names`, `K`, `R`, `t` and more, the view first, see below",
    writes="the same",
    recognises=lambda path, text: path.is_file() and zipfile.is_zipfile(path),
    read=_read,
    write=_write,
    names="`names`",
    pose="matrix, or a Rodrigues vector, or one 4 x 4 matrix; world to camera",
    lens="k1, k2, p1, p2, k3; fisheye",
)
