"""What every settings class asks of pydantic, the settings of the engine, and the board that was printed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as settings

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""What every settings class asks of pydantic."""

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Confidence = Annotated[float, Field(ge=0, le=1)]
"""A detector's confidence score."""


@settings(frozen=True, config=STRICT)
class EngineSettings:
    """How the computation is distributed. These settings do not change results."""

    workers: Annotated[int | None, Field(ge=0, le=1024)] = None
    """Number of worker processes. None: one per CPU core. 0: run in this process, without Dask."""
    scheduler: str | None = None
    """Address of a running Dask scheduler (tcp://host:port). None: start a local cluster."""
    chunk_frames: Annotated[int, Field(ge=1)] = 64
    """Frames per chunk, the unit of computation and storage."""
    dashboard: str = "127.0.0.1:0"
    """Address of the local cluster's dashboard; port 0 selects a free port."""


Dictionary = Literal[
    "DICT_4X4_50",
    "DICT_4X4_100",
    "DICT_4X4_250",
    "DICT_4X4_1000",
    "DICT_5X5_50",
    "DICT_5X5_100",
    "DICT_5X5_250",
    "DICT_5X5_1000",
    "DICT_6X6_50",
    "DICT_6X6_100",
    "DICT_6X6_250",
    "DICT_6X6_1000",
    "DICT_7X7_50",
    "DICT_7X7_100",
    "DICT_7X7_250",
    "DICT_7X7_1000",
    "DICT_ARUCO_ORIGINAL",
    "DICT_APRILTAG_16h5",
    "DICT_APRILTAG_25h9",
    "DICT_APRILTAG_36h10",
    "DICT_APRILTAG_36h11",
]


@settings(frozen=True, config=STRICT)
class Board:
    """The printed calibration board. Measure the print: a scale error of 1 % scales the reconstruction by 1 %."""

    type: Literal["charuco", "chessboard"] = "charuco"
    """Board type. A chessboard has no markers and must be completely visible to be detected."""
    columns: Annotated[int, Field(ge=2, le=100)] = 7
    """Number of squares along x (not inner corners)."""
    rows: Annotated[int, Field(ge=2, le=100)] = 5
    """Number of squares along y (not inner corners)."""
    square_m: Annotated[float, Field(gt=0)] = 0.04
    """Side length of a square, metres."""
    marker_m: Annotated[float, Field(gt=0)] = 0.03
    """Side length of a marker, metres; smaller than a square. Ignored for chessboards."""
    dictionary: Dictionary = "DICT_4X4_50"
    """Marker dictionary, by its OpenCV name. Ignored for chessboards."""
    inverted: bool = False
    """Black and white are swapped on the print."""
    legacy: bool | None = None
    """Use the ChArUco layout of OpenCV before 4.6, which differs if the number of rows is even. None: detect it."""

    @model_validator(mode="after")
    def _check_sizes(self) -> Board:
        # ValueError, because pydantic turns it into the message that names the setting.
        if self.type == "charuco" and self.marker_m >= self.square_m:
            raise ValueError(f"marker_m ({self.marker_m:g}) must be smaller than square_m ({self.square_m:g})")
        if (self.columns - 1) * (self.rows - 1) < 4:
            raise ValueError("columns and rows count squares, and the board needs four inner corners or more")
        if self.type == "chessboard" and (self.columns + self.rows) % 2 == 0:
            raise ValueError(
                f"a chessboard of {self.columns} x {self.rows} squares looks the same upside down, so cameras cannot "
                "agree on its corners; print one with an even and an odd number of squares, or a ChArUco board"
            )
        return self
