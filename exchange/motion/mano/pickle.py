"""The official MANO pickles, read without chumpy and without running anything that is in them.

A pickle is a program. Two gates stand before it: only opcodes that plain data needs are let through, and each global
it names is either one of the few below or the end of the reading. Those few are not numpy's, scipy's and chumpy's own
classes but inert stand-ins that keep what they are given; arrays are made from it afterwards, with every size checked.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ....core.errors import ModelError

MAX_BYTES = 64 * 2**20
"""An official file has 4 MB."""
MAX_ELEMENTS = 8 * 2**20
"""Of one array; the largest one of a hand has 315,090."""

MAX_VALUE = 1e4
"""Lengths, weights, angles and vertex indices are all below; NaN is not."""

KEEP = (
    *("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table"),
    *("hands_components", "hands_mean"),
)
"""The arrays that a hand is made of. `shapedirs` may hold more than ten shapes: the first ten are kept."""

MAX_OPCODES = 10**6
"""An official file has a few hundred."""

_FORBIDDEN_OPCODES = {
    *("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX"),
    *("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER"),
}

_BROKEN = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError),
    *(OverflowError, MemoryError, RecursionError, ImportError),
)
"""What unpickling a file that is damaged, or meant to do damage, can raise."""


class _Inert:
    """Keeps its state and does nothing."""

    args: tuple[object, ...] = ()
    state: Any = None

    def __init__(self, *args: object) -> None:
        self.args = args

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Array(_Inert):
    """A numpy array: (version, shape, dtype, Fortran order, bytes)."""


class _DType(_Inert):
    """A numpy dtype: ('f8', align, copy) and (version, byte order, ...)."""


class _Sparse(_Inert):
    """A scipy matrix in compressed rows or columns: `_shape`, `data`, `indices`, `indptr`."""

    rows = False


class _SparseRows(_Sparse):
    rows = True


class _Chumpy(_Inert):
    """chumpy's Ch, an array `x`; or its Select, the elements `idxs` of `a` in a `preferred_shape`."""


class _Ignored(_Inert):
    """Sets and numbers from chumpy's book-keeping."""


class _Object(_Inert):
    """`object`, which old protocols name as the base of a class."""


class _Reconstruct(_Inert):
    """numpy's and Python 2's helpers, which make an empty instance of a class to be filled."""

    def __new__(cls, kind: object, *args: object) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, _Inert)):
            raise TypeError(f"an instance of {kind!r}")
        return _Inert.__new__(kind)


class _Latin1(_Inert):
    """`_codecs.encode`: how Python 3 writes bytes for Python 2."""

    def __new__(cls, text: object, encoding: object) -> Any:
        if not isinstance(text, str) or encoding != "latin1":
            raise TypeError("an encoding that is not latin1")
        return text.encode("latin1")


_GLOBALS: Mapping[tuple[str, str], type[_Inert]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy.core.multiarray", "scalar"): _Ignored,
    ("scipy.sparse.csc", "csc_matrix"): _Sparse,
    ("scipy.sparse._csc", "csc_matrix"): _Sparse,
    ("scipy.sparse.csr", "csr_matrix"): _SparseRows,
    ("scipy.sparse._csr", "csr_matrix"): _SparseRows,
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy.reordering", "Select"): _Chumpy,
    ("copy_reg", "_reconstructor"): _Reconstruct,
    ("_codecs", "encode"): _Latin1,
    ("__builtin__", "set"): _Ignored,
    ("__builtin__", "object"): _Object,
}
"""Everything a pickle may name, and what it gets."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, where: str) -> None:
        super().__init__(io.BytesIO(data), fix_imports=False, encoding="latin1")
        self.where = where

    def find_class(self, module: str, name: str, /) -> Any:
        kind = _GLOBALS.get((module, name))
        if kind is None:
            raise ModelError(
                f"{self.where}: expected only arrays, but the pickle asks for `{module}.{name}`; nothing of it was "
                "run. Do not open this file elsewhere either: download the model again from mano.is.tue.mpg.de."
            )
        return kind


def read_mano_pickle(path: Path) -> dict[str, ndarray]:
    """The arrays of an official MANO file, by their names there.

    Args:
        path: MANO_RIGHT.pkl or MANO_LEFT.pkl, as Python 2 wrote it.

    Raises:
        ModelError: no such file, truncated, not a pickle, not a hand, or it asks for more than arrays.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise ModelError(
            f"{path}: expected MANO's MANO_RIGHT.pkl or MANO_LEFT.pkl, but it cannot be read ({error.strerror}). "
            "Correct the path; the files are at mano.is.tue.mpg.de after registration."
        ) from error
    if size > MAX_BYTES:
        raise ModelError(
            f"{path}: expected a hand model of about 4 MB, but the file has {size / 2**20:.0f} MB. "
            "Give MANO_RIGHT.pkl or MANO_LEFT.pkl, not the whole download or a body model."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of escape sequences in text that nobody asks for.
            _check_opcodes(data)
            content = _Unpickler(data, str(path)).load()
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__} instead of a dictionary")
        arrays = {name: _dense(content[name]) for name in KEEP if name in content}
    except ModelError:
        raise
    except _BROKEN as error:
        raise ModelError(
            f"{path}: expected an official MANO pickle, but it cannot be read ({error or type(error).__name__}). "
            "It may be truncated or another kind of file: download it again from mano.is.tue.mpg.de."
        ) from error
    _check_hand(path, arrays)
    huge = [name for name, array in arrays.items() if name != "kintree_table" and not np.abs(array).max() < MAX_VALUE]
    if huge:
        raise ModelError(
            f"{path}: {huge[0]}: expected numbers of a hand in metres, but found {np.abs(arrays[huge[0]]).max():g}. "
            "The file is damaged: download it again from mano.is.tue.mpg.de."
        )
    arrays["shapedirs"] = arrays["shapedirs"][:, :, :10]
    return arrays


def _check_opcodes(data: bytes) -> None:
    """Refuse opcodes plain data has no use for, and memo indices that make the unpickler reserve memory for nothing."""
    for count, (opcode, arg, _) in enumerate(pickletools.genops(data)):
        if count > MAX_OPCODES:
            raise ValueError(f"more than {MAX_OPCODES} objects")
        if opcode.name in _FORBIDDEN_OPCODES:
            raise ValueError(f"the opcode {opcode.name}")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(arg, int) and not 0 <= arg <= count:
            raise ValueError(f"memo index {arg}")


def _check_hand(path: Path, arrays: Mapping[str, ndarray]) -> None:
    template = arrays.get("v_template", np.empty(0))
    if template.shape != (778, 3) and template.ndim == 2:
        kind = {6890: "a SMPL body", 10475: "a SMPL-X body"}.get(len(template), "another model")
        raise ModelError(
            f"{path}: expected a hand of 778 vertices, but found {kind} of {len(template)}. "
            "Give MANO_RIGHT.pkl or MANO_LEFT.pkl."
        )
    missing = [name for name in KEEP if name not in arrays]
    if missing:
        raise ModelError(
            f"{path}: expected the arrays of a MANO hand, but {', '.join(missing)} is missing. "
            "Give MANO_RIGHT.pkl or MANO_LEFT.pkl."
        )
    if arrays["shapedirs"].ndim != 3 or arrays["shapedirs"].shape[2] < 10:
        raise ModelError(
            f"{path}: shapedirs: expected (778, 3, 10 or more), got {arrays['shapedirs'].shape}. "
            "Give MANO_RIGHT.pkl or MANO_LEFT.pkl."
        )


# ---- arrays from what the stand-ins kept -------------------------------------------------------------------------


def _dense(value: object, depth: int = 0) -> ndarray:
    """The array an entry of the pickle stands for. Raises ValueError, TypeError or KeyError where there is none."""
    if depth > 4:
        raise ValueError("arrays within arrays")
    if isinstance(value, _Array):
        return _array(*value.state)
    if isinstance(value, _Sparse):
        return _from_sparse(value, depth)
    if isinstance(value, _Chumpy):
        state = value.state
        if "idxs" not in state:
            return _dense(state["x"], depth + 1)
        return _dense(state["a"], depth + 1).ravel()[_dense(state["idxs"])].reshape(_shape(state["preferred_shape"]))
    raise TypeError(f"a {type(value).__name__.strip('_')} where an array should be")


def _array(version: object, shape: object, dtype: object, fortran: object, data: object) -> ndarray:
    """What numpy's `ndarray.__setstate__` would make of it, from plain numbers only."""
    content = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _DType) or not isinstance(content, bytes):
        raise TypeError("an array of Python objects")
    code, order = dtype.args[0], (dtype.state or (3, "|"))[1]
    if not isinstance(code, str) or not re.fullmatch("[fiub][0-9]{1,2}", code) or order not in ("<", ">", "=", "|"):
        raise TypeError(f"an array of dtype {code!r}")
    sizes = _shape(shape)
    kind = np.dtype(code).newbyteorder("<" if order == "=" else order)
    if int(np.prod(sizes)) * kind.itemsize != len(content):
        raise ValueError(f"an array of shape {sizes} in {len(content)} bytes")
    values = np.frombuffer(content, kind).reshape(sizes, order="F" if fortran else "C")
    return values.astype(kind.newbyteorder("="))


def _shape(value: object) -> tuple[int, ...]:
    if isinstance(value, _Array):
        value = tuple(_dense(value).tolist())
    if not isinstance(value, tuple) or len(value) > 4 or not all(isinstance(n, int) and n >= 0 for n in value):
        raise ValueError(f"the shape {value!r}"[:80])
    elements = 1
    for n in value:
        elements *= n
    if elements > MAX_ELEMENTS:
        raise ValueError(f"the shape {value}")
    return value


def _from_sparse(matrix: _Sparse, depth: int) -> ndarray:
    state = matrix.state
    shape = _shape(state["_shape"] if "_shape" in state else state["shape"])
    values, inner, pointer = (_dense(state[name], depth + 1) for name in ("data", "indices", "indptr"))
    outer_size, inner_size = shape if matrix.rows else shape[::-1]
    counts = np.diff(pointer.astype(np.int64))
    whole = len(counts) == outer_size and (counts >= 0).all() and pointer[0] == 0
    if not whole or not counts.sum() == len(inner) == len(values):
        raise ValueError("a sparse matrix whose parts do not fit together")
    if len(inner) and not 0 <= inner.min() <= inner.max() < inner_size:
        raise ValueError("a sparse matrix with an index outside")
    out = np.zeros((outer_size, inner_size))
    np.add.at(out, (np.repeat(np.arange(outer_size), counts), inner), values)
    return out if matrix.rows else out.T
