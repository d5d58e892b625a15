"""What a format of 2D hands says of itself, and one file of such a format."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy import ndarray

from ...core.errors import SessionError
from ...core.files import numbers_in
from ...core.hands import NUM_JOINTS
from ..formats import Format, formats_of
from .hands import Hand2d, ImageHands, hand_of

SIDES = (("left", 0.0), ("right", 1.0))
"""The hands, and the probability of a right one."""


@dataclass(frozen=True, eq=False)
class File2d:
    """One file, read with errors that name the place in it."""

    path: Path
    name: str
    """Its path as far as it tells the view and the frame."""
    data: Any
    """The JSON value, or the arrays of an npz."""
    min_confidence: float
    """Joints of this confidence or less count as missing."""

    def triplets(self, values: Any, place: str, right: float) -> list[Hand2d]:
        """No hand from an empty list, else at most one."""
        numbers = self.numbers(values, place)
        if numbers.size == 0:
            return []
        if numbers.size != 3 * NUM_JOINTS:
            self.wrong(
                place, f"{NUM_JOINTS} joints as x, y, confidence ({3 * NUM_JOINTS} numbers)", f"{numbers.size} numbers"
            )
        numbers = numbers.reshape(NUM_JOINTS, 3)
        hand = self.hand(numbers[:, :2], numbers[:, 2], right)
        return [] if hand is None else [hand]

    def hand(self, points: ndarray, confidence: ndarray, right: float) -> Hand2d | None:
        return hand_of(points, confidence, right, self.min_confidence)

    def list_of(self, value: Any, place: str, kind: type) -> list[Any]:
        if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
            self.wrong(place, "a list of objects", value)
        return value

    def numbers(self, value: Any, place: str) -> ndarray:
        numbers = numbers_in(value)
        return self.wrong(place, "numbers, as many in every row", value) if numbers is None else numbers

    def wrong(self, place: str, expected: str, found: Any) -> Any:
        text = str(found)
        raise SessionError(
            f"{self.path}: {place}: expected {expected}, but found {text if len(text) < 80 else text[:77] + '...'}. "
            "Write the file again, or convert it to npz."
        )


@dataclass(frozen=True, kw_only=True)
class Keypoints2dFormat(Format):
    """A format that `handpipe import keypoints2d` reads."""

    content: str
    """What tells the format, for messages."""
    sides: str
    """Which hand is which."""
    recognizes: Callable[[Any], bool]
    """Whether `File2d.data` is of this format."""
    read: Callable[[File2d], Iterable[ImageHands]]
    """The images of a file; raises SessionError where it holds no hands of 21 joints."""


def keypoints2d_formats() -> dict[str, Keypoints2dFormat]:
    """The formats of 2D hands, by name."""
    return formats_of("keypoints2d.formats", Keypoints2dFormat)
