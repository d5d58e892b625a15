"""glTF: both hands as skinned meshes that move, for viewers, engines and Blender; and back, from any hands in a GLB."""

# Ring 2: reads and writes.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.spatial.transform import Rotation

from .... import __version__
from ....core.errors import SessionError
from ....core.files import read_bytes
from ....core.hands import HANDS
from ....hand.keypoints import Keypoints, where_seen
from ....hand.model import HandModel
from ...recording import HandsMotion, Recording
from ...skeleton import SkeletonMotion, posed
from ..joint_names import points_by_name
from ..upright import upright
from .reader import NodeMotion, node_motion
from .writer import SkinnedHand, animated_glb

TURN = "y_up_from_session"
"""In the extras of the node `world`: the quaternion of its turn."""

MAX_BYTES = 1 << 30
"""Of a file that is read; a skeleton that moves for hours is smaller."""


def write(recording: Recording, out: Path) -> list[str]:
    """One GLB: per hand a mesh, a skin of 16 joints, five fingertips, and their animation at the recording's rate."""
    motion = recording.motion_of_some_hand()
    hands = [
        _hand(recording.models[index], posed(recording.models[index], motion, index), motion)
        for index, _ in motion.there
    ]
    R_up, messages = upright(recording, "`handpipe import` turns them back.")
    world = Rotation.from_matrix(R_up).as_quat()
    extras = {"handpipe": {TURN: world.tolist()}}
    out.write_bytes(animated_glb(hands, recording.fps, f"handpipe {__version__}", world, extras))
    lost = [
        "Pose correctives: the skin of bent joints is the plain blend of its bones; the joints are exact.",
        "Skinning weights beyond the four largest of a vertex.",
        *messages,
    ]
    if len(motion.there) < len(HANDS) or not motion.valid.all():
        lost.append(
            "Missing frames: a hand holds the pose of its nearest frame, and one that never was there is left out. "
            "Which frames these are stands in the mesh node's extras, where only `handpipe import` looks."
        )
    return lost


def _hand(model: HandModel, pose: SkeletonMotion, motion: HandsMotion) -> SkinnedHand:
    index = HANDS.index(model.side)
    betas = motion.betas[index].astype(np.float64)
    # glTF has quaternions; one and its negative are the same turn, but what lies between two of them is not.
    quaternion = Rotation.from_matrix(pose.R_local.reshape(-1, 3, 3)).as_quat().reshape(*pose.R_local.shape[:2], 4)
    flips = (quaternion[1:] * quaternion[:-1]).sum(axis=-1) < 0
    quaternion[1:] *= np.cumprod(np.where(flips, -1.0, 1.0), axis=0)[..., None]
    extras: dict[str, Any] = {
        "hand_model": model.model_id,
        "betas": [float(beta) for beta in motion.betas[index]],
        "missing_frames": _runs(~motion.valid[:, index]),
    }
    return SkinnedHand(
        model.side,
        model.v_template + model.shapedirs @ betas,
        model.faces,
        model.weights,
        pose.names,
        pose.parent,
        pose.rest_m,
        quaternion,
        pose.translation_m,
        {"handpipe": extras},
    )


def _runs(flags: ndarray) -> list[list[int]]:
    """[first, one past the last] of each run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return edges.reshape(-1, 2).tolist()


def read(path: Path, sigma_m: float, fps: float | None, unit_m: float | None) -> Keypoints:
    """Keypoints of the nodes with names like left_index_mcp or LeftHandIndex1; arguments as for `KeypointReader`.

    Raises:
        SessionError: not a GLB, without animation, or without the joints of a hand.
    """
    motion = node_motion(read_bytes(path, "a .glb file", MAX_BYTES), str(path))
    names = [name * (not mesh) for name, mesh in zip(motion.names, motion.has_mesh, strict=True)]
    points = points_by_name(names, motion.positions_m, str(path))
    if np.isfinite(points[0, ..., 0]).sum(axis=-1).max() < 6:
        raise SessionError(
            f"{path}: expected nodes called like a hand's joints, left_index_mcp or LeftHandIndex1, but found "
            f"{', '.join(motion.names[:8])}. Rename the nodes."
        )
    points = points @ _turned_up(motion)
    for index, hand in enumerate(HANDS):
        points[_missing(motion, hand, len(points)), index] = np.nan
    points *= unit_m or 1.0
    return where_seen(points, np.full(points.shape[:3], sigma_m), fps or _rate(path, motion))


def _turned_up(motion: NodeMotion) -> ndarray:
    """(3, 3) the turn that `write` noted; the identity for other people's files."""
    for extras in motion.extras:
        noted = extras.get("handpipe")
        turn = noted.get(TURN) if isinstance(noted, dict) else None
        numbers = turn if isinstance(turn, list) and len(turn) == 4 else []
        small = [float(number) for number in numbers if isinstance(number, int | float) and abs(number) <= 1]
        if len(small) == 4 and abs(np.linalg.norm(small) - 1) < 1e-6:
            return Rotation.from_quat(small).as_matrix()
    return np.eye(3)


def _missing(motion: NodeMotion, hand: str, frames: int) -> ndarray:
    """(frame,) bool: what `write` noted of a hand's frames."""
    missing = np.zeros(frames, bool)
    for name, extras in zip(motion.names, motion.extras, strict=True):
        noted = extras.get("handpipe") if name == f"{hand}_mesh" else None
        runs = noted.get("missing_frames") if isinstance(noted, dict) else None
        for run in runs if isinstance(runs, list) else []:
            if isinstance(run, list) and len(run) == 2 and all(isinstance(end, int) and end >= 0 for end in run):
                missing[run[0] : run[1]] = True
    return missing


def _rate(path: Path, motion: NodeMotion) -> float:
    if motion.fps is None:
        raise SessionError(f"{path}: expected two frames or more to know their rate, but found one. Say it with --fps.")
    return motion.fps
