"""The `calibrate` stage: clips to board corners (`board`), board corners or a file to the rig (`cameras`)."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.cameras_file import check_metres, match_views, read_cameras
from ..core.engine import Plan, Unit
from ..core.recording import Clip, ReadFrames, Session, ViewFrames, ViewsOf
from ..core.settings import Board, described
from ..core.storage.schema import BOARD, CAMERAS, camera_blocks, group_spec
from ..core.storage.schema import read_cameras as stored_cameras
from ..core.storage.store import Store
from . import aniposelib_solver
from .aniposelib_solver import AniposelibSolver
from .board import detect_board, is_usable, num_corners
from .boards.diagnose import another_board, why_not_seen
from .calibrate import Calibration, calibrate
from .checks import weak_views
from .own_clips import MIN_OWN_FRAMES, choose_own
from .quality import board_distance_errors
from .quality_gate import Judge, contradictions, late_cameras, over_views, uncalibrated
from .settings import CalibrationSettings
from .timing.alignment import at_instants
from .timing.late_views import LEAST_FRAMES, SURE, calibrate_in_time, instants
from .world import rig_in_world

BOARD_GROUP, LENSES_GROUP, CAMERAS_GROUP = "board", "intrinsics", "cameras"
NOTES = "_calibration"
"""Group whose attributes carry what the solver has to say to the `cameras` group's own."""
BOARD_CODE, CAMERAS_CODE = 3, 3
"""Raised when the same input would give other numbers."""
ANIPOSELIB_NOTICE = (
    "aniposelib adjusts one focal length and k1 per camera; the principal points stay at the image centres. "
    "Expect about 20 s for 8 cameras and minutes for 50"
)
BOARD_ADVICE = "Show the board to them, supply their calibration in cameras.toml"
FILE_ADVICE = "Add these views to the file under their names"
"""For views without a calibration."""


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


def board_plan(
    session: Session,
    views_of: ViewsOf,
    board: Board,
    hashes: Mapping[str, str],
    chunk_frames: int,
    name: str = BOARD_GROUP,
) -> Plan:
    """Look for the board in every frame of every board clip, or of every clip of `intrinsics/`.

    Args:
        session: the clips.
        views_of: reads them.
        board: what to look for.
        hashes: SHA-256 of each clip.
        chunk_frames: frames per unit.
        name: of the group: `board` or `intrinsics`, which says the clips.
    """
    shared = name == BOARD_GROUP
    clips = session.board_clips if shared else session.lens_clips
    timeline = session.board_timeline if shared else session.lens_timeline
    frames = timeline.frames
    chunk = min(chunk_frames, frames)
    tasks = [FindBoard(view, board) for view in views_of(list(clips.values()), timeline, chunk)]
    group = group_spec(
        name,
        BOARD,
        sizes={"view": len(tasks), "board_frame": frames, "corner": num_corners(board)},
        unit={"view": 1, "board_frame": chunk},
        fingerprint={
            "settings": described(board),
            "inputs": {**hashes, "timeline": timeline.digest()},
            "code": BOARD_CODE,
        },
        attrs={"board": described(board)},
        coords={"view": (("view",), np.array(list(clips), object))},
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
    time_s: ndarray
    """(view, board_frame) when each image was taken, as far as known."""
    clips: Mapping[str, Clip]
    """Of the board."""
    read: ReadFrames
    options: CalibrationSettings
    judge: Judge
    own_clips: bool = False
    """Whether there are clips of `intrinsics/`."""
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        corners = self.store.read(BOARD_GROUP, "corners")
        seen_by = self.store.labels(BOARD_GROUP, "view")
        sizes = np.array([self.sizes_px[self.views.index(view)] for view in seen_by])
        sightings = is_usable(self.board, corners).sum(1)
        hints = why_not_seen(self.board, self.clips, sightings, self.options.min_frames, self.read)
        if hints and (sightings < self.options.min_frames).all():
            view, hint = next(iter(hints.items()))
            raise another_board(self.judge.where, view, hint)
        options = self.options
        own_px, unused = self._own_clips(seen_by, sizes)

        def solve(corners_px: ndarray, time_s: ndarray | None, instant_s: ndarray) -> Calibration:
            return calibrate(
                self.board,
                corners_px,
                seen_by,
                sizes,
                time_s=time_s,
                instant_s=instant_s,
                own_px=own_px,
                max_frames=options.max_frames,
                min_frames=options.min_frames,
                fisheye=options.lens == "fisheye",
                solver=AniposelibSolver(self.judge.where) if options.solver == "aniposelib" else None,
                where=self.judge.where,
            )

        in_time = calibrate_in_time(solve, corners, self.time_s, options.correct_delays)
        result, delays = in_time.calibration, in_time.delays
        rig = rig_in_world(result.cameras, result.T_world_board, options.world, options.world_frame, self.judge.where)
        cameras = match_views(rig, self.views, self.sizes_px)
        reasons = result.left_out | {view: f"{result.left_out[view]}; {hint}" for view, hint in hints.items()}
        self.judge.check(cameras, reasons)
        warnings = self.judge.pass_or_stop(result.held_out, seen_by)
        warnings += contradictions(result.by_others, seen_by, 1e-3 * options.max_distance_mm)
        warnings += [*late_cameras(in_time, seen_by), *unused]
        late = delays.significant(LEAST_FRAMES * in_time.step_s, SURE)
        # What a sentence says, or one number for the rig, fits no array along `view`.
        self.store.set_attrs(
            NOTES,
            reasons=reasons,
            warnings=warnings,
            held_out_px=_plain(result.held_out.rms_px),
            held_out_mm=_plain(1e3 * result.held_out.distance_m),
            held_out_frames=result.held_out.frames,
            late_views=[view for view, is_late in zip(seen_by, late, strict=True) if is_late],
            delays_corrected=in_time.before is not None,
        )
        quality = {
            "held_out": result.held_out.view_px,
            "held_out_m": result.held_out.view_m,
            "center_sigma": result.sigma.center_m,
            "rotation_sigma": result.sigma.rotation_rad,
            "by_others": result.by_others.px,
            "by_others_m": result.by_others.distance_m,
            "delay": delays.delay_s,
            "delay_sigma": delays.sigma_s,
        }
        spread = partial(over_views, seen_by=seen_by, views=self.views)
        blocks = {name: spread(values) for name, values in quality.items()}
        yield todo[0], camera_blocks(cameras, spread(result.rms_px), blocks)

    def _own_clips(self, seen_by: Sequence[str], sizes_px: ndarray) -> tuple[ndarray | None, list[str]]:
        """What to take of the clips of `intrinsics/`, and a sentence for each that is not used."""
        if not self.own_clips:
            return None, []
        if self.options.solver == "aniposelib":
            return None, ["the clips in intrinsics are not used by `calibration.solver: aniposelib`"]
        corners = self.store.read(LENSES_GROUP, "corners").astype(float)
        own_px, poor = choose_own(self.board, corners, self.store.labels(LENSES_GROUP, "view"), seen_by, sizes_px)
        return own_px, [
            f"the lens of {view} is estimated without its clip in intrinsics, which shows the board in {count} frames; "
            f"at least {MIN_OWN_FRAMES} are needed. Film the whole board closer to this camera, all over its image"
            for view, count in poor.items()
        ]


def _plain(value: float) -> float | None:
    """A number for JSON, which knows no NaN."""
    return value if np.isfinite(value) else None


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
        check_metres(cameras, self.path, session=self.path.parent)
        yield todo[0], camera_blocks(cameras, np.full(len(self.views), np.nan))


def cameras_plan(
    session: Session,
    read: ReadFrames,
    board: Board,
    options: CalibrationSettings,
    store: Store,
    supplied: Path | None,
    dead_views: float,
) -> Plan:
    """Calibrate the rig from the `board` group, or take it from the supplied file.

    Args:
        session: the clips.
        read: decodes those of the board, where one does not show it.
        board: the board in the `board` group.
        options: the solver's settings.
        store: where the `board` group is.
        supplied: a calibration that came with the session.
        dead_views: share of the views that may stay without a calibration.
    """
    sizes = np.array([clip.size_px for clip in session.clips])
    notice, code, solver = "", {}, {}
    known = [asdict(distance) for distance in options.known_distances]  # a list: what JSON gives back
    if supplied is None:
        folder = next(iter(session.board_clips.values())).path.parent
        judge = Judge(str(folder), dead_views, BOARD_ADVICE, options, board.square_m)
        time_s, own = session.board_timeline.time_s, bool(session.lens_clips)
        task = SolveCameras(store, board, session.views, sizes, time_s, session.board_clips, read, options, judge, own)
        chosen = {**asdict(options), "known_distances": known}
        if chosen["solver"] == "handpipe":
            del chosen["solver"]  # So that stores from before this setting are not computed again.
        else:
            notice = ANIPOSELIB_NOTICE
            version = aniposelib_solver.installed_version()
            code = {"aniposelib": f"{version}, adapter {aniposelib_solver.CODE}"}
            solver = {"solver": f"aniposelib {version}"}
        inputs: dict[str, Any] = {BOARD_GROUP: store.digest_of(BOARD_GROUP)}
        if session.lens_clips:
            inputs[LENSES_GROUP] = store.digest_of(LENSES_GROUP)
        inputs["times"] = hashlib.sha256(time_s.tobytes()).hexdigest()
    else:
        judge = Judge(str(supplied), dead_views, FILE_ADVICE, options)
        task = ReadCameras(supplied, session.views, sizes, judge)
        # A file's cameras are checked against the clips' size, so that counts too.
        chosen = {"sizes": sizes.tolist(), "known_distances": known}
        inputs = {supplied.name: hashlib.sha256(supplied.read_bytes()).hexdigest()}
    group = group_spec(
        CAMERAS_GROUP,
        CAMERAS,
        sizes={"view": len(session.clips), "rig": 1},
        unit={"rig": 1},
        fingerprint={
            "settings": {**chosen, "dead_views": dead_views},
            "inputs": {**inputs, "views": list(session.views)},
            "code": CAMERAS_CODE,
            **code,
        },
        attrs={"source": "board" if supplied is None else supplied.name, **solver},
        coords={"view": (("view",), np.array(session.views, object))},
    )
    figures = partial(summarize, board=None)
    if supplied is None:
        figures = partial(summarize, board=board, time_s=session.board_timeline.time_s)
    return Plan(group, [task], {(0,): 1}, "rig", figures, notice)


def summarize(store: Store, board: Board | None, time_s: ndarray | None = None) -> dict[str, Any]:
    """The views without a calibration and, when it comes from a board, its figures in pixels and millimetres."""
    cameras = stored_cameras(store)
    figures: dict[str, Any] = {"without_calibration": uncalibrated(cameras)}
    if board is not None:
        corners = store.read(BOARD_GROUP, "corners").astype(float)
        notes = store.attrs(NOTES)
        seen_by = store.labels(BOARD_GROUP, "view")
        if notes["delays_corrected"] and time_s is not None:
            at = [cameras.names.index(view) for view in seen_by]
            delay_s = np.nan_to_num(store.read(CAMERAS_GROUP, "delay")[at])
            corners = at_instants(corners, time_s + delay_s[:, None], instants(time_s))
        distances = board_distance_errors(match_views(cameras, seen_by, None), corners, board)
        rms, *sigma = (store.read(CAMERAS_GROUP, name) for name in ("rms", "center_sigma", "rotation_sigma"))
        figures["board_px"] = float(np.sqrt(np.nanmean(rms**2)))
        figures["board_mm"] = distances.adjacent_rmse_mm
        figures["weak_views"] = weak_views(cameras.names, *sigma)
        if store.has(CAMERAS_GROUP, "by_others"):
            figures["by_others"] = _by_view(cameras.names, store.read(CAMERAS_GROUP, "by_others"), 1.0)
            figures["by_others_mm"] = _by_view(cameras.names, store.read(CAMERAS_GROUP, "by_others_m"), 1e3)
        figures |= notes
    return figures


def _by_view(names: Sequence[str], values: ndarray, factor: float) -> dict[str, float]:
    """The finite values by view, for JSON."""
    return {name: factor * float(value) for name, value in zip(names, values, strict=True) if np.isfinite(value)}
