"""Mutations of valid files: bytes, text, JSON trees, arrays of an npz, tensors of a safetensors file, boxes of an mp4.

Each takes a random generator, the content, and the content of another valid file of the same name (empty if there is
none), and returns the changed content.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from random import Random
from typing import Any

import numpy as np
from numpy import ndarray

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


def array(rng: Random, values: ndarray) -> ndarray:
    """An array with other values, another shape or another type."""
    values = np.array(values)
    kind = rng.randrange(12)
    if kind <= 3 and values.size and values.dtype.kind in "fiu":
        with np.errstate(all="ignore"):
            bad = rng.choice((np.nan, np.inf, -np.inf, 0, -1, 1e17, 1e30, 1e300, 3.5))
            place = np.array(bad, np.float64).astype(values.dtype)
            values.flat[rng.randrange(values.size) if kind < 3 else slice(None, None, rng.choice((1, 2)))] = place
        return values
    if kind <= 6:
        shapes = (values.ravel(), values[None], values[..., None], values[:0] if values.ndim else values, values.T)
        halves = (values[:-1], values[1:], values[..., :1]) if values.ndim else ()
        return rng.choice((*shapes, *halves, np.array(1.0), np.zeros((0,)), np.zeros((3, 0)), np.zeros((1,) * 20)))
    if kind <= 9:
        types = (
            "f2",
            "f4",
            ">f8",
            "g",
            "i1",
            "u8",
            "i8",
            "?",
            "c16",
            "U3",
            "S2",
            "M8[s]",
            "m8[D]",
            "V8",
            [("a", "f8")],
        )
        with np.errstate(all="ignore"):
            try:
                return values.astype(rng.choice(types))
            except (TypeError, ValueError):
                return np.zeros(values.shape, rng.choice(types))
    return np.concatenate([values] * rng.choice((2, 5))) if values.ndim and values.size < 10_000 else values


def npz(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """An npz in which arrays are changed, missing, renamed, doubled, or have another header; the zip is valid."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not members:
            break
        name = rng.choice(list(members))
        match rng.randrange(12):
            case 0:
                del members[name]
            case 1:
                members[rng.choice(("x.npy", "../x.npy", "\u00e9.npy", name.removesuffix(".npy")))] = members.pop(name)
            case 2:
                members[name] = members[rng.choice(list(members))]
            case 3:
                members[name] = havoc(rng, members[name][:256]) + members[name][256:]
            case 4:
                members[name] = words(rng, members[name][:128]) + members[name][128:]
            case 5:
                members[name] = saved(rng.choice((np.array(["left", "x"]), np.array(b"\xff"), np.zeros(3, "U0"))))
            case _:
                try:
                    members[name] = saved(array(rng, np.load(io.BytesIO(members[name]))))
                except (ValueError, OSError, EOFError, SyntaxError, TypeError, KeyError, OverflowError, MemoryError):
                    members[name] = havoc(rng, members[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def saved(values: ndarray) -> bytes:
    """The bytes of a .npy file."""
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()


def safetensors(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """A safetensors file with another header (its length is right), or other numbers."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = data[8 : 8 + length], data[8 + length :]
    match rng.randrange(4):
        case 0:
            header = dumped(rng, tree(rng, json.loads(header)))
        case 1:
            table = json.loads(header)
            record = table.get("__metadata__", {})
            for key, text in record.items():
                record[key] = dumped(rng, tree(rng, json.loads(text))).decode()
            header = json.dumps(table).encode()
        case 2:
            body = havoc(rng, body)
        case _:
            body = bytearray(body)
            for _ in range(rng.choice((1, 10))):
                at = rng.randrange(0, max(1, len(body) - 4), 4)
                body[at : at + 4] = struct.pack("<f", rng.choice((float("nan"), float("inf"), 0.0, -1.0, 1e38, 3.5)))
    return struct.pack("<Q", len(header)) + header + bytes(body)


def boxes(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """An mp4 in which one box, at any depth, is changed; the sizes of those around it still fit."""
    parts = _boxes_of(data)
    if not parts:
        return havoc(rng, data, other)
    at = rng.randrange(len(parts))
    kind, body = parts[at]
    if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"edts", b"dinf") and rng.random() < 0.9:
        parts[at] = (kind, boxes(rng, body))
    else:
        match rng.randrange(8):
            case 0:
                del parts[at]
            case 1:
                parts[at:at] = [parts[at]] * rng.choice((1, 20))
            case 2:
                parts[at] = (rng.choice((b"free", b"moov", b"stsz", b"\0\0\0\0", b"uuid", b"trak")), body)
            case 3:
                parts[at] = (kind, body[: rng.randrange(len(body) + 1)])
            case 4 if len(body) >= 4:
                place = rng.randrange(0, len(body) - 3, 4)
                value = rng.choice((0, 1, 2, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.randrange(1 << 32)))
                parts[at] = (kind, body[:place] + struct.pack(">I", value) + body[place + 4 :])
            case _:
                parts[at] = (kind, havoc(rng, body[:512]) + body[512:])
    return b"".join(struct.pack(">I4s", 8 + len(body), kind) + body for kind, body in parts)


def _boxes_of(data: bytes) -> list[tuple[bytes, bytes]]:
    parts, at = [], 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if size < 8 or at + size > len(data):
            break
        parts.append((kind, data[at + 8 : at + size]))
        at += size
    return parts


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
