"""Video cameras in Qualisys Track Manager's calibration (`*.qca.txt`, XML), read.

`transform` is the camera's position x, y, z in millimetres and the rotation from the world to a camera that looks
along -z with y up: r11, r12, r13 are its first row. `intrinsic` is in 1/64 pixel of the sensor; `fov_video` is the part
of the sensor that is in the video, its right and bottom pixels included. The distortion coefficients are OpenCV's,
without a unit. Marker cameras, which do not film, and cameras that say calibrated="false" are left out.

Established from the readers of Pose2Sim (Pose2Sim/calibration.py) and of two projects that read Qualisys' calibration
for its videos: humancalib, and an overlay of markers on Miqus videos. Pose2Sim divides the distortion by 64 as well;
the other two, and the values in real files, say that it has no unit. None of them says what `viewrotation` does to an
exported video: it is ignored, as they do.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from ...core.cameras import Cameras
from ...core.cameras_file import Section, assemble, camera_error
from .format import CameraFormat, parse_vendor_xml, xml_numbers

SUBPIXELS = 64.0
"""Qualisys' units in a pixel."""
VIDEO_MODELS = ("video", "none")
"""In the model's name of a camera that films; other programs write none."""
ROTATION = tuple(f"r{row}{column}" for row in (1, 2, 3) for column in (1, 2, 3))
INTRINSIC = ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
DISTORTION = (
    *("radialDistortion1", "radialDistortion2"),
    *("tangentalDistortion1", "tangentalDistortion2", "radialDistortion3"),
)


def _read(path: Path, text: str, part: str | None) -> Cameras:
    cameras = parse_vendor_xml(path, text).findall("cameras/camera")
    models = [camera.get("model", "").lower() for camera in cameras]
    films = [c for c, model in zip(cameras, models, strict=True) if any(word in model for word in VIDEO_MODELS)]
    if not films:
        found = ", ".join(sorted(set(models))[:4]) or "no camera"
        raise camera_error(path, 'a video camera, as in model="Miqus Video"', found, "Calibrate the video cameras.")
    return assemble([_section(path, camera) for camera in films if camera.get("calibrated") != "false"], path)


def _section(path: Path, camera: ET.Element) -> Section:
    name = camera.get("serial", "")
    where, intrinsic, fov = f"{path}: camera {name}", camera.find("intrinsic"), camera.find("fov_video")
    fx, fy, cx, cy = xml_numbers(where, intrinsic, *INTRINSIC) / SUBPIXELS
    if fov is None:
        left, top = 0.0, 0.0
        right, bottom = np.floor(xml_numbers(where, intrinsic, "sensorMaxU", "sensorMaxV") / SUBPIXELS)
    else:
        left, top, right, bottom = xml_numbers(f"{where}: fov_video", fov, "left", "top", "right", "bottom")
    transform = camera.find("transform")
    # Half a turn about x: from y up and -z forward to OpenCV's axes.
    rotation = np.diag([1.0, -1.0, -1.0]) @ xml_numbers(where, transform, *ROTATION).reshape(3, 3)
    table = {
        "size": [right - left + 1, bottom - top + 1],
        "matrix": [[fx, 0.0, cx - left], [0.0, fy, cy - top], [0.0, 0.0, 1.0]],
        "distortions": xml_numbers(where, intrinsic, *DISTORTION).tolist(),
        "rotation": rotation.tolist(),
        "translation": (-rotation @ xml_numbers(where, transform, "x", "y", "z")).tolist(),
    }
    return Section(path, f"camera {name}", table, name)


FORMAT = CameraFormat(
    name="qualisys",
    title="Qualisys Track Manager's calibration, `*.qca.txt`",
    suffixes=(".qca.txt",),
    reads="one XML file; cameras that do not film are left out",
    recognises=lambda path, text: text.lstrip().startswith("<") and "<calibration" in text and "centerPointU" in text,
    read=_read,
    unit_m=1e-3,
    names="`serial`",
    pose="position, and a matrix with y up and -z forward; world to camera",
    pixel="taken as the centre of the first pixel: Qualisys does not say",
    lens="k1, k2, p1, p2, k3",
)
