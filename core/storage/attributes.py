"""What the attributes of a store may be: one rule for each name, the same in every group, checked as they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import StoreError

MAX_FPS = 10_000.0

Holds = Callable[[Any], bool]


class Attributes(dict[str, Any]):
    """Attributes by name. One that is asked for and missing is a StoreError."""

    def __init__(self, values: Mapping[str, Any], store: str, group: str) -> None:
        super().__init__(values)
        self._where = (store, group)

    def __missing__(self, name: str) -> Any:
        raise _wrong(*self._where, f"the attribute `{name}`", "it is missing")

    def __reduce__(self) -> tuple[type[Attributes], tuple[Any, ...]]:
        return Attributes, (dict(self), *self._where)


def checked(values: Mapping[str, Any], store: str, group: str) -> Attributes:
    """The attributes of a group, in which every name that the product reads has a value of the right kind.

    Args:
        values: as they are stored.
        store, group: for messages.

    Raises:
        StoreError: a value is not what its rule says.
    """
    for name, (holds, expected) in RULES.items():
        if name in values and not holds(values[name]):
            raise _wrong(store, group, f"{expected} in the attribute `{name}`", f"found {_short(values[name])}")
    by_frames = {"frame", "board_frame"} & set(values.get("unit_dims", ()))
    if by_frames and values.get("chunk_frames") == 0:
        raise _wrong(store, group, "one frame or more in the attribute `chunk_frames`", "found 0")
    made_from = values.get("fingerprint")
    if made_from is None:
        return Attributes(values, store, group)
    parts = {name: Attributes(part, store, group) for name, part in made_from.items() if isinstance(part, Mapping)}
    return Attributes({**values, "fingerprint": Attributes({**made_from, **parts}, store, group)}, store, group)


def _wrong(store: str, group: str, expected: str, found: str) -> StoreError:
    return StoreError(
        f"{store}: group `{group}`: expected {expected}, but {found}. Somebody has edited it. Restore it, or delete "
        f"the folder {group} in it and run the same command that made it: it is computed again."
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return (_whole(value) and abs(value) < 1 << 63) or (isinstance(value, float) and math.isfinite(value))


def _or_none(holds: Holds) -> Holds:
    return lambda value: value is None or holds(value)


def _of_type(kind: type) -> Holds:
    return lambda value: isinstance(value, kind)


def _list_of(holds: Holds) -> Holds:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _table_of(holds: Holds) -> Holds:
    return lambda value: isinstance(value, Mapping) and all(map(holds, value.values()))


def _axes(value: Any) -> bool:
    return _list_of(_text)(value) and 0 < len(value) == len(set(value))


def _stamp_and_hash(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and _whole(value[0]) and _whole(value[1]) and _text(value[2])


def _fingerprint(value: Any) -> bool:
    parts = ("settings", "inputs")
    return isinstance(value, Mapping) and all(isinstance(value.get(part, {}), Mapping) for part in parts)


_flag, _text = _of_type(bool), _of_type(str)
_texts = _list_of(_text)

RULES: Mapping[str, tuple[Holds, str]] = {
    # Every group.
    "complete": (_flag, "true or false"),
    "fingerprint": (_or_none(_fingerprint), "tables of settings and inputs"),
    "unit_dims": (_axes, "the names of axes"),
    "chunk_frames": (lambda value: _whole(value) and 0 <= value < 1 << 63, "a number of frames"),
    "coordinates": (_text, "names of arrays"),
    # Time and hands.
    "fps": (lambda value: _number(value) and 0 < value <= MAX_FPS, "frames per second, above 0"),
    "timestamps": (_flag, "true or false"),
    "moves": (_flag, "true or false"),
    "hand_model": (lambda value: _texts(value) and len(value) == 2, "the ids of two hand models"),
    "hands_found": (_list_of(_number), "a list of numbers"),
    "reprojection_px": (_or_none(_number), "a number or null"),
    "looks_per_image": (_or_none(_number), "a number or null"),
    "imported": (lambda value: _texts(value) or _table_of(_text)(value), "names of files"),
    # The calibration.
    "board": (_of_type(dict), "a table"),
    "source": (_text, "text"),
    "without_calibration": (_texts, "names of views"),
    "weak_views": (_texts, "names of views"),
    "warnings": (_texts, "a list of sentences"),
    "reasons": (_table_of(_text), "a sentence for each view"),
    "held_out_frames": (_or_none(_whole), "a whole number"),
    **{
        name: (_or_none(_number), "a number or null") for name in ("board_px", "board_mm", "held_out_px", "held_out_mm")
    },
    # What files were, when they were last read or written.
    "sha256": (_table_of(_stamp_and_hash), "size, time and SHA-256 of each file"),
    "cameras_toml": (_texts, "SHA-256 of files"),
    "first_missing": (lambda value: _whole(value) and value >= 0, "a number of a frame"),
    # Generated and rendered.
    "keyframes": (_list_of(_whole), "numbers of frames"),
    "checkpoint": (_text, "text"),
    "depth_unit_m": (lambda value: _number(value) and value > 0, "a length in metres"),
}
"""Attribute: what holds of its value, and that in words."""
