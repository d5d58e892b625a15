"""Cameras from sightings of one moving board: first guesses, joint adjustment, rejection of bad corners, figures."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from threadpoolctl import threadpool_limits

from ..core.cameras import Cameras
from ..core.errors import CalibrationError
from ..core.settings import Board
from . import bundle
from .board import corner_positions, is_usable
from .bundle import RigEstimate, RigSigma
from .checks import joining_pair, listed, moved_camera
from .initial import board_poses, first_fisheye, first_lens, neutral_lens, place_cameras
from .joint import Problem, Solution, Solver, adjust_rig, lens_prior, outer_corners
from .own_clips import own_frames
from .quality import ByOthers, board_distance_errors, leave_one_out
from .timing.alignment import at_common_instants
from .timing.delays import Delays


@dataclass(frozen=True)
class HeldOut:
    """How well the rig explains frames it was not fitted to (one in five; they are added to the adjustment then)."""

    frames: int
    """How many."""
    view_px: ndarray
    """(view,) RMS distance of the corners from where the rig puts them, pixels; NaN for a view that saw none."""
    view_m: ndarray
    """(view,) the same at the board: how far a corner's ray passes it, metres."""
    rms_px: float
    """Over all views."""
    distance_m: float
    """RMSE of all distances between triangulated corners of a frame, against the print, metres."""


@dataclass(frozen=True)
class Calibration:
    """The rig and what supports it. `frame` runs over all frames that were given."""

    cameras: Cameras
    """The world is the first calibrated camera; views that could not be calibrated are NaN."""
    T_world_board: ndarray
    """(frame, 4, 4) board poses, metres; NaN where no calibrated view saw the board."""
    T_cam_board: ndarray
    """(view, frame, 4, 4) the board in each camera by its own image alone, metres; NaN where not seen. Also of views
    without a calibration."""
    residual_px: ndarray
    """(view, frame, corner) distance from where a corner was seen to where the rig puts it; NaN where not seen.
    Frames outside `adjusted` are held out: their board pose was fitted to them, the cameras were not."""
    adjusted: ndarray
    """(frame,) bool, frames that took part in the joint adjustment."""
    rejected: ndarray
    """(view, frame, corner) bool, corners found to be wrong and given no weight."""
    sigma: RigSigma
    """Standard errors of each camera within the rig."""
    held_out: HeldOut
    """Corners held out first: what the gate goes by."""
    by_others: ByOthers
    """Each view's corners against what the other views make of them."""
    delays: Delays
    """How late each view's images are; NaN where not known."""
    left_out: dict[str, str]
    """Views without a calibration, and why."""

    @property
    def frames_used(self) -> ndarray:
        """(view,) number of frames of each view that took part in the adjustment."""
        return (np.isfinite(self.residual_px).any(-1) & self.adjusted).sum(1)

    @property
    def rms_px(self) -> ndarray:
        """(view,) root mean square reprojection error over the corners used, pixels."""
        return np.array([_rms(view) for view in self._used_px])

    @property
    def total_rms_px(self) -> float:
        """Root mean square reprojection error over all corners used, pixels."""
        return _rms(self._used_px)

    @property
    def _used_px(self) -> ndarray:
        return np.where(self.rejected | ~self.adjusted[:, None], np.nan, self.residual_px)


@threadpool_limits.wrap(limits=1, user_api="blas")  # another number of threads gives other last bits
def calibrate(
    board: Board,
    corners_px: ndarray,
    names: Sequence[str],
    sizes_px: ndarray,
    *,
    time_s: ndarray | None = None,
    instant_s: ndarray | None = None,
    own_px: ndarray | None = None,
    max_frames: int = 300,
    min_frames: int = 5,
    min_shared: int = 3,
    fisheye: bool = False,
    solver: Solver | None = None,
    where: str = "calibration",
) -> Calibration:
    """Calibrate lenses and poses of all views at once.

    Args:
        corners_px: (view, frame, corner, 2) pixels, NaN where not seen (`detect_board`), frames simultaneous.
        names: names of the views.
        sizes_px: (view, 2) width and height of the images.
        time_s: (view, frame) when each image was taken, where that is known; corners are brought to common instants.
        instant_s: (frame,) when each frame was taken; without it no delays are estimated.
        own_px: (view, own frame, corner, 2) of the board that each camera filmed by itself; they tell about its lens.
        max_frames: frames in the joint adjustment, chosen so that every view's sightings are spread widely.
        min_frames: a view with fewer usable sightings is left out.
        min_shared: frames that must agree before two views count as connected.
        fisheye: the model of all lenses: OpenCV's fisheye, or its standard one.
        solver: another bundle adjustment in place of ours.
        where: the clips, for an error to name.

    Raises:
        CalibrationError: no board anywhere, or no two views saw it together.
    """
    corners_px, sizes_px = np.asarray(corners_px, float), np.asarray(sizes_px, float)
    corners_m = corner_positions(board)
    assert len(corners_px) == len(names) == len(sizes_px), (corners_px.shape, len(names), len(sizes_px))
    assert corners_px.shape[2:] == (len(corners_m), 2), corners_px.shape
    if time_s is not None:
        corners_px = at_common_instants(corners_px, time_s)
    usable = is_usable(board, corners_px)
    corners_px = np.where(usable[..., None, None], corners_px, np.nan)
    left_out = _too_few(usable, names, min_frames, where)
    shared, shared_usable = corners_px.shape[1], usable
    if own_px is not None:
        corners_px = np.concatenate([corners_px, own_frames(own_px)], axis=1)
        usable = is_usable(board, corners_px)
    own = corners_px.shape[1] - shared
    if instant_s is not None:
        instant_s = np.append(instant_s, np.full(own, np.nan))

    kept = np.array([name not in left_out for name in names])
    lens = _first_lenses(corners_m, corners_px, usable, sizes_px, kept, fisheye)
    T_cam_board = np.full((*usable.shape, 2, 4, 4), np.nan)
    for view in np.nonzero(kept)[0]:
        T_cam_board[view] = board_poses(lens[view], corners_m, corners_px[view], usable[view], fisheye)
    T_cam_world, group = place_cameras(T_cam_board, outer_corners(corners_m), min_shared)
    placed = np.isfinite(T_cam_world[:, 0, 0])
    if placed.any():
        left_out |= _apart(names, shared_usable, np.where(kept, group, -1), placed, min_shared)

    while placed.sum() >= 2:
        prior = lens_prior(lens[placed], sizes_px[placed], fisheye)
        # Too few corners, or all on one line of the board: no view can say where the board was.
        posed = np.asarray(np.isfinite(T_cam_board[placed, :, 0, 0, 0]).any(axis=0))
        seen_px = np.where(posed[:, None, None], corners_px[placed], np.nan)
        problem = Problem(corners_m, seen_px, T_cam_board[placed], prior, fisheye, instant_s, own)
        solution = adjust_rig(problem, lens[placed], T_cam_world[placed], sizes_px[placed], max_frames, solver)
        index, step = np.nonzero(placed)[0].tolist(), moved_camera(solution.residual_px)
        if step is not None:
            view = index[step.view]
            left_out[names[view]] = (
                f"the camera moved between frames {step.before} and {step.after} of the board clip: its corners shift "
                f"by {step.px:.1f} px relative to the other views; use only the part of the recording before or after, "
                "or record the board again"
            )
            placed[view] = False
        elif solution.contradicted.any():
            for view in (v for v, bad in zip(index, solution.contradicted, strict=True) if bad):
                left_out[names[view]] = (
                    "most of its corners contradict the other views; the camera moved, or its clip is mirrored or not "
                    "synchronized"
                )
                placed[view] = False
        else:
            alone = T_cam_board[:, :shared, 0]
            return _record(board, tuple(names), sizes_px, corners_px[:, :shared], placed, alone, solution, left_out)
    why = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3])
    raise CalibrationError(
        f"{where}: expected at least two views with {min_shared} consistent frames of the board in common, but found "
        f"none among {len(names)} views{f' ({why})' if why else ''}. Move the board through the volume that the "
        "cameras share, and check that the clips are synchronized."
    )


def _apart(names: Sequence[str], usable: ndarray, group: ndarray, placed: ndarray, min_shared: int) -> dict[str, str]:
    """Why the views of the other groups (view,; -1 for views that do not count) are left out: what would join them."""
    reasons = {}
    connected = np.nonzero(placed)[0].tolist()
    for number in np.unique(group[(group >= 0) & ~placed]):
        members = np.nonzero(group == number)[0].tolist()
        a, b, shared = joining_pair(usable, connected, members)
        alone = len(members) == 1
        reason = (
            f"{'it shares' if alone else listed([names[i] for i in members]) + ' share'} no {min_shared} consistent "
            f"frames of the board with {listed([names[i] for i in connected])}; show the board to {names[a]} and "
            f"{names[b]} at the same time, the closest pair ({shared} frames in common)"
        )
        reasons |= {names[view]: reason for view in members}
    return reasons


def _too_few(usable: ndarray, names: Sequence[str], min_frames: int, where: str) -> dict[str, str]:
    count = usable.sum(1)
    if not count.any():
        raise CalibrationError(
            f"{where}: expected the board in some of the {usable.shape[1]} frames, but it was found in none of the "
            f"{len(names)} views. Check `board` in session.yaml (columns and rows in squares, dictionary, inverted, "
            "legacy), or record the board in calibration/<view>.mp4."
        )
    return {
        name: f"the board was found in {n} frames, at least {min_frames} are needed; show it to this camera for longer"
        for name, n in zip(names, count, strict=True)
        if n < min_frames
    }


def _first_lenses(
    corners_m: ndarray, corners_px: ndarray, usable: ndarray, sizes_px: ndarray, kept: ndarray, fisheye: bool
) -> ndarray:
    """(view, 9). A view whose own sightings do not give a focal length borrows the rig's median field of view."""
    lens = np.full((len(kept), bundle.NUM_LENS), np.nan)
    for view in np.nonzero(kept)[0]:
        find = first_fisheye if fisheye else first_lens
        found = find(corners_m, corners_px[view], usable[view], sizes_px[view])
        if found is not None:
            lens[view] = found
    relative = lens[:, 0] / sizes_px[:, 0]
    typical = np.median(relative[np.isfinite(relative)]) if np.isfinite(relative).any() else 1.0
    for view in np.nonzero(kept & ~np.isfinite(relative))[0]:
        lens[view] = neutral_lens(typical * sizes_px[view, 0], sizes_px[view])
    return lens


def _record(
    board: Board,
    names: tuple[str, ...],
    sizes_px: ndarray,
    corners_px: ndarray,
    placed: ndarray,
    T_cam_board: ndarray,
    solution: Solution,
    left_out: dict[str, str],
) -> Calibration:
    """Back to all views, NaN where there is no calibration."""
    index = np.nonzero(placed)[0]

    def over_all_views(values: ndarray) -> ndarray:
        full = np.full((len(names), *values.shape[1:]), np.nan)
        full[index] = values
        return full

    def cameras(scene: RigEstimate) -> Cameras:
        K = np.zeros((len(index), 3, 3))
        K[:, [0, 1], [0, 1]], K[:, :2, 2], K[:, 2, 2] = scene.lens[:, :2], scene.lens[:, 2:4], 1.0
        full_K, distortion, T = (over_all_views(values) for values in (K, scene.lens[:, 4:], scene.T_cam_world))
        fisheye = np.full(len(names), scene.fisheye)
        return Cameras(names, full_K, distortion, T, sizes_px.astype(int), fisheye)

    residual_px = over_all_views(solution.length_px)
    judged = solution.judged
    length_px = np.where(judged.wrong, np.nan, judged.length_px)
    length_m = length_px * judged.depth_m / judged.scene.lens[:, :2].mean(1)[:, None, None]
    judged_px = np.where(over_all_views(judged.wrong)[..., None] == 0, corners_px[:, judged.frames], np.nan)
    rig = cameras(solution.scene)
    return Calibration(
        cameras=rig,
        T_world_board=solution.scene.T_world_board,
        T_cam_board=T_cam_board,
        residual_px=residual_px,
        adjusted=solution.adjusted,
        rejected=residual_px > solution.reject_px,
        sigma=RigSigma(over_all_views(solution.sigma.center_m), over_all_views(solution.sigma.rotation_rad)),
        held_out=HeldOut(
            frames=len(judged.frames),
            view_px=over_all_views(np.array([_rms(view) for view in length_px])),
            view_m=over_all_views(np.array([_rms(view) for view in length_m])),
            rms_px=_rms(length_px),
            distance_m=1e-3 * board_distance_errors(cameras(judged.scene), judged_px, board).all_rmse_mm,
        ),
        by_others=leave_one_out(rig, corners_px),
        delays=Delays(over_all_views(solution.delays.delay_s), over_all_views(solution.delays.sigma_s)),
        left_out={name: left_out[name] for name in names if name in left_out},
    )


def _rms(values: ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.sqrt((finite**2).mean())) if len(finite) else float("nan")
