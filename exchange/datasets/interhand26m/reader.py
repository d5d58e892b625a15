"""InterHand2.6M's published annotations, read with suspicion: every number has a shape, and every name stays inside."""

# Ring 2: reads and writes.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ....core.cameras import Cameras
from ....core.errors import SessionError
from ....core.files import numbers_in
from ....core.hands import HANDS, NUM_BETAS, NUM_POSE
from ...recording import safe_name
from ..common.json_files import read_json, wrong
from .arrays import NUM_BOTH, Pinhole, camera_in, joints_in

KINDS = ("data", "camera", "joint_3d")
MANO_KIND = "MANO_NeuralAnnot"

SPARSE = 10
"""A sequence whose numbers of frames span more than so many times its frames is not on a grid of instants."""

NO_SUBJECT = 0

MAX_DIGITS = 9
"""Of whole numbers: captures, frames, pixels."""


@dataclass(frozen=True, eq=False)
class HandMano:
    """NeuralAnnot's MANO of one hand: in some of the sequence's instants."""

    pose: ndarray
    """(frame, 48) axis-angle from the mean pose, radians; NaN where there is none."""
    betas: ndarray
    """(frame, 10)"""
    transl: ndarray
    """(frame, 3) metres."""


@dataclass(frozen=True, eq=False)
class DatasetSequence:
    """One sequence of one capture."""

    capture: int
    subject: int
    name: str
    first_frame_idx: int
    frame_idx_step: int
    """Instants are every so many of the dataset's frames."""
    points_m: ndarray
    """(frame, hand, 21, 3) metres, NaN where missing."""
    cameras: Cameras
    imaged: ndarray
    """(view, frame) bool: the dataset has an image."""
    mano: Mapping[str, HandMano] = field(default_factory=dict)
    """By hand."""

    @property
    def place(self) -> str:
        """Its folder, as in the dataset's tree of images."""
        return f"Capture{self.capture}/{self.name}"


def find_files(folder: Path) -> Mapping[str, Path]:
    """The annotation files of one split by kind: in a folder, in its `annotations`, or in a split's folder in there.

    Raises:
        SessionError: one of the three is missing or there is more than one of it.
    """
    if not folder.is_dir():
        raise SessionError(
            f"{folder}: expected a folder with InterHand2.6M's annotation files, but there is no such folder. "
            "Correct the path."
        )
    paths: dict[str, Path] = {}
    for kind in (*KINDS, MANO_KIND):
        found: list[Path] = []
        for where in (folder, folder / "annotations"):
            found += sorted(where.glob(f"*_{kind}.json"))
        found = found or sorted((folder / "annotations").glob(f"*/*_{kind}.json"))
        if len(found) > 1 or (kind != MANO_KIND and not found):
            names = f"{found[0].relative_to(folder)} and {found[1].relative_to(folder)}" if found else "none"
            raise SessionError(
                f"{folder}: expected one file *_{kind}.json, but found {names}. Give the folder of one split, "
                "such as annotations/train, with the files *_data.json, *_camera.json and *_joint_3d.json."
            )
        if found:
            paths[kind] = found[0]
    return paths


def read_sequences(
    files: Mapping[str, Path], only: Sequence[str], unit_m: float, with_mano: bool
) -> tuple[list[DatasetSequence], list[str]]:
    """Every sequence of the files, by capture and name, and warnings about those that were left out.

    Args:
        files: from `find_files`.
        only: patterns such as `Capture3/*touch*`; empty takes all.
        unit_m: metres in one unit of the files.
        with_mano: read MANO_NeuralAnnot too.

    Raises:
        SessionError: a file is not what it should be.
    """
    tables = {kind: _object(path, "the file", read_json(path)) for kind, path in files.items() if kind in KINDS}
    images = _Images(files["data"], tables.pop("data"))
    mano = _object(files[MANO_KIND], "the file", read_json(files[MANO_KIND])) if with_mano else {}
    found, warnings = [], []
    for capture, frames in tables["joint_3d"].items():
        path = files["joint_3d"]
        if not _digits(capture):
            wrong(path, "a capture", 'a number as in "3"', capture)
        cameras = _object(files["camera"], capture, tables["camera"].get(capture))
        for name, records in sorted(_by_sequence(path, capture, frames, images).items()):
            where = f"Capture{capture}/{name}"
            if only and not any(fnmatchcase(where, pattern) for pattern in only):
                continue
            grid = _grid(sorted(records))
            if grid is None:
                warnings.append(
                    f"warning: left out: {where}: its {len(records)} frames lie on no regular grid "
                    f"({min(records)} to {max(records)})"
                )
                continue
            reading = _Reading(files, int(capture), name, records, grid, unit_m)
            found.append(reading.sequence(images, cameras, _object_or_none(mano.get(capture))))
    if not found and not warnings:
        asked = f" that {' or '.join(only)} means" if only else ""
        raise SessionError(
            f"{files['joint_3d']}: expected sequences{asked}, but found none. Correct --only, or the path."
        )
    return found, warnings


class _Images:
    """What *_data.json says of the images: sequences, sizes, and who was filmed."""

    def __init__(self, path: Path, data: Mapping[str, Any]) -> None:
        self.sequence: dict[tuple[str, int], str] = {}
        self.subject: dict[tuple[str, str], int] = {}
        self.size: dict[tuple[str, str], tuple[int, int]] = {}
        self.frames: dict[tuple[str, str, str], set[int]] = {}
        if not isinstance(data.get("images"), list):
            wrong(path, "images", "a list", data.get("images"))
        for i, image in enumerate(data["images"]):
            place = f"images[{i}]"
            image = _object(path, place, image)
            capture, camera = str(image.get("capture")), str(image.get("camera"))
            frame, width, height = (image.get(key, -1) for key in ("frame_idx", "width", "height"))
            if not (_whole(frame) and _whole(width) and _whole(height) and width and height):
                wrong(path, place, "frame_idx, width and height as whole numbers", image)
            name = _safe(path, place, image.get("seq_name"))
            self.sequence[capture, frame] = name
            self.subject.setdefault((capture, name), image["subject"] if _whole(image.get("subject")) else NO_SUBJECT)
            self.size[capture, camera] = width, height
            self.frames.setdefault((capture, name, camera), set()).add(frame)


def _safe(path: Path, place: str, name: Any) -> str:
    """A sequence's name, which becomes a folder: nothing that climbs out."""
    if not isinstance(name, str) or safe_name(name) != name:
        wrong(path, f"{place}.seq_name", "a name of letters, digits, '_', '-' and '.'", name)
    return name


def _by_sequence(path: Path, capture: str, frames: Any, images: _Images) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Records by sequence and frame. Older files name the sequence only in *_data.json."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for key, record in _object(path, capture, frames).items():
        if not _digits(key):
            wrong(path, f"{capture}, a frame", 'a number as in "12"', key)
        record = _object(path, f"{capture}.{key}", record)
        name = record.get("seq", images.sequence.get((capture, int(key))))
        if name is not None:
            found.setdefault(_safe(path, f"{capture}.{key}", name), {})[int(key)] = record
    return found


def _grid(frames: Sequence[int]) -> tuple[int, int, int] | None:
    """First, step and number of instants of a regular grid on which the frames lie; None when it is mostly empty."""
    step = math.gcd(*(later - earlier for earlier, later in pairwise(frames))) or 1
    count = (frames[-1] - frames[0]) // step + 1
    return (frames[0], step, count) if count <= SPARSE * len(frames) else None


@dataclass(frozen=True, eq=False)
class _Reading:
    """One sequence on its way in."""

    files: Mapping[str, Path]
    capture: int
    name: str
    records: Mapping[int, Mapping[str, Any]]
    grid: tuple[int, int, int]
    unit_m: float

    def sequence(self, images: _Images, cameras: Mapping[str, Any], mano: Mapping[str, Any] | None) -> DatasetSequence:
        first, step, count = self.grid
        points = np.full((count, len(HANDS), NUM_BOTH // 2, 3), np.nan, np.float32)
        for frame, record in self.records.items():
            points[(frame - first) // step] = self._joints(frame, record)
        rig = self._cameras(images, cameras)
        imaged = np.zeros((len(rig), count), bool)
        for view, camera in enumerate(rig.names):
            for frame in images.frames[str(self.capture), self.name, camera] & self.records.keys():
                imaged[view, (frame - first) // step] = True
        subject = images.subject.get((str(self.capture), self.name), NO_SUBJECT)
        by_hand = {} if mano is None else self._mano(mano)
        return DatasetSequence(self.capture, subject, self.name, first, step, points, rig, imaged, by_hand)

    def _joints(self, frame: int, record: Mapping[str, Any]) -> ndarray:
        path, place = self.files["joint_3d"], f"{self.capture}.{frame}"
        world = numbers(path, f"{place}.world_coord", record.get("world_coord"), (NUM_BOTH, 3))
        valid = numbers(path, f"{place}.joint_valid", record.get("joint_valid"), (NUM_BOTH,)) > 0
        return joints_in(world, valid, self.unit_m)

    def _cameras(self, images: _Images, table: Mapping[str, Any]) -> Cameras:
        path = self.files["camera"]
        kinds = {
            kind: _object(path, f"{self.capture}.{kind}", table.get(kind))
            for kind in ("campos", "camrot", "focal", "princpt")
        }
        names = [
            name
            for name in kinds["campos"]
            if (str(self.capture), self.name, name) in images.frames and safe_name(name) == name
        ]
        lenses = [self._camera(path, kinds, name) for name in names]
        return Cameras(
            tuple(names),
            np.array([lens.K for lens in lenses]).reshape(-1, 3, 3),
            np.zeros((len(names), 5)),
            np.array([lens.T_cam_world for lens in lenses]).reshape(-1, 4, 4),
            np.array([images.size[str(self.capture), name] for name in names], int).reshape(-1, 2),
        )

    def _camera(self, path: Path, kinds: Mapping[str, Mapping[str, Any]], name: str) -> Pinhole:
        values = {
            kind: numbers(path, f"{self.capture}.{kind}.{name}", kinds[kind].get(name), shape)
            for kind, shape in (("campos", (3,)), ("camrot", (3, 3)), ("focal", (2,)), ("princpt", (2,)))
        }
        R = values["camrot"]
        if not np.allclose(R @ R.T, np.eye(3), atol=1e-4) or np.linalg.det(R) < 0 or (values["focal"] <= 0).any():
            wrong(path, f"{self.capture}, camera {name}", "a rotation and focal lengths above zero", R.tolist())
        return camera_in(values["campos"], R, values["focal"], values["princpt"], self.unit_m)

    def _mano(self, table: Mapping[str, Any]) -> dict[str, HandMano]:
        first, step, count = self.grid
        path, found = self.files[MANO_KIND], {}
        for hand in HANDS:
            parts = {
                name: np.full((count, size), np.nan)
                for name, size in (("pose", 3 + NUM_POSE), ("shape", NUM_BETAS), ("trans", 3))
            }
            for frame in self.records:
                record = _object_or_none(table.get(str(frame))) or {}
                one = record.get(hand)
                if one is None:
                    continue
                place = f"{self.capture}.{frame}.{hand}"
                for name, values in parts.items():
                    value = _object(path, place, one).get(name)
                    values[(frame - first) // step] = numbers(path, f"{place}.{name}", value, values.shape[1:])
            if np.isfinite(parts["pose"]).any():
                found[hand] = HandMano(parts["pose"], parts["shape"], parts["trans"])
        return found


def numbers(path: Path, place: str, value: Any, shape: tuple[int, ...]) -> ndarray:
    """Finite numbers of a shape, whatever further axes of length one they are written with.

    Raises:
        SessionError: they are not.
    """
    array = numbers_in(value)
    if array is None:
        array = np.empty(0)
    if array.size != math.prod(shape) or array.shape[:1] not in (shape[:1], (1,)) or not np.isfinite(array).all():
        size = " x ".join(map(str, shape))
        found = f"{' x '.join(map(str, array.shape))} of them" if array.size and array.ndim else value
        wrong(path, place, f"{size} finite numbers", found)
    return array.reshape(shape)


def _object(path: Path, place: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        wrong(path, place, "an object", value)
    return value


def _object_or_none(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**MAX_DIGITS


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def pooled(sequences: Sequence[DatasetSequence], limit: int = 20_000) -> ndarray:
    """(frame, hand, 21, 3) metres: frames from all sequences, at most about `limit`."""
    total = sum(len(each.points_m) for each in sequences)
    every = max(1, total // limit)
    return np.concatenate([each.points_m[::every] for each in sequences])
