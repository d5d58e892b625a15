"""Keypoints in BVH motion: which of its joints are ours, in which unit, left- or right-handed."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy import ndarray

from ....core.errors import SessionError
from ....core.files import read_text
from ....core.hands import HANDS, JOINTS, NUM_JOINTS
from ....hand.keypoints import MIRROR_X, Keypoints, Mirror, guess_unit, other_hand, where_seen
from ..joint_names import joint_named
from .parser import Bvh, parse_bvh

MIN_JOINTS = 6
"""With fewer named joints a file holds no hand."""

WORLD = "handpipe_world"
"""Root of our own files. It stands still; its turn makes y up, which animation programs expect."""


def read_bvh(
    paths: Sequence[Path],
    sigma_m: float,
    fps: float | None = None,
    unit_m: float | None = None,
    mirror: Mirror = "auto",
    thin_to: float | None = None,
) -> tuple[Keypoints, list[str]]:
    """Keypoints of two BVH files with the same frames, left and right.

    Args:
        paths: left and right; the same file twice when it has both hands, or only one: the other is missing then.
        sigma_m: standard error of every joint.
        fps: frames per second in place of what the files say.
        unit_m: metres in one unit of the files; None finds it from the length of the bones.
        mirror: negate x. "auto" does where both hands have the shape of the other: left-handed coordinates.
        thin_to: keep only this many frames per second; None keeps all.

    Returns:
        The keypoints, and what there is to say about them.

    Raises:
        SessionError: not BVH, no hand, or the files do not belong together.
    """
    motions = [_parse(path) for path in paths]
    frames, times = [len(m.values) for m in motions], [m.frame_time_s for m in motions]
    if frames[0] != frames[1] or (fps is None and not np.isclose(times[0], times[1], rtol=1e-3)):
        raise SessionError(
            f"{paths[1]}: expected {frames[0]} frames, one every {times[0]:g} s, as in {paths[0].name}, but found "
            f"{frames[1]}, one every {times[1]:g} s. Give the two files of one recording."
        )
    step, rate = _thin(paths[0], fps or 1 / times[0], thin_to)
    found = [_bvh_points(motion, hand, step) for motion, hand in zip(motions, HANDS, strict=True)]
    one_file = paths[0].resolve() == paths[1].resolve()
    # One file for both may well hold only one of them.
    enough = [np.isfinite(each[0, :, 0]).sum() >= MIN_JOINTS for each in found]
    if not (any(enough) if one_file else all(enough)):
        without = enough.index(False)
        raise _no_hand(paths[without], motions[without], "left or right" if one_file else HANDS[without])
    points = np.stack([np.where(known, each, np.nan) for known, each in zip(enough, found, strict=True)], axis=1)
    messages = []
    if unit_m is None:
        name, unit_m = guess_unit(points)
        messages.append(f"unit: {name}, by the length of the bones (--unit-m says otherwise)")
    if max(motion.largest_turn() for motion in motions) < 2 * np.pi:
        messages.append(
            "warning: no joint ever turns by more than 6 degrees: if the angles are radians, convert them to degrees, "
            "BVH's unit"
        )
    points = points * unit_m
    wrong = other_hand(points)
    if mirror == "yes" or (mirror == "auto" and set(wrong) == set(HANDS)):
        points = points * MIRROR_X
        if mirror == "auto":
            messages.append(
                "mirrored in x: both hands have the shape of the other, as in left-handed coordinates (Unity's). If "
                "the two files are swapped instead, give them in the other order"
            )
    return where_seen(points, np.full(points.shape[:3], sigma_m), rate), messages


def _parse(path: Path) -> Bvh:
    motion = parse_bvh(read_text(path, "a BVH file"), str(path))
    if motion.names[:1] != (WORLD,):
        return motion
    # Without its root's turn it is in the session's own axes again.
    values = motion.values.copy()
    values[:, : len(motion.channels[0])] = 0
    return replace(motion, values=values)


def _thin(path: Path, recorded_fps: float, thin_to: float | None) -> tuple[int, float]:
    """The step between the frames that are kept, and their rate."""
    # Frame times are rounded: 0.008333 s is 120 a second.
    recorded = round(recorded_fps) if abs(recorded_fps - round(recorded_fps)) < 0.01 else recorded_fps
    step = 1 if thin_to is None else round(recorded / thin_to)
    if thin_to is not None and (step < 1 or not np.isclose(recorded / step, thin_to, rtol=1e-3)):
        raise SessionError(
            f"{path}: expected --thin-to to divide the recorded {recorded:g} frames per second, but got {thin_to:g}. "
            f"Use {recorded / 2:g} or {recorded / 4:g}, or leave it out. If the file states a wrong rate, say the "
            "right one with --fps."
        )
    return step, recorded / step


def _no_hand(path: Path, motion: Bvh, hand: str) -> SessionError:
    names = ", ".join(name for name in motion.names[:12] if not name.endswith("/end"))
    return SessionError(
        f"{path}: expected the joints of a {hand} hand, like WRIST, INDEX_MCP or RightHandIndex1, but found {names}. "
        "Rename the joints."
    )


def _bvh_points(motion: Bvh, hand: str, step: int) -> ndarray:
    """(frame, 21, 3) in the file's unit, NaN where the file has no such joint."""
    positions = motion.positions()[::step]
    points = np.full((len(positions), NUM_JOINTS, 3), np.nan)
    for joint, name in enumerate(motion.names):
        ours = joint_named(name, hand)
        # An end site without an offset says nothing about the fingertip.
        if ours is not None and (motion.offset[joint].any() or not name.endswith("/end")):
            points[:, JOINTS.index(ours)] = positions[:, joint]
    return points
