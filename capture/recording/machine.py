"""What records: versions of packages, memory, and the interpreter with a hundred threads."""

# Ring 2: reads and writes.

from __future__ import annotations

import gc
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version

import psutil

from ... import __version__

SWITCH_S = 0.02
"""A thread that works gives way to another after this, and whenever it waits. With 50 cameras more frames are kept than
with Python's own 5 ms."""


def versions() -> dict[str, str]:
    """Of what records, as far as it is installed."""
    found = {"handpipe": __version__, "python": platform.python_version()}
    for name in ("av", "opencv-contrib-python", "pypylon", "harvesters", "genicam"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def peak_memory_mb() -> float:
    """Largest memory of this process so far, megabytes; its memory now where the system does not say it."""
    try:
        import resource
    except ImportError:  # Windows has none.
        return psutil.Process().memory_info().rss / 1e6
    scale = 1e6 if platform.system() == "Darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


@contextmanager
def undisturbed() -> Iterator[None]:
    """Fewer switches between threads, and a garbage collector that does not look at what exists before."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before_s)
