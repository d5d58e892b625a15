"""Video cameras in Vicon's calibration (`*.xcp`, XML), read.

Every Camera has SENSOR_SIZE, and its first KeyFrame FOCAL_LENGTH and PRINCIPAL_POINT in pixels, POSITION in millimetres
and ORIENTATION, the quaternion x, y, z, w of the rotation from the world to the camera, whose axes are OpenCV's.
VICON_RADIAL2 is `Vicon3Parameter cx cy k1 k2 k3`: a pixel at u = c + d is moved to c + d (1 + k1 |d|^2 + k2 |d|^4 + k3
|d|^6) by *removing* the distortion, in pixels. OpenCV's model adds it; its five coefficients are fitted to Vicon's over
the image, and a lens that they miss by more than `MAX_MISS_PX` is refused. Marker cameras and cameras without a
KeyFrame are left out.

Established from the readers of Pose2Sim (Pose2Sim/calibration.py: names, sizes), OpenCap's laboratory validation
(poses) and AviAlSync's Vicon loader (poses, and the direction of the lens, which it checked on videos). What none of
them is sure of is refused: an aspect ratio other than 1, and distortion in VICON_RADIAL alone.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from numpy import ndarray
from scipy.spatial.transform import Rotation

from ...core.cameras import Cameras
from ...core.cameras_file import Section, assemble, camera_error
from .format import CameraFormat, numbers_in, parse_vendor_xml, xml_numbers

MAX_MISS_PX = 0.5
"""How far OpenCV's lens may put a pixel of the image from where Vicon's does."""


def _read(path: Path, text: str, part: str | None) -> Cameras:
    cameras = parse_vendor_xml(path, text).findall("Camera")
    films = [camera for camera in cameras if "video" in camera.get("TYPE", "").lower() or camera.get("ISDV") == "2"]
    if not films:
        found = ", ".join(sorted({camera.get("TYPE", "no TYPE") for camera in cameras})[:4]) or "no camera"
        raise camera_error(path, "a video camera, with VIDEO in its TYPE", found, "Calibrate the video cameras.")
    keyed = [(camera, camera.find("KeyFrames/KeyFrame")) for camera in films]
    return assemble([_section(path, camera, key) for camera, key in keyed if key is not None], path)


def _section(path: Path, camera: ET.Element, key: ET.Element) -> Section:
    name = camera.get("DEVICEID", "")
    where = f"{path}: camera {name}"
    size = xml_numbers(where, camera, "SENSOR_SIZE", count=2)
    values = xml_numbers(where, key, "FOCAL_LENGTH", "PRINCIPAL_POINT", "ORIENTATION", "POSITION", count=10)
    if not values[3:7].any():
        raise camera_error(f"{where} ORIENTATION", "a quaternion", "0 0 0 0", "Export the calibration again.")
    aspect = camera.get("PIXEL_ASPECT_RATIO", "1")
    if numbers_in(f"{where} PIXEL_ASPECT_RATIO", aspect, 1) != 1:
        raise camera_error(where, "PIXEL_ASPECT_RATIO 1", aspect, "Calibrate the cameras with another program.")
    focal, center = values[0], values[1:3]
    rotation = Rotation.from_quat(values[3:7]).as_matrix()
    table = {
        "size": size.tolist(),
        "matrix": [[focal, 0.0, center[0]], [0.0, focal, center[1]], [0.0, 0.0, 1.0]],
        "distortions": _distortion(where, key, focal, center, size).tolist(),
        "rotation": rotation.tolist(),
        "translation": (-rotation @ values[7:]).tolist(),
    }
    return Section(path, f"camera {name}", table, name)


def _distortion(where: str, key: ET.Element, focal: float, center: ndarray, size: ndarray) -> ndarray:
    """(5,) OpenCV's coefficients nearest to Vicon's lens."""
    where, (model, _, rest) = f"{where} VICON_RADIAL2", key.get("VICON_RADIAL2", "").partition(" ")
    if not model:
        if any(word.strip("0.") for word in key.get("VICON_RADIAL", "").split()):
            raise camera_error(where, "the lens", "VICON_RADIAL alone", "Calibrate with a newer Vicon program.")
        return np.zeros(5)
    if model != "Vicon3Parameter":
        raise camera_error(where, "Vicon3Parameter", model[:60], "Calibrate the cameras with another program.")
    values = numbers_in(where, rest, 5)
    if not values[2:].any():
        return np.zeros(5)
    seen = np.stack(np.meshgrid(*(np.linspace(0, s - 1, 25) for s in size)), -1).reshape(-1, 2)
    offset = seen - values[:2]
    d2 = (offset**2).sum(-1, keepdims=True)
    straight = values[:2] + offset * (1 + d2 * (values[2] + d2 * (values[3] + d2 * values[4])))
    (x, y), moved = ((straight - center) / focal).T, (seen - straight) / focal
    r2 = x**2 + y**2
    columns = np.stack(
        [
            np.stack([x * r2, x * r2**2, 2 * x * y, r2 + 2 * x**2, x * r2**3], -1),
            np.stack([y * r2, y * r2**2, r2 + 2 * y**2, 2 * x * y, y * r2**3], -1),
        ],
        axis=1,
    )
    finite = np.isfinite(columns).all()
    found = np.linalg.lstsq(columns.reshape(-1, 5), moved.ravel())[0] if finite else np.zeros(5)
    miss_px = focal * np.linalg.norm(columns @ found - moved, axis=-1).max() if finite else np.inf
    if not miss_px <= MAX_MISS_PX:
        raise camera_error(
            where,
            f"a lens that OpenCV's five coefficients hold within {MAX_MISS_PX:g} px",
            f"one that they miss by {miss_px:.2g} px",
            "Undistort the images with Vicon's lens, and give cameras without distortion.",
        )
    return found


FORMAT = CameraFormat(
    name="vicon",
    title="Vicon's calibration, `*.xcp`",
    names="`DEVICEID`",
    pose="position, and quaternion, w last; world to camera",
    lens="Vicon3Parameter, as k1, k2, p1, p2, k3 within 0.5 px",
    pixel="taken as the centre of the first pixel: Vicon does not say",
    unit_m=1e-3,
    suffixes=(".xcp",),
    reads="one XML file; cameras that do not film are left out",
    recognises=lambda path, text: text.lstrip().startswith("<") and "<Cameras" in text and "DEVICEID" in text,
    read=_read,
)
