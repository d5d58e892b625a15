"""The `calibrate` stage: clips to board corners (`board`), board corners or a file to the rig (`cameras`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy import ndarray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings

from ..capture.frames import ViewFrames, view_frames
from ..capture.session import Session
from ..core.board import Board
from ..core.camera_files import format_cameras, match_views, read_cameras
from ..core.engine import Plan, Unit
from ..core.errors import CalibrationError
from ..core.schema import BOARD, CAMERAS, camera_blocks, group_spec
from ..core.store import Store, disk_errors
from .board import detect_board, num_corners
from .calibrate import calibrate
from .quality import board_distance_errors

BOARD_GROUP, CAMERAS_GROUP = "board", "cameras"
BOARD_CODE, CAMERAS_CODE = 1, 1
"""Raised when the same input would give other numbers."""


@settings(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class CalibrationSettings:
    """How the cameras are calibrated from the board."""

    max_frames: Annotated[int, Field(ge=10)] = 300
    """Frames in the joint adjustment, chosen so that every view's sightings are spread widely."""
    min_frames: Annotated[int, Field(ge=3)] = 5
    """A view that saw the board in fewer frames stays without a calibration."""


@dataclass(frozen=True)
class FindBoard:
    """One view's board clip, decoded once."""

    frames: ViewFrames
    board: Board

    @property
    def units(self) -> Sequence[Unit]:
        return self.frames.units

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        nothing = np.full((num_corners(self.board), 2), np.nan, np.float32)
        for unit, found in self.frames.look(todo, partial(detect_board, self.board)):
            corners = [nothing if seen is None else seen for seen in found]
            yield unit, {"corners": np.stack(corners)[None].astype(np.float32)}


def board_plan(session: Session, board: Board, hashes: Mapping[str, str], chunk_frames: int) -> Plan:
    """Look for the board in every frame of every board clip.

    Args:
        session: the clips.
        board: what to look for.
        hashes: SHA-256 of each board clip.
        chunk_frames: frames per unit.
    """
    timeline = session.board_timeline
    frames = timeline.frames
    chunk = min(chunk_frames, frames)
    tasks = [FindBoard(view, board) for view in view_frames(list(session.board_clips.values()), timeline, chunk)]
    group = group_spec(
        BOARD_GROUP,
        BOARD,
        sizes={"view": len(tasks), "board_frame": frames, "corner": num_corners(board)},
        unit={"view": 1, "board_frame": chunk},
        fingerprint={
            "settings": asdict(board),
            "inputs": {**hashes, "timeline": timeline.digest()},
            "code": BOARD_CODE,
        },
        attrs={"board": asdict(board)},
        coords={"view": (("view",), np.array(list(session.board_clips), object))},
    )
    weight = {unit: len(task.frames.chunk(unit)) for task in tasks for unit in task.units}
    return Plan(group, tasks, weight, "images")


@dataclass(frozen=True)
class SolveCameras:
    """The whole rig, from the board's corners in the store."""

    store: Store
    board: Board
    views: tuple[str, ...]
    sizes_px: ndarray
    options: CalibrationSettings
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        corners = self.store.read(BOARD_GROUP, "corners")
        seen_by = self.store.labels(BOARD_GROUP, "view")
        sizes = np.array([self.sizes_px[self.views.index(view)] for view in seen_by])
        result = calibrate(
            self.board, corners, seen_by, sizes, max_frames=self.options.max_frames, min_frames=self.options.min_frames
        )
        cameras = match_views(result.cameras, self.views, self.sizes_px)
        rms = np.full(len(self.views), np.nan)
        rms[[self.views.index(view) for view in seen_by]] = result.rms_px
        yield todo[0], camera_blocks(cameras, rms)


@dataclass(frozen=True)
class ReadCameras:
    """The whole rig, from a file that came with the session."""

    path: Path
    views: tuple[str, ...]
    sizes_px: ndarray
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        cameras = match_views(read_cameras(self.path), self.views, self.sizes_px)
        yield todo[0], camera_blocks(cameras, np.full(len(self.views), np.nan))


def supplied_cameras(session: Session, store: Store) -> Path | None:
    """The session's cameras.toml, unless it is the one that was written here and never touched since."""
    path = session.root / "cameras.toml"
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() in _written(store):
        return None
    return path


def cameras_plan(
    session: Session,
    board: Board,
    options: CalibrationSettings,
    store: Store,
    supplied: Path | None,
    dead_views: float,
) -> Plan:
    """Calibrate the rig from the `board` group, or take it from the supplied file.

    Args:
        session: the clips.
        board: the board in the `board` group.
        options: the solver's settings.
        store: where the `board` group is.
        supplied: a calibration that came with the session.
        dead_views: share of the views that may stay without a calibration.
    """
    sizes = np.array([clip.size_px for clip in session.clips])
    if supplied is None:
        task = SolveCameras(store, board, session.views, sizes, options)
        chosen, inputs = asdict(options), {BOARD_GROUP: store.digest_of(BOARD_GROUP)}
    else:
        task = ReadCameras(supplied, session.views, sizes)
        chosen, inputs = {}, {supplied.name: hashlib.sha256(supplied.read_bytes()).hexdigest()}
    group = group_spec(
        CAMERAS_GROUP,
        CAMERAS,
        sizes={"view": len(session.clips), "rig": 1},
        unit={"rig": 1},
        fingerprint={
            "settings": {**chosen, "dead_views": dead_views},
            "inputs": {**inputs, "views": list(session.views)},
            "code": CAMERAS_CODE,
        },
        attrs={"source": "board" if supplied is None else supplied.name},
        coords={"view": (("view",), np.array(session.views, object))},
    )
    return Plan(group, [task], {(0,): 1}, "rig", lambda store: summarize(store, session, board, supplied, dead_views))


def summarize(store: Store, session: Session, board: Board, supplied: Path | None, dead_views: float) -> dict[str, Any]:
    """Judge the calibration: how many views have one, and the board's figures in pixels and millimetres."""
    from ..core.schema import read_cameras as rig_of

    cameras = rig_of(store)
    without = [name for name, ok in zip(cameras.names, cameras.calibrated, strict=True) if not ok]
    if len(without) > int(dead_views * len(cameras)) or len(cameras) - len(without) < 2:
        where = supplied or (session.root / "calibration" if not session.board_in_clips else session.root / "videos")
        missing = ", ".join(without[:8]) + (", ..." if len(without) > 8 else "")
        advice = (
            "Add these views to the file under their names"
            if supplied
            else "Show them the board, supply their calibration in cameras.toml"
        )
        raise CalibrationError(
            f"{where}: expected a calibration for every view, but {len(without)} of {len(cameras)} have none "
            f"({missing}). "
            f"{advice}, or take their clips away."
        )
    figures: dict[str, Any] = {"without_calibration": without}
    if supplied is None:
        corners = store.read(BOARD_GROUP, "corners").astype(float)
        seen_by = store.labels(BOARD_GROUP, "view")
        distances = board_distance_errors(match_views(cameras, seen_by, None), corners, board)
        rms = store.read(CAMERAS_GROUP, "rms")
        figures["board_px"] = float(np.sqrt(np.nanmean(rms**2)))
        figures["board_mm"] = distances.adjacent_rmse_mm
    return figures


def publish(session: Session, store: Store) -> None:
    """Write the rig that was found to the session's cameras.toml."""
    from ..core.schema import read_cameras as rig_of

    path = session.root / "cameras.toml"
    text = format_cameras(rig_of(store), {"made_by": "handpipe calibrate"}).encode()
    sha = hashlib.sha256(text).hexdigest()
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha:
        return
    # Remembered before the file appears: a file that is ours must never be taken for one that was supplied.
    store.set_attrs("_written", cameras_toml=sorted({*_written(store), sha}))
    with disk_errors(str(path)):
        temporary = path.with_name(f".{path.name}.partial")
        temporary.write_bytes(text)
        temporary.replace(path)


def _written(store: Store) -> set[str]:
    return set(store.attrs("_written").get("cameras_toml", []))
