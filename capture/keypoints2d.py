"""2D hands from elsewhere: the record, and whether it can be hands in a view's pixels. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..core.anatomy import BONE_LENGTH_M
from ..core.errors import SessionError
from ..core.hands import BONES, FINGERS, JOINTS, MANO_JOINT, NUM_JOINTS, TIPS

NO_VOTE = 0.5
"""Probability of a right hand where the detector does not say."""


@dataclass(frozen=True, eq=False)
class Hand2d:
    """One hand in one image."""

    points_px: ndarray
    """(21, 2) in handpipe's order; NaN where a joint is missing."""
    score: float
    right: float
    """Probability of a right hand."""


@dataclass(frozen=True, eq=False)
class Picture:
    """What was found in one image."""

    where: str
    """File, and place in it: for messages."""
    name: str
    """Path that tells the view, and the frame unless `number` does."""
    number: int | None
    """Frame, counted as the file counts."""
    hands: Sequence[Hand2d]
    size_px: tuple[int, int] | None = None
    """Width, height, where the file says."""
    view: str | None = None
    """Where the file itself says it, and not its name."""
    first: int = 0
    """Number of a clip's first frame, as this kind of file counts."""


@dataclass(frozen=True, eq=False)
class Candidates2d:
    """One view's candidates, by frame of its clip, best first."""

    points_px: ndarray
    """(frame, candidate, 21, 2)."""
    score: ndarray
    """(frame, candidate)."""
    right: ndarray
    """(frame, candidate)."""
    dropped: int
    """Hands beyond the number of candidates."""


def hand_of(points_px: ndarray, confidence: ndarray, right: float, min_confidence: float) -> Hand2d | None:
    """A hand from joints with confidences; None when no joint was found.

    Args:
        points_px: (21, 2).
        confidence: (21,), 0 or NaN where a joint was not found. The hand's score is their mean.
        right: probability of a right hand.
        min_confidence: joints of this confidence or less count as not found.
    """
    assert points_px.shape == (NUM_JOINTS, 2), points_px.shape
    found = (confidence > min_confidence) & ~np.isnan(points_px).any(axis=-1)
    if not found.any():
        return None
    score = np.where(found, np.minimum(confidence, 1.0), 0.0).mean()
    return Hand2d(np.where(found[:, None], points_px, np.nan), float(score), right)


def candidates_of(hands: Mapping[int, Sequence[Hand2d]], frames: int, limit: int) -> Candidates2d:
    """The hands of a view's frames as arrays.

    Args:
        hands: by frame of the clip.
        frames: of the clip.
        limit: candidates kept in each frame: those with the best score; equal ones in the file's order.
    """
    points = np.full((frames, limit, NUM_JOINTS, 2), np.nan, np.float32)
    score, right = np.full((frames, limit), np.nan, np.float32), np.full((frames, limit), np.nan, np.float32)
    dropped = 0
    for frame, found in hands.items():
        best = sorted(found, key=lambda hand: -hand.score)
        dropped += max(0, len(best) - limit)
        for i, hand in enumerate(best[:limit]):
            points[frame, i], score[frame, i], right[frame, i] = hand.points_px, hand.score, hand.right
    return Candidates2d(points, score, right, dropped)


def check_pixels(points_px: ndarray, size_px: tuple[int, int], where: str) -> None:
    """Refuse coordinates that cannot be pixels of a view.

    A detector may well put a joint outside the image, but not many of them far outside.

    Args:
        points_px: (hand, 21, 2) of one view, NaN where missing.
        size_px: width and height of its images.
        where: the view and a file, for messages.

    Raises:
        SessionError: normalised coordinates, another image size, zeros where joints are missing.
    """
    seen = points_px[np.isfinite(points_px).all(axis=-1)]
    if np.isinf(points_px).any():
        raise SessionError(f"{where}: expected NaN or confidence 0 for a missing joint, but found infinity. Write NaN.")
    if not len(seen):
        return
    width, height = size_px
    if np.abs(seen).max() <= 2 and len(seen) > 1:
        scaled = "-1..1" if seen.min() < -0.1 else "0..1"
        raise SessionError(
            f"{where}: expected pixels of an image of {width}x{height}, but every coordinate lies between "
            f"{seen.min():.3g} and {seen.max():.3g}: they are normalised to {scaled}. Write pixels "
            "(OpenPose: --keypoint_scale 0)."
        )
    if (seen == 0).all(axis=-1).mean() > 0.01:
        raise SessionError(
            f"{where}: expected NaN or confidence 0 where a joint is missing, but found joints at exactly (0, 0). "
            "Write NaN there, or confidence 0."
        )
    middle, reach = np.array([width - 1, height - 1]) / 2, np.array([width, height])
    far = (np.abs(seen - middle) > reach).any(axis=-1).mean()
    if far > 0.05:
        x, y = np.percentile(seen, 95, axis=0)
        raise SessionError(
            f"{where}: expected pixels of an image of {width}x{height}, but {100 * far:.0f} % of the joints lie far "
            f"outside (a twentieth of them beyond x {x:.0f} or y {y:.0f}). They belong to another view or to images "
            "of another size: give the coordinates of the session's own clips."
        )


# ---- order of the joints -----------------------------------------------------------------------------------------

_ROOT_TO_TIP = np.arange(1, NUM_JOINTS).reshape(len(FINGERS), 4)

OTHER_ORDERS: Mapping[str, ndarray] = {
    "each finger from its tip to its root": np.array([0, *_ROOT_TO_TIP[:, ::-1].ravel()]),
    "the wrist last": np.array([20, *(_ROOT_TO_TIP - 1).ravel()]),
    "each finger from its tip to its root, and the wrist last (InterHand2.6M's)": np.array(
        [20, *(_ROOT_TO_TIP - 1)[:, ::-1].ravel()]
    ),
    "the little finger first": np.array([0, *_ROOT_TO_TIP[::-1].ravel()]),
    "MANO's": np.where(MANO_JOINT >= 0, MANO_JOINT, 15 + np.searchsorted(TIPS, np.arange(NUM_JOINTS)) + 1),
}
"""Orders one meets elsewhere: for each of our joints, its place in that order."""

ENOUGH_HANDS = 10
"""Below this, foreshortening may hide the proportions."""


def other_order(points_px: ndarray) -> str | None:
    """The order in which the joints seem to be when it is not ours; None when ours fits, or nothing is clear.

    In one image perspective shortens bones at will, but the median lengths over many hands keep a hand's proportions.

    Args:
        points_px: (hand, 21, 2), NaN where missing.
    """
    if np.isfinite(points_px).all(axis=(-1, -2)).sum() < ENOUGH_HANDS:
        return None
    ours = _misfit(points_px)
    others = {name: _misfit(points_px[:, order]) for name, order in OTHER_ORDERS.items()}
    best = min(others, key=lambda name: others[name])
    return best if others[best] < MUCH_BETTER * ours else None


MUCH_BETTER = 0.7
"""Another order must leave so much less of the misfit. Over some hundred real hands ours leaves 0.10 to 0.16 where it
is right, the nearest other 0.28."""


def _misfit(points: ndarray) -> float:
    """How much the logarithms of the bones' median lengths differ from an adult hand's, beyond its size."""
    bones = np.linalg.norm(points[:, BONES[:, 1]] - points[:, BONES[:, 0]], axis=-1)
    size = np.sqrt(np.nanmean(bones**2, axis=-1, keepdims=True))
    ratio = np.log(np.maximum(np.nanmedian(bones / np.maximum(size, 1e-9), axis=0), 1e-3) / BONE_LENGTH_M)
    return float(np.std(ratio))


def check_order(points_px: ndarray, where: str) -> None:
    """Refuse joints in another order; arguments as for `other_order`. Raises SessionError."""
    order = other_order(points_px)
    if order is not None:
        raise SessionError(
            f"{where}: expected joints in the order {', '.join(JOINTS[:6])}, ..., {JOINTS[-1]} (MediaPipe's, "
            f"OpenPose's and COCO-WholeBody's), but by the length of the bones it is another: {order}. Reorder them."
        )
