"""Biovision Hierarchy (BVH) motion: the skeleton, its channels, and where the joints are.

A joint's frame is its parent's, moved by OFFSET (or by its position channels, which replace it) and turned by its
rotation channels: degrees, about moving axes, in the order the file lists them (Meredith and Maddock 2001).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ....core.errors import SessionError

MAX_DEPTH = 200
"""Joints below each other; a deeper file is not a skeleton."""

MAX_CHANNELS = 12
"""Of a joint; usual are 3 and 6."""

MAX_POSITIONS = 20_000_000
"""Joints times frames, which are held in memory at 100 bytes each: an hour of a whole body at 60 Hz."""

_CHANNEL = {f"{axis}{kind}".lower(): (kind, i) for i, axis in enumerate("XYZ") for kind in ("position", "rotation")}
_SECTION = re.compile(r"(?<!\S)(?<!ROOT\s)(?<!JOINT\s)MOTION(?!\S)")
"""The section's name is a word of its own; a joint may be called MOTION_ROOT."""

_MENTION = "Export the file again as BVH."


@dataclass(frozen=True, eq=False)
class Bvh:
    """One BVH file."""

    names: tuple[str, ...]
    """Joints in the file's order, parents first; an end site is called `<its joint>/end`."""
    parent: ndarray
    """(joint,) index of the parent, -1 for a root."""
    offset: ndarray
    """(joint, 3) position in the parent's frame, in the file's unit."""
    channels: tuple[tuple[str, ...], ...]
    """Per joint, in the file's order: `xposition`, `yrotation`, ... lower case."""
    frame_time_s: float
    values: ndarray
    """(frame, channel) of all joints, one after the other; the file's unit and degrees."""

    def largest_turn(self) -> float:
        """The largest number in a rotation channel, degrees; infinite when there is none."""
        turns = [name.endswith("rotation") for each in self.channels for name in each]
        return float(np.abs(self.values[:, turns]).max(initial=0.0)) if any(turns) else np.inf

    def positions(self) -> ndarray:
        """(frame, joint, 3) joints in the file's coordinates and unit."""
        frames = len(self.values)
        out = np.empty((frames, len(self.names), 3))
        R_world: list[ndarray] = []
        column = 0
        for joint, parent in enumerate(self.parent):
            local = np.broadcast_to(self.offset[joint], (frames, 3)).copy()
            R = np.broadcast_to(np.eye(3), (frames, 3, 3)) if parent < 0 else R_world[parent]
            turn = R
            for name in self.channels[joint]:
                kind, axis = _CHANNEL[name]
                if kind == "position":
                    local[:, axis] = self.values[:, column]
                else:
                    turn = turn @ _rotation(axis, np.deg2rad(self.values[:, column]))
                column += 1
            R_world.append(turn)
            origin = 0.0 if parent < 0 else out[:, parent]
            out[:, joint] = local if parent < 0 else origin + (R @ local[..., None])[..., 0]
        return out


def _rotation(axis: int, angle: ndarray) -> ndarray:
    """(..., 3, 3) right-handed rotations by (...,) radians about a coordinate axis."""
    R = np.zeros((*angle.shape, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R[..., axis, axis] = 1.0
    R[..., i, i] = R[..., j, j] = np.cos(angle)
    R[..., j, i] = np.sin(angle)
    R[..., i, j] = -R[..., j, i]
    return R


def parse_bvh(text: str, where: str = "BVH") -> Bvh:
    """The motion in a BVH file's text.

    Args:
        text: the file's content.
        where: its name, for messages.

    Raises:
        SessionError: it is not BVH, truncated, or has fewer or more numbers than its channels and frames ask for.
    """
    head, *found = _SECTION.split(text.lstrip("\ufeff"), maxsplit=1)
    if not head.split()[:1] == ["HIERARCHY"] or not found:
        raise SessionError(
            f"{where}: expected a BVH file with the sections HIERARCHY and MOTION, but found "
            f"{'no MOTION' if head.split()[:1] == ['HIERARCHY'] else 'something else'}. {_MENTION}"
        )
    skeleton = _Skeleton(where, head.split()[1:])
    while skeleton.left():
        skeleton.expect("ROOT")
        skeleton.joint(-1, 0)
    width = sum(len(each) for each in skeleton.channels)
    frames, frame_time_s, values = _motion(found[0], width, where)
    if frames * len(skeleton.names) > MAX_POSITIONS:
        raise SessionError(
            f"{where}: expected at most {MAX_POSITIONS} places of joints, but found {frames} frames of "
            f"{len(skeleton.names)} joints. Cut the file into parts, or leave out what is no hand."
        )
    return Bvh(
        tuple(skeleton.names),
        np.array(skeleton.parent),
        np.array(skeleton.offset, float).reshape(-1, 3),
        tuple(skeleton.channels),
        frame_time_s,
        values.reshape(frames, width),
    )


class _Skeleton:
    """Reads the words of a HIERARCHY section."""

    def __init__(self, where: str, words: Sequence[str]) -> None:
        self.where, self.words, self.at = where, words, 0
        self.names: list[str] = []
        self.parent: list[int] = []
        self.offset: list[list[float]] = []
        self.channels: list[tuple[str, ...]] = []

    def left(self) -> bool:
        return self.at < len(self.words)

    def word(self, what: str) -> str:
        if not self.left():
            raise SessionError(f"{self.where}: expected {what} in HIERARCHY, but the section ends. {_MENTION}")
        self.at += 1
        return self.words[self.at - 1]

    def expect(self, *choices: str) -> str:
        word = self.word(" or ".join(choices))
        if word not in choices:
            raise SessionError(
                f"{self.where}: expected {' or '.join(choices)} in HIERARCHY, but found '{word}'. {_MENTION}"
            )
        return word

    def number(self) -> float:
        word = self.word("a number")
        try:
            value = float(word)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise SessionError(f"{self.where}: expected a number in HIERARCHY, but found '{word}'. {_MENTION}")
        return value

    def joint(self, parent: int, depth: int) -> None:
        """One joint with all below it; the keyword is read already."""
        if depth > MAX_DEPTH:
            raise SessionError(f"{self.where}: expected at most {MAX_DEPTH} joints in a chain, found more. {_MENTION}")
        words = []
        while (word := self.word("'{'")) != "{":
            words.append(word)
        self._append(" ".join(words), parent)
        me = len(self.names) - 1
        while (word := self.expect("OFFSET", "CHANNELS", "JOINT", "End", "}")) != "}":
            match word:
                case "OFFSET":
                    self.offset[me] = [self.number() for _ in range(3)]
                case "CHANNELS":
                    self.channels[me] = self._channels()
                case "JOINT":
                    self.joint(me, depth + 1)
                case _:
                    self._end_site(me)

    def _append(self, name: str, parent: int) -> None:
        self.names.append(name)
        self.parent.append(parent)
        self.offset.append([0.0, 0.0, 0.0])
        self.channels.append(())

    def _channels(self) -> tuple[str, ...]:
        count = self.number()
        if count not in range(MAX_CHANNELS + 1):
            raise SessionError(
                f"{self.where}: expected 0 to {MAX_CHANNELS} channels of a joint, but found {count:g}. {_MENTION}"
            )
        names = tuple(self.word("a channel").lower() for _ in range(int(count)))
        unknown = [name for name in names if name not in _CHANNEL]
        if unknown:
            raise SessionError(
                f"{self.where}: expected channels like Xposition or Zrotation, but found '{unknown[0]}'. {_MENTION}"
            )
        return names

    def _end_site(self, parent: int) -> None:
        self.expect("Site")
        self.expect("{")
        self.expect("OFFSET")
        self._append(f"{self.names[parent]}/end", parent)
        self.offset[-1] = [self.number() for _ in range(3)]
        self.expect("}")


def _motion(text: str, width: int, where: str) -> tuple[int, float, ndarray]:
    """Number of frames, seconds per frame, and the numbers of the MOTION section."""
    head = re.match(r"\s*Frames:\s*(\d{1,12})\s+Frame Time:\s*(\S+)\s", text)
    try:
        frame_time_s = float(head[2]) if head else np.nan
    except ValueError:
        frame_time_s = np.nan
    if head is None or not 0 < frame_time_s < np.inf:
        raise SessionError(
            f"{where}: expected `Frames: <count>` and `Frame Time: <seconds>` after MOTION, but found "
            f"'{' '.join(text.split()[:6])}'. {_MENTION}"
        )
    frames = int(head[1])
    words = text[head.end() :].split()
    if len(words) != frames * width or frames == 0:
        raise SessionError(
            f"{where}: expected {frames} frames of {width} numbers, but found {len(words)} numbers "
            f"({len(words) / max(width, 1):.1f} frames). The file may be truncated: export it again."
        )
    try:
        values = np.array(words, float)
    except ValueError as error:
        raise SessionError(f"{where}: expected only numbers in MOTION, but {error}. {_MENTION}") from error
    if not np.isfinite(values).all():
        frame = int(np.flatnonzero(~np.isfinite(values))[0]) // width
        raise SessionError(f"{where}: expected finite numbers, but frame {frame} has NaN or infinity. {_MENTION}")
    return frames, frame_time_s, values
