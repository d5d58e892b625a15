"""Which of our 21 joints is meant by a name in a file: ours, numbered ones, or ManipNet's."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from ...core.errors import SessionError
from ...core.hands import FINGERS, HANDS, JOINTS, NUM_JOINTS

_THUMB, _FINGER = ("cmc", "mcp", "ip", "tip"), ("mcp", "pip", "dip", "tip")


def joint_named(name: str, hand: str) -> str | None:
    """Our name of a file's joint of one hand, None for a joint that is none of the 21.

    Understood are our own names, numbered ones (LeftHandIndex1 to 4, Thumb1 from the metacarpal's root) and ManipNet's
    (INDEX_PIP_FE), each also behind a namespace (mixamorig:LeftHandIndex1). ManipNet splits the thumb's saddle joint
    into two axes 28 mm apart, THUMB_CMC_FE and THUMB_CMC_AA; neither is where the models have thumb_cmc (the nearer is
    19 mm off), so neither is taken.
    """
    joint, _, end = name.partition("/")
    word = re.sub("[^a-z0-9]", "", re.sub(r"^.*[:|]|^mixamorig\d*", "", joint.lower()))
    if not word:
        return None
    word = word.replace("little", "pinky").removeprefix(hand).removeprefix("hand")
    if word in ("", "wrist"):
        return None if end else "wrist"
    for finger in FINGERS:
        places = _THUMB if finger == "thumb" else _FINGER
        for number, place in enumerate(places):
            flexion = () if place == "cmc" else (f"{finger}{place}fe",)
            if word in (f"{finger}{place}", f"{finger}{number + 1}", *flexion):
                # The end of the outermost joint is the fingertip, other ends are nothing we know.
                last = {"": place, "end": "tip" if number == 2 else None}[end]
                return None if last is None else f"{finger}_{last}"
    return None


def points_by_name(names: Sequence[str], tracks: ndarray, where: str) -> ndarray:
    """Both hands' joints among named tracks.

    Args:
        names: as `joint_named` understands them; others, and empty ones, are passed over.
        tracks: (frame, name, 3), NaN where missing.
        where: the file, for messages.

    Returns:
        (frame, hand, 21, 3), NaN where missing.

    Raises:
        SessionError: two different tracks are called the same joint.
    """
    points = np.full((len(tracks), len(HANDS), NUM_JOINTS, 3), np.nan)
    called: dict[tuple[str, str], int] = {}
    for number, name in enumerate(names):
        for index, hand in enumerate(HANDS):
            joint = joint_named(name, hand)
            if joint is None:
                continue
            first = called.setdefault((hand, joint), number)
            if not np.array_equal(tracks[:, first], tracks[:, number], equal_nan=True):
                raise SessionError(
                    f"{where}: expected every joint once, but {names[first]} and {name} are both the {hand} {joint}. "
                    "Rename or remove one of them."
                )
            points[:, index, JOINTS.index(joint)] = tracks[:, number]
    return points
