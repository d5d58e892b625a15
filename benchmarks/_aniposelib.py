"""The baseline for calibration: aniposelib's board calibration, from the same corners."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from handpipe.core.board import Board
from handpipe.core.cameras import Cameras


@dataclass(frozen=True)
class Peer:
    """aniposelib's rig and what it cost."""

    cameras: Cameras
    whole_cpu_s: float
    """CPU seconds of `calibrate_rows`."""
    adjustment_cpu_s: float
    """CPU seconds of `bundle_adjust_iter` within it."""


def calibrate_with_aniposelib(board: Board, corners_px: ndarray, names: Sequence[str], sizes_px: ndarray) -> Peer:
    """`CameraGroup.calibrate_rows` as it stands, all its defaults.

    Args:
        board: what was filmed.
        corners_px: (view, frame, corner, 2) pixels, NaN where not seen.
        names: of the views.
        sizes_px: (view, 2) width and height.
    """
    from aniposelib.boards import CharucoBoard
    from aniposelib.cameras import CameraGroup

    printed = CharucoBoard(
        board.columns,
        board.rows,
        square_length=board.square_m,
        marker_length=board.marker_m,
        marker_bits=int(board.dictionary.split("_")[1][0]),
        dict_size=int(board.dictionary.split("_")[2]),
    )
    rows = []
    for view in corners_px:
        seen = np.isfinite(view[..., 0])
        found = [
            {
                "framenum": (0, int(frame)),
                "corners": view[frame, seen[frame], None].astype(np.float32),
                "ids": np.nonzero(seen[frame])[0].astype(np.int32)[:, None],
            }
            for frame in np.nonzero(seen.sum(1) >= 4)[0]
        ]
        rows.append(printed.fill_points_rows(found))
    group = CameraGroup.from_names(list(names))  # pyright: ignore[reportArgumentType]  # not annotated
    for camera, size in zip(group.cameras, sizes_px, strict=True):
        camera.set_size(tuple(int(side) for side in size))
    spent = []
    adjust = group.bundle_adjust_iter

    def timed(*args: object, **kwargs: object) -> object:
        begin = time.process_time()
        error = adjust(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        spent.append(time.process_time() - begin)
        return error

    group.bundle_adjust_iter = timed
    np.random.seed(0)  # noqa: NPY002  # It draws its samples from the global generator.
    begin = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        group.calibrate_rows(rows, printed, verbose=False)
    whole = time.process_time() - begin
    cameras = Cameras(
        tuple(names),
        np.stack([camera.matrix for camera in group.cameras]),
        np.stack([np.ravel(camera.dist) for camera in group.cameras]),
        np.stack([camera.get_extrinsics_mat() for camera in group.cameras]),
        np.asarray(sizes_px).astype(int),
    )
    return Peer(cameras, whole, spent[0])
