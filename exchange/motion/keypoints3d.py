"""3D keypoints in npz: for other fitters, and from other triangulation."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy import ndarray

from ...core.errors import SessionError
from ...core.files import read_npz
from ...core.hands import HANDS, JOINTS, NUM_JOINTS
from ...hand.keypoints import Keypoints, check_above_zero, where_seen
from ..recording import Recording
from .format import ONLY_JOINTS, MotionFormat, stored_rate


def read_keypoints(path: Path, sigma_m: float, fps: float | None, unit_m: float | None = None) -> Keypoints:
    """Keypoints of an npz file: `points` (frame, hand, joint, 3), or `left` and `right` (frame, joint, 3).

    Besides these it may hold `joints` (names, when they are not all 21 in order), `sigma` (anything that broadcasts to
    (frame, hand, joint), in the points' unit) and `fps`.

    Args:
        path: the file.
        sigma_m: standard error where the file has none.
        fps: frames per second where the file has none, or in place of what it says.
        unit_m: metres in one unit of the file; None is metres.

    Raises:
        SessionError: not an npz, or not these arrays.
    """
    arrays = _arrays(path)
    unit_m = unit_m or 1.0
    points = _points(path, arrays)
    names = [str(name) for name in arrays["joints"].ravel()] if "joints" in arrays else list(JOINTS)
    unknown = sorted(set(names) - set(JOINTS))
    if unknown or len(set(names)) < len(names) or points.shape[2] != len(names):
        found = f"unknown {', '.join(unknown)}" if unknown else f"{len(set(names))} names for {points.shape[2]} joints"
        raise SessionError(
            f"{path}: expected a joint for each of {len(names)} different names out of {', '.join(JOINTS)}, but "
            f"found {found}. Name the joints that are there in the array `joints`."
        )
    rate = stored_rate(path, arrays.get("fps")) if fps is None else fps
    default = np.array(sigma_m / unit_m)
    sigma = _sigma(path, arrays.get("sigma", default), points)
    columns = [JOINTS.index(name) for name in names]
    all_points = np.full((len(points), len(HANDS), NUM_JOINTS, 3), np.nan)
    all_sigma = np.full(all_points.shape[:3], np.nan)
    all_points[:, :, columns] = points * unit_m
    all_sigma[:, :, columns] = sigma * unit_m
    return where_seen(all_points, all_sigma, rate)


def _arrays(path: Path) -> dict[str, ndarray]:
    known = {"points", "left", "right", "sigma", "fps", "joints"}
    arrays = read_npz(path, "keypoints")
    unknown = sorted(arrays.keys() - known)
    hands = arrays.keys() & {"left", "right"}
    if unknown or bool(hands) == ("points" in arrays):
        raise SessionError(
            f"{path}: expected `points`, or `left` and `right`, and beside them only sigma, fps and joints, but found "
            f"{', '.join(sorted(arrays)) or 'nothing'}. Rename the arrays."
        )
    return arrays


def _points(path: Path, arrays: Mapping[str, ndarray]) -> ndarray:
    """(frame, hand, joint, 3) in the file's unit."""
    if "points" in arrays:
        points = arrays["points"]
    else:
        there = {hand: arrays[hand] for hand in HANDS if hand in arrays}
        one = next(iter(there.values()))
        if any(each.shape != one.shape or one.ndim != 3 for each in there.values()):
            raise SessionError(
                f"{path}: expected `left` and `right` of one shape (frame, joint, 3), but found "
                f"{', '.join(f'{hand} {each.shape}' for hand, each in there.items())}. Give both the same frames."
            )
        points = np.stack([there.get(hand, np.full(one.shape, np.nan)) for hand in HANDS], axis=1)
    if points.ndim != 4 or points.shape[0] == 0 or points.shape[1] != len(HANDS) or points.shape[3] != 3:
        raise SessionError(
            f"{path}: expected `points` of shape (frame, 2 hands, joint, 3), but found {points.shape}. "
            "Reorder the axes; hands are left, right."
        )
    if points.dtype.kind not in "fiu":
        raise SessionError(f"{path}: expected numbers in the points, but found {points.dtype}. Write them as floats.")
    points = points.astype(np.float64)
    if np.isinf(points).any():
        raise SessionError(f"{path}: expected NaN where a joint is missing, but found infinity. Write NaN.")
    return points


def _sigma(path: Path, sigma: ndarray, points: ndarray) -> ndarray:
    if sigma.dtype.kind not in "fiu":
        raise SessionError(f"{path}: expected numbers in `sigma`, but found {sigma.dtype}. Write them as floats.")
    try:
        sigma = np.broadcast_to(sigma.astype(np.float64), points.shape[:3])
    except ValueError as error:
        raise SessionError(
            f"{path}: expected `sigma` of shape (frame, hand, joint) = {points.shape[:3]}, or one that broadcasts to "
            f"it, but found {sigma.shape} of {sigma.dtype}. Leave it out to use --sigma-m for all."
        ) from error
    check_above_zero(sigma, str(path))
    return sigma


def _write(recording: Recording, out: Path) -> list[str]:
    """`points` (frame, hand, joint, 3) metres, `sigma` (frame, hand, joint) metres, `fps` and `joints`.

    The points are the triangulated ones; of motion that has none, generated or imported, the model's joints, without
    `sigma`.
    """
    keypoints = recording.keypoints()
    if keypoints is None:
        np.savez(out, points=recording.motion().seen_joints, fps=recording.fps, joints=np.array(JOINTS))
        return [ONLY_JOINTS]
    np.savez(out, points=keypoints.points_m, sigma=keypoints.sigma_m, fps=recording.fps, joints=np.array(JOINTS))
    return [
        "The fitted hands: these are the triangulated keypoints, before the fit.",
        "Which views saw each joint.",
    ]


FORMAT = MotionFormat(
    name="keypoints3d",
    title="3D keypoints with standard errors in npz, for other fitters",
    suffixes=(".npz",),
    reads="`points` (frame, hand, joint, 3), or `left` and `right` (frame, joint, 3); `sigma`, `fps`, `joints`",
    writes="the triangulated keypoints and their standard errors",
    loses="the fitted hands; which view saw what",
    write=_write,
    read=read_keypoints,
    read_back="keypoints FILE OUT",
)
