"""Damage to a finished store: chunks, metadata and marks lost, cut, changed, and what a kill can leave there."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Harm = Callable[[Path, random.Random], str]
"""Does something to a store and says what."""


def _chunks(store: Path) -> list[Path]:
    return sorted(p for p in store.rglob("*") if p.is_file() and "c" in p.relative_to(store).parts and p.name.isdigit()
                  and "_engine" not in p.parts)  # fmt: skip


def _metadata(store: Path) -> list[Path]:
    return sorted(p for p in store.rglob("zarr.json") if p.parent != store)


def _marks(store: Path) -> list[Path]:
    return sorted(p for p in store.glob("*/_engine/done/c/**/*") if p.is_file())


def _change(pick: Callable[[Path], list[Path]], how: Callable[[Path, random.Random], None]) -> Harm:
    def harm(store: Path, rng: random.Random) -> str:
        path = rng.choice(pick(store))
        how(path, rng)
        return str(path.relative_to(store))

    return harm


def _cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _zeros(path: Path, rng: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def _edit(path: Path, rng: random.Random) -> None:
    """Change a number or a word somewhere in metadata."""
    node = json.loads(path.read_bytes())
    places: list[tuple[dict[str, object], str]] = []

    def walk(table: dict[str, object]) -> None:
        for name, value in table.items():
            if isinstance(value, dict):
                walk(value)
            else:
                places.append((table, name))

    walk(node)
    table, name = rng.choice(places)
    value = table[name]
    table[name] = (not value) if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else "edited"
    path.write_text(json.dumps(node))


def _left_by_kills(store: Path, rng: random.Random) -> str:
    """A chunk and metadata on their way, a group on its way out."""
    group = rng.choice(sorted(p for p in store.iterdir() if p.is_dir()))
    (group / "x.0123.partial").write_bytes(b"half")
    hidden = store / ".zarr.json.0a1b2c3d-1-4e5f6a7b.partial"
    hidden.mkdir()
    (hidden / "zarr.json").write_text("{")
    shutil.copytree(group, store / f".{group.name}.removed")
    return group.name


def _group(store: Path, rng: random.Random) -> str:
    group = rng.choice(sorted(p for p in store.iterdir() if p.is_dir() and not p.name.startswith("_")))
    shutil.rmtree(group)
    return group.name


def _root(how: Callable[[Path, random.Random], None]) -> Harm:
    return _change(lambda store: [store / "zarr.json"], how)


def _unlink(path: Path, rng: random.Random) -> None:
    path.unlink()


DAMAGE: dict[str, Harm] = {
    "chunk deleted": _change(_chunks, _unlink),
    "chunk truncated": _change(_chunks, _cut),
    "chunk flipped": _change(_chunks, _flip),
    "chunk of zeros": _change(_chunks, _zeros),
    "chunk emptied": _change(_chunks, _empty),
    "metadata edited": _change(_metadata, _edit),
    "metadata truncated": _change(_metadata, _cut),
    "metadata deleted": _change(_metadata, _unlink),
    "root metadata edited": _root(_edit),
    "root metadata deleted": _root(_unlink),
    "marks flipped": _change(_marks, _flip),
    "marks deleted": _change(_marks, _unlink),
    "group deleted": _group,
    "left by kills": _left_by_kills,
}
