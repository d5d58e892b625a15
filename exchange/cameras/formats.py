"""Camera files of every format handpipe knows: which one a file is, reading it, writing it, and what is lost.

A format is found by what a file holds, not by its name. docs/cameras.md has the table of their conventions.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, assert_never, get_args

import numpy as np

from ...core.atomic import appearing, write_whole
from ...core.cameras import Cameras
from ...core.cameras_file import camera_error, check_metres, format_cameras, parse_aniposelib
from .caliscope import caliscope_numbers, format_caliscope, parse_caliscope
from .colmap import FILES, MODELS, format_colmap, lens_model, read_colmap
from .interhand26m import UNIT_M, format_interhand, read_interhand
from .opencv import format_opencv, is_opencv, read_opencv, read_opencv_folder

Format = Literal["aniposelib", "caliscope", "opencv", "colmap", "interhand"]

MAX_BYTES = 64 * 2**20
"""Larger is not a camera file; COLMAP's images.txt with its points may be some megabytes."""


@dataclass(frozen=True)
class CameraFile:
    """What was found in a file."""

    cameras: Cameras
    """In metres; a size of 0 x 0 where the format does not tell."""
    format: Format
    unit_m: float
    """Metres in one unit of the file."""


def read_camera_file(source: str, unit_m: float | None = None) -> CameraFile:
    """The cameras of a file, or of a folder of files, in any of the formats.

    Args:
        source: its path; `FILE#CAPTURE` for one capture of InterHand2.6M's file.
        unit_m: metres in one unit of the file; None is a metre, or a millimetre for InterHand2.6M's.

    Raises:
        CalibrationError: no such file, an unknown format, a camera that is incomplete or impossible, or a rig that
            is too large or too small for the unit.
    """
    path, capture = Path(source), None
    if not path.exists() and "#" in source:
        name, capture = source.rsplit("#", 1)
        path = Path(name)
    cameras, format = _read_folder(path) if path.is_dir() else _read_file(path, capture)
    if capture is not None and format != "interhand":
        raise camera_error(path, "captures (#) in InterHand2.6M's file only", format, f"Leave out #{capture}.")
    unit_m = unit_m or (UNIT_M if format == "interhand" else 1.0)
    T_cam_world = cameras.T_cam_world.copy()
    T_cam_world[:, :3, 3] *= unit_m
    cameras = replace(cameras, T_cam_world=T_cam_world)
    check_metres(cameras, path)
    return CameraFile(cameras, format, unit_m)


def write_camera_file(path: Path, cameras: Cameras, format: Format) -> list[str]:
    """Write the calibrated views. COLMAP's is a folder of three files; OpenCV's is XML if the name ends so, else YAML.

    Returns:
        What the format does not hold, a sentence each.

    Raises:
        CalibrationError: nothing to write, or a name the format cannot hold.
        DiskError: it cannot be written.
    """
    if not cameras.calibrated.any():
        raise camera_error(path, "a calibrated camera to write", "none", "Calibrate first.")
    match format:
        case "aniposelib":
            texts = {path: format_cameras(cameras)}
        case "caliscope":
            texts = {path: format_caliscope(cameras)}
        case "opencv":
            texts = {path: format_opencv(cameras, xml=path.suffix.lower() == ".xml")}
        case "colmap":
            texts = {path / name: text for name, text in format_colmap(cameras).items()}
        case "interhand":
            texts = {path: format_interhand(cameras)}
        case _:
            assert_never(format)
    if path not in texts and (not path.exists() or (path.is_dir() and not any(path.iterdir()))):
        with appearing(path) as place:
            place.mkdir()
            for file, text in texts.items():
                (place / file.name).write_text(text, encoding="utf-8")
    else:
        for file, text in texts.items():
            write_whole(file, text)
    return losses(cameras, format)


def losses(cameras: Cameras, format: Format) -> list[str]:
    """What a file of the format does not hold of the rig, or holds in other words."""
    messages = [
        f"{name}: left out, it has no calibration"
        for name, ok in zip(cameras.names, cameras.calibrated, strict=True)
        if not ok
    ]
    cameras = cameras.subset(np.nonzero(cameras.calibrated)[0])
    match format:
        case "aniposelib" | "opencv":
            pass
        case "caliscope":
            renamed = [
                f"{name} is {number}"
                for name, number in zip(cameras.names, caliscope_numbers(cameras.names), strict=True)
                if name != f"cam_{number}"
            ]
            if renamed:
                messages.append(f"names: caliscope knows cameras by number; {', '.join(renamed)}")
        case "colmap":
            rows = zip(cameras.distortion, cameras.fisheye.tolist(), strict=True)
            models = sorted({lens_model(*row) for row in rows}, key=list(MODELS).index)
            messages.append(f"lenses: written as {' and '.join(models)}, which hold the coefficients exactly")
            messages.append("pixels: the principal points count from the corner of the first pixel, half a pixel more")
            messages.append("names: a view is an image, <view>.png")
        case "interhand":
            bend = distortion_px(cameras)
            if cameras.fisheye.any():
                messages.append("lenses: that they are fisheyes is lost; straighten the images before use")
            elif bend > 0:
                messages.append(f"lenses: the distortion is lost, up to {bend:.1f} px; undistort the images before use")
            messages.append("sizes: image sizes are lost")
            messages.append("units: millimetres")
        case _:
            assert_never(format)
    return messages


def distortion_px(cameras: Cameras) -> float:
    """How far the lens moves a pixel of the image's border at most, over all views, pixels; 0 without sizes.

    Pixels that a fisheye moves out of its range do not count.
    """
    t = np.linspace(0, 1, 21)
    border = np.concatenate([np.stack(xy, -1) for xy in ((t, 0 * t), (t, 0 * t + 1), (0 * t, t), (0 * t + 1, t))])
    uv = border * (np.maximum(cameras.size_px, 1) - 1)[:, None]
    focal, center = cameras.K[:, None, [0, 1], [0, 1]], cameras.K[:, None, :2, 2]
    with np.errstate(over="ignore", invalid="ignore"):
        straight = cameras.undistort(uv) * focal + center
    moved = np.linalg.norm(straight - uv, axis=-1)
    return float(np.where((cameras.size_px[:, :1] > 0) & ~np.isnan(moved), moved, 0).max(initial=0.0))


def _read_folder(folder: Path) -> tuple[Cameras, Format]:
    """COLMAP's text model, EasyMocap's pair, or OpenCV's file per camera."""
    if all((folder / name).exists() for name in FILES):
        return read_colmap(folder, {name: _text(folder / name) for name in FILES}), "colmap"
    if (folder / "images.bin").exists():
        advice = f"Convert it: `colmap model_converter --input_path {folder} --output_path OUT --output_type TXT`."
        raise camera_error(folder, "COLMAP's text model", "the binary one", advice)
    if (folder / "intri.yml").exists():
        return _read_file(folder / "intri.yml", None)
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".yml", ".yaml", ".xml")]
    texts = {path: text for path in files if is_opencv(text := _text(path))}
    if not texts:
        raise _unknown(folder)
    return read_opencv_folder(folder, texts), "opencv"


def _read_file(path: Path, capture: str | None) -> tuple[Cameras, Format]:
    text = _text(path)
    if is_opencv(text):
        return read_opencv(path, text), "opencv"
    if text.lstrip().startswith("{"):
        return read_interhand(path, text, capture), "interhand"
    if path.name in FILES or re.search(rf"^\d+ ({'|'.join(MODELS)}) \d+ \d+ ", text, re.MULTILINE):
        folder = path.parent
        for name in FILES:
            if not (folder / name).exists():
                raise camera_error(folder, f"{name} beside {path.name}", "none", "COLMAP's text model has both.")
        return _read_folder(folder)
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # A damaged file of a kind we can tell deserves to hear what is wrong with it.
        if re.search(r"^\[(cameras\.\w+|cam_\w+)\]", text, re.MULTILINE):
            raise camera_error(path, "a TOML file", str(error), "Correct it or export it again.") from error
        raise _unknown(path) from error
    if isinstance(document.get("cameras"), dict):
        return parse_caliscope(path, document), "caliscope"
    if any(isinstance(table, dict) and {"matrix", "rotation"} & table.keys() for table in document.values()):
        return parse_aniposelib(path, document), "aniposelib"
    raise _unknown(path)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            size = f"{path.stat().st_size / 2**20:.0f} MiB"
            raise camera_error(path, f"a camera file of {MAX_BYTES // 2**20} MiB at most", size, "Give another file.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise camera_error(path, "a camera file", "nothing", "Correct the path.") from error
    except UnicodeDecodeError as error:
        raise _unknown(path) from error
    except OSError as error:
        raise camera_error(
            path, "a readable file", str(error.strerror), "Correct the path or its permissions."
        ) from error


def _unknown(path: Path) -> Exception:
    formats = (
        "aniposelib's TOML, caliscope's camera_array.toml, OpenCV's YAML or XML, a folder with COLMAP's cameras.txt "
        "and images.txt, or InterHand2.6M's JSON"
    )
    return camera_error(path, formats, "none of these", "docs/cameras.md shows what each holds.")


FORMATS: tuple[Format, ...] = get_args(Format)
