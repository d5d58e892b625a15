"""Random bit flips in the files of a store: is each found, and does any change what is read without a word?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handpipe.core.errors import StoreError
from handpipe.core.storage.checksums import CHECKSUMS
from handpipe.core.storage.creation import ENGINE
from handpipe.core.storage.store import Store
from handpipe.core.storage.verify import all_groups, examine


@dataclass(frozen=True)
class Flip:
    """One flip and what came of it."""

    file: str
    bit: int
    found: bool
    """By `verify`."""
    read: str
    """`refused`: a StoreError; `same`: what is read is what was written; `silent`: it is not."""


def files_of(store: Path) -> list[Path]:
    """All files of a store."""
    return sorted(path for path in store.rglob("*") if path.is_file())


def contents(store: Store, group: str) -> Mapping[str, bytes]:
    """Everything that is read of a group: attributes and arrays."""
    attributes = {name: value for name, value in store.attrs(group).items() if name != CHECKSUMS}
    found = {"attributes": repr(sorted(attributes.items())).encode()}
    if not group.startswith("_") and group:
        found["marks"] = store.done(group).tobytes()
        for name in sorted(store.names_in(group) - {ENGINE}):
            values = store.read(group, name)
            found[name] = "\0".join(values).encode() if values.dtype.kind in "OUT" else values.tobytes()
    return found


def flips(store_path: Path, count: int, seed: int) -> Iterator[Flip]:
    """Flip one bit at a time, look, and flip it back.

    Files are drawn with equal chance, so that small ones are not left out; the bit is any of the file.
    """
    rng = np.random.default_rng(seed)
    files, store = files_of(store_path), Store(str(store_path))
    groups = ["", *all_groups(store)]
    before = {group: contents(store, group) for group in groups}
    if examine(store).damages:
        raise SystemExit(f"{store_path}: damaged before the first flip")
    for _ in range(count):
        path = files[rng.integers(len(files))]
        right = path.read_bytes()
        bit = int(rng.integers(8 * len(right)))
        wrong = bytearray(right)
        wrong[bit // 8] ^= 1 << bit % 8
        path.write_bytes(wrong)
        name = str(path.relative_to(store_path))
        own = [group for group in groups if group and name.startswith(f"{group}/")]
        try:
            yield Flip(name, bit, bool(_damages(store_path)), _read(store_path, own or groups, before))
        finally:
            path.write_bytes(right)


def _damages(path: Path) -> tuple[object, ...]:
    return examine(Store(str(path))).damages


def _read(path: Path, groups: list[str], before: Mapping[str, Mapping[str, bytes]]) -> str:
    store = Store(str(path))  # As a new process opens it.
    try:
        now = {group: contents(store, group) for group in groups}
    except StoreError as error:
        return "refused" if str(path) in str(error) else "unnamed"
    return "same" if all(now[group] == before[group] for group in groups) else "silent"


def table(found: list[Flip]) -> str:
    """How many of each kind of file were found, refused, harmless and silent."""
    kinds = Counter((kind(flip.file), flip.found, flip.read) for flip in found)
    lines = [f"{'file':<24} {'flips':>6} {'found':>6} {'refused':>8} {'same':>6} {'silent':>7}"]
    for name in sorted({kind for kind, _, _ in kinds}):
        mine = {key: number for key, number in kinds.items() if key[0] == name}
        total, seen = sum(mine.values()), sum(n for key, n in mine.items() if key[1])
        reads = [sum(n for key, n in mine.items() if key[2] == read) for read in ("refused", "same", "silent")]
        lines.append(f"{name:<24} {total:>6} {seen:>6} {reads[0]:>8} {reads[1]:>6} {reads[2]:>7}")
    return "\n".join(lines)


def kind(file: str) -> str:
    """What a file of a store is."""
    if not file.endswith("zarr.json"):
        return "marks" if f"/{ENGINE}/" in file else "chunk"
    if file == "zarr.json":
        return "root metadata"
    return "group metadata" if file.count("/") == 1 else "array metadata"
