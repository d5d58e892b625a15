"""2D hands in npz: one file for each view, or one for all."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy import ndarray

from ....core.errors import SessionError
from ....core.hands import NUM_JOINTS
from ..format import File2d, Keypoints2dFormat
from ..hands import NO_VOTE, Hand2d, ImageHands

KNOWN = {"points", "score", "right", "views"}


def _read(file: File2d) -> list[ImageHands]:
    """`points` (frame, candidate, 21, 2), and optionally `score` and `right` (frame, candidate), of the view that the
    file's name tells; with `views` (names), each has a view axis in front."""
    arrays: dict[str, ndarray] = file.data
    views = None if "views" not in arrays else [str(view) for view in arrays["views"].ravel()]
    _check(file.path, arrays, views)
    if views is None:
        return list(_view(file, None, arrays))
    found = []
    for i, view in enumerate(views):
        found += _view(file, view, {key: array[i] for key, array in arrays.items() if key != "views"})
    return found


def _check(path: Path, arrays: Mapping[str, ndarray], views: list[str] | None) -> None:
    unknown = sorted(arrays.keys() - KNOWN)
    if unknown or "points" not in arrays:
        raise SessionError(
            f"{path}: expected `points`, and beside it only score, right and views, but found "
            f"{', '.join(sorted(arrays)) or 'nothing'}. Rename the arrays."
        )
    points = arrays["points"]
    axes = ("frame", "candidate") if views is None else (f"{len(views)} views", "frame", "candidate")
    shape = ", ".join((*axes, f"{NUM_JOINTS} joints", "2"))
    fits = points.ndim == len(axes) + 2 and points.shape[-2:] == (NUM_JOINTS, 2)
    if not fits or points.dtype.kind not in "fiu" or (views is not None and len(views) != len(points)):
        raise SessionError(
            f"{path}: expected `points` of shape ({shape}), numbers, but found {points.shape} of {points.dtype}. "
            "Reorder the axes; with an array `views` of names, the views stand in front."
        )
    for key in ("score", "right"):
        array = arrays.get(key)
        if array is None:
            continue
        if array.shape != points.shape[:-2] or array.dtype.kind not in "fiub":
            raise SessionError(
                f"{path}: expected `{key}` of shape {points.shape[:-2]} like the points, but found {array.shape} of "
                f"{array.dtype}. Leave it out, or give every candidate one."
            )
        if ((array < 0) | (array > 1)).any():
            raise SessionError(
                f"{path}: expected `{key}` between 0 and 1, but found {array[(array < 0) | (array > 1)][0]:g}. "
                "Scale it."
            )


def _view(file: File2d, view: str | None, arrays: Mapping[str, ndarray]) -> Iterator[ImageHands]:
    """One view's frames; a candidate without any joint, or of score 0 or NaN, is none."""
    points = arrays["points"].astype(np.float64)
    if np.isinf(points).any():
        raise SessionError(f"{file.path}: expected NaN where a joint is missing, but found infinity. Write NaN.")
    seen = np.asarray(np.isfinite(points).all(axis=-1))
    score = np.asarray(arrays.get("score", seen.mean(axis=-1)), np.float64)
    right = np.nan_to_num(np.asarray(arrays.get("right", np.full(score.shape, NO_VOTE)), np.float64), nan=NO_VOTE)
    points = np.where(seen[..., None], points, np.nan)
    there = np.asarray(seen.any(axis=-1) & (score > 0))
    for frame in range(len(points)):
        hands = [Hand2d(points[frame, c], score[frame, c], right[frame, c]) for c in np.nonzero(there[frame])[0]]
        yield ImageHands(str(file.path), file.name, frame, hands, view=view)


FORMAT = Keypoints2dFormat(
    name="npz",
    title="npz",
    suffixes=(".npz",),
    reads="a file for each view or one for all (`numpy.savez`): `points`, and optionally `score`, `right`, `views`",
    content="arrays",
    sides="`right`, or no vote",
    recognizes=lambda data: True,
    read=_read,
)
