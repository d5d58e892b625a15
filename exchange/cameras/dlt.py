"""Direct linear transformation coefficients, as DLTdv, easyWand and Argus have them: csv, in and out.

11 rows, a column per camera, no header: u = (L1 x + L2 y + L3 z + L4) / (L9 x + L10 y + L11 z + 1), v likewise from L5
to L8. The first pixel is (1, 1). v counts down from the upper edge in DLTdv8 and easyWand; in DLTdv to version 7 and in
Argus it counts up from the lower edge, and `FILE#HEIGHT` says how high the images are. The two are told apart by the
mirror in the rotation, for which the world's origin has to be in front of every camera. Coefficients hold no
distortion: they are for undistorted pixels. The views are cam_1, cam_2, ... in the order of the columns.

Established from DLTdv (its author's dlt_inverse.m and DLTcameraPosition.m) for the equation and the pose, and from
Kinetrace's table of conventions for the first pixel and the direction of v.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy import ndarray
from scipy.linalg import rq

from ...core.cameras import Cameras
from ...core.cameras_file import Section, assemble, camera_error
from ...core.files import LARGE
from .format import CameraFormat, pinhole_losses

ROWS = 11
MAX_SKEW = 1e-3
"""Of the focal length: less is dropped, half a pixel or so; more is another camera than ours."""


def _rows(text: str) -> list[list[str]]:
    return [re.split(r"[,;\s]+", line.strip().strip(",;")) for line in text.splitlines() if line.strip(" ,;\t")]


def _recognises(path: Path, text: str) -> bool:
    rows = _rows(text[:100_000])
    return len(rows) == ROWS and all(re.fullmatch(r"[-+.\deE]+|[nN]a[nN]", word) for row in rows for word in row)


def _read(path: Path, text: str, part: str | None) -> Cameras:
    try:
        table = np.array(_rows(text), dtype=float)
    except ValueError:
        raise camera_error(path, f"{ROWS} rows with a number per camera", "other rows", "Export it again.") from None
    if part is not None and not re.fullmatch(r"[1-9]\d{0,5}", part):
        raise camera_error(path, "the height of the images in pixels after #", part, "As in FILE#1080.")
    return assemble([_section(path, i, column, part) for i, column in enumerate(table.T, start=1)], path)


def _section(path: Path, number: int, column: ndarray, height: str | None) -> Section:
    where = f"{path}: column {number}"
    P = np.append(column, 1.0).reshape(3, 4)
    if not (np.abs(P) < LARGE).all() or np.linalg.matrix_rank(P[:, :3]) < 3:
        raise camera_error(where, "11 coefficients of a camera", "others", "Calibrate this camera again.")
    down = [0.0, 1.0, -1.0] if height is None else [0.0, -1.0, float(height)]
    P = np.array([[1.0, 0.0, -1.0], down, [0.0, 0.0, 1.0]]) @ P / np.linalg.norm(P[2, :3])
    if np.linalg.det(P[:, :3]) < 0:
        if height is None:
            advice = (
                f"If v counts up from the lower edge (DLTdv to 7, Argus), give the height: `--from {path.name}#1080`."
            )
        else:
            advice = f"If v counts down from the upper edge (DLTdv8, easyWand), leave out #{height}."
        raise camera_error(where, "right-handed axes, and the world's origin in front", "a mirror", advice)
    K, rotation = rq(P[:, :3])
    signs = np.sign(np.diag(K))
    K, rotation = K * signs, signs[:, None] * rotation
    if abs(K[0, 1]) > MAX_SKEW * K[0, 0]:
        advice = "Calibrate with easyWand or Argus, or with the modified DLT."
        raise camera_error(where, "pixels without skew", f"a skew of {K[0, 1] / K[0, 0]:.2g}", advice)
    table = {
        "size": [0, 0],
        "matrix": [[K[0, 0], 0.0, K[0, 2]], [0.0, K[1, 1], K[1, 2]], [0.0, 0.0, 1.0]],
        "distortions": [0.0],
        "rotation": rotation.tolist(),
        "translation": np.linalg.solve(K, P[:, 3]).tolist(),
    }
    return Section(path, f"column {number}", table, f"cam_{number}")


def _write(path: Path, cameras: Cameras) -> dict[Path, str]:
    P = cameras.K @ cameras.P_cam_world
    P[:, :2] += P[:, 2:]
    behind = [name for name, depth in zip(cameras.names, P[:, 2, 3], strict=True) if not depth > 0]
    if behind:
        advice = "Calibrate with `--calibration.world board`, on a board that every camera sees."
        raise camera_error("DLT", "the world's origin in front of every camera", f"not so for {behind[0]}", advice)
    table = (P / P[:, 2:, 3:]).reshape(len(P), -1)[:, :ROWS].T
    return {path: "".join(",".join(map(repr, row)) + "\n" for row in table.tolist())}


FORMAT = CameraFormat(
    name="dlt",
    title="DLT coefficients of DLTdv, easyWand and Argus",
    suffixes=(".csv",),
    reads="csv, 11 rows and a column per camera; `FILE#HEIGHT` where v counts up from the lower edge",
    writes="the same, v down from the upper edge",
    loses="names (a view is a column), distortion (it says how many pixels that is), image sizes",
    recognises=_recognises,
    read=_read,
    write=_write,
    losses=lambda cameras: [
        f"names: the columns are {', '.join(cameras.names)}",
        *pinhole_losses(cameras),
    ],
    part="the height of the images",
    names="`cam_1`, `cam_2`, ... by column",
    pose="in the coefficients; the world's origin is in front of every camera",
    pixel="pixel (1, 1) is the centre of the first pixel",
    lens="none",
)
