"""The board in a sample of the board clips: who sees it, who sees it together, and whether a rig comes out of it."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy import ndarray
from scipy.sparse.csgraph import minimum_spanning_tree

from ..calibration.board import detect_board, is_usable, num_corners
from ..calibration.boards.diagnose import another_board, why_not_seen
from ..calibration.calibrate import Calibration, calibrate
from ..calibration.quality_gate import Judge, contradictions, late_cameras
from ..calibration.stage import BOARD_ADVICE
from ..calibration.timing.late_views import InTime, calibrate_in_time
from ..capture.sample import sample_frames
from ..capture.video import DamagedClip
from ..core.cameras import Cameras
from ..core.cameras_file import match_views
from ..core.errors import CalibrationError
from ..core.quality import Check
from ..core.recording import Clip, Session
from ..core.settings import Board
from ..settings import Config
from .findings import fine, told, worse

PIXELS = 6e8
"""Of all images in which the board is looked for."""
INSTANTS = (18, 120)
"""Looked at in all views; more in small rigs. In pairs, because two neighbouring frames tell how fast the board was."""
AGAIN = 4
"""A view in which the board is hardly found is looked at in so many times more frames."""
JOINING = 12
"""Instants at which such a view sees the board, that are looked up in all views."""
FEW = 2.0
"""Sightings in the whole clip below so many times the necessary ones are few."""


@dataclass(frozen=True)
class Sightings:
    """The board in a sample of the instants."""

    instants: ndarray
    """(instant,) ascending."""
    corners_px: ndarray
    """(view, instant, corner, 2), NaN where not seen or not looked for."""
    looked: ndarray
    """(view, instant) bool."""
    damage: Mapping[str, str] = field(default_factory=dict)
    """What cannot be decoded, by view."""

    def merged(self, other: Sightings) -> Sightings:
        """Both samples."""
        instants = np.union1d(self.instants, other.instants)
        corners = np.full((len(self.corners_px), len(instants), *self.corners_px.shape[2:]), np.nan)
        looked = np.zeros(corners.shape[:2], bool)
        for each in (self, other):
            at = np.searchsorted(instants, each.instants)
            new = np.zeros_like(looked)
            new[:, at] = each.looked
            corners[new] = each.corners_px[each.looked]
            looked |= new
        return Sightings(instants, corners, looked, {**self.damage, **other.damage})


Map = Callable[..., Iterator[ndarray]]
"""`map`, or that of a pool of threads."""


def first_instants(clips: Sequence[Clip], frames: int) -> ndarray:
    """The instants to look at first, in pairs, spread over the clips."""
    pixels = sum(clip.size_px[0] * clip.size_px[1] for clip in clips)
    pairs = int(np.clip(PIXELS / max(pixels, 1), *INSTANTS)) // 2
    starts = np.linspace(0, max(frames - 2, 0), pairs).astype(int)
    return np.unique(np.minimum(starts[:, None] + np.arange(2), frames - 1))


def look_for_board(session: Session, board: Board, instants: ndarray, rows: Sequence[int], apply: Map) -> Sightings:
    """The board at some instants in some views.

    Args:
        session: its board clips.
        board: what to look for.
        instants: (instant,) of `session.board_timeline`.
        rows: the views, as rows of the timeline.
        apply: runs the views.
    """
    clips = list(session.board_clips.values())
    source = session.board_timeline.source_frame[:, instants]
    corners = np.full((*source.shape, num_corners(board), 2), np.nan)
    looked = np.zeros(source.shape, bool)
    results = apply(partial(_one_view, board), [clips[row] for row in rows], source[list(rows)])
    damage = {}
    for row, (found, why) in zip(rows, results, strict=True):
        corners[row], looked[row] = found, True
        damage |= {clips[row].view: why} if why else {}
    return Sightings(instants, corners, looked, damage)


def _one_view(board: Board, clip: Clip, source_frame: ndarray) -> tuple[ndarray, str]:
    """(instant, corner, 2), and what cannot be decoded."""
    wanted = np.unique(source_frame[source_frame >= 0]).tolist()
    seen: dict[int, ndarray] = {-1: np.full((num_corners(board), 2), np.nan)}
    damage = ""
    try:
        for frame, gray in zip(wanted, sample_frames(clip, wanted, "gray"), strict=True):
            seen[frame] = detect_board(board, gray)
    except DamagedClip as error:
        damage = str(error)
    return np.stack([seen.get(frame, seen[-1]) for frame in source_frame.tolist()]), damage


def sightings_of(session: Session, config: Config, apply: Map) -> Sightings:
    """A first sample, and more where a view hardly sees the board in it."""
    board, frames = config.board, session.board_timeline.frames
    clips = list(session.board_clips.values())
    instants = first_instants(clips, frames)
    found = look_for_board(session, board, instants, range(len(clips)), apply)
    count = is_usable(board, found.corners_px).sum(1)
    poor = np.nonzero(count < config.calibration.min_frames)[0].tolist()
    more = np.setdiff1d(np.unique(np.linspace(0, frames - 1, AGAIN * len(instants)).astype(int)), instants)
    if poor and len(poor) < len(clips) and len(more):
        found = found.merged(look_for_board(session, board, more, poor, apply))
        seen = is_usable(board, found.corners_px)
        joining = np.nonzero(seen[poor].any(0) & ~found.looked.all(0))[0]
        joining = found.instants[joining[np.unique(np.linspace(0, len(joining) - 1, JOINING).astype(int))]]
        others = [row for row in range(len(clips)) if row not in poor]
        found = found.merged(look_for_board(session, board, joining, others, apply)) if len(joining) else found
    return found


def visibility(session: Session, config: Config, found: Sightings) -> Iterator[Check]:
    """How often each view sees the board, and how the views are joined by it."""
    names, least = list(session.board_clips), config.calibration.min_frames
    for view, why in found.damage.items():
        if session.board_clips[view] not in session.clips:
            yield told("decoding", "error", why, view)
    seen = is_usable(config.board, found.corners_px)
    share = seen.sum(1) / np.maximum(found.looked.sum(1), 1)
    expected = share * session.board_timeline.frames
    few = [row for row in range(len(names)) if seen[row].any() and expected[row] < FEW * least]
    for row in few:
        reason = (
            f"expected the board in {FEW * least:.0f} frames of {names[row]} or more, but a sample of "
            f"{found.looked[row].sum()} frames shows it in {seen[row].sum()}."
        )
        remedy = "Show the board to this camera for longer, and all over its image."
        yield Check("board in each view", "warning", float(expected[row]), FEW * least, names[row], reason, remedy)
    if seen.any() and not few:
        worst = int(share.argmin())
        yield fine(
            "board in each view",
            f"{share.min():.0%} ({names[worst]}) to {share.max():.0%} of the sampled frames",
            float(expected.min()),
            FEW * least,
        )


def joined(names: Sequence[str], seen: ndarray, min_shared: int = 3) -> Check | None:
    """The graph of views that see the board together, by its weakest necessary link; None where it falls apart.

    Args:
        names: of the views.
        seen: (view, instant) bool.
        min_shared: instants that join two views.
    """
    shared = seen.astype(int) @ seen.T.astype(int)
    links = np.triu(np.where(shared >= min_shared, shared, 0), 1)
    tree = minimum_spanning_tree(np.where(links > 0, 1.0 / np.maximum(links, 1), 0.0)).tocoo()
    if tree.nnz < len(names) - 1 or not tree.nnz:
        return None
    weakest = int(tree.data.argmax())
    a, b = names[tree.row[weakest]], names[tree.col[weakest]]
    count = round(1 / float(tree.data[weakest]))
    text = f"all {len(names)} views are joined; the weakest link is {a} with {b}, {count} sampled instants in common"
    return fine("views joined by the board", text, float(count), float(min_shared))


@dataclass(frozen=True)
class SampledRig:
    """What the calibration makes of the sample."""

    judge: Judge
    hints: Mapping[str, str]
    """Why views hardly see the board."""
    in_time: InTime | None
    cameras: Cameras | None
    """Of the session's views."""
    failure: str = ""
    """Why there is none."""


def solve_rig(session: Session, config: Config, found: Sightings) -> SampledRig:
    """Calibrate from the sample."""
    options, board = config.calibration, config.board
    names = tuple(session.board_clips)
    sizes = np.array([clip.size_px for clip in session.board_clips.values()])
    folder = next(iter(session.board_clips.values())).path.parent
    sightings = is_usable(board, found.corners_px).sum(1)
    hints = why_not_seen(board, session.board_clips, sightings, options.min_frames, _readable)
    judge = Judge(str(folder), config.capture.dead_views, BOARD_ADVICE, options, board.square_m)

    def solve(corners_px: ndarray, time_s: ndarray | None, instant_s: ndarray) -> Calibration:
        given = {"time_s": time_s, "instant_s": instant_s, "max_frames": options.max_frames}
        given |= {"min_frames": options.min_frames, "fisheye": options.lens == "fisheye", "where": judge.where}
        return calibrate(board, corners_px, names, sizes, **given)

    time_s = session.board_timeline.time_s[:, found.instants]
    try:
        in_time = calibrate_in_time(solve, found.corners_px, time_s, options.correct_delays)
    except CalibrationError as error:
        hint = next(iter(hints.items()), None)
        why = str(error) if hint is None else str(another_board(judge.where, *hint))
        return SampledRig(judge, hints, None, None, why)
    sizes = np.array([clip.size_px for clip in session.clips])
    return SampledRig(judge, hints, in_time, match_views(in_time.calibration.cameras, session.views, sizes))


def rig_checks(session: Session, config: Config, found: Sightings, rig: SampledRig) -> Iterator[Check]:
    """Findings about the rig of the sample, by the rules of a run."""
    judge, hints, in_time, options = rig.judge, rig.hints, rig.in_time, config.calibration
    if in_time is None or rig.cameras is None:
        yield told("calibration", "error", rig.failure)
        return
    names = tuple(session.board_clips)
    result = in_time.calibration
    reasons = result.left_out | {
        view: f"{why}; {hints[view]}" for view, why in result.left_out.items() if view in hints
    }
    severity = "warning"
    try:
        judge.check(rig.cameras, reasons)
    except CalibrationError as error:
        severity = "error"
        if not reasons:
            yield told("calibration", severity, str(error))
    for view, why in result.left_out.items():
        hint = f"In {view} {hints[view]}. Correct `board`, or the clip." if view in hints else ""
        check = told("calibration", severity, f"expected a calibration for {view}, but {why}", view)
        yield replace(check, remedy=hint or check.remedy or f"{judge.advice}, or remove its clips.")
    relaxed = replace(judge, options=replace(options, outside_limits="warn"))
    sentences = [*relaxed.pass_or_stop(result.held_out, names)]
    sentences += contradictions(result.by_others, names, 1e-3 * options.max_distance_mm)
    yield from worse("calibration", sentences)
    yield from worse("synchronisation by the board", late_cameras(in_time, names))
    if severity == "warning" and not result.left_out and not sentences:
        yield fine(
            "calibration",
            f"{len(found.instants)} sampled instants calibrate all views: {result.held_out.rms_px:.2f} px and "
            f"{1e3 * result.held_out.distance_m:.2f} mm at held-out corners",
            result.held_out.rms_px,
            options.max_reprojection_px,
        )
    if not result.left_out and np.isfinite(in_time.delays.delay_s).any() and not late_cameras(in_time, names):
        worst_s = float(np.nanmax(np.abs(in_time.delays.delay_s)))
        yield fine("synchronisation by the board", f"delays of at most {1e3 * worst_s:.1f} ms between the views")


def _readable(clip: Clip, frames: Sequence[int]) -> Iterator[ndarray]:
    """As `sample_frames`, up to where the clip is damaged: the check of the clips says that."""
    with suppress(DamagedClip):
        yield from sample_frames(clip, frames, "gray")
