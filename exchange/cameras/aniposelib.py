"""aniposelib's `cameras.toml`, which is also a session's own file: read and written by core/cameras_file.py."""

# Ring 2: reads and writes.

from __future__ import annotations

import re

from ...core.cameras_file import format_cameras, parse_cameras
from .format import CameraFormat

FORMAT = CameraFormat(
    name="aniposelib",
    title="aniposelib's `cameras.toml` (also Anipose's and Pose2Sim's)",
    suffixes=(".toml",),
    reads="one TOML file, a section per camera",
    writes="the same",
    recognises=lambda path, text: (
        bool(re.search(r"^\s*(\[cam_\w+\]|(matrix|rotation)\s*=)", text, re.MULTILINE))
        and not re.search(r"^\s*\[cameras[.\]]", text, re.MULTILINE)
    ),
    read=lambda path, text, part: parse_cameras(path, text),
    write=lambda path, cameras: {path: format_cameras(cameras)},
    names="`name`",
    pose="Rodrigues vector, or a matrix; world to camera",
    lens="k1, k2, p1, p2, k3; fisheye",
)
