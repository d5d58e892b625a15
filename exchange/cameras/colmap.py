"""Cameras in COLMAP's text model (cameras.txt, images.txt, points3D.txt), in and out.

COLMAP's poses are world to camera like ours, quaternions w first; its axes are OpenCV's. Its pixel (0.5, 0.5) is the
centre of the first pixel, ours is (0, 0): half a pixel is added to the principal point on the way out. A reconstruction
of COLMAP's has no scale of its own; whoever reads one says how long its unit is.

Source: https://colmap.github.io/format.html, https://colmap.github.io/cameras.html.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from numpy import ndarray
from scipy.spatial.transform import Rotation

from ...core.cameras import Cameras
from ...core.cameras_file import Section, assemble, camera_error, read_camera_text
from .format import CameraFormat

CENTER_PX = 0.5
"""COLMAP's coordinate of the centre of the first pixel."""

MODELS: Mapping[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
"""Parameters of the models that are, or hold, OpenCV's standard lens or its fisheye."""

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
FILES = ("cameras.txt", "images.txt")

T = TypeVar("T")


def read_colmap(path: Path) -> Cameras:
    """One view per image, named by the image: its stem, or its folder where every image has a folder of its own.

    Args:
        path: the folder, or one of its files.

    Raises:
        CalibrationError: a file is missing, a line cannot be read, or a lens is not OpenCV's; names file and line.
    """
    folder = path if path.is_dir() else path.parent
    for name in FILES:
        if not (folder / name).exists():
            if (folder / "images.bin").exists():
                advice = (
                    f"Convert it: `colmap model_converter --input_path {folder} --output_path OUT --output_type TXT`."
                )
                raise camera_error(folder, "COLMAP's text model", "the binary one", advice)
            raise camera_error(folder, f"{name} of COLMAP's text model", "none", f"It needs {' and '.join(FILES)}.")
    texts = {name: read_camera_text(folder / name) for name in FILES}
    lenses = {key: lens for key, lens in _lines(folder / FILES[0], texts[FILES[0]], 1, _lens)}
    images = _lines(folder / FILES[1], texts[FILES[1]], 2, _image)
    names = _view_names([image[2] for image in images])
    sections = []
    for name, (camera, pose, picture) in zip(names, images, strict=True):
        if camera not in lenses:
            where, known = folder / FILES[1], ", ".join(sorted(lenses)) or "none"
            raise camera_error(f"{where}: {picture}", f"a camera of {FILES[0]} ({known})", camera, "Export both again.")
        sections.append(Section(folder, picture, {"name": name, **lenses[camera], **pose}, None))
    return assemble(sections, folder)


def format_colmap(cameras: Cameras) -> dict[str, str]:
    """Contents of the three files by name; each view has a camera of its own.

    Raises:
        CalibrationError: a view's name has a space, which images.txt cannot hold.
    """
    cameras_txt = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    images_txt = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; then a line of POINTS2D[]"]
    for i, name in enumerate(cameras.names):
        number = i + 1
        if any(c.isspace() for c in name):
            raise camera_error("COLMAP's images.txt", "names without spaces", repr(name), "Rename the view's clip.")
        model = lens_model(cameras.distortion[i], bool(cameras.fisheye[i]))
        width, height = (int(s) for s in cameras.size_px[i])
        cameras_txt.append(f"{number} {model} {width} {height} {_numbers(_parameters(cameras, i, model))}")
        x, y, z, w = Rotation.from_matrix(cameras.T_cam_world[i, :3, :3]).as_quat()
        pose = _numbers([w, x, y, z, *cameras.T_cam_world[i, :3, 3]])
        images_txt += [f"{number} {pose} {number} {name}.png", ""]
    texts = {FILES[0]: cameras_txt, FILES[1]: images_txt, "points3D.txt": ["# No points: the cameras alone."]}
    return {name: "\n".join(lines) + "\n" for name, lines in texts.items()}


def lens_model(distortion: ndarray, fisheye: bool) -> str:
    """COLMAP's smallest model that holds the coefficients (5,) exactly."""
    if fisheye:
        return "OPENCV_FISHEYE"
    if not distortion.any():
        return "PINHOLE"
    return "FULL_OPENCV" if distortion[4] else "OPENCV"


def _parameters(cameras: Cameras, view: int, model: str) -> list[float]:
    K = cameras.K[view]
    pinhole = [K[0, 0], K[1, 1], K[0, 2] + CENTER_PX, K[1, 2] + CENTER_PX]
    values = [*pinhole, *cameras.distortion[view], 0.0, 0.0, 0.0]
    return values[: len(MODELS[model])]


def _numbers(values: Sequence[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _lines(path: Path, text: str, step: int, parse: Callable[[str], T]) -> list[T]:
    """The parsed lines of a file: every one, or every second where each is followed by a line of points."""
    out, rows = [], enumerate(text.splitlines(), start=1)
    for number, line in rows:
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                out.append(parse(line))
            except (ValueError, IndexError) as error:
                raise camera_error(f"{path}: line {number}", "COLMAP's text", str(error), "Export it again.") from None
            if step == 2:
                next(rows, None)
    return out


def _lens(line: str) -> tuple[str, dict[str, object]]:
    number, model, width, height, *values = line.split()
    if model not in MODELS:
        raise ValueError(f"the lens {model}, where only {', '.join(MODELS)} are known")
    if len(values) != len(MODELS[model]):
        raise ValueError(f"{len(values)} parameters of {model} and not {len(MODELS[model])}")
    lens = dict(zip(MODELS[model], map(float, values), strict=True))
    fx, fy = lens.get("fx", lens.get("f", 0.0)), lens.get("fy", lens.get("f", 0.0))
    K = [[fx, 0.0, lens["cx"] - CENTER_PX], [0.0, fy, lens["cy"] - CENTER_PX], [0.0, 0.0, 1.0]]
    names = ("k1", "k2", "p1", "p2", "k3") + (("k4", "k5", "k6") if model == "FULL_OPENCV" else ())
    fisheye = model.endswith("FISHEYE")
    distortions = [lens.get(name, 0.0) for name in (("k1", "k2", "k3", "k4") if fisheye else names)]
    return number, {
        "size": [int(width), int(height)],
        "matrix": K,
        "distortions": distortions,
        "fisheye": fisheye,
    }


def _image(line: str) -> tuple[str, dict[str, object], str]:
    """The camera, the pose and the picture's name of a line."""
    values = line.split(maxsplit=9)
    quat, translation = [float(v) for v in values[1:5]], [float(v) for v in values[5:8]]
    if not abs(np.linalg.norm(quat) - 1) < 1e-3:
        raise ValueError(f"a quaternion of length {np.linalg.norm(quat):g} and not 1")
    w, x, y, z = quat
    rotation = Rotation.from_quat([x, y, z, w]).as_matrix().tolist()
    return values[8], {"rotation": rotation, "translation": translation}, values[9].strip()


def _view_names(pictures: Sequence[str]) -> list[str]:
    paths = [PurePosixPath(picture) for picture in pictures]
    folders = [str(path.parent) for path in paths]
    if len(paths) > 1 and len(set(folders)) == len(folders):
        return folders
    return [path.stem if path.suffix.lower() in PICTURES else path.name for path in paths]


def _recognises(path: Path, text: str) -> bool:
    if path.is_dir():
        return all((path / name).exists() for name in FILES) or (path / "images.bin").exists()
    return path.name in FILES or bool(re.search(rf"^\d+ ({'|'.join(MODELS)}) \d+ \d+ ", text, re.MULTILINE))


def _losses(cameras: Cameras) -> list[str]:
    rows = zip(cameras.distortion, cameras.fisheye.tolist(), strict=True)
    models = sorted({lens_model(*row) for row in rows}, key=list(MODELS).index)
    return [
        f"lenses: written as {' and '.join(models)}, which hold the coefficients exactly",
        "pixels: the principal points count from the corner of the first pixel, half a pixel more",
        "names: a view is an image, <view>.png",
    ]


FORMAT = CameraFormat(
    name="colmap",
    title="COLMAP's text model",
    reads="a folder with `cameras.txt` and `images.txt`",
    writes="the same, and an empty `points3D.txt`",
    loses="names with spaces are refused",
    recognises=_recognises,
    read=lambda path, text, part: read_colmap(path),
    write=lambda path, cameras: {path / name: text for name, text in format_colmap(cameras).items()},
    losses=_losses,
    names="the image's stem, or its folder where each image has its own",
    pose="quaternion, w first; world to camera; a reconstruction has no scale of its own",
    pixel="corner of the first pixel: +0.5 to the principal point",
    lens="PINHOLE without distortion, OPENCV with k3 = 0, else FULL_OPENCV, or OPENCV_FISHEYE: exact; "
    "SIMPLE_ and RADIAL (also _FISHEYE) are read",
)
