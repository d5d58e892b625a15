"""Motion as Biovision Hierarchy (BVH) text: the other direction of `bvh`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

ORDER = "ZXY"
"""Rotation channels about moving axes, in this order: the one that most BVH files have."""

_POSITION = "Xposition Yposition Zposition"
_ROTATION = " ".join(f"{axis}rotation" for axis in ORDER)


@dataclass(frozen=True, eq=False)
class Limb:
    """A tree of joints below the file's root. Lengths are in the file's unit."""

    names: tuple[str, ...]
    """Parents first."""
    parent: ndarray
    """(joint,) -1 for the limb's own root, the first, which is the only one that moves in its parent."""
    offset: ndarray
    """(joint, 3) in the parent's frame; the root's is not used."""
    end: ndarray
    """(joint, 3) where a bone without a child ends, in its frame; NaN for joints with children."""
    root_position: ndarray
    """(frame, 3)"""
    R_local: ndarray
    """(frame, joint, 3, 3) in the parent's frame."""


def bvh_text(root: str, limbs: Sequence[Limb], fps: float, R_root: ndarray) -> str:
    """A file with one root that stands still at the origin, turned by `R_root` (3, 3), and the limbs below it.

    Every joint has three rotation channels in the order `ORDER`, degrees; the limbs' roots have three positions too.
    """
    lines = ["HIERARCHY", f"ROOT {root}", "{", "\tOFFSET 0 0 0", f"\tCHANNELS 6 {_POSITION} {_ROTATION}"]
    columns = [np.tile(np.concatenate([np.zeros(3), euler_deg(R_root[None])[0]]), (len(limbs[0].root_position), 1))]
    for limb in limbs:
        _joint(limb, 0, 1, lines, columns, euler_deg(limb.R_local))
    values = np.concatenate(columns, axis=1)
    lines += ["}", "MOTION", f"Frames: {len(values)}", f"Frame Time: {1 / fps:.10g}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in values]
    return "\n".join(lines) + "\n"


def _joint(limb: Limb, joint: int, depth: int, lines: list[str], columns: list[ndarray], angles: ndarray) -> None:
    """One joint with all below it: its lines and its channels."""
    tab = "\t" * depth
    is_root = limb.parent[joint] < 0
    offset = np.zeros(3) if is_root else limb.offset[joint]
    lines += [f"{tab}JOINT {limb.names[joint]}", f"{tab}{{", f"{tab}\tOFFSET {_xyz(offset)}"]
    lines.append(f"{tab}\tCHANNELS 6 {_POSITION} {_ROTATION}" if is_root else f"{tab}\tCHANNELS 3 {_ROTATION}")
    columns += [limb.root_position] if is_root else []
    columns.append(angles[:, joint])
    for child in np.flatnonzero(limb.parent == joint):
        _joint(limb, int(child), depth + 1, lines, columns, angles)
    if np.isfinite(limb.end[joint]).all():
        lines += [f"{tab}\tEnd Site", f"{tab}\t{{", f"{tab}\t\tOFFSET {_xyz(limb.end[joint])}", f"{tab}\t}}"]
    lines.append(f"{tab}}}")


def _xyz(values: ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def euler_deg(R: ndarray) -> ndarray:
    """(frame, ..., 3) angles in degrees of (frame, ..., 3, 3) rotations, in the order `ORDER` about moving axes.

    Of the two triples that mean one rotation, and their whole turns, each frame has the one nearest to the frame
    before: what lies between two frames is then a small turn too.
    """
    angles = _angles(R.reshape(-1, 3, 3)).reshape(*R.shape[:-2], 3)
    for frame in range(1, len(angles)):
        before, here = angles[frame - 1], angles[frame]
        twin = np.stack([here[..., 0] + 180, 180 - here[..., 1], here[..., 2] + 180], axis=-1)
        both = np.stack([here, twin])
        both += 360 * np.round((before - both) / 360)
        nearer = np.abs(both - before).sum(axis=-1).argmin(axis=0)
        angles[frame] = np.take_along_axis(both, nearer[None, ..., None], axis=0)[0]
    return angles


def _angles(R: ndarray) -> ndarray:
    """(n, 3) degrees of R = Rz(a) Rx(b) Ry(c): sin b = R21, tan c = -R20 / R22.

    Near b = 90 degrees only the sum of a and c is known: whatever c is then, a is what c leaves of the rotation.
    """
    b = np.arctan2(R[:, 2, 1], np.hypot(R[:, 2, 0], R[:, 2, 2]))
    c = np.arctan2(-R[:, 2, 0], R[:, 2, 2])
    # R Ry(-c) = Rz(a) Rx(b), whose first column is cos a, sin a, 0.
    x = R[:, 0, 0] * np.cos(c) + R[:, 0, 2] * np.sin(c)
    y = R[:, 1, 0] * np.cos(c) + R[:, 1, 2] * np.sin(c)
    return np.rad2deg(np.stack([np.arctan2(y, x), b, c], axis=-1))
