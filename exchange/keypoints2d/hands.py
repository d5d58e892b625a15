"""2D hands from elsewhere: the record, and whether it can be hands in a view's pixels. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ...core.errors import SessionError
from ...core.hands import JOINTS, NUM_JOINTS
from ...hand.joint_order import SIDE_BY_SIDE, other_order, side_by_side

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
class ImageHands:
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


ENOUGH_HANDS = 10
"""Below this, foreshortening may hide the proportions."""


def check_order(points_px: ndarray, where: str) -> None:
    """Refuse joints in another order: (hand, 21, 2), NaN where missing. Raises SessionError.

    The bones' median lengths and the order of the knuckles tell. Nothing in one image tells a left hand from a right.
    """
    whole = points_px[np.isfinite(points_px).all(axis=(-1, -2))]
    if len(whole) < ENOUGH_HANDS:
        return
    order = other_order(whole)
    if order is None and side_by_side(whole) < SIDE_BY_SIDE:
        order = "fingers exchanged, by the place of their knuckles"
    if order is not None:
        raise SessionError(
            f"{where}: expected joints in the order {', '.join(JOINTS[:6])}, ..., {JOINTS[-1]} (MediaPipe's, "
            f"OpenPose's and COCO-WholeBody's), but by the length of the bones it is another: {order}. Reorder them."
        )
