"""The folder that `handpipe export hub` writes, read with suspicion: every column has its type, nothing expands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.errors import SessionError
from ...core.hands import HANDS, NUM_BETAS
from ..exporting import safe_name
from . import hub

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_FRAMES = 1_000_000
"""Of a sequence: nine hours at 30 frames per second, 2 GB of numbers."""

MAX_ROWS = 100_000
"""Of the other tables."""

MAX_VALUES = 128
"""Numbers of a row in one column: 21 joints have 63."""

MAX_BYTES = 4 << 30
"""Of a table, unpacked."""

MAX_TEXT = 200
"""Letters of a name."""


@dataclass(frozen=True, eq=False)
class HubSequence:
    """One sequence of the folder."""

    name: str
    fps: float
    mano: Mapping[str, ndarray] | None
    """The arrays of the group `mano`; None where nothing was fitted."""
    hand_model: tuple[str, str] | None
    keypoints: Mapping[str, ndarray] | None
    """`points` (frame, hand, 21, 3) and `sigma` (frame, hand, 21)."""
    cameras: Cameras | None


def read_hub(folder: Path) -> list[HubSequence]:
    """Every sequence, in the order of the table.

    Raises:
        SessionError: a table is missing, or is not what `handpipe export hub` writes.
    """
    rows = _rows(folder / hub.SEQUENCES, hub.sequences_schema())
    if not rows:
        raise SessionError(f"{folder / hub.SEQUENCES}: expected a row for each sequence, but found none. Export again.")
    cameras = folder / hub.CAMERAS
    views = _rows(cameras, hub.cameras_schema(), optional=("fisheye",)) if cameras.exists() else []
    names = [row["sequence"] for row in rows]
    for name in names:
        if name is None or safe_name(name) != name or names.count(name) > 1:
            raise SessionError(
                f"{folder / hub.SEQUENCES}: expected different names of letters, digits, '_', '-' and '.', but found "
                f"{name!r}. Rename the sequence and its file."
            )
    return [_sequence(folder, row, [view for view in views if view["sequence"] == row["sequence"]]) for row in rows]


def _sequence(folder: Path, row: Mapping[str, Any], views: Sequence[Mapping[str, Any]]) -> HubSequence:
    where, fps, frames = folder / hub.SEQUENCES, row["fps"], row["frames"]
    if fps is None or not 0 < fps < math.inf or frames is None or not (row["has_mano"] or row["has_keypoints"]):
        raise SessionError(
            f"{where}: {row['sequence']}: expected frames, fps above zero, and MANO or keypoints, but found {frames} "
            f"frames at {fps} fps, has_mano {row['has_mano']}, has_keypoints {row['has_keypoints']}. Correct the row."
        )
    arrays = _frames(folder / hub.DATA / f"{row['sequence']}.parquet", frames)
    mano, models = None, None
    if row["has_mano"]:
        mano = {name: arrays[name] for name in (*hub.MANO_WIDTHS, "valid")}
        betas = [row[f"{hand}_betas"] for hand in HANDS]
        models = tuple(row[f"{hand}_hand_model"] for hand in HANDS)
        if None in betas or None in models or any(None in each for each in betas):
            raise SessionError(
                f"{where}: {row['sequence']}: expected betas and hand_model of both hands. Export again."
            )
        mano["betas"] = np.array(betas, np.float32).reshape(len(HANDS), NUM_BETAS)
    keypoints = {"points": arrays["keypoints"], "sigma": arrays["sigma"]} if row["has_keypoints"] else None
    return HubSequence(row["sequence"], fps, mano, models, keypoints, _cameras(folder, views))


def _cameras(folder: Path, views: Sequence[Mapping[str, Any]]) -> Cameras | None:
    if not views:
        return None
    names = [view["view"] for view in views]
    if len(set(names)) < len(names) or any(value is None for view in views for value in view.values()):
        raise SessionError(
            f"{folder / hub.CAMERAS}: expected every view of a sequence once, and all its numbers, but found "
            f"{', '.join(map(str, names[:8]))}. Export again."
        )
    stacked = {name: np.array([view[name] for view in views], np.float64) for name in hub.CAMERA_WIDTHS}
    size_px = np.array([(view["width"], view["height"]) for view in views], int)
    # Folders of before there were fisheyes do not say.
    fisheye = np.array([view.get("fisheye", False) for view in views])
    return Cameras(tuple(names), stacked["K"], stacked["distortion"], stacked["T_cam_world"], size_px, fisheye)


def _frames(path: Path, frames: int) -> dict[str, ndarray]:
    """(frame, hand, ...) arrays by the column's name without the hand's."""
    schema = hub.frames_schema()
    columns = [name for name in schema.names if name not in ("sequence", "time_s")]
    table = _table(path, schema, columns, MAX_FRAMES)
    number = table.column("frame").to_numpy()
    if len(number) != frames or not np.array_equal(number, np.arange(frames)):
        raise SessionError(
            f"{path}: expected frames 0 to {frames - 1} in order, as sequences.parquet says, but found {len(number)} "
            "rows that are not these. Export again."
        )
    out = {}
    for name, width in {"valid": (), **hub.MANO_WIDTHS, **hub.KEYPOINT_WIDTHS}.items():
        hands = [_values(table.column(f"{hand}_{name}"), width) for hand in HANDS]
        out[name] = np.stack(hands, axis=1)
    return out


def _values(column: pa.ChunkedArray, width: tuple[int, ...]) -> ndarray:
    """The inverse of `hub.column_of`."""
    array: Any = column.combine_chunks()
    for _ in width:
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False).reshape(-1, *width)


def _rows(path: Path, schema: pa.Schema, optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    rows = _table(path, schema, schema.names, MAX_ROWS, optional).to_pylist()
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and len(value) > MAX_TEXT:
                raise SessionError(
                    f"{path}: {name}: expected at most {MAX_TEXT} letters, but found {len(value)}. Rename it."
                )
    return rows


def _table(path: Path, schema: pa.Schema, columns: Sequence[str], limit: int, optional: Sequence[str] = ()) -> pa.Table:
    """Some columns of a Parquet file, whose sizes are known to be bounded before anything is unpacked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise SessionError(
            f"{path}: expected a table that `handpipe export hub` wrote, but there is none. Export again."
        )
    try:
        with pq.ParquetFile(path) as file:
            _check_size(path, file.metadata, limit)
            found = file.schema_arrow
            columns = [name for name in columns if name in found.names or name not in optional]
            for name in columns:
                if name not in found.names or found.field(name).type != schema.field(name).type:
                    kind = found.field(name).type if name in found.names else "no such column"
                    raise SessionError(
                        f"{path}: {name}: expected {schema.field(name).type}, but found {kind}. Export again."
                    )
            table = file.read(columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise SessionError(
            f"{path}: expected a Parquet file, but it cannot be read ({error}). It may be truncated: get it again."
        ) from error
    numbers = [name for name in columns if not pa.types.is_string(schema.field(name).type)]
    if schema == hub.frames_schema() and any(table.column(name).null_count for name in numbers):
        raise SessionError(f"{path}: expected NaN where a number is missing, but found null. Export again.")
    return table


def _check_size(path: Path, metadata: pq.FileMetaData, limit: int) -> None:
    """A few kilobytes can say that a number is repeated a billion times: in rows, or in the lists of a row."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    unpacked = sum(group.total_byte_size for group in groups)
    longest = max((group.column(i).num_values for group in groups for i in range(group.num_columns)), default=0)
    if metadata.num_rows > limit or unpacked > MAX_BYTES or longest > MAX_VALUES * metadata.num_rows:
        raise SessionError(
            f"{path}: expected at most {limit} rows and {MAX_BYTES >> 30} GiB, but it unpacks to {metadata.num_rows} "
            f"rows with {longest} values and {unpacked / (1 << 30):.1f} GiB. Check where it is from."
        )
