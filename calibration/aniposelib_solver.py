"""aniposelib's bundle adjustment in place of ours: the same start, the same sightings, its own model and cost.

aniposelib adjusts six pose parameters, one focal length and k1 per camera, and every corner as a free 3D point that is
tied to a free board pose. The principal point keeps the value it starts with; other distortion coefficients are zero.
Source: Karashchuk et al., Anipose: A toolkit for robust markerless 3D pose estimation (2021); `CameraGroup` of 0.8.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import importlib.metadata
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy import ndarray
from scipy.spatial.transform import Rotation

from ..core.errors import CalibrationError, ConfigError
from .bundle import NUM_CAMERA, NUM_LENS, RigEstimate
from .joint import Problem

if TYPE_CHECKING:
    from aniposelib.cameras import CameraGroup

CODE = 1
"""Raised when the same input would give other numbers."""
SEED = 0
"""aniposelib draws its samples from NumPy's global generator."""
FITTED = np.isin(np.arange(NUM_CAMERA), [0, 1, 2, 3, 4, 5, 6, 7, 10])
"""(15,) bool, which of a camera's parameters it adjusts: the pose, fx and fy (as one) and k1."""
FAILURES = (ValueError, IndexError, ArithmeticError, AssertionError, cv2.error)
"""What its NumPy, SciPy and OpenCV calls raise on sightings that it cannot use. It has no errors of its own."""


def installed_version() -> str:
    """aniposelib's version; ConfigError where it is missing."""
    try:
        return importlib.metadata.version("aniposelib")
    except importlib.metadata.PackageNotFoundError as error:
        raise _unusable("it is not installed") from error


@dataclass(frozen=True)
class AniposelibSolver:
    """`CameraGroup.bundle_adjust_iter` with its default settings."""

    where: str
    """The clips, for an error to name."""

    @property
    def fitted(self) -> ndarray:
        """(15,) bool, the camera parameters that it adjusts."""
        return FITTED

    def __call__(self, problem: Problem, scene: RigEstimate, frames: ndarray) -> tuple[ndarray, ndarray]:
        """Adjust the cameras of a scene to the corners of these frames that two views or more saw.

        Args:
            problem: the sightings.
            scene: where the adjustment starts; one board pose per frame.
            frames: (frame,) which frames.

        Returns:
            (view, 9) lenses and (view, 4, 4) world to camera, metres; the first camera is the world.

        Raises:
            CalibrationError: aniposelib failed, or returned cameras that cannot be.
            ConfigError: aniposelib cannot be imported.
        """
        corners_px, extra = _sightings(problem, scene, frames)
        with _contained():
            group = _camera_group(scene)
            try:
                group.bundle_adjust_iter(corners_px, extra)
            except FAILURES as error:
                reason = " ".join(str(error).split())[:200]
                raise self._failed(f"{type(error).__name__}: {reason}", corners_px, frames) from error
            lens = np.stack([_lens_of(camera) for camera in group.cameras])
            T_cam_world = np.stack([camera.get_extrinsics_mat() for camera in group.cameras])
        if not (np.isfinite(lens).all() and np.isfinite(T_cam_world).all() and (lens[:, :2] > 0).all()):
            raise self._failed("a focal length or a pose is not a number, or negative", corners_px, frames)
        T_cam_world = T_cam_world @ np.linalg.inv(T_cam_world[0])
        T_cam_world[0] = np.eye(4)  # to the last bit
        return lens, T_cam_world

    def _failed(self, found: str, corners_px: ndarray, frames: ndarray) -> CalibrationError:
        return CalibrationError(
            f"{self.where}: expected aniposelib's bundle adjustment of {len(corners_px)} views, {len(frames)} frames "
            f"and {corners_px.shape[1]} shared corners to return cameras, but it failed ({found}). Record the board in "
            "more frames that several cameras see, or use `calibration.solver: handpipe`."
        )


def _unusable(reason: str) -> ConfigError:
    return ConfigError(
        f"calibration.solver: expected aniposelib to be importable, but {reason}. Install it with "
        '`pip install "aniposelib>=0.8,<0.9"`, or use `calibration.solver: handpipe`.'
    )


@contextmanager
def _contained() -> Iterator[None]:
    """What aniposelib needs of the process, put back afterwards: seeded NumPy, JAX in 64 bits on the CPU, no messages.

    Other devices and precisions would give other bits; JAX warns of a GPU that it does not use.
    """
    try:
        import aniposelib.cameras  # noqa: F401  # Numba and JAX take seconds: only who chooses this solver waits.
        import jax
    except ImportError as error:
        raise _unusable(f"importing it failed ({error})") from error
    state, wide, log = np.random.get_state(), jax.config.read("jax_enable_x64"), logging.getLogger("jax")  # noqa: NPY002
    level = log.level
    log.setLevel(logging.ERROR)
    np.random.seed(SEED)  # noqa: NPY002
    jax.config.update("jax_enable_x64", True)
    try:
        with warnings.catch_warnings(), jax.default_device(jax.devices("cpu")[0]):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        jax.config.update("jax_enable_x64", wide)
        log.setLevel(level)


def _camera_group(scene: RigEstimate) -> CameraGroup:
    from aniposelib.cameras import Camera, CameraGroup, FisheyeCamera

    cameras = []
    for lens, T in zip(scene.lens, scene.T_cam_world, strict=True):
        focal = lens[:2].mean()
        K = np.array([[focal, 0, lens[2]], [0, focal, lens[3]], [0, 0, 1]])
        k1_only = np.append(lens[4], np.zeros(3 if scene.fisheye else 4))
        kind: Any = FisheyeCamera if scene.fisheye else Camera
        cameras.append(kind(K, k1_only, rvec=Rotation.from_matrix(T[:3, :3]).as_rotvec(), tvec=T[:3, 3]))
    return CameraGroup(cameras)


def _lens_of(camera: Any) -> ndarray:
    """(9,) as `RigEstimate.lens`; a fisheye's fifth coefficient is unused."""
    K, coefficients = camera.get_camera_matrix(), camera.get_distortions()
    lens = np.zeros(NUM_LENS)
    lens[:4] = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    lens[4 : 4 + len(coefficients)] = coefficients
    return lens


def _sightings(problem: Problem, scene: RigEstimate, frames: ndarray) -> tuple[ndarray, dict[str, ndarray]]:
    """(view, point, 2) corners that two views or more saw, pixels, and aniposelib's `extra`: what each point is.

    `objp` (point, 3) is the corner on the board, metres; `ids` (point,) the frame; `rvecs`, `tvecs` (view, point, 3)
    the board's pose before each camera, which here is the same world pose seen from all of them.
    """
    seen_px = problem.corners_px[:, frames]
    shared = np.isfinite(seen_px[..., 0]).sum(0) >= 2
    frame, corner = np.nonzero(shared)
    T_cam_board = scene.T_cam_world[:, None] @ scene.T_world_board
    rotation = Rotation.from_matrix(T_cam_board[..., :3, :3].reshape(-1, 3, 3)).as_rotvec()
    extra = {
        "objp": problem.corners_m[corner],
        "ids": frame,
        "rvecs": rotation.reshape(*T_cam_board.shape[:2], 3)[:, frame],
        "tvecs": T_cam_board[..., :3, 3][:, frame],
    }
    return seen_px[:, shared], extra
