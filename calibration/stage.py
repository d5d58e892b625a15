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
from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..capture.frames import ViewFrames, view_frames
from ..capture.session import Session
from ..core.board import Board
from ..core.camera_files import format_cameras, match_views, read_cameras
from ..core.camera_formats import check_metres
from ..core.cameras import Cameras
from ..core.config import STRICT
from ..core.engine import Plan, Unit
from ..core.errors import CalibrationError
from ..core.schema import BOARD, CAMERAS, camera_blocks, group_spec
from ..core.schema import read_cameras as stored_cameras
from ..core.store import Store, digest, disk_errors
from .board import detect_board, num_corners
from .calibrate import calibrate
from .quality import board_distance_errors
from .world import World, rig_in_world

BOARD_GROUP, CAMERAS_GROUP = "board", "cameras"
BOARD_CODE, CAMERAS_CODE = 1, 1
"""Raised when the same input would give other numbers."""


@settings(frozen=True, config=STRICT)
class CalibrationSettings:
    """How the cameras are calibrated from the board."""

    max_frames: Annotated[int, Field(ge=10)] = 300
    """Frames in the joint adjustment, chosen so that every view's sightings are spread widely."""
    min_frames: Annotated[int, Field(ge=3)] = 5
    """A view that saw the board in fewer frames stays without a calibration."""
    world: World = "first-camera"
    """Where the world is: the first calibrated camera; the board in `world_frame`; or `gravity`, the same board as it
    lies on a table, face up, with z up. A supplied cameras.toml brings its own world."""
    world_frame: Annotated[int, Field(ge=0)] = 0
    """Which frame of the board's clips, for `board` and `gravity`."""


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
    judge: Judge
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        corners = self.store.read(BOARD_GROUP, "corners")
        seen_by = self.store.labels(BOARD_GROUP, "view")
        sizes = np.array([self.sizes_px[self.views.index(view)] for view in seen_by])
        result = calibrate(
            self.board,
            corners,
            seen_by,
            sizes,
            max_frames=self.options.max_frames,
            min_frames=self.options.min_frames,
            where=self.judge.where,
        )
        options = self.options
        rig = rig_in_world(result.cameras, result.T_world_board, options.world, options.world_frame, self.judge.where)
        cameras = match_views(rig, self.views, self.sizes_px)
        self.judge.check(cameras)
        rms = np.full(len(self.views), np.nan)
        rms[[self.views.index(view) for view in seen_by]] = result.rms_px
        yield todo[0], camera_blocks(cameras, rms)


@dataclass(frozen=True)
class ReadCameras:
    """The whole rig, from a file that came with the session."""

    path: Path
    views: tuple[str, ...]
    sizes_px: ndarray
    judge: Judge
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        cameras = match_views(read_cameras(self.path), self.views, self.sizes_px)
        self.judge.check(cameras)
        check_metres(cameras, self.path)
        yield todo[0], camera_blocks(cameras, np.full(len(self.views), np.nan))


@dataclass(frozen=True)
class Judge:
    """Whether a rig is good enough to go on with."""

    where: str
    """The clips or the file it comes from."""
    dead_views: float
    """Share of the views that may stay without a calibration."""
    advice: str

    def check(self, cameras: Cameras) -> None:
        """Raise CalibrationError when too many views have no calibration."""
        without = uncalibrated(cameras)
        if len(cameras) < 2:
            raise CalibrationError(
                f"{self.where}: expected two views or more, for one cannot see depth, but found {len(cameras)}. "
                "Add the clips of another camera."
            )
        if len(without) > int(self.dead_views * len(cameras)) or len(cameras) - len(without) < 2:
            missing = ", ".join(without[:8]) + (", ..." if len(without) > 8 else "")
            raise CalibrationError(
                f"{self.where}: expected a calibration for every view, but {len(without)} of {len(cameras)} have none "
                f"({missing}). {self.advice}, or take their clips away."
            )


def uncalibrated(cameras: Cameras) -> list[str]:
    """Names of the views without a calibration."""
    return [name for name, ok in zip(cameras.names, cameras.calibrated, strict=True) if not ok]


def supplied_cameras(session: Session, store: Store, hashes: Mapping[str, str]) -> Path | None:
    """The session's cameras.toml, unless `publish` wrote it from this session's board and nobody touched it since.

    A file that was calibrated elsewhere and copied here counts as supplied, whoever wrote it.
    """
    path = session.root / "cameras.toml"
    if not path.exists():
        return None
    text = path.read_bytes()
    body, _, signature = text.rpartition(SIGNED)
    here = hashlib.sha256(body + digest(dict(hashes)).encode()).hexdigest().encode()
    if signature.strip() == here or hashlib.sha256(text).hexdigest() in _written(store):
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
        folder = next(iter(session.board_clips.values())).path.parent
        judge = Judge(str(folder), dead_views, "Show them the board, supply their calibration in cameras.toml")
        task = SolveCameras(store, board, session.views, sizes, options, judge)
        chosen, inputs = asdict(options), {BOARD_GROUP: store.digest_of(BOARD_GROUP)}
    else:
        judge = Judge(str(supplied), dead_views, "Add these views to the file under their names")
        task = ReadCameras(supplied, session.views, sizes, judge)
        # A file's cameras are checked against the clips' size, so that counts too.
        chosen, inputs = {"sizes": sizes.tolist()}, {supplied.name: hashlib.sha256(supplied.read_bytes()).hexdigest()}
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
    return Plan(group, [task], {(0,): 1}, "rig", partial(summarize, board=board if supplied is None else None))


def summarize(store: Store, board: Board | None) -> dict[str, Any]:
    """The views without a calibration and, when it comes from a board, its figures in pixels and millimetres."""
    cameras = stored_cameras(store)
    figures: dict[str, Any] = {"without_calibration": uncalibrated(cameras)}
    if board is not None:
        corners = store.read(BOARD_GROUP, "corners").astype(float)
        seen_by = store.labels(BOARD_GROUP, "view")
        distances = board_distance_errors(match_views(cameras, seen_by, None), corners, board)
        rms = store.read(CAMERAS_GROUP, "rms")
        figures["board_px"] = float(np.sqrt(np.nanmean(rms**2)))
        figures["board_mm"] = distances.adjacent_rmse_mm
    return figures


SIGNED = b"# written by handpipe calibrate; edit it as you like: "
"""Before the last line's signature, which an edit breaks."""


def publish(session: Session, store: Store, hashes: Mapping[str, str]) -> None:
    """Write the rig that was found to the session's cameras.toml.

    Args:
        session: whose folder it is.
        store: with the rig.
        hashes: SHA-256 of each board clip.
    """
    path = session.root / "cameras.toml"
    body = format_cameras(stored_cameras(store)).encode()
    signature = hashlib.sha256(body + digest(dict(hashes)).encode()).hexdigest().encode()
    text = body + SIGNED + signature + b"\n"
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
