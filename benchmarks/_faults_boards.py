"""Faults of calibration boards: clips of a board that is drawn here, and another description of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _faults_planting import Fault, Ran, Seen, followed, handpipe, told
from numpy import ndarray
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from handpipe.capture.video import clip_writer
from handpipe.rendering.rig import look_at

FAULTS: list[Fault] = []
SIZE, VIEWS, FRAMES, FOCAL_PX = (480, 360), 2, 14, 560.0
PIXELS_PER_M = 1500
PLACES_M = 0.9 * np.array([[np.sin(a), 0.1 * view, -np.cos(a)] for view, a in enumerate(np.deg2rad([-20, 20]))])
APART_M = float(np.linalg.norm(PLACES_M[1] - PLACES_M[0]))
"""The first camera from the last."""


@dataclass(frozen=True)
class Print:
    """A board as it was printed."""

    columns: int = 5
    rows: int = 4
    square_m: float = 0.05
    dictionary: str = "DICT_4X4_50"
    first_marker: int = 0
    inverted: bool = False
    chessboard: bool = False
    described: dict[str, Any] = field(default_factory=dict)
    """What session.yaml says otherwise."""

    def picture(self) -> ndarray:
        """Gray, with a white margin of 40 pixels."""
        size = tuple(round(n * self.square_m * PIXELS_PER_M) for n in (self.columns, self.rows))
        if self.chessboard:
            y, x = np.mgrid[: self.rows, : self.columns]
            image = cv2.resize(np.uint8(255 * ((x + y) % 2)), size, interpolation=cv2.INTER_NEAREST)  # pyright: ignore
        else:
            ids = self.first_marker + np.arange(self.columns * self.rows // 2)
            dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))
            shape = (self.columns, self.rows)
            image = cv2.aruco.CharucoBoard(shape, self.square_m, 0.75 * self.square_m, dictionary, ids)
            image = image.generateImage(size)
        image = cv2.copyMakeBorder(np.asarray(image), 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=255)  # pyright: ignore
        return 255 - image if self.inverted else image

    def settings(self) -> dict[str, Any]:
        """As session.yaml describes it."""
        keys = {"columns": self.columns, "rows": self.rows, "square_m": self.square_m}
        if self.chessboard:
            return {"type": "chessboard", **keys, **self.described}
        keys |= {"marker_m": 0.75 * self.square_m, "dictionary": self.dictionary}
        return {**keys, "first_marker": self.first_marker, "inverted": self.inverted, **self.described}


def filmed(root: Path, board: Print, rng: Generator) -> Path:
    """A session whose clips show the board, waved before two cameras."""
    (root / "videos").mkdir(parents=True)
    image, (width, height) = board.picture(), SIZE
    K = np.array([[FOCAL_PX, 0, width / 2 - 0.5], [0, FOCAL_PX, height / 2 - 0.5], [0, 0, 1]])
    turns, places = rng.normal(0, 0.35, (FRAMES, 3)), rng.uniform(-0.12, 0.12, (FRAMES, 3))
    middle = np.array([board.columns, board.rows, 0]) * board.square_m / 2
    to_board = np.array(
        [[1 / PIXELS_PER_M, 0, -40 / PIXELS_PER_M], [0, 1 / PIXELS_PER_M, -40 / PIXELS_PER_M], [0, 0, 1]]
    )
    for view in range(VIEWS):
        T = look_at(PLACES_M[view], np.zeros(3))
        with clip_writer(root / "videos" / f"cam_{view}.mp4", 30, SIZE) as writer:
            for turn, place in zip(turns, places, strict=True):
                R = Rotation.from_rotvec(turn).as_matrix()
                R_cam, t_cam = T[:3, :3] @ R, T[:3, :3] @ (place - R @ middle) + T[:3, 3]
                H = K @ np.c_[R_cam[:, :2], t_cam] @ to_board
                drawn = cv2.warpPerspective(image, H, SIZE, flags=cv2.INTER_AREA, borderValue=(110,))
                drawn = cv2.GaussianBlur(drawn, (3, 3), 0.6).astype(float) + rng.normal(0, 2, drawn.shape)
                writer.write(cv2.cvtColor(np.clip(drawn, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR))
    return describe(root, board.settings())


def describe(root: Path, settings: dict[str, Any]) -> Path:
    text = ", ".join(
        f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items()
    )
    (root / "session.yaml").write_text(f"board: {{{text}}}\n")
    return root


def calibrated(root: Path) -> Ran:
    return handpipe("calibrate", root, "--workers", 0, "--json")


def fault(name: str) -> Callable[[Callable[[Path, Generator], Seen]], None]:
    return lambda plant: FAULTS.append(Fault("calibration boards", name, plant))


def _described(draw: Callable[[Generator], Print], *reasons: str) -> Callable[[Path, Generator], Seen]:
    """A board that is described wrongly; the keys that a message names are corrected."""

    def plant(folder: Path, rng: Generator) -> Seen:
        board = draw(rng)
        root = filmed(folder / "s", board, rng)

        def follow(_: re.Match[str]) -> bool:
            corrected = {key: value for key, value in re.findall(r"(\w+): (true|false|\d+|DICT_\w+)", ran.said)}
            describe(root, board.settings() | corrected)
            again = calibrated(root)
            return again.status == 0 and again.figures["views_calibrated"] == VIEWS

        ran = calibrated(root)
        return followed(told(ran, *reasons), "board is found with|are expected: set", follow)

    return plant


def _other_dictionary(rng: Generator) -> Print:
    printed, said = rng.permutation(["DICT_4X4_50", "DICT_5X5_100", "DICT_6X6_250", "DICT_APRILTAG_36h11"])[:2].tolist()
    return Print(dictionary=printed, described={"dictionary": said})


def _other_size(rng: Generator) -> Print:
    columns, rows = rng.permutation([4, 5, 6])[:2].tolist()
    return Print(columns=columns, rows=rows, described={"columns": columns + int(rng.choice([-1, 1]))})


def _other_marker(rng: Generator) -> Print:
    return Print(first_marker=int(rng.integers(4, 30)), described={"first_marker": 0})


fault("markers that start at another number")(_described(_other_marker, "markers", r"first_marker: \d"))
fault("another dictionary")(_described(_other_dictionary, "found with", "dictionary: "))
fault("columns and rows exchanged")(
    _described(lambda rng: Print(described={"columns": 4, "rows": 5}), "found with columns: 5, rows: 4")
)
fault("another number of squares")(_described(_other_size, "found with", "columns|rows"))
fault("an inverted print")(
    _described(lambda rng: Print(inverted=True, described={"inverted": False}), "inverted: true")
)
fault("a plain print that is said to be inverted")(
    _described(lambda rng: Print(described={"inverted": True}), "inverted: false")
)
fault("a chessboard that is said to be ChArUco")(
    _described(lambda rng: Print(chessboard=True, described={"type": "charuco"}), "chessboard")
)
fault("a ChArUco board that is said to be a chessboard")(
    _described(lambda rng: Print(described={"type": "chessboard"}), "charuco|ChArUco")
)


@fault("a mirrored board clip")
def _(folder: Path, rng: Generator) -> Seen:
    root = filmed(folder / "s", Print(), rng)
    path = root / "videos" / f"cam_{rng.integers(VIEWS)}.mp4"
    capture = cv2.VideoCapture(str(path))
    images = [cv2.flip(capture.read()[1], 1) for _ in range(FRAMES)]
    with clip_writer(path, 30, SIZE) as writer:
        for image in images:
            writer.write(image)
    return told(calibrated(root), path.stem, "mirrored")


@fault("a board that one camera does not see")
def _(folder: Path, rng: Generator) -> Seen:
    root = filmed(folder / "s", Print(), rng)
    path = root / "videos" / f"cam_{rng.integers(VIEWS)}.mp4"
    with clip_writer(path, 30, SIZE) as writer:
        for _ in range(FRAMES):
            writer.write(rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8))
    return told(calibrated(root), path.stem)


@fault("squares of another size")
def _(folder: Path, rng: Generator) -> Seen:
    """Told by a measured distance between two cameras."""
    said = round(0.05 * float(rng.choice([0.6, 0.8, 1.2])), 3)
    root = filmed(folder / "s", Print(described={"square_m": said, "marker_m": round(0.75 * said, 5)}), rng)
    distance = f"{{first: cam_0, second: cam_1, distance_m: {APART_M:.3f}}}"
    with (root / "session.yaml").open("a") as file:
        file.write(f"calibration: {{known_distances: [{distance}]}}\n")
    return told(calibrated(root), "the calibration puts them", r"squares are (49\.|5[01]\.)")
