"""The folder that `handpipe export hub` writes, read with suspicion: every column has its type, nothing expands."""

# Ring 2: reads and writes.

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from ....core.cameras import Cameras
from ....core.errors import SessionError
from ....core.files import LARGE
from ....core.hands import HANDS, NUM_BETAS
from ....hand.plausibility import zero_frames
from ....hand.presence import hand_is_there
from ...recording import safe_name
from . import writer as hub

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_FRAMES = 250_000
"""Of all sequences that are read: two hours at 30 frames per second, whose judging takes three gigabytes of memory."""

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


def read_hub(folder: Path, only: Sequence[str] = ()) -> list[HubSequence]:
    """The sequences, in the order of the table.

    Args:
        folder: with sequences.parquet.
        only: patterns of names; empty takes all.

    Raises:
        SessionError: a table is missing, or is not what `handpipe export hub` writes.
    """
    rows = _rows(folder / hub.SEQUENCES, hub.sequences_schema())
    if not rows:
        raise SessionError(f"{folder / hub.SEQUENCES}: expected a row for each sequence, but found none. Export again.")
    cameras = folder / hub.CAMERAS
    views = _rows(cameras, hub.cameras_schema(), optional=("fisheye",)) if cameras.exists() else []
    names = Counter(row["sequence"] for row in rows)
    for name, count in names.items():
        if name is None or safe_name(name) != name or count > 1:
            raise SessionError(
                f"{folder / hub.SEQUENCES}: expected different names of letters, digits, '_', '-' and '.', but found "
                f"{name!r}. Rename the sequence and its file."
            )
    rows = [row for row in rows if not only or any(fnmatchcase(row["sequence"], pattern) for pattern in only)]
    frames = sum(row["frames"] or 0 for row in rows)
    if frames > MAX_FRAMES:
        raise SessionError(
            f"{folder / hub.SEQUENCES}: expected at most {MAX_FRAMES} frames to import at once, but found {frames}. "
            "Import them in parts with --only."
        )
    views_of = defaultdict(list)
    for view in views:
        views_of[view["sequence"]].append(view)
    return [_sequence(folder, row, views_of[row["sequence"]]) for row in rows]


def _sequence(folder: Path, row: Mapping[str, Any], views: Sequence[Mapping[str, Any]]) -> HubSequence:
    where, fps, frames = folder / hub.SEQUENCES, row["fps"], row["frames"]
    if (
        fps is None
        or not 0 < fps < math.inf
        or frames is None
        or frames < 1
        or not (row["has_mano"] or row["has_keypoints"])
    ):
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
        if None in betas or None in models:
            raise SessionError(
                f"{where}: {row['sequence']}: expected betas and hand_model of both hands. Export again."
            )
        mano["betas"] = np.array(betas, np.float32).reshape(len(HANDS), NUM_BETAS)
        if (np.abs(mano["betas"]) > LARGE).any():
            raise SessionError(
                f"{where}: {row['sequence']}: expected betas of a hand, but found {betas}. Export again."
            )
        mano["zeros"] = zero_frames(mano)
        mano["valid"] = hand_is_there(mano) & ~mano["zeros"]
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
    cameras = Cameras(tuple(names), stacked["K"], stacked["distortion"], stacked["T_cam_world"], size_px, fisheye)
    for name, ok in zip(names, _are_cameras(cameras), strict=True):
        if not ok:
            raise SessionError(
                f"{folder / hub.CAMERAS}: view {name}: expected a rotation in T_cam_world, focal lengths and sizes "
                "above zero, or NaN for a view without calibration, but found other numbers. Export again."
            )
    return cameras


def _are_cameras(cameras: Cameras) -> ndarray:
    """(view,) bool"""
    T, focal = cameras.T_cam_world, cameras.K[:, [0, 1], [0, 1]]
    R, last = T[:, :3, :3], cameras.K[:, 2]
    with np.errstate(all="ignore"):
        rigid = np.isclose(R @ R.mT, np.eye(3), atol=1e-4).all(axis=(1, 2)) & (np.linalg.det(R) > 0)
        rigid &= (T[:, 3] == (0, 0, 0, 1)).all(axis=-1)
    finite = np.isfinite(T).all(axis=(1, 2)) & np.isfinite(cameras.distortion).all(axis=-1)
    lens = (focal > 0).all(axis=-1) & (last == (0, 0, 1)).all(axis=-1) & np.isfinite(cameras.K).all(axis=(1, 2))
    return ~cameras.calibrated | (rigid & finite & lens & (cameras.size_px > 0).all(axis=-1))


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
        if (np.abs(out[name]) > LARGE).any():
            raise SessionError(
                f"{path}: {name}: expected numbers of hands, and NaN where one is missing, but found infinity or "
                f"numbers beyond {LARGE:g}. Export again."
            )
    return out


def _values(column: pa.ChunkedArray, width: tuple[int, ...]) -> ndarray:
    """The inverse of `hub.column_of`."""
    array: Any = column.combine_chunks()
    for _ in width:
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False).reshape(-1, *width)


def _rows(path: Path, schema: pa.Schema, optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    import pyarrow as pa

    table = _table(path, schema, schema.names, MAX_ROWS, optional)
    for name, column in zip(table.column_names, table.columns, strict=True):
        texts = [part.dictionary for part in column.chunks if pa.types.is_dictionary(part.type)]
        longest = max((len(text) for part in texts for text in part.to_pylist() if text is not None), default=0)
        if longest > MAX_TEXT:
            raise SessionError(f"{path}: {name}: expected at most {MAX_TEXT} letters, but found {longest}. Rename it.")
    return table.to_pylist()


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
            count = found.names.count(name)
            kind = _plain(found.field(name).type) if count == 1 else f"{count} such columns"
            if kind != schema.field(name).type:
                raise SessionError(
                    f"{path}: {name}: expected {schema.field(name).type}, but found {kind}. Export again."
                )
        # As a dictionary, a text of a million letters is there once, however many rows say it.
        texts = [name for name in columns if pa.types.is_string(schema.field(name).type)]
        with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
            table = file.read(columns=list(columns))
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # The last for names of columns.
        raise SessionError(
            f"{path}: expected a Parquet file, but it cannot be read ({str(error).partition(chr(10))[0]}). It may be "
            "truncated: get it again."
        ) from error
    for name in columns:
        may_be_null = schema != hub.frames_schema() or pa.types.is_string(schema.field(name).type)
        if _nulls(table.column(name), whole_rows=not may_be_null):
            raise SessionError(f"{path}: {name}: expected NaN where a number is missing, but found null. Export again.")
    return table


def _nulls(column: pa.ChunkedArray, whole_rows: bool) -> bool:
    """Whether anything is null inside the lists of a column, at any depth; or, with `whole_rows`, a row itself."""
    import pyarrow as pa

    if whole_rows and column.null_count:
        return True
    array: Any = column.combine_chunks()
    while pa.types.is_fixed_size_list(array.type):
        array = array.flatten()
        if array.null_count:
            return True
    return False


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


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
