"""How far the filming of the board has come: what each camera saw, how well the rig is known, what to show next."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.errors import CalibrationError
from ...core.settings import Board
from .. import bundle
from ..board import corner_positions, is_usable
from ..calibrate import Calibration, calibrate
from ..checks import weak_views
from ..initial import sighting_features
from ..joint import lens_prior
from ..quality_gate import contradictions, outside, uncalibrated
from ..settings import CalibrationSettings
from .advice import Advice, to_connect, to_improve
from .coverage import covered_cells, shared_frames
from .poses import Known, best_pose

MIN_SHARED = 3
"""Frames that two views have to share, as in `calibrate`."""

NEW = 0.12
"""A sighting is another one if the board is elsewhere, larger or tilted by this, in image sizes."""

LEAST_NOISE_PX = 0.05
"""No corner is found better than this, however few sightings say otherwise."""


@dataclass(frozen=True)
class Guidance:
    """What is known after some frames of the board. Cameras count in the order of the names."""

    frames: int
    sightings: ndarray
    """(view,) frames in which each camera saw the board."""
    covered: ndarray
    """(view, row, column) bool, cells of each image in which a corner was."""
    shared: ndarray
    """(view, view) frames in which both saw it."""
    calibrated: ndarray
    """(view,) bool."""
    center_sigma_m: ndarray
    """(view,) standard error of each camera's position, metres; NaN without a calibration."""
    held_out_px: float
    """RMS error of held-out corners, pixels; NaN without a calibration."""
    held_out_mm: float
    """RMSE of distances between held-out corners, millimetres; the same."""
    passes: bool
    """The quality gate would pass: every camera is calibrated, and held-out corners are within the limits."""
    enough: bool
    """It would, and no camera is known much less well than the others (`checks.weak_views`)."""
    problems: tuple[str, ...]
    """What more frames do not mend, a sentence each."""
    advice: Advice


def adds_something(board: Board, kept_px: ndarray, corners_px: ndarray, sizes_px: ndarray) -> bool:
    """Whether a frame shows the board in a way that some camera has not seen, or to two that share too few frames.

    Args:
        board: the board.
        kept_px: (view, frame, corner, 2) frames that were kept before, NaN where not seen.
        corners_px: (view, corner, 2) the frame.
        sizes_px: (view, 2) width and height of the images.
    """
    usable = is_usable(board, corners_px)
    before = is_usable(board, kept_px)
    together = np.nonzero(usable)[0]
    pairs = shared_frames(before)[np.ix_(together, together)]
    if len(together) > 1 and (pairs[~np.eye(len(together), dtype=bool)] < MIN_SHARED).any():
        return True
    for view in together:
        seen_px = np.concatenate([kept_px[view, before[view]], corners_px[view][None]])
        feature = sighting_features(seen_px, sizes_px[view])
        if np.linalg.norm(feature[:-1] - feature[-1], axis=1).min(initial=np.inf) > NEW:
            return True
    return False


def guidance(
    board: Board, corners_px: ndarray, names: Sequence[str], sizes_px: ndarray, options: CalibrationSettings
) -> Guidance:
    """Calibrate with what there is, and say what is missing.

    Args:
        board: the board.
        corners_px: (view, frame, corner, 2) pixels, NaN where not seen, frames simultaneous.
        names: names of the views.
        sizes_px: (view, 2) width and height of the images.
        options: of the calibration that will be made; the limits are those of its gate.
    """
    usable = is_usable(board, corners_px)
    found = _calibrated(board, corners_px, names, sizes_px, options)
    nothing = np.full(len(names), np.nan)
    calibrated = np.zeros(len(names), bool) if found is None else found.cameras.calibrated
    sigma_m = nothing if found is None else found.sigma.center_m
    problems = () if found is None else _problems(found, names, options)
    passes = found is not None and bool(calibrated.all()) and not problems and found.held_out.frames > 0
    return Guidance(
        frames=corners_px.shape[1],
        sightings=usable.sum(1),
        covered=covered_cells(np.where(usable[..., None, None], corners_px, np.nan), sizes_px),
        shared=shared_frames(usable),
        calibrated=calibrated,
        center_sigma_m=sigma_m,
        held_out_px=np.nan if found is None else found.held_out.rms_px,
        held_out_mm=np.nan if found is None else 1e3 * found.held_out.distance_m,
        passes=passes,
        enough=passes and found is not None and not weak_views(names, found.sigma.center_m, found.sigma.rotation_rad),
        problems=problems,
        advice=_advice(board, corners_px, names, found, options),
    )


def _calibrated(
    board: Board, corners_px: ndarray, names: Sequence[str], sizes_px: ndarray, options: CalibrationSettings
) -> Calibration | None:
    """The calibration by these frames; None where they do not suffice for two cameras."""
    try:
        return calibrate(
            board,
            corners_px,
            names,
            sizes_px,
            max_frames=options.max_frames,
            min_frames=options.min_frames,
            min_shared=MIN_SHARED,
            fisheye=options.lens == "fisheye",
        )
    except CalibrationError:
        return None


def _problems(found: Calibration, names: Sequence[str], options: CalibrationSettings) -> tuple[str, ...]:
    moved = [f"{name}: {why}" for name, why in found.left_out.items() if "moved" in why]
    weak = contradictions(found.by_others, names, 1e-3 * options.max_distance_mm)
    return tuple([*moved, *weak, *outside(found.held_out, names, options)])


def _advice(
    board: Board, corners_px: ndarray, names: Sequence[str], found: Calibration | None, options: CalibrationSettings
) -> Advice:
    usable = is_usable(board, corners_px)
    lacking = np.ones(len(names), bool) if found is None else ~found.cameras.calibrated
    if found is None or lacking.any():
        return to_connect(usable, names, lacking, options.min_frames, MIN_SHARED)
    worst = int(np.nan_to_num(found.sigma.center_m, nan=np.inf).argmax())
    corners_m = corner_positions(board)
    return to_improve(best_pose(known_rig(found, corners_px, corners_m), worst, corners_m), worst, names)


def known_rig(found: Calibration, corners_px: ndarray, corners_m: ndarray) -> Known:
    """The covariance of a calibration, by the frames and corners that it was adjusted to; all views are calibrated."""
    cameras = found.cameras
    assert not uncalibrated(cameras)
    frames = np.nonzero(found.adjusted)[0]
    good = np.isfinite(found.residual_px[:, frames]) & ~found.rejected[:, frames]
    sightings = bundle.Sightings.from_grid(np.where(good[..., None], corners_px[:, frames], np.nan))
    scene = bundle.RigEstimate(
        _lenses(cameras), cameras.T_cam_world, found.T_world_board[frames], bool(cameras.fisheye.any())
    )
    # A length has two coordinates.
    noise_px = max(found.total_rms_px / np.sqrt(2), LEAST_NOISE_PX)
    prior = replace(lens_prior(scene.lens, cameras.size_px, scene.fisheye), noise_px=noise_px)
    free = np.ones((len(cameras), bundle.NUM_CAMERA), bool)
    free[0, :6] = False
    distance_m = np.linalg.norm(
        found.T_cam_board[..., :3, 3] + found.T_cam_board[..., :3, :3] @ corners_m.mean(0), axis=-1
    )
    return Known(
        cameras, scene, bundle.information(scene, sightings, corners_m, prior), free, noise_px,
        np.nanmedian(distance_m, axis=1),
    )  # fmt: skip


def _lenses(cameras: Cameras) -> ndarray:
    """(view, 9) as the adjustment has them."""
    K = cameras.K
    return np.column_stack([K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2], cameras.distortion])
