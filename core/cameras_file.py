"""The session's cameras.toml, which is aniposelib's format, in and out; and what every reader of camera files shares.

aniposelib's file has one section per camera (`cam_0`, `cam_1`, ...) with name, size, matrix, distortions, rotation
(axis-angle, world to camera) and translation, and a section `metadata`; a fisheye has four distortions and
`fisheye = true`. Lengths are metres here. Cameras are known by
their name: the order of sections means nothing, because aniposelib sorts them as text (cam_10 before cam_2).
"""

# Ring 2: reads and writes.

from __future__ import annotations

import math
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
from numpy import ndarray
from scipy.spatial.transform import Rotation

from .cameras import Cameras
from .errors import CalibrationError, SessionError
from .files import LARGE, read_text, same_name
from .storage.atomic import write_whole
from .units import REACH_M, RIG_M, wrong_rig_unit

NUM_DISTORTION, NUM_FISHEYE = 5, 4

MAX_BYTES = 64 << 20
"""Larger is not a camera file; COLMAP's images.txt with its points may be some megabytes."""

MAX_SIZE_PX = 1 << 16
"""Wider or higher than any image."""


def read_cameras(path: str | Path) -> Cameras:
    """The cameras of an aniposelib file, in the order of their sections' numbers.

    Raises:
        CalibrationError: not a file of this kind; says which section and key.
    """
    return parse_cameras(path, read_camera_text(path))


def parse_cameras(path: str | Path, text: str) -> Cameras:
    """The same from the file's text."""
    sections = {k: v for k, v in parse_toml(path, text).items() if k != "metadata"}
    ordered = sorted(sections.items(), key=lambda item: section_number(item[0]))
    return assemble([Section(path, key, value, None) for key, value in ordered], path)


def write_cameras(path: str | Path, cameras: Cameras, metadata: Mapping[str, Any] | None = None) -> None:
    """Write aniposelib's file; it appears whole or not at all. Views without a calibration are left out.

    Numbers keep all their bits; the rotation is kept to 1e-12 because the file holds an axis and an angle.

    Args:
        metadata: plain strings, numbers, booleans and lists of them.

    Raises:
        DiskError: the file cannot be written.
    """
    write_whole(Path(path), format_cameras(cameras, metadata))


def format_cameras(cameras: Cameras, metadata: Mapping[str, Any] | None = None) -> str:
    """The text of aniposelib's file; the same cameras give the same text."""
    sections: dict[str, Any] = {}
    rotation = Rotation.from_matrix(
        np.where(cameras.calibrated[:, None, None], cameras.T_cam_world[:, :3, :3], np.eye(3))
    )
    for i in np.nonzero(cameras.calibrated)[0]:
        sections[f"cam_{len(sections)}"] = {
            "name": cameras.names[i],
            "size": [int(s) for s in cameras.size_px[i]],
            "matrix": cameras.K[i].tolist(),
            "distortions": coefficients(cameras, int(i)).tolist(),
            "rotation": rotation[int(i)].as_rotvec().tolist(),
            "translation": cameras.T_cam_world[i, :3, 3].tolist(),
            **({"fisheye": True} if cameras.fisheye[i] else {}),
        }
    sections["metadata"] = dict(metadata or {})
    return tomlkit.dumps(sections)


def coefficients(cameras: Cameras, view: int) -> ndarray:
    """A view's distortion as other programs count it: (5,), or (4,) of a fisheye."""
    return cameras.distortion[view, : NUM_FISHEYE if cameras.fisheye[view] else NUM_DISTORTION]


def match_views(cameras: Cameras, names: Sequence[str], sizes_px: ndarray | None = None) -> Cameras:
    """The cameras in the session's order; NaN for views the file does not have. Cameras without a clip are dropped.

    A size of 0 x 0, from a format that does not tell, takes the clip's.

    Args:
        names: the session's views.
        sizes_px: (view, 2) width and height of their clips; None takes the file's word for them.

    Raises:
        CalibrationError: no view has a camera, or a clip's size is not the calibrated one.
    """
    position = {name: i for i, name in enumerate(cameras.names)}
    found = [None if (same := same_name(name, cameras.names)) is None else position[same] for name in names]
    if all(i is None for i in found):
        raise CalibrationError(
            f"cameras: expected cameras named like the views ({_some(names)}), but found {_some(cameras.names)}. "
            "Rename the clips or the cameras, or calibrate again."
        )
    count = len(names)
    calibrated_px = np.array([(0, 0) if i is None else cameras.size_px[i] for i in found])
    size_px = calibrated_px if sizes_px is None else np.asarray(sizes_px)
    calibrated_px = np.where(calibrated_px > 0, calibrated_px, size_px)
    K, distortion = np.full((count, 3, 3), np.nan), np.full((count, NUM_DISTORTION), np.nan)
    T_cam_world, fisheye = np.full((count, 4, 4), np.nan), np.zeros(count, bool)
    for view, i in enumerate(found):
        if i is None:
            continue
        if not np.array_equal(calibrated_px[view], size_px[view]):
            expected, got = ("{:g}x{:g}".format(*size) for size in (calibrated_px[view], size_px[view]))
            raise CalibrationError(
                f"cameras: expected a clip of {expected} pixels for view {names[view]}, as calibrated, but found "
                f"{got}. Use the original clips, or calibrate again."
            )
        K[view], distortion[view], T_cam_world[view] = cameras.K[i], cameras.distortion[i], cameras.T_cam_world[i]
        fisheye[view] = cameras.fisheye[i]
    return Cameras(tuple(names), K, distortion, T_cam_world, size_px, fisheye)


def unlike_views(path: str | Path, cameras: Sequence[str], views: Sequence[str]) -> list[str]:
    """A sentence for each camera of a file that no view has, or that has a view's name in another case.

    Args:
        path: the file, for messages.
        cameras: their names.
        views: names of the session's clips, and of those that are left out.
    """
    found = []
    for camera in cameras:
        view = same_name(camera, views)
        if view is None:
            found.append(f"{path}: the camera {camera} has no clip and is not used. Add videos/{camera}.mp4 to use it.")
        elif view != unicodedata.normalize("NFC", camera):
            found.append(f"{path}: the camera {camera} is taken for the view {view}. Give both the same name.")
    return found


class Section:
    """One camera's table, read with errors that name the place.

    Args:
        path: the file.
        key: what the camera is called there.
        table: name, size, matrix, distortions, rotation, translation and fisheye, as in aniposelib's file.
        name: of the view; None takes the table's.
        words: what the file calls these keys, where it has other words.

    Raises:
        CalibrationError: a key is missing, or its value is impossible.
    """

    def __init__(
        self, path: str | Path, key: str, table: Any, name: str | None, words: Mapping[str, str] | None = None
    ) -> None:
        self.where, self.words = f"{path}: [{key}]", words or {}
        if not isinstance(table, dict):
            raise camera_error(
                self.where, "a table per camera", type(table).__name__, "docs/cameras.md shows the layout."
            )
        self.table: dict[str, Any] = table
        self.fisheye = table.get("fisheye", False)
        if not isinstance(self.fisheye, bool):
            raise camera_error(f"{self.where} fisheye", "true or false", repr(self.fisheye)[:60], "Correct it.")
        self.name = self._name(table.get("name") if name is None else name)
        self.size_px = self._size()
        self.K = self.numbers("matrix", (3, 3))
        if not (self.K[0, 0] > 0 and self.K[1, 1] > 0):
            raise camera_error(
                self.where, "positive focal lengths", f"{self.K[0, 0]:g}, {self.K[1, 1]:g}", "Calibrate again."
            )
        if self.K[0, 1] != 0 or self.K[1, 0] != 0 or not np.array_equal(self.K[2], [0, 0, 1]):
            raise camera_error(
                f"{self.where} {self.word('matrix')}", "fx, fy, cx, cy and no skew", "other entries", "Calibrate again."
            )
        self.distortion = self._distortion()
        self.T_cam_world = np.eye(4)
        self.T_cam_world[:3, :3] = self._rotation()
        self.T_cam_world[:3, 3] = self.numbers("translation", (3,))

    def word(self, key: str) -> str:
        return self.words.get(key, key)

    def numbers(self, key: str, *shapes: tuple[int, ...]) -> ndarray:
        """The finite numbers of a key, which must have one of these shapes; rows and columns of one are flattened."""
        if key not in self.table:
            raise camera_error(
                self.where, f"the key {self.word(key)}", f"only {', '.join(sorted(self.table)) or 'nothing'}", "Add it."
            )
        sizes = " or ".join(" x ".join(map(str, shape)) for shape in shapes)
        try:
            values = np.array(self.table[key], dtype=float)
        except (ValueError, TypeError, OverflowError, RecursionError):
            values = np.array(np.nan)
        for shape in shapes:
            if (np.abs(values) <= LARGE).all() and (
                values.shape == shape or (len(shape) == 1 and values.size == shape[0])
            ):
                return values.reshape(shape)
        raise camera_error(
            f"{self.where} {self.word(key)}",
            f"{sizes} finite numbers",
            repr(self.table[key])[:60],
            "Correct it or calibrate again.",
        )

    def _size(self) -> ndarray:
        size = self.numbers("size", (2,))
        if np.any(size != np.floor(size)) or np.any(size < 0) or np.any(size > MAX_SIZE_PX):
            found = " x ".join(f"{s:g}" for s in size)
            raise camera_error(f"{self.where} {self.word('size')}", "whole pixels", found, "Correct it.")
        return size

    def _name(self, name: Any) -> str:
        if not isinstance(name, str | int) or name == "":
            raise camera_error(
                f"{self.where} name", "the name of a view", repr(name), "Give each camera its clip's name."
            )
        return str(name)

    def _distortion(self) -> ndarray:
        if self.fisheye:
            return np.append(self.numbers("distortions", (NUM_FISHEYE,)), 0.0)
        values = self.numbers("distortions", (5,), (4,), (8,), (12,), (14,), (1,), (2,)).ravel()
        if np.any(values[NUM_DISTORTION:] != 0):
            found = f"{len(values)} with more that are not zero"
            raise camera_error(
                f"{self.where} {self.word('distortions')}",
                "k1, k2, p1, p2, k3",
                found,
                "Calibrate with the five-parameter lens.",
            )
        padded = np.zeros(NUM_DISTORTION)
        padded[: min(len(values), NUM_DISTORTION)] = values[:NUM_DISTORTION]
        return padded

    def _rotation(self) -> ndarray:
        values = self.numbers("rotation", (3,), (3, 3))
        if values.shape == (3,):
            return Rotation.from_rotvec(values).as_matrix()
        if not np.allclose(values @ values.T, np.eye(3), atol=1e-6):
            raise camera_error(
                f"{self.where} {self.word('rotation')}",
                "a rotation matrix",
                "one that is not orthogonal",
                "Calibrate again.",
            )
        if np.linalg.det(values) < 0:
            raise camera_error(
                f"{self.where} {self.word('rotation')}",
                "a rotation between right-handed axes (determinant 1)",
                "one with a mirror in it (determinant -1)",
                "Write the cameras in right-handed coordinates: x right, y down, z forward.",
            )
        return values


def assemble(sections: list[Section], path: str | Path) -> Cameras:
    """The rig of a file's cameras, in their order; at least one, every name once."""
    if not sections:
        raise camera_error(path, "at least one camera", "none", "Calibrate again, or give another file.")
    names = tuple(s.name for s in sections)
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise camera_error(
            path, "every name once", f"{_some(twice)} twice or more", "Give each camera its clip's name."
        )
    return Cameras(
        names=names,
        K=np.stack([s.K for s in sections]),
        distortion=np.stack([s.distortion for s in sections]),
        T_cam_world=np.stack([s.T_cam_world for s in sections]),
        size_px=np.stack([s.size_px for s in sections]).astype(int),
        fisheye=np.array([s.fisheye for s in sections]),
    )


def read_camera_text(path: str | Path) -> str:
    """The text of a camera file, without a byte order mark; CalibrationError when it is none, or too large."""
    try:
        return read_text(Path(path), "a camera file", MAX_BYTES).removeprefix("\ufeff")
    except SessionError as error:
        raise CalibrationError(str(error)) from error


def parse_toml(path: str | Path, text: str) -> dict[str, Any]:
    """The tables of a TOML text; CalibrationError names the file."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise camera_error(path, "a TOML file", str(error), "Correct it or calibrate again.") from error


def section_number(key: str) -> tuple[float, str]:
    """cam_2 before cam_10; sections without a number last, by name."""
    digits = key.rsplit("_", 1)[-1]
    return (float(digits) if digits.isdecimal() else math.inf, key)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def camera_error(where: str | Path, expected: str, found: str, advice: str) -> CalibrationError:
    return CalibrationError(f"{where}: expected {expected}, but found {found}. {advice}")


def check_metres(cameras: Cameras, where: str | Path, unit_m: float = 1.0, session: str | Path = "SESSION") -> None:
    """Raise CalibrationError when the rig is so large, or so small, that its unit must be another.

    Args:
        cameras: in what is taken for metres.
        where: the file.
        unit_m: metres that one unit of the file was taken for.
        session: the session's folder, for the command that mends it.
    """
    wrong = wrong_rig_unit(cameras, unit_m)
    if wrong is None:
        return
    found, guesses = wrong
    looks = " or ".join(f"{name} (--unit-m {each:g})" for name, each in guesses)
    each = f"{guesses[0][1]:g}" if guesses else "METRES"
    raise camera_error(
        where,
        f"a rig in metres, its outermost cameras {RIG_M[0]:g} to {RIG_M[1]:g} m apart and {REACH_M[0]:g} to "
        f"{REACH_M[1]:g} m from what they look at",
        f"{found}{f'; the numbers of the file look like {looks}' if looks else ''}",
        f"Read it with `handpipe calibrate {session} --from {where} --unit-m {each}`"
        + ("." if guesses else ", METRES in one unit of the file: measure the distance between two cameras."),
    )
