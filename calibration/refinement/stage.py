"""`handpipe calibrate --refine-from-hands`: whether the hands know the cameras better than the calibration did.

Blocks of frames are held out; the poses are adjusted to the others and kept only if the held-out joints then meet
their detections more closely, and if the session's own board, where it was filmed, does not object.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.spatial.transform import Rotation

from ...core.cameras import Cameras
from ...core.cameras_file import match_views
from ...core.errors import CalibrationError
from ...core.hands import BONES
from ...core.settings import Board
from ...core.storage.candidates import read_taken_px
from ...core.storage.schema import read_cameras
from ...core.storage.store import Store
from ..cameras_toml import replace_cameras
from ..quality import BoardDistances, board_distance_errors
from .poses import Observations, distances_px, refine_poses, settle_points

BLOCKS, HELD_OUT = 20, 4
"""The frames are cut into so many blocks, and every fourth is held out: neighbouring frames say the same."""
MAX_POINTS = 4000
"""Joints in the adjustment; more add time, not information."""
MIN_SEEN = 60
"""A view with fewer joints in the adjustment stays where it is."""
BOARD_WORSE = 1.1
"""The board objects when its distances' error grows by more than this factor."""
CHUNK_FRAMES = 256


@dataclass(frozen=True)
class HandSightings:
    """Every joint that two calibrated views or more have detected."""

    where: ndarray
    """(point, 3) frame, hand, joint."""
    points_m: ndarray
    """(point, 3) as triangulated."""
    uv_px: ndarray
    """(view, point, 2) NaN where not seen."""
    held_out: ndarray
    """(point,) bool."""


@dataclass(frozen=True)
class Figures:
    """How well a rig fits, all measured in the same way."""

    adjusted_px: float
    """Median distance between detections and joints, in the frames of the adjustment, pixels."""
    held_out_px: float
    """The same in the frames that were held out."""
    bones_mm: float
    """How much a bone's length varies from frame to frame: standard deviation by median, over all bones, held out."""
    board: BoardDistances | None
    """The board's distances; None where none was filmed."""


def refine_from_hands(root: Path, store: Store, rig: Store, force: bool) -> tuple[dict[str, Any], list[str]]:
    """Adjust the poses of a session's cameras to its hands, and write them to cameras.toml if that is an improvement.

    Args:
        root: the session's folder.
        store: with `keypoints` and `detections`.
        rig: with `cameras`, and `board` if it was filmed.
        force: write it even if it is not.

    Returns:
        Figures for a program, `accepted` among them, and lines for a person.

    Raises:
        CalibrationError: too few hands to say anything.
    """
    cameras = read_cameras(rig)
    hands = gather_hands(store, cameras)
    training = np.nonzero(~hands.held_out)[0]
    training = training[:: max(1, -(-len(training) // MAX_POINTS))]
    observations = Observations.from_pixels(cameras, hands.uv_px)
    free = cameras.calibrated & (observations.part(training).seen.sum(0) >= MIN_SEEN)
    if free.sum() < 2 or not hands.held_out.any():
        raise CalibrationError(
            f"{root}: expected two views or more with {MIN_SEEN} joints that other views see too, in frames that are "
            f"adjusted to and in frames that are held out, but found {int(free.sum())} such views and "
            f"{len(hands.points_m)} joints. Record the hands for longer, where more cameras see them."
        )
    refined = refine_poses(cameras, observations.part(training), hands.points_m[training], free)
    before, after = (measure(each, observations, hands, rig) for each in (cameras, refined))
    objections = _objections(before, after)
    accepted = not objections or force
    messages = _lines(cameras, refined, before, after)
    messages += [f"warning: {name}: not moved, too few joints" for name in _names(cameras, cameras.calibrated & ~free)]
    messages += [f"warning: {text}" for text in objections]
    if accepted:
        metadata = {"refined": "from hands", "held_out_px": [round(f.held_out_px, 4) for f in (before, after)]}
        messages += replace_cameras(root, refined, "refinement", metadata)
        messages.append(f"next: `handpipe run {root}` makes keypoints and motion anew with them")
    else:
        messages.append("cameras.toml: left as it was; --force takes the refined cameras all the same")
    figures = {"before": _numbers(before), "after": _numbers(after), "accepted": accepted, "objections": objections}
    return figures | {"moved": _moved(cameras, refined)}, messages


def gather_hands(store: Store, cameras: Cameras) -> HandSightings:
    """The joints of a session, and which of them are held out."""
    frames = store.read("keypoints", "points").shape[0]
    parts = []
    for start in range(0, frames, CHUNK_FRAMES):
        part = slice(start, min(start + CHUNK_FRAMES, frames))
        points = store.read("keypoints", "points", part).astype(float)
        taken = read_taken_px(store, part)
        taken[~cameras.calibrated] = np.nan
        usable = np.isfinite(points).all(-1) & (np.isfinite(taken).all(-1).sum(0) >= 2)
        parts.append((np.argwhere(usable) + [start, 0, 0], points[usable], taken[:, usable]))
    where = np.concatenate([p[0] for p in parts])
    block = where[:, 0] * BLOCKS // max(frames, 1)
    return HandSightings(
        where, np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts], axis=1), block % 4 == 3
    )


def measure(cameras: Cameras, observations: Observations, hands: HandSightings, rig: Store) -> Figures:
    """The figures of a rig; the joints are placed anew for it, by the same detections."""
    points = settle_points(cameras.T_cam_world, observations, hands.points_m)
    length = distances_px(cameras.T_cam_world, observations, points)
    return Figures(
        float(np.nanmedian(length[~hands.held_out])),
        float(np.nanmedian(length[hands.held_out])),
        _bone_spread_mm(hands.where[hands.held_out], points[hands.held_out]),
        _board(cameras, rig),
    )


def _bone_spread_mm(where: ndarray, points_m: ndarray) -> float:
    frames, index = np.unique(where[:, 0], return_inverse=True)
    joints = np.full((len(frames), 2, BONES.max() + 1, 3), np.nan)
    joints[index, where[:, 1], where[:, 2]] = points_m
    bones = joints[:, :, BONES[:, 0]] - joints[:, :, BONES[:, 1]]
    length_mm = 1e3 * np.linalg.norm(bones, axis=-1).reshape(len(frames), -1)
    spreads = []
    for bone in length_mm.T:
        there = bone[np.isfinite(bone)]
        if len(there) >= 5:
            spreads.append(1.4826 * np.median(np.abs(there - np.median(there))))
    return float(np.median(spreads)) if spreads else float("nan")


def _board(cameras: Cameras, rig: Store) -> BoardDistances | None:
    """The board of the session's clips, if it was looked for and found."""
    if not rig.complete("board"):
        return None
    board = Board(**rig.attrs("board")["board"])
    corners = rig.read("board", "corners").astype(float)
    # A late view saw the board elsewhere.
    corners[np.isin(rig.labels("board", "view"), rig.attrs("cameras").get("late_views", []))] = np.nan
    figures = board_distance_errors(match_views(cameras, rig.labels("board", "view")), corners, board)
    return figures if np.isfinite(figures.all_rmse_mm) else None


def _objections(before: Figures, after: Figures) -> list[str]:
    """Why the refined rig is not to be taken; empty when it is."""
    messages = []
    if not after.held_out_px < before.held_out_px:
        messages.append("the held-out joints do not meet their detections more closely than before")
    old, new = before.board, after.board
    if old is not None and new is not None and new.all_rmse_mm > BOARD_WORSE * old.all_rmse_mm:
        messages.append(
            f"the board in this session's clips objects: its distances were off by {old.all_rmse_mm:.2f} mm and would "
            f"be by {new.all_rmse_mm:.2f} mm; if a camera was moved after the board was filmed, believe the hands"
        )
    return messages


def _lines(cameras: Cameras, refined: Cameras, before: Figures, after: Figures) -> list[str]:
    moved = _moved(cameras, refined)
    messages = [
        f"reprojection, held out: {before.held_out_px:.3f} px before, {after.held_out_px:.3f} px after "
        f"(median; adjusted to: {before.adjusted_px:.3f}, {after.adjusted_px:.3f})",
        f"bone lengths vary by: {before.bones_mm:.2f} mm before, {after.bones_mm:.2f} mm after",
    ]
    if before.board is not None and after.board is not None:
        messages.append(
            f"board distances, RMSE: {before.board.all_rmse_mm:.2f} mm before, {after.board.all_rmse_mm:.2f} mm after; "
            f"its size: {before.board.scale:.4f}, {after.board.scale:.4f} of the true one"
        )
    return [
        *messages,
        f"cameras moved by {moved['median_mm']:.1f} mm and {moved['median_deg']:.2f} degrees (median), "
        f"{moved['max_mm']:.1f} mm and {moved['max_deg']:.2f} degrees at most",
    ]


def _moved(cameras: Cameras, refined: Cameras) -> dict[str, float]:
    ok = cameras.calibrated
    mm = 1e3 * np.linalg.norm(refined.centers_m[ok] - cameras.centers_m[ok], axis=-1)
    turn = refined.T_cam_world[ok, :3, :3] @ cameras.T_cam_world[ok, :3, :3].transpose(0, 2, 1)
    deg = np.rad2deg(Rotation.from_matrix(turn).magnitude())
    return {
        "median_mm": float(np.median(mm)),
        "max_mm": float(mm.max()),
        "median_deg": float(np.median(deg)),
        "max_deg": float(deg.max()),
    }


def _numbers(figures: Figures) -> dict[str, float | None]:
    board = figures.board
    return {
        "adjusted_px": figures.adjusted_px,
        "held_out_px": figures.held_out_px,
        "bones_mm": figures.bones_mm if np.isfinite(figures.bones_mm) else None,
        "board_mm": None if board is None else board.all_rmse_mm,
        "board_scale": None if board is None else board.scale,
    }


def _names(cameras: Cameras, views: ndarray) -> list[str]:
    return [name for name, chosen in zip(cameras.names, views, strict=True) if chosen]
