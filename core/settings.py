"""What every settings class asks of pydantic, the settings of the engine, and the board that was printed."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as settings

from .units import SQUARE_M, TYPICAL_SQUARE_M, length_check, metres

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
    cluster: str | None = None
    """YAML file that describes a cluster to use: SLURM, Kubernetes or others (docs/cluster.md)."""
    chunk_frames: Annotated[int | None, Field(ge=1)] = None
    """Frames per chunk, the unit of computation and storage. None: 64, more in long recordings (docs/scale.md)."""
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

DICTIONARY_SIZES: dict[str, int] = {
    **{name: int(name.rsplit("_", 1)[1]) for name in get_args(Dictionary) if name.rsplit("_", 1)[1].isdecimal()},
    **{"DICT_ARUCO_ORIGINAL": 1024, "DICT_APRILTAG_16h5": 30, "DICT_APRILTAG_25h9": 35},
    **{"DICT_APRILTAG_36h10": 2320, "DICT_APRILTAG_36h11": 587},
}
"""Number of markers in each dictionary."""

LATER = ("first_marker",)
"""Keys of the board that came after stores had been written."""
MIN_MARKER = 0.2
"""Of a square: no board has smaller markers."""


@settings(frozen=True, config=STRICT)
class Board:
    """The printed calibration board. Measure the print: a scale error of 1 % scales the reconstruction by 1 %."""

    type: Literal["charuco", "chessboard", "grid", "aprilgrid"] = "charuco"
    """Board type. A chessboard has no markers and must be completely visible to be detected. A grid is markers without
    squares between them (OpenCV's GridBoard). An aprilgrid is Kalibr's board."""
    columns: Annotated[int, Field(ge=2, le=100)] = 7
    """Number of squares along x (not inner corners); of a grid or aprilgrid, of markers."""
    rows: Annotated[int, Field(ge=2, le=100)] = 5
    """Number of squares along y (not inner corners); of a grid or aprilgrid, of markers."""
    square_m: Annotated[
        float,
        BeforeValidator(metres),
        Field(gt=0),
        AfterValidator(length_check("square_m", "a square", SQUARE_M, TYPICAL_SQUARE_M)),
    ] = 0.04
    """Side length of a square, metres, or with a unit: `40 mm`, `4 cm`, `1.5 in`. Of a grid or aprilgrid:
    from the left edge of a marker to that of the next, a marker and a gap; Kalibr's tagSize x (1 + tagSpacing)."""
    marker_m: Annotated[
        float,
        BeforeValidator(metres),
        Field(gt=0),
        AfterValidator(length_check("marker_m", "a marker", SQUARE_M, TYPICAL_SQUARE_M)),
    ] = 0.03
    """Side length of a marker, metres, or with a unit; smaller than a square. Kalibr's tagSize. Ignored
    for chessboards."""
    dictionary: Dictionary = "DICT_4X4_50"
    """Marker dictionary, by its OpenCV name. Ignored for chessboards, and for aprilgrids, whose tags are of 36h11."""
    inverted: bool = False
    """Black and white are swapped on the print."""
    legacy: bool | None = None
    """Use the ChArUco layout of OpenCV before 4.6, which differs if the number of rows is even. None: detect it."""
    first_marker: Annotated[int, Field(ge=0, le=2000)] = 0
    """Number of the first marker, for a board of a set whose markers do not start at 0. Ignored for chessboards."""

    @property
    def num_markers(self) -> int:
        """Markers on the board; 0 for a chessboard."""
        if self.type == "chessboard":
            return 0
        return self.columns * self.rows // (2 if self.type == "charuco" else 1)

    @property
    def is_grid(self) -> bool:
        """Whether the corners are those of the markers, with gaps between them."""
        return self.type in ("grid", "aprilgrid")

    @model_validator(mode="after")
    def _check_sizes(self) -> Board:
        # ValueError, because pydantic turns it into the message that names the setting.
        has_markers = self.type != "chessboard"
        if has_markers and self.marker_m >= self.square_m:
            swapped = f"; were they exchanged? square_m: {self.marker_m:g}, marker_m: {self.square_m:g}"
            raise ValueError(
                f"marker_m ({self.marker_m:g} m; 0.03 if not given) must be smaller than square_m ({self.square_m:g} m)"
                f"{swapped if MIN_MARKER * self.marker_m <= self.square_m < self.marker_m else ''}"
            )
        if has_markers and self.marker_m < MIN_MARKER * self.square_m:
            raise ValueError(
                f"marker_m ({self.marker_m:g} m; 0.03 if not given) is less than {MIN_MARKER:g} times square_m "
                f"({self.square_m:g} m): give both in metres, as measured on the print"
            )
        dictionary = "DICT_APRILTAG_36h11" if self.type == "aprilgrid" else self.dictionary
        markers, available = self.first_marker + self.num_markers, DICTIONARY_SIZES[dictionary]
        if has_markers and markers > available:
            raise ValueError(
                f"the board's markers are {self.first_marker} to {markers - 1}, but {dictionary} ends at "
                f"{available - 1}; correct columns, rows, first_marker or dictionary"
            )
        if not self.is_grid and (self.columns - 1) * (self.rows - 1) < 4:
            raise ValueError("columns and rows count squares, and the board needs four inner corners or more")
        if self.type == "chessboard" and (self.columns + self.rows) % 2 == 0:
            raise ValueError(
                f"a chessboard of {self.columns} x {self.rows} squares looks the same upside down, so cameras cannot "
                "agree on its corners; print one with an even and an odd number of squares, or a ChArUco board"
            )
        return self


def described(board: Board) -> dict[str, Any]:
    """The board as fingerprints and attributes hold it: keys that came later only where they are not at the default."""
    later = {
        field.name for field in fields(Board) if field.name in LATER and getattr(board, field.name) == field.default
    }
    return {key: value for key, value in asdict(board).items() if key not in later}
