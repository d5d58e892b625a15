"""Geometry is excluded from autocast: bfloat16 has three digits, which is an error of millimetres along a finger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(geometry: Callable[P, T]) -> Callable[P, T]:
    """The function with autocast switched off."""

    @wraps(geometry)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return geometry(*args, **kwargs)

    return run


def in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether `auto`, `float32` or `bfloat16` means bfloat16 on this device: `auto` does where it is native."""
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return precision == "bfloat16" or (precision == "auto" and native)


@contextmanager
def as_float32(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Gives back the tensors as float32 (float64 stays), with autocast switched off."""
    with torch.autocast(tensors[0].device.type, enabled=False):
        yield tuple(x if x.dtype == torch.float64 else x.float() for x in tensors)
