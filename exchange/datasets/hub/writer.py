"""A folder for the Hugging Face Hub: Parquet tables and a data card; `datasets.load_dataset(folder)` reads it.

`data/<sequence>.parquet` has a row per frame, `sequences.parquet` a row per sequence, `cameras.parquet` a row per view
of each. The numbers are the store's own, bit for bit: metres, radians, pixels, NaN where there is nothing.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from ....core.engine import Progress
from ....core.hands import HANDS, NUM_BETAS, NUM_JOINTS, NUM_POSE
from ...recording import Recording
from .card import card

if TYPE_CHECKING:
    import pyarrow as pa

DATA, SEQUENCES, CAMERAS, CARD = "data", "sequences.parquet", "cameras.parquet", "README.md"

ROWS = 4096
"""Frames written at once: a row group."""

MANO_WIDTHS: Mapping[str, tuple[int, ...]] = {
    "global_orient": (3,),
    "hand_pose": (NUM_POSE,),
    "transl": (3,),
    "joints": (NUM_JOINTS, 3),
    "residual": (),
}
"""Per frame and hand, from the group `mano`."""

KEYPOINT_WIDTHS: Mapping[str, tuple[int, ...]] = {"keypoints": (NUM_JOINTS, 3), "sigma": (NUM_JOINTS,)}
"""The same from the group `keypoints`, whose points are called keypoints here."""

CAMERA_WIDTHS: Mapping[str, tuple[int, ...]] = {"K": (3, 3), "distortion": (5,), "T_cam_world": (4, 4)}


def write(recordings: Sequence[Recording], out: Path, progress: Progress) -> list[str]:
    """The folder. Arguments as for every exporter."""
    import pyarrow.parquet as pq

    (out / DATA).mkdir(parents=True)
    progress.start("export", sum(each.frames for each in recordings), 0, "frames")
    try:
        for each in recordings:
            path = out / DATA / f"{each.name}.parquet"
            with pq.ParquetWriter(path, frames_schema(), write_page_checksum=True) as writer:
                for start in range(0, each.frames, ROWS):
                    part = slice(start, min(start + ROWS, each.frames))
                    writer.write_table(_frames(each, part))
                    progress.advance(part.stop - part.start)
    finally:
        progress.stop()
    rows = [_sequence(each) for each in recordings]
    pq.write_table(_table(rows, sequences_schema()), out / SEQUENCES, write_page_checksum=True)
    views = [view for each in recordings for view in _cameras(each)]
    if views:
        pq.write_table(_table(views, cameras_schema()), out / CAMERAS, write_page_checksum=True)
    (out / CARD).write_text(card(rows, with_cameras=bool(views)), encoding="utf-8")
    return [
        "The clips, the detections, which views saw each joint, and what else the store holds of the stages between.",
        "A licence: the card says `unknown` until you say which.",
    ]


def _list(width: tuple[int, ...], leaf: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    for size in reversed(width):
        leaf = pa.list_(leaf, size)
    return leaf


def frames_schema() -> pa.Schema:
    """Columns of a frame; those of a hand begin with its name."""
    import pyarrow as pa

    columns = [("sequence", pa.string()), ("frame", pa.int32()), ("time_s", pa.float64())]
    for hand in HANDS:
        columns.append((f"{hand}_valid", pa.bool_()))
        for name, width in {**MANO_WIDTHS, **KEYPOINT_WIDTHS}.items():
            columns.append((f"{hand}_{name}", _list(width, pa.float32())))
    return pa.schema(columns)


def sequences_schema() -> pa.Schema:
    """Columns of a sequence."""
    import pyarrow as pa

    columns = [("sequence", pa.string()), ("frames", pa.int64()), ("fps", pa.float64()), ("views", pa.int32())]
    columns += [("has_mano", pa.bool_()), ("has_keypoints", pa.bool_()), ("generated", pa.bool_())]
    columns += [("reprojection_px", pa.float64()), ("residual_mm", pa.float64())]
    for hand in HANDS:
        columns += [(f"{hand}_hand_model", pa.string()), (f"{hand}_betas", pa.list_(pa.float32(), NUM_BETAS))]
        columns.append((f"{hand}_frames_valid", pa.float64()))
    return pa.schema(columns)


def cameras_schema() -> pa.Schema:
    """Columns of a view of a sequence."""
    import pyarrow as pa

    columns = [("sequence", pa.string()), ("view", pa.string())]
    columns += [(name, _list(width, pa.float64())) for name, width in CAMERA_WIDTHS.items()]
    return pa.schema([*columns, ("width", pa.int32()), ("height", pa.int32()), ("fisheye", pa.bool_())])


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def column_of(values: ndarray) -> pa.Array:
    """(row, ...) as a column of lists of fixed size."""
    import pyarrow as pa

    array = pa.array(np.ascontiguousarray(values).ravel())
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _frames(each: Recording, part: slice) -> pa.Table:
    import pyarrow as pa

    count = part.stop - part.start
    arrays = _arrays(each, part)
    index = np.arange(part.start, part.stop)
    columns: dict[str, Any] = {
        "sequence": pa.array([each.name] * count),
        "frame": pa.array(index.astype(np.int32)),
        "time_s": pa.array(index / each.fps),
    }
    for number, hand in enumerate(HANDS):
        for name, values in arrays.items():
            columns[f"{hand}_{name}"] = column_of(values[:, number])
    return pa.table({name: columns[name] for name in frames_schema().names}, schema=frames_schema())


def _arrays(each: Recording, part: slice) -> dict[str, ndarray]:
    """(frame, hand, ...) of both groups; NaN, and never valid, where a group is not there."""
    shape = (part.stop - part.start, len(HANDS))
    widths = {**MANO_WIDTHS, **KEYPOINT_WIDTHS}
    out = {name: np.full((*shape, *width), np.nan, np.float32) for name, width in widths.items()}
    out["valid"] = np.zeros(shape, bool)
    if each.fitted:
        motion = each.motion(part)
        for name in ("global_orient", "hand_pose", "transl", "joints", "valid"):
            out[name] = getattr(motion, name)
        if each.sample is None:
            out["residual"] = each.store.read("mano", "residual", (part,))
    keypoints = each.keypoints(part)
    if keypoints is not None:
        out["keypoints"], out["sigma"] = keypoints.points_m, keypoints.sigma_m
    return out


def _sequence(each: Recording) -> dict[str, Any]:
    keypoints, cameras = each.keypoints(slice(0, 0)), each.cameras()
    row: dict[str, Any] = {
        "sequence": each.name,
        "frames": each.frames,
        "fps": each.fps,
        "views": 0 if cameras is None else int(cameras.calibrated.sum()),
        "has_mano": each.fitted,
        "has_keypoints": keypoints is not None,
        "generated": each.sample is not None,
        "reprojection_px": None if keypoints is None else each.store.attrs("keypoints").get("reprojection_px"),
    }
    if each.fitted:
        motion = each.motion()
        if each.sample is None:
            residual = each.store.read("mano", "residual")[motion.valid]
            known = residual[np.isfinite(residual)]
            row["residual_mm"] = 1e3 * float(known.mean()) if len(known) else None
        for index, hand in enumerate(HANDS):
            row[f"{hand}_hand_model"] = each.hand_model_id[index]
            row[f"{hand}_betas"] = motion.betas[index]
            row[f"{hand}_frames_valid"] = float(motion.valid[:, index].mean())
    return row


def _cameras(each: Recording) -> Iterator[dict[str, Any]]:
    cameras = each.cameras()
    for view, name in enumerate(() if cameras is None else cameras.names):
        assert cameras is not None
        width, height = cameras.size_px[view].tolist()
        yield {
            "sequence": each.name,
            "view": name,
            **{key: getattr(cameras, key)[view].tolist() for key in CAMERA_WIDTHS},
            "width": width,
            "height": height,
            "fisheye": bool(cameras.fisheye[view]),
        }
