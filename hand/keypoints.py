"""Imported 3D keypoints, and checks of units, sides and joint order against anatomy. Pure math."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy import ndarray

from ..core.errors import SessionError
from ..core.hands import BONES, HANDS, JOINTS
from .anatomy import BONE_LENGTH_M, SCALE_RANGE, bone_lengths, chirality_log_odds, hand_scale
from .joint_order import SIDE_BY_SIDE, other_order, side_by_side

UNITS_M: Mapping[str, float] = {
    "metres": 1.0,
    "decimetres": 0.1,
    "inches": 0.0254,
    "centimetres": 0.01,
    "millimetres": 0.001,
}

CLEAR_LOG_ODDS = 0.5
"""Mean log-odds below which handedness is undecided, for example for flat hands."""

FAR_M = 10_000.0
"""Distance from the origin at which the store's single precision loses millimetres."""

UNSURE_M = 0.1
"""Largest plausible standard error: the length of a hand."""

RATES = (0.5, 2000.0)
"""Plausible frame rates of recordings, frames per second."""

ODD_FRAMES = 0.05
"""Tolerated share of hands with an implausible size, because triangulation has errors."""

MIRROR_X = np.array([-1.0, 1.0, 1.0])

Mirror = Literal["auto", "yes", "no"]
"""Whether to negate x; `auto` does so where both hands have the other hand's shape."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Both hands' joints over time."""

    points_m: ndarray
    """(frame, hand, joint, 3) metres, NaN where missing."""
    sigma_m: ndarray
    """(frame, hand, joint) standard error, metres, NaN where missing."""
    fps: float
    messages: tuple[str, ...] = ()
    """What a user should know of how they were read."""

    @property
    def there(self) -> ndarray:
        """(frame, hand) bool: any joint is known."""
        return np.asarray(np.isfinite(self.points_m).all(axis=-1).any(axis=-1))


def where_seen(points_m: ndarray, sigma_m: ndarray, fps: float, messages: tuple[str, ...] = ()) -> Keypoints:
    """A point and its sigma are there together or not at all."""
    seen = np.isfinite(points_m).all(axis=-1) & np.isfinite(sigma_m)
    return Keypoints(np.where(seen[..., None], points_m, np.nan), np.where(seen, sigma_m, np.nan), fps, messages)


def size_of(points: ndarray) -> float:
    """Median length of the bones relative to an adult's, if the points are metres; NaN without any bone."""
    return _size(bone_lengths(points))


def _size(lengths: ndarray) -> float:
    ratio = lengths / BONE_LENGTH_M
    known = ratio[np.isfinite(ratio)]
    return float(np.median(known)) if len(known) else np.nan


def guess_unit(points: ndarray) -> tuple[str, float]:
    """The unit in which the bones have a hand's length: its name, and metres in it. Metres when nothing is known."""
    size = size_of(points)
    if not np.isfinite(size) or size == 0:
        return "metres", 1.0
    return min(UNITS_M.items(), key=lambda unit: abs(np.log(size * unit[1])))


def odd_bones(points_m: ndarray) -> list[str]:
    """Bones that in either hand are, in most frames, out of proportion to the others by a factor of two."""
    odd = []
    for lengths in np.moveaxis(bone_lengths(points_m), 1, 0):
        ratio = lengths / BONE_LENGTH_M / _size(lengths)
        for bone, known in enumerate(np.isfinite(ratio).T):
            if known.any() and not 0.5 < np.median(ratio[known, bone]) < 2:
                odd.append(f"{JOINTS[BONES[bone, 0]]} to {JOINTS[BONES[bone, 1]]}")
    return list(dict.fromkeys(odd))


def other_hand(points_m: ndarray) -> tuple[str, ...]:
    """The hands whose joints clearly have the shape of the other hand."""
    wrong = []
    for index, (hand, sign) in enumerate(zip(HANDS, (-1, 1), strict=True)):
        odds = chirality_log_odds(points_m[:, index])
        odds = odds[odds != 0]
        if len(odds) and sign * np.median(odds) < -CLEAR_LOG_ODDS:
            wrong.append(hand)
    return tuple(wrong)


def check_hands(
    keypoints: Keypoints,
    where: str,
    swap: str,
    mirror: str,
    order: str = "give the names of the joints, or reorder them",
) -> None:
    """Check that keypoints are two hands in metres, in handpipe's joint order.

    Args:
        keypoints: to judge.
        where: the file, for messages.
        swap, mirror: advice for swapped hands, and for left-handed coordinates.
        order: advice for joints in another order.

    Raises:
        SessionError: nothing seen at all, a wrong unit, joints in another order, left and right swapped.
    """
    points_m = keypoints.points_m
    if not np.isfinite(points_m).any():
        raise SessionError(
            f"{where}: expected keypoints of at least one hand, but every joint of both is NaN. "
            "Check how the file was written."
        )
    farthest_m = np.nanmax(np.abs(points_m))
    if farthest_m > FAR_M:
        raise SessionError(
            f"{where}: expected joints within {FAR_M / 1000:g} km of the origin, but one is {farthest_m:.3g} m away. "
            "Check the unit, or move the origin to the hands."
        )
    _check_size(where, points_m)
    _check_zeros(where, points_m)
    _check_order(where, points_m, order)
    wrong = other_hand(points_m)
    if wrong:
        raise SessionError(
            f"{where}: expected {' and '.join(wrong)} hand, but by finger flexion and thumb side "
            f"{'they have' if len(wrong) == 2 else 'it has'} the shape of the other: left and right are swapped "
            f"({swap}), the coordinates are left-handed ({mirror}), or the joints are in another order than "
            f"{', '.join(JOINTS[:6])}, ..."
        )


def check_fps(fps: float, where: str) -> None:
    """Check that a frame rate is plausible, to detect wrong time units. Raises SessionError."""
    low, high = RATES
    if not low <= fps <= high:
        raise SessionError(
            f"{where}: expected {low:g} to {high:g} frames per second, but found {fps:.3g}. Check that times are in "
            "seconds, or give the frame rate with --fps."
        )


def check_above_zero(sigma: ndarray, where: str) -> None:
    """Check standard errors (...,) in any unit; NaN where missing. Raises SessionError."""
    wrong = sigma[(sigma <= 0) | np.isinf(sigma)]
    if len(wrong):
        raise SessionError(
            f"{where}: expected standard errors (sigma) above zero, but found {wrong[0]:g}. "
            "Give NaN where it is unknown."
        )


def check_sigma(sigma_m: ndarray, where: str) -> None:
    """Check that standard errors (...,) are above zero and in metres; NaN where missing. Raises SessionError."""
    check_above_zero(sigma_m, where)
    known = sigma_m[np.isfinite(sigma_m)]
    if len(known) and np.median(known) > UNSURE_M:
        raise SessionError(
            f"{where}: expected standard errors of some millimetres, but their median is {np.median(known):.3g} m. "
            "Give sigma in the unit of the points, and --sigma-m in metres."
        )


def _check_size(where: str, points_m: ndarray) -> None:
    size = size_of(points_m)
    if not np.isnan(size) and not SCALE_RANGE[0] < size < SCALE_RANGE[1]:
        raise SessionError(_wrong_size(where, points_m, size))
    scale = hand_scale(points_m)
    # Twice beyond what a hand can be: a frame may well be off, a share of them is in another unit.
    odd = (scale < SCALE_RANGE[0] / 2) | (scale > SCALE_RANGE[1] * 2)
    if odd.sum() > ODD_FRAMES * np.isfinite(scale).sum():
        frame, hand = np.argwhere(odd)[0]
        raise SessionError(
            f"{where}: expected hands of one size, but {odd.sum()} of {np.isfinite(scale).sum()} are not: the "
            f"{HANDS[hand]} one of frame {frame} is {scale[frame, hand]:.3g} times an adult's. Give all frames in one "
            "unit, and NaN where a hand is missing."
        )


def _check_zeros(where: str, points_m: ndarray) -> None:
    """Detect zeros that mark missing joints. One joint may be the origin of all frames."""
    zero, seen = (points_m == 0).all(axis=-1), np.isfinite(points_m).all(axis=-1)
    always = (zero == seen).all(axis=0) & seen.any(axis=0)
    for hand, name in enumerate(HANDS):
        zeros = zero[:, hand] & ~(always[hand] & (always[hand].sum() == 1))
        if zeros.any():
            frame, joint = np.argwhere(zeros)[0]
            raise SessionError(
                f"{where}: expected NaN where a joint is missing, but found it at exactly (0, 0, 0): {name} "
                f"{JOINTS[joint]} in frame {frame}. Write NaN there."
            )


def _check_order(where: str, points_m: ndarray, order: str) -> None:
    ours = f"handpipe's order is {', '.join(JOINTS[:6])}, ...; {order}"
    for hand, name in enumerate(HANDS):
        found = other_order(points_m[:, hand])
        if found is not None:
            raise SessionError(
                f"{where}: expected the {name} hand's joints in handpipe's order, but the bone lengths indicate "
                f"another one: {found}; {ours}."
            )
    odd = odd_bones(points_m)
    if len(odd) > 0.1 * len(BONES):
        raise SessionError(
            f"{where}: expected bones in the proportions of a hand, but {len(odd)} of {len(BONES)} are too long or "
            f"short by a factor of two (for example {odd[0]}). The joints may be in another order: {ours}."
        )
    for hand, name in enumerate(HANDS):
        if side_by_side(points_m[:, hand]) < SIDE_BY_SIDE:
            raise SessionError(
                f"{where}: expected the {name} hand's fingers side by side as index, middle, ring, pinky, but their "
                f"knuckles lie in another order. The fingers are exchanged: {ours}."
            )


def _wrong_size(where: str, points_m: ndarray, size: float) -> str:
    name, unit_m = guess_unit(points_m)
    wrist, knuckle = BONES[JOINTS.index("middle_mcp") - 1]
    palm = np.linalg.norm(points_m[..., knuckle, :] - points_m[..., wrist, :], axis=-1)
    palm_m = float(np.median(palm[np.isfinite(palm)])) if np.isfinite(palm).any() else 0.095 * size
    fits = SCALE_RANGE[0] < size * unit_m < SCALE_RANGE[1] and unit_m != 1.0
    advice = f"looks like {name}: use --unit-m {unit_m:g}" if fits else "check the unit and the order of the joints"
    return f"{where}: expected metres, a palm of about 0.09 m, but found a palm of {palm_m:.3g} m; {advice}."


def swapped(keypoints: Keypoints) -> Keypoints:
    """Left and right exchanged."""
    return replace(keypoints, points_m=keypoints.points_m[:, ::-1], sigma_m=keypoints.sigma_m[:, ::-1])


def mirrored(keypoints: Keypoints) -> Keypoints:
    """x negated: from left-handed coordinates to right-handed ones."""
    return replace(keypoints, points_m=keypoints.points_m * MIRROR_X)
