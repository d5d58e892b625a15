"""What to show next, in words and in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from ..checks import joining_pair, listed
from .poses import Pose

ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


@dataclass(frozen=True)
class Advice:
    """Where the board should be shown."""

    text: str
    views: tuple[int, ...] = ()
    """Cameras that should see it, at the same time; the first matters most."""
    or_any: tuple[int, ...] = ()
    """One of these may stand in for the second."""
    region: tuple[int, int] | None = None
    """Row and column, of three each, in the image of the first."""
    closer: str | None = None
    """The edge of the board that is closer to the first, as that camera sees it."""
    also: tuple[int, ...] = ()
    """Cameras that need it too: the more of them see it at the same time, the sooner it is enough."""


def to_connect(usable: ndarray, names: Sequence[str], lacking: ndarray, min_frames: int, min_shared: int) -> Advice:
    """For cameras that are not calibrated yet: which one next, and together with which.

    Args:
        usable: (view, frame) bool, sightings of the board.
        names: names of the views.
        lacking: (view,) bool, views without a calibration.
        min_frames: sightings that each view needs.
        min_shared: frames that two views have to share.
    """
    if not usable.any():
        return Advice("Show the board to as many cameras as possible at the same time.")
    group = np.nonzero(~lacking)[0].tolist() or _largest_group(usable, min_shared)
    others = [view for view in range(len(names)) if view not in group]
    if not others:
        # Connected by number: more sightings, from other directions, are what is left to give.
        few = int(usable.sum(1).argmin())
        return Advice(
            f"Show the board to {names[few]} and to as many others as possible, tilted in another way each time.",
            (few,), tuple(view for view in group if view != few),
        )  # fmt: skip
    # Those that saw the board last are near it: a person who goes on from there walks least.
    last = [int(np.nonzero(usable[view])[0].max(initial=-1)) for view in others]
    with_it, view, shared = joining_pair(
        usable, group, [view for view, at in zip(others, last, strict=True) if at == max(last)]
    )
    count, rest = int(usable[view].sum()), tuple(each for each in group if each != with_it)
    have = f"{names[view]} has {count} of {min_frames} sightings"
    if len(names) > 2:
        have += f", {shared} of {min_shared} shared with {names[with_it]}"
    instead = ", or with another connected camera," if rest else ""
    # Those that saw the board together with it are beside it.
    also = sorted((each for each in others if each != view), key=lambda each: -int((usable[each] & usable[view]).sum()))
    too = f" Show it to {listed([names[each] for each in also])} at the same time if you can." if also else ""
    return Advice(
        f"Show the board to {names[view]} together with {names[with_it]}{instead} and tilt it: {have}.{too}",
        (view, with_it), rest, also=tuple(also),
    )  # fmt: skip


def _largest_group(usable: ndarray, min_shared: int) -> list[int]:
    """Views that are connected; one view where none are."""
    counts = usable.astype(np.int64)
    _, group = connected_components(csr_matrix(counts @ counts.T >= min_shared), directed=False)
    sizes = np.bincount(group, weights=usable.any(1))
    return np.nonzero((group == sizes.argmax()) & usable.any(1))[0].tolist()


def to_improve(pose: Pose | None, view: int, names: Sequence[str]) -> Advice:
    """For a calibrated rig: the pose that makes it best known."""
    if pose is None:
        return Advice(f"Show the board to {names[view]} and another camera at the same time.", (view,))
    row, column = pose.region
    where = "middle" if pose.region == (1, 1) else f"{ROWS[row]} {COLUMNS[column]}"
    others = tuple(each for each in pose.seen_by if each != view)[:2]
    return Advice(
        f"Show the board to {' and '.join(names[each] for each in (view, *others))} together: in {names[view]} at the "
        f"{where} of the image, with its {pose.closer} edge closer to the camera.",
        (view, *others[:1]), others[1:], pose.region, pose.closer,
    )  # fmt: skip
