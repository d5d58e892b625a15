"""How late each camera is, from the board: the delays that the adjusted rig leaves unexplained.

Pure array code. A late camera saw the board where it went meanwhile: its residuals lie along the motion of the board in
the image. One step of Gauss and Newton estimates all delays jointly with cameras, lenses and board poses (they are
eliminated), so what these can explain instead counts as unknown. All delays by the same amount are a board that is
elsewhere on its way: delays are relative to the median view.

Standard errors are the larger of two: by the noise of the corners, and by a jackknife over parts of the recording.

Source: Davidson and MacKinnon, Econometric Theory and Methods (2004), section 2.4, for the elimination.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ...core.least_squares import damped
from .. import bundle

PARTS = 8
"""Parts of the recording for the jackknife: what the model does not explain (a bent board) lasts for many frames."""
LONGEST_S = 1.0
"""A delay whose standard error is larger is not known."""


@dataclass(frozen=True)
class Delays:
    """How much later than the median view each view's images were taken than their times say."""

    delay_s: ndarray
    """(view,) seconds; NaN where the board does not tell."""
    sigma_s: ndarray
    """(view,) standard error; it grows where the model does not fit. NaN where not known."""

    def significant(self, least_s: float, sigmas: float) -> ndarray:
        """(view,) bool, delays above both."""
        size_s = np.abs(np.nan_to_num(self.delay_s))
        return (size_s > least_s) & (size_s > sigmas * np.nan_to_num(self.sigma_s))


def board_velocity(T_world_board: ndarray, corners_m: ndarray, instant_s: ndarray) -> ndarray:
    """(frame, corner, 3) metres per second of the board's corners, between the frames before and after.

    From one of the two where the board was not placed in the other; NaN where it was placed in neither.

    Args:
        T_world_board: (frame, 4, 4) poses, NaN where there is none.
        corners_m: (corner, 3) in the board's frame.
        instant_s: (frame,) when.
    """
    points = corners_m @ T_world_board[:, :3, :3].transpose(0, 2, 1) + T_world_board[:, None, :3, 3]
    step_s = np.diff(instant_s)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.diff(points, axis=0) / np.where(step_s > 0, step_s, np.nan)[:, None, None]
    nothing = np.full((1, *points.shape[1:]), np.nan)
    after, before = np.concatenate([slope, nothing]), np.concatenate([nothing, slope])
    both = (after + before) / 2
    return np.where(np.isfinite(both), both, np.where(np.isfinite(after), after, before))


def estimate_delays(
    scene: bundle.RigEstimate,
    corners_px: ndarray,
    corners_m: ndarray,
    velocity_mps: ndarray,
    prior: bundle.LensPrior,
    free: ndarray,
    huber_px: float,
) -> Delays:
    """One step from an adjusted rig.

    Args:
        scene: the rig, and the board in every frame given here.
        corners_px: (view, frame, corner, 2) the corners that count, NaN elsewhere.
        corners_m: (corner, 3) in the board's frame, metres.
        velocity_mps: (frame, corner, 3) of the corners in the world; NaN where unknown.
        prior: what is known about the lenses.
        free: (view, 15) bool, camera parameters that were adjusted.
        huber_px: as in the adjustment.
    """
    sightings = bundle.Sightings.from_grid(corners_px)
    rows = bundle.weighted_rows(scene, sightings, corners_m, huber_px)
    late = _late_rows(scene, sightings, corners_m, velocity_mps) * rows.root
    pairs, views, frames = len(sightings.view), len(scene.lens), len(scene.T_world_board)
    late = late.reshape(pairs, -1)
    # Columns of the delays against those of the cameras (view, 15) and boards (frame, 6), one right side per view.
    camera_rhs = np.zeros((views, bundle.NUM_CAMERA, views))
    board_rhs = np.zeros((frames, bundle.NUM_BOARD, views))
    for view in range(views):
        own = sightings.view == view
        camera_rhs[view, :, view] = np.einsum("prc,pr->c", rows.camera[own], late[own])
    board_rhs[sightings.frame, :, sightings.view] = np.einsum("prb,pr->pb", rows.board, late)
    system = bundle.linearise(scene, sightings, corners_m, prior, huber_px)
    camera, board = _solve_columns(system, free, camera_rhs, board_rhs)
    # What cameras and boards cannot explain of a delay, row by row.
    information, score = np.zeros((PARTS, views, views)), np.zeros((PARTS, views))
    for frame in range(frames):
        at, part = np.nonzero(sightings.frame == frame)[0], frame * PARTS // frames
        seen_by = sightings.view[at]
        left = -np.einsum("prc,pcv->prv", rows.camera[at], camera[seen_by]) - rows.board[at] @ board[frame]
        left[np.arange(len(at)), :, seen_by] += late[at]
        flat = left.reshape(-1, views)
        information[part] += flat.T @ flat
        score[part] += flat.T @ rows.residual[at].ravel()
    noise = (rows.residual**2).sum() / max(2 * sightings.seen.sum() - free.sum() - 6 * frames, 1)
    return _delays(information, score, float(noise))


def _solve_columns(
    system: bundle.System, free: ndarray, camera_rhs: ndarray, board_rhs: ndarray
) -> tuple[ndarray, ndarray]:
    """Solve the undamped normal equations for several right sides.

    Args:
        free: (view, 15) bool, camera parameters that may move; the others stay.
        camera_rhs: (view, 15, column).
        board_rhs: (frame, 6, column).

    Returns:
        (view, 15, column) and (frame, 6, column).
    """
    # The trace of damping lets through a frame whose remaining corners do not fix the board.
    reduced, _ = bundle.reduce(system, 1e-9)
    board, index = damped(system.board, 1e-9, bundle.TINY), np.nonzero(free.ravel())[0]
    columns = camera_rhs.shape[-1]
    moved = np.linalg.solve(board, board_rhs)
    rhs = camera_rhs.reshape(-1, columns) - np.einsum("cfb,fbk->ck", system.coupling, moved, optimize=True)
    camera = np.zeros((free.size, columns))
    camera[index] = np.linalg.solve(reduced[np.ix_(index, index)], rhs[index])
    rest = board_rhs - np.einsum("cfb,ck->fbk", system.coupling, camera, optimize=True)
    return camera.reshape(camera_rhs.shape), np.linalg.solve(board, rest)


def _late_rows(
    scene: bundle.RigEstimate, sightings: bundle.Sightings, corners_m: ndarray, velocity_mps: ndarray
) -> ndarray:
    """(pair, corner, 2) pixels per second of delay; 0 where the board's motion is not known."""
    step_s = 1e-3
    moved = []
    for sign in (-0.5, 0.5):
        v, f = sightings.view, sightings.frame
        world = corners_m @ scene.T_world_board[f, :3, :3].transpose(0, 2, 1) + scene.T_world_board[f, None, :3, 3]
        moved.append(bundle.project_points(scene, v, world + sign * step_s * np.nan_to_num(velocity_mps[f])))
    return np.where(sightings.seen[..., None], np.nan_to_num((moved[1] - moved[0]) / step_s), 0.0)


def _delays(information: ndarray, score: ndarray, noise: float) -> Delays:
    """From the normal equations of each part (part, view, view) and their right sides (part, view)."""
    views = information.shape[-1]
    delay_s, sigma_s = np.full(views, np.nan), np.full(views, np.nan)
    known = np.diag(information.sum(0)) * LONGEST_S**2 > noise
    count = int(known.sum())
    if count < 2 or noise <= 0:
        return Delays(delay_s, sigma_s)
    information, score = information[:, known][:, :, known], score[:, known]
    # All delays together are not observed: a weak prior makes the matrix regular, the median takes it out.
    prior = np.eye(count) * noise / LONGEST_S**2
    total = information.sum(0) + prior
    found = np.linalg.solve(total, score.sum(0))
    without = np.linalg.solve(total - information, (score.sum(0) - score)[..., None])[..., 0]
    spread = without - without.mean(1, keepdims=True)
    by_parts = (PARTS - 1) / PARTS * ((spread - spread.mean(0)) ** 2).sum(0)
    relative = np.eye(count) - 1 / count
    by_noise = np.diag(relative @ np.linalg.inv(total) @ relative) * noise
    delay_s[known] = found - np.median(found)
    sigma_s[known] = np.sqrt(np.maximum(by_noise, by_parts))
    return Delays(delay_s, sigma_s)
