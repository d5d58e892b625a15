"""What records: versions of packages, and memory."""

# Ring 2: reads and writes.

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import psutil

from ... import __version__


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
