"""Annotation files in JSON: written piece by piece, since they may be larger than the memory; read within bounds."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ....core.errors import SessionError, disk_errors
from ....core.files import check_letters, read_bytes

MAX_BYTES = 4 * 2**30
"""Of a file that is read; the largest of InterHand2.6M are smaller."""


def write_lists(path: Path, lists: Mapping[str, Iterable[Any]], info: Mapping[str, Any] | None = None) -> None:
    """Write an object of lists: `{"images": [...], "annotations": [...]}`, an element on each line; `info` first."""
    head = [] if info is None else [("info", iter([_text(dict(info))]))]
    _write(path, "{}", [*head, *((name, _block("[]", map(_text, values))) for name, values in lists.items())])


def write_table(path: Path, rows: Mapping[str, Iterable[tuple[str, Any]]]) -> None:
    """Write an object of objects: `{"0": {"12": ...}}`, an inner member on each line."""
    blocks = (
        (name, _block("{}", (f"{json.dumps(key)}: {_text(value)}" for key, value in pairs)))
        for name, pairs in rows.items()
    )
    _write(path, "{}", blocks)


def _write(path: Path, brackets: str, members: Iterable[tuple[str, Iterator[str]]]) -> None:
    with disk_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.write(brackets[0])
            for i, (name, pieces) in enumerate(members):
                file.write(f"{',' if i else ''}\n{json.dumps(name)}: ")
                file.writelines(pieces)
            file.write(f"\n{brackets[1]}\n")


def _block(brackets: str, pieces: Iterable[str]) -> Iterator[str]:
    yield brackets[0]
    for i, piece in enumerate(pieces):
        yield f"{',' if i else ''}\n{piece}"
    yield brackets[1]


def _text(value: Any) -> str:
    # NaN is no JSON: what is missing has been left out or marked before.
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def read_json(path: Path) -> Any:
    """The value in a file.

    Raises:
        SessionError: it is not there, too large, or not JSON.
    """
    try:
        content = read_bytes(path, "a JSON file", MAX_BYTES)
        check_letters(content)
        return json.loads(content)
    except SessionError:
        raise
    except (ValueError, RecursionError) as error:
        raise SessionError(
            f"{path}: expected JSON, but it cannot be read ({error}). It may be truncated: download or write it again."
        ) from error


def wrong(path: Path, place: str, expected: str, found: Any) -> NoReturn:
    """Refuse what stands at a place of a file."""
    text = str(found)
    shown = text if len(text) < 80 else text[:77] + "..."
    raise SessionError(
        f"{path}: {place}: expected {expected}, but found {shown}. Check that it is the file you mean, and download or "
        "write it again."
    )
