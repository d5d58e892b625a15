"""Mutations of files that a change of bytes breaks at once: arrays in a zip, safetensors, boxes of mp4, Parquet."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from random import Random
from typing import Any

import numpy as np
from _fuzzing_mutations import Files, dumped, havoc, tree, words
from numpy import ndarray


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


def in_a_parquet(rng: Random, files: Files, other: Files) -> Files:
    """One column of a table has other values or another type; the file is valid."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = rng.choice([name for name in files if name.endswith(".parquet")])
    table = pq.read_table(pa.BufferReader(files[name]))
    at = rng.randrange(table.num_columns)
    values = table.column(at).to_pylist()
    place = rng.randrange(len(values)) if values else 0
    bad = (None, float("nan"), float("inf"), 0, -1, 1e30, 1 << 40, "", "../x", "\0", True, [1.0], [[None]])
    kind = table.schema.field(at).type
    try:
        match rng.randrange(5):
            case 0:
                table = table.remove_column(at)
            case 1:
                table = pa.concat_tables([table, table.slice(place, 1)])
            case 2:
                table = table.set_column(at, table.schema.field(at).name, pa.array([rng.choice(bad)] * len(values)))
            case 3:
                flat = np.asarray(values[place], object).ravel() if isinstance(values[place], list) else None
                new = rng.choice(bad) if flat is None else _filled(values[place], rng.choice(bad[:8]), rng)
                values[place] = new
                table = table.set_column(at, table.schema.field(at), pa.array(values, kind))
            case _:
                table = table.slice(place, rng.choice((0, 1, 100)))
        out = pa.BufferOutputStream()
        pq.write_table(table, out)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, IndexError):
        return {**files, name: havoc(rng, files[name])}
    return {**files, name: out.getvalue().to_pybytes()}


def _filled(values: list[Any], bad: Any, rng: Random) -> list[Any]:
    at = rng.randrange(len(values))
    return [(_filled(v, bad, rng) if isinstance(v, list) else bad) if i == at else v for i, v in enumerate(values)]
