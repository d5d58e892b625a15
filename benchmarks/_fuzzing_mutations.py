"""Mutations of valid files: bytes, text, JSON trees. `_fuzzing_containers` has those of arrays, tensors and boxes.

Each takes a random generator, the content, and the content of another valid file of the same name (empty if there is
none), and returns the changed content.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from fnmatch import fnmatch
from random import Random
from typing import Any

Files = dict[str, bytes]
"""Contents by path inside of a folder."""

Change = Callable[[Random, bytes, bytes], bytes]
Mutator = Callable[[Random, Files, Files], Files]

MAX_BYTES = 1 << 20
"""Of what a mutation may grow to, or twice the original."""

TOKENS = (
    *(b"nan", b"NaN", b"inf", b"-Infinity", b"1e999", b"-1e308", b"1e-320", b"-1", b"0", b"-0.0", b"1_0", b"0x1p3"),
    *(b"4294967296", b"9223372036854775808", b"-9223372036854775809", b"9" * 400, b"9" * 5000, b"1e5000", b"1e17"),
    *(b"", b" ", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"\r\n", b"\r", b"\n\n", b"\t", b"\x1b[31m"),
    *("é".encode(), "\u0662\u0663".encode(), "\u2028".encode(), "²".encode(), b"\xed\xa0\x80"),
    *(b"null", b"None", b"true", b"no", b"~", b"{}", b"[]", b"[[]]", b'"', b"'", b",", b";", b":", b"#", b"=", b"%"),
    *(b"../../x", b"/dev/zero", b"file:///etc/passwd", b"a" * 70_000, b"[" * 3000, b'{"a":' * 3000, b"- " * 3000),
    *(
        b"&a [*a]",
        b"*a",
        b"!!python/object:os.system x",
        b"<!DOCTYPE a>",
        b"<![CDATA[",
        b"&#0;",
        b"<_>" * 3000,
        b"<<: 1",
    ),
)

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
WORD = re.compile(rb"[\w.+-]+")

DEEP = "@deep"
"""Replaced by deep nesting, which Python's encoder cannot write."""

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 0.5, 1e17, 1e308, -1e308),
    *(1e-320, float("nan"), float("inf"), float("-inf"), "", " ", "\0", "nan", "1", "../../x", "/dev/zero", "é\u2028"),
    *("\ud800", "x" * 10_000, [], {}, [[]], [None], [0] * 5000, [[0, 0]] * 3, {"a": 1}, {"": {}}, ["a", 1], DEEP),
)


def havoc(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """A few changes of bytes: flips, insertions, removals, repetitions, extreme integers, the rest of another file."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
        at, length = rng.randrange(len(content) + 1), min(len(content), rng.choice((1, 1, 2, 4, 8, 64, 1000)))
        match rng.randrange(9):
            case 0 if content:
                content[at % len(content)] ^= 1 << rng.randrange(8)
            case 1 if content:
                content[at % len(content)] = rng.randrange(256)
            case 2:
                content[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16, 300)))
            case 3:
                del content[at : at + length]
            case 4:
                content[at:at] = content[at : at + length] * rng.choice((1, 1, 2, 50))
            case 5:
                kind = rng.choice(("B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
                most = (1 << (8 * struct.calcsize(kind))) - 1
                value = rng.choice((0, 1, most, most >> 1, (most >> 1) + 1, most - 1, 1 << 20 & most, len(data) & most))
                content[at : at + struct.calcsize(kind)] = struct.pack(kind, value)
            case 6 if rng.random() < 0.3:
                del content[at:]
            case 7 if other:
                content[at:] = other[rng.randrange(len(other)) :]
            case _:
                content[at:at] = rng.choice(TOKENS)
        if len(content) > max(MAX_BYTES, 2 * len(data)):
            break
    return bytes(content[: max(MAX_BYTES, 2 * len(data))])


def words(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """Changes of text: numbers and words become others, lines vanish, repeat and change places, encodings change."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        kind = rng.randrange(12)
        if kind <= 6:
            found = list((NUMBER if kind < 4 else WORD).finditer(data))
            if found:
                one = rng.choice(found)
                new = (
                    rng.choice(TOKENS) if rng.random() < 0.7 else rng.choice(found)[0] + rng.choice((b"", b"0", b"e9"))
                )
                data = data[: one.start()] + new + data[one.end() :]
        elif kind <= 10:
            data = _lines(rng, data, other)
        else:
            data = _encoded(rng, data)
    return data[: max(MAX_BYTES, 2 * len(data))]


def _lines(rng: Random, data: bytes, other: bytes) -> bytes:
    lines = data.split(b"\n")
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines[at:at] = [lines[at]] * rng.choice((1, 2, 300))
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case 3:
            lines[at] = rng.choice(TOKENS)
        case 4:
            lines[at] = b"".join(
                rng.choice((part, part, rng.choice(TOKENS))) for part in re.split(rb"([\s,:;=])", lines[at])
            )
        case _ if other:
            lines[at:at] = [rng.choice(other.split(b"\n"))]
    return b"\n".join(lines)


def _encoded(rng: Random, data: bytes) -> bytes:
    match rng.randrange(5):
        case 0:
            return b"\xef\xbb\xbf" + data
        case 1:
            return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\0", b"\x0b", b"\n\n")))
        case 2:
            return data.decode("latin1").encode(rng.choice(("utf-16", "utf-32", "utf-16-be")))
        case 3:
            return data + b"\0" * rng.choice((1, 4096))
        case _:
            return data.replace(rng.choice((b",", b" ", b"\t", b".")), rng.choice((b";", b",", b"\t", b"  ", b"")))


def hostile(rng: Random, value: Any) -> Any:
    """A value to stand in another's place; of a number, often another number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        near = (-value, value + 1, value * 1000, value / 1000, value * 1e9, value * 1e30, str(value), [value])
        return rng.choice(near)
    return rng.choice(HOSTILE)


def tree(rng: Random, value: Any) -> Any:
    """A copy of a JSON value in which one place is another value, is gone, or has changed places."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return hostile(rng, value)
    if isinstance(value, list):
        at, items = rng.randrange(len(value)), list(value)
        match rng.randrange(8):
            case 0:
                del items[at]
            case 1:
                items[at:at] = [items[rng.randrange(len(items))]] * rng.choice((1, 1, 100))
            case _:
                items[at] = tree(rng, items[at])
        return items
    key, table = rng.choice(list(value)), dict(value)
    match rng.randrange(10):
        case 0:
            del table[key]
        case 1:
            table[rng.choice((f"{key} ", key.upper(), "", "\0", "é", "1", rng.choice(list(value))))] = table.pop(key)
        case 2:
            table[key] = table[rng.choice(list(value))]
        case _:
            table[key] = tree(rng, table[key])
    return table


def dumped(rng: Random, value: Any) -> bytes:
    """JSON, with NaN and infinity where they are, and nesting deeper than an encoder writes."""
    text = json.dumps(value)
    depth = rng.choice((40, 1200, 100_000))
    return text.replace(f'"{DEEP}"', "[" * depth + "]" * depth).encode()


def json_tree(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """A JSON file with one or more places changed."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return words(rng, data, other)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = tree(rng, value)
    return dumped(rng, value)


def in_front(change: Change, length: int) -> Change:
    """The same change of the first bytes alone, where the header is."""
    return lambda rng, data, other: change(rng, data[:length], other[:length]) + data[length:]


def in_a_file(change: Change, pattern: str = "*") -> Mutator:
    """A change of one file of those whose names fit a pattern."""

    def mutate(rng: Random, files: Files, other: Files) -> Files:
        names = [name for name in files if fnmatch(name, pattern)]
        if not names:
            return files
        name = rng.choice(names)
        return {**files, name: change(rng, files[name], other.get(name, b""))}

    return mutate


def of_files(rng: Random, files: Files, other: Files) -> Files:
    """A file is missing, empty, or has the content of another one."""
    name = rng.choice(list(files))
    match rng.randrange(3):
        case 0:
            return {each: content for each, content in files.items() if each != name}
        case 1:
            return {**files, name: b""}
        case _:
            return {**files, name: rng.choice(list({**other, **files}.values()))}
