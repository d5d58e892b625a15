"""What a foreign format says of itself, and how the formats of a folder are found.

A format is one module, or one folder, of `exchange/cameras`, `exchange/keypoints2d`, `exchange/motion` or
`exchange/datasets`. It has a constant `FORMAT`; the commands, their help, the documentation's tables and the law test
over all formats read it. To add a format is to add one file.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from ..core.errors import HandpipeError


@dataclass(frozen=True, kw_only=True)
class Format:
    """One foreign format. What each kind of data reads and writes is said by its own subclass."""

    name: str
    """As in `handpipe export NAME`."""
    title: str
    """What it is, with the program or the paper it is from."""
    suffixes: tuple[str, ...] = ()
    """Of its files, with the dot; none for a folder."""
    reads: str = ""
    """What is read of it, one line; empty when it is only written."""
    writes: str = ""
    """What is written of it, one line; empty when it is only read."""
    loses: str = ""
    """What does not survive writing and reading back, one line; empty when nothing is lost."""


F = TypeVar("F", bound=Format)


@cache
def formats_of(package: str, kind: type[F]) -> dict[str, F]:
    """The formats of a folder below `exchange`, by name, in the order of their names.

    Args:
        package: "cameras", "keypoints2d", "motion" or "datasets".
        kind: the subclass that its formats are of.
    """
    parent = importlib.import_module(f"{__package__}.{package}")
    found: dict[str, F] = {}
    for module in pkgutil.iter_modules(parent.__path__):
        entry = getattr(importlib.import_module(f"{parent.__name__}.{module.name}"), "FORMAT", None)
        if isinstance(entry, kind):
            if entry.name in found:
                raise HandpipeError(
                    f"exchange/{package}: expected every format once, but {entry.name} stands there twice."
                )
            found[entry.name] = entry
    return dict(sorted(found.items()))
