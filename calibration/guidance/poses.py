"""Where to hold the board next: of some poses in front of one camera, the one that makes the rig best known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.geometry import rotation_from_axis_angle
from .. import bundle

REGIONS = 3
"""The board is asked for in one of so many rows and columns of an image."""

TILTS: dict[str, tuple[float, float]] = {"top": (1, 0), "bottom": (-1, 0), "left": (0, -1), "right": (0, 1)}
"""The edge of the board that is held closer to the camera, as the camera sees it; axes x and y of the turn."""

TILT_RAD = np.deg2rad(35.0)

STEEPEST_RAD = np.deg2rad(60.0)
"""A camera is not expected to find a board that it sees more from the side."""


@dataclass(frozen=True)
class Known:
    """A rig as far as it is known."""

    cameras: Cameras
    """All with a calibration."""
    scene: bundle.RigEstimate
    """The same cameras; board poses do not count."""
    information: ndarray
    """(view*15, view*15) as in `bundle.information`."""
    free: ndarray
    """(view, 15) bool, camera parameters that are adjusted."""
    noise_px: float
    distance_m: ndarray
    """(view,) at which each camera saw the board, metres."""

    @property
    def sigma(self) -> bundle.RigSigma:
        """How well each camera is known."""
        return bundle.sigma_of(self.scene.T_cam_world, self.information, self.free, self.noise_px)


@dataclass(frozen=True)
class Pose:
    """How to hold the board."""

    region: tuple[int, int]
    """Row and column in the image of the camera that it is for."""
    closer: str
    """The edge that is closer to this camera."""
    T_world_board: ndarray
    """(4, 4), metres."""
    seen_by: tuple[int, ...]
    """Cameras that would see the whole board; the most direct view first."""


def best_pose(known: Known, view: int, corners_m: ndarray) -> Pose | None:
    """The pose in front of a camera after which all cameras together are best known; None if two cannot see any.

    Args:
        known: the rig.
        view: the camera, an index.
        corners_m: (corner, 3) in the board's frame, metres.
    """
    best, least = None, np.inf
    regions = [(row, column) for row, column in product(range(REGIONS), repeat=2)]
    for region, closer in product(regions, TILTS):
        T_world_board = _held(known, view, region, closer, corners_m)
        seen_by, uv_px = _sighted(known, T_world_board, corners_m)
        if view not in seen_by or len(seen_by) < 2:
            continue
        sigma = replace(known, information=known.information + _told(known, T_world_board, uv_px, corners_m)).sigma
        left = float((sigma.center_m**2).sum())
        if left < least:
            best, least = Pose(region, closer, T_world_board, seen_by), left
    return best


def _held(known: Known, view: int, region: tuple[int, int], closer: str, corners_m: ndarray) -> ndarray:
    """(4, 4) T_world_board of a board in a region of a camera's image, at the distance that is usual for it."""
    at_px = (np.array(region[::-1]) + 0.5) / REGIONS * known.cameras.size_px[view] - 0.5
    xy = known.cameras.subset([view]).undistort(at_px[None, None])[0, 0]
    ray = np.append(xy, 1.0) / np.linalg.norm(np.append(xy, 1.0))
    T_cam_board = np.eye(4)
    T_cam_board[:3, :3] = rotation_from_axis_angle(TILT_RAD * np.array([*TILTS[closer], 0.0]))
    middle_m = T_cam_board[:3, :3] @ corners_m.mean(0)
    T_cam_board[:3, 3] = ray * known.distance_m[view] - middle_m
    return np.linalg.inv(known.scene.T_cam_world[view]) @ T_cam_board


def _sighted(known: Known, T_world_board: ndarray, corners_m: ndarray) -> tuple[tuple[int, ...], ndarray]:
    """Cameras that would see the whole board, and (view, 1, corner, 2) its corners; NaN for the others."""
    points_m = corners_m @ T_world_board[:3, :3].T + T_world_board[:3, 3]
    with np.errstate(invalid="ignore"):
        uv_px = known.cameras.project(points_m)
        inside = ((uv_px >= 0) & (uv_px < known.cameras.size_px[:, None])).all((-1, -2))
    toward = points_m.mean(0) - known.cameras.centers_m
    direct = toward @ T_world_board[:3, 2] / np.linalg.norm(toward, axis=-1)
    sees = inside & (direct > np.cos(STEEPEST_RAD))
    order = np.argsort(-direct)
    return tuple(order[sees[order]].tolist()), np.where(sees[:, None, None], uv_px, np.nan)[:, None]


def _told(known: Known, T_world_board: ndarray, uv_px: ndarray, corners_m: ndarray) -> ndarray:
    """What one more frame would tell about the cameras, as in `bundle.information`."""
    scene = replace(known.scene, T_world_board=T_world_board[None])
    nothing = bundle.LensPrior(np.zeros((len(uv_px), 1, bundle.NUM_LENS)), np.zeros((len(uv_px), 1)), known.noise_px)
    return bundle.information(scene, bundle.Sightings.from_grid(uv_px), corners_m, nothing)
