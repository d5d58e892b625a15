"""Whether imported MANO parameters can be those of hands: zeros, degrees, PCA coefficients, units. Pure math."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy import ndarray

from ..core.errors import SessionError
from ..core.hands import HANDS
from .keypoints import UNITS_M, Keypoints

TURNS_RAD = 4 * np.pi
"""No joint of a finger turns so far, and no wrist does for long. Degrees do."""

APART_M = 3.0
"""Two wrists are nearer than this, and no wrist moves so far in a tenth of a second."""

AWAY_M = 20.0
"""Distance of the hands from the origin, in the middle of a recording; rooms are smaller."""

UNITS = tuple((name, UNITS_M[name]) for name in ("centimetres", "millimetres"))
"""Units of other tools, for advice."""

HINGES = np.array([1, 2, 4, 5, 7, 8, 10, 11])
"""Of MANO's 15 finger joints those that only bend, about their z: the outer two of each finger but the thumb."""

OFF_HINGE = 0.4
"""Share of the turn of hinges that is about another axis. Hands have 0.1, PCA coefficients read as angles 0.6."""

LAST_PART = 0.25
"""Size of the last 15 numbers of a pose against the first 15. Hands have about 1, PCA coefficients nearly 0."""

BENT_RAD = 0.02
"""Root mean square of poses that are bent enough to be judged."""

FROZEN = 0.3
"""Share of steps without any change, from which on they are mentioned. Measured hands never repeat a number."""


def zero_frames(mano: Mapping[str, ndarray]) -> ndarray:
    """(frame, hand) bool: THE rule for zeros that mean a missing hand.

    Orientation and place are exactly zero, and so is the pose; or, as where the mean pose was added to zeros, only the
    first two, but not in all frames: hands that are always at the origin may have been brought there.

    Args:
        mano: each (frame, hand, n), `global_orient`, `hand_pose`, `transl`.
    """
    at_origin = np.logical_and.reduce([(mano[name] == 0).all(axis=-1) for name in ("global_orient", "transl")])
    known = np.isfinite(mano["transl"]).all(axis=-1)
    always = (at_origin | ~known).all(axis=0)
    return at_origin & ((mano["hand_pose"] == 0).all(axis=-1) | ~always)


def check_mano(where: str, mano: Mapping[str, ndarray], fps: float) -> list[str]:
    """Check that MANO parameters are hands in radians and metres.

    Args:
        where: the file, for messages.
        mano: each (frame, hand, n), `global_orient`, `hand_pose`, `transl`; `zeros` (frame, hand), the `zero_frames`
            of the file; and `valid` (frame, hand), false there and where a number is NaN.
        fps: frames per second.

    Returns:
        What a user should know.

    Raises:
        SessionError: nothing but zeros; degrees; PCA coefficients; another unit.
    """
    messages = []
    zeros = mano["zeros"]
    for index, hand in enumerate(HANDS):
        there = mano["valid"][:, index]
        if zeros[:, index].any() and not there.any():
            raise SessionError(
                f"{where}: expected the numbers of a {hand} hand, but they are 0 in every frame. Leave the hand out, "
                "or write NaN."
            )
        if zeros[:, index].any():
            messages.append(f"{hand} hand: {zeros[:, index].sum()} frames in which all is 0 are taken as missing")
        numbers = {name: mano[name][there, index].astype(np.float64) for name in ("global_orient", "hand_pose")}
        _check_radians(where, hand, **numbers)
        if coefficients(numbers["hand_pose"]):
            raise SessionError(
                f"{where}: {hand}_hand_pose: expected axis-angles, but these look like PCA coefficients: outer finger "
                f"joints would turn sideways. {FROM_PCA}"
            )
        messages += frozen(hand, np.concatenate([mano[name][:, index] for name in _MOVING], axis=-1), there)
    _check_places(where, np.where(mano["valid"][..., None], mano["transl"], np.nan), fps)
    return messages


def plausible_keypoints(where: str, keypoints: Keypoints) -> Keypoints:
    """Keypoints without frames in which all joints of a hand are at exactly (0, 0, 0), and with messages on that.

    Raises:
        SessionError: there is nothing but zeros.
    """
    points = keypoints.points_m
    known = np.asarray(np.isfinite(points).all(axis=-1))
    zeros = ((points == 0).all(axis=-1) | ~known).all(axis=-1) & (known.sum(axis=-1) > 1)
    if zeros.any() and (zeros | ~keypoints.there).all():
        raise SessionError(
            f"{where}: expected joints of a hand, but all are 0 in every frame. Check how it was written."
        )
    points = np.where(zeros[..., None, None], np.nan, points)
    sigma_m = np.where(zeros[..., None], np.nan, keypoints.sigma_m)
    messages = list(keypoints.messages)
    for index, hand in enumerate(HANDS):
        if zeros[:, index].any():
            messages.append(f"{hand} hand: {zeros[:, index].sum()} frames in which all is 0 are taken as missing")
        values = points[:, index].reshape(len(points), -1)
        there = known[:, index].any(axis=-1) & ~zeros[:, index]
        messages += frozen(hand, np.where(np.isnan(values), 0.0, values), there)
    return replace(keypoints, points_m=points, sigma_m=sigma_m, messages=tuple(messages))


_MOVING = ("global_orient", "hand_pose", "transl")

FROM_PCA = "Multiply them by the model's `hands_components` and add its `hands_mean`."
"""How axis-angles come of coefficients."""


def coefficients(pose: ndarray) -> bool:
    """Whether (frame, 45) poses are PCA coefficients, not axis-angles: hinges turn sideways, the last are small."""
    if not len(pose) or np.sqrt(np.mean(pose**2)) < BENT_RAD:
        return False
    hinges = pose.reshape(-1, 15, 3)[:, HINGES]
    whole = (hinges**2).sum()
    sideways = np.sqrt((hinges[..., :2] ** 2).sum() / whole) if whole else 0.0
    last, first = (np.sqrt(np.mean(pose[:, part] ** 2)) for part in (slice(30, 45), slice(0, 15)))
    return bool(sideways > OFF_HINGE and last < LAST_PART * first)


def frozen(hand: str, values: ndarray, there: ndarray) -> list[str]:
    """A warning of (frame, n) numbers that often are those of the frame before, where a hand is `there` in both."""
    both = there[1:] & there[:-1]
    same = int(((np.diff(values, axis=0) == 0).all(axis=-1) & both).sum())
    if len(values) < 5 or same <= FROZEN * both.sum():
        return []
    return [
        f"warning: {hand} hand: {same} of {both.sum()} frames are exactly the frame before: the recording stood still, "
        "or its frame rate was lower"
    ]


def _check_radians(where: str, hand: str, global_orient: ndarray, hand_pose: ndarray) -> None:
    turns = np.linalg.norm(hand_pose.reshape(-1, 3), axis=-1)
    largest = {"hand_pose": float(turns.max(initial=0.0))}
    if len(global_orient):
        # A wrist may turn on and on in a clip; in the middle of it it has not yet.
        largest["global_orient"] = float(np.median(np.linalg.norm(global_orient, axis=-1)))
    for name, turn in largest.items():
        if turn > TURNS_RAD:
            raise SessionError(
                f"{where}: {hand}_{name}: expected radians, but a joint turns by {turn:.0f}. They look like degrees: "
                "convert them."
            )


def _check_places(where: str, transl: ndarray, fps: float) -> None:
    """(frame, hand, 3) metres, NaN where a hand is missing; against what hands do, since a place alone has no size."""
    apart = np.linalg.norm(transl[:, 0] - transl[:, 1], axis=-1)
    speed = np.linalg.norm(np.diff(transl, axis=0), axis=-1) * fps / 10
    away = np.linalg.norm(transl, axis=-1)
    judged = (
        ("between the hands", apart, APART_M, 0.15),
        ("in a tenth of a second", speed, APART_M, 0.05),
        ("from the origin", away, AWAY_M, 0.2),
    )
    for name, found_m, limit_m, usual_m in judged:
        found_m = found_m[np.isfinite(found_m)]
        middle = float(np.median(found_m)) if len(found_m) else 0.0
        if middle > limit_m:
            unit, factor = min(UNITS, key=lambda each: abs(np.log(middle * each[1] / usual_m)))
            raise SessionError(
                f"{where}: transl: expected metres, but found {middle:.3g} m {name}. It may be in {unit}: multiply it "
                f"by {factor:g}."
            )
