"""Units of length: lengths with a unit in settings, and which unit a number was probably given in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray
from pydantic_core import PydanticCustomError

from .cameras import Cameras

UNITS_M = {"mm": 0.001, "cm": 0.01, "inches": 0.0254, "m": 1.0, "µm": 1e-6}
"""Metres in one of each."""
SPELLINGS = {
    **{"mm": "mm", "millimetre": "mm", "millimeter": "mm", "cm": "cm", "centimetre": "cm", "centimeter": "cm"},
    **{"m": "m", "metre": "m", "meter": "m", "um": "µm", "µm": "µm", "μm": "µm"},
    **{"in": "inches", "inch": "inches", "inches": "inches", '"': "inches", "″": "inches"},
}
LONG_NAMES: dict[str, str] = {
    "inches": "inches",
    "mm": "millimetres",
    "cm": "centimetres",
    "m": "metres",
    "µm": "micrometres",
}
USUAL = {"mm": 1.0, "cm": 0.7, "inches": 0.4, "m": 1.0, "µm": 0.1}
"""How often laboratories use each, roughly; decides between units that explain a length equally well."""
SPREAD = 0.8
"""Standard deviation of the logarithm of a length about its typical value."""

SQUARE_M, TYPICAL_SQUARE_M = (0.002, 0.5), (0.008, 0.2, 0.04)
"""Sides of squares and markers that can be, and that are usual: from, to, and the middle."""
DISTANCE_M, TYPICAL_DISTANCE_M = (0.01, 50.0), (0.05, 10.0, 0.7)
"""The same of a distance between two cameras."""

RIG_M = (0.02, 20.0)
"""The two cameras of a hand rig that stand farthest apart stand this far apart; else the unit is another."""
REACH_M = (0.08, 10.0)
"""From a camera to where the cameras look; nearer or farther a hand does not fit, or is a few pixels wide."""
TYPICAL_RIG_M = (0.2, 10.0, 1.0)
MIN_TURN = 0.01
"""Smallest eigenvalue of the mean projection across the axes: about 11 degrees between two cameras. Below it the axes
are nearly parallel and do not say where they meet."""
MAX_BESIDE = 0.3
"""Axes that pass the point at a larger share of its distance do not meet there."""

_LENGTH = re.compile(r"""\s*([-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[-+]?\d+)?)\s*([a-zµμ"″]+)\.?\s*""", re.IGNORECASE)


def metres(value: Any) -> Any:
    """A length in metres from `4 cm`, `50 mm` or `1.5 in`; what is no text stays as it is.

    Raises:
        PydanticCustomError: a text that is no length with a unit.
    """
    if not isinstance(value, str):
        return value
    match = _LENGTH.fullmatch(value)
    unit = match and (SPELLINGS.get(match[2].lower()) or SPELLINGS.get(match[2].lower().removesuffix("s")))
    if not match or not unit:
        raise _complaint("expected a number of metres, or a length with a unit such as 50 mm, 4 cm or 1.5 in")
    # Shortest decimal: 4 cm is the same number as 0.04, and gives the same fingerprint.
    return float(f"{float(match[1].replace(',', '.')) * UNITS_M[unit]:.12g}")


def length(text: str) -> float:
    """Metres from a word of a command line: a number of metres, or a length with a unit.

    Raises:
        PydanticCustomError: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        return metres(text)


def unit_length(text: str) -> float:
    """Metres in one unit: `cm`, or a length as `length` takes it.

    Raises:
        PydanticCustomError: it is neither.
    """
    name = text.strip().lower()
    unit = SPELLINGS.get(name) or SPELLINGS.get(name.removesuffix("s"))
    return length(text) if unit is None else UNITS_M[unit]


def length_check(
    key: str, what: str, limits_m: tuple[float, float], typical_m: tuple[float, float, float]
) -> Callable[[float], float]:
    """A validator for a length of a setting, which names the likely unit of an impossible one.

    Args:
        key: the setting, for the message to repeat.
        what: the thing that has the length: `a square`.
        limits_m: lengths that can be.
        typical_m: those that are usual: from, to, and the middle.
    """

    def check(value: float) -> float:
        # Not positive is told by the field's own rule.
        if value <= 0 or limits_m[0] <= value <= limits_m[1]:
            return value
        guesses = likely_factors(value, typical_m)
        if not guesses:
            raise _complaint(
                f"expected metres, but {what} of {value:g} m is not possible ({limits_m[0]:g} to {limits_m[1]:g} m). "
                "Measure it"
            )
        given = value if value > limits_m[1] else None
        meant = [
            f"{given:g} {name} is {key}: {given * factor:.4g}"
            if given is not None
            else f"{value * factor / UNITS_M[name]:.4g} {name} is {key}: {value * factor:.4g}"
            for name, factor in guesses
        ]
        raise _complaint(f"expected metres: {what} of {_plain(value)} m? {', '.join(meant)}")

    return check


def likely_factors(value: float, typical_m: tuple[float, float, float]) -> list[tuple[str, float]]:
    """Units that would make a length a usual one, and what to multiply it by; the likeliest first, two at most.

    Too large a number was written in the smaller unit. Too small a one was converted twice.
    """
    low, high, middle = typical_m
    down = value > high
    found = []
    for name in ("mm", "cm", "inches", "µm"):
        factor = UNITS_M[name] if down else 1 / UNITS_M[name]
        if low <= value * factor <= high:
            weight = math.log(USUAL[name]) - (math.log(value * factor / middle) / SPREAD) ** 2 / 2
            found.append((weight, name, factor))
    return [(name, factor) for _, name, factor in sorted(found, reverse=True)[:2]]


def reach(cameras: Cameras) -> float | None:
    """Median distance from the cameras to the point where their axes come nearest to meeting, units of the rig.

    None where they do not say: fewer than two cameras, axes that are nearly parallel, point apart or do not meet.
    """
    ok = cameras.calibrated
    if ok.sum() < 2:
        return None
    centers, axes = cameras.centers_m[ok], cameras.T_cam_world[ok, 2, :3]
    across = np.eye(3) - axes[:, :, None] * axes[:, None]  # removes what is along the axis
    if np.linalg.eigvalsh(across.mean(0))[0] < MIN_TURN:
        return None
    meeting = np.linalg.solve(across.sum(0), np.einsum("vij,vj->i", across, centers))
    away = meeting - centers
    depth = (away * axes).sum(-1)
    median = float(np.median(depth))
    beside = np.linalg.norm(away - depth[:, None] * axes, axis=-1)
    meet = depth.min() > 0 and np.median(beside) <= MAX_BESIDE * median and median >= 0.25 * widest(cameras)
    return median if meet else None


def widest(cameras: Cameras) -> float:
    """Distance between the two cameras that stand farthest apart, units of the rig."""
    centers: ndarray = cameras.centers_m[cameras.calibrated]
    return float(np.linalg.norm(centers[:, None] - centers, axis=-1).max(initial=0.0))


def unit_of_ratio(ratio: float) -> str | None:
    """The unit that has this many metres within 4 %; None where there is none."""
    names = (name for name, factor in UNITS_M.items() if name != "m" and abs(ratio / factor - 1) < 0.04)
    return next(names, None)


def wrong_rig_unit(cameras: Cameras, unit_m: float = 1.0) -> tuple[str, list[tuple[str, float]]] | None:
    """What is impossible about the size of a rig in metres, and which units would mend it; None for a rig that can be.

    Args:
        cameras: the rig, in what is taken for metres.
        unit_m: metres that one unit of its file was taken for.

    Returns:
        What was found, and (name of a unit, metres in one unit of the file), the likeliest first; perhaps none.
    """
    if cameras.calibrated.sum() < 2:
        return None
    apart, away = widest(cameras), reach(cameras)
    if RIG_M[0] <= apart <= RIG_M[1] and (away is None or REACH_M[0] <= away <= REACH_M[1]):
        return None
    found = f"its outermost cameras {apart:.4g} m apart"
    if away is not None:
        found += f", and {away:.4g} m from what they look at"
    low, high, middle = TYPICAL_RIG_M
    size = (apart if away is None else away) / unit_m
    guesses: list[tuple[float, str, float]] = []
    for name, metres_each in UNITS_M.items():
        if metres_each != unit_m and low <= size * metres_each <= high:
            weight = math.log(USUAL[name]) - (math.log(size * metres_each / middle) / SPREAD) ** 2 / 2
            guesses.append((weight, name, metres_each))
    return found, [(LONG_NAMES[name], each) for _, name, each in sorted(guesses, reverse=True)[:2]]


def _plain(value: float) -> str:
    """Without an exponent: who wrote 0.00005 looks for 0.00005."""
    return f"{value:.10f}".rstrip("0") if 1e-7 < value < 1 else f"{value:g}"


def _complaint(text: str) -> PydanticCustomError:
    # Not ValueError: pydantic would put `value error` before it.
    return PydanticCustomError("length", "{text}", {"text": text})
