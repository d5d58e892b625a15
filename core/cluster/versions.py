"""Versions that have to agree between this process, the scheduler and the workers.

Dask promises nothing between its own versions, results may differ with others of NumPy, and a worker with another
handpipe dies of tasks it cannot read.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OF_SCHEDULER = ("dask", "distributed", "python")
OWN = ("handpipe", "zarr")
"""What Dask does not report by itself."""

OF_WORKERS = (*OF_SCHEDULER, "numpy", *OWN)

PATCHES_ARE_ALIKE = ("python", "numpy", "zarr")
"""Of these only the first two numbers have to agree: 3.11.7 works with 3.11.9."""

Versions = Mapping[str, str]


def versions_here() -> Versions:
    """Those of this process."""
    from distributed.versions import get_versions

    return reported(get_versions(packages=OWN))


def reported(report: Mapping[str, Any]) -> Versions:
    """Those of a process, as Dask reports it."""
    found = {name: str(report["packages"].get(name) or "not installed") for name in OF_WORKERS}
    return found | {"python": ".".join(found["python"].split(".")[:3])}


def differences(here: Versions, there: Versions, names: Sequence[str] = OF_WORKERS) -> str:
    """The packages of which another process has another version, in words; empty if there are none."""
    different = [name for name in names if _relevant(name, here[name]) != _relevant(name, there[name])]
    return ", ".join(f"{name} {there[name]} (here {here[name]})" for name in different)


def _relevant(name: str, version: str) -> list[str]:
    """What has to agree of a version."""
    return version.split(".")[: 2 if name in PATCHES_ARE_ALIKE else None]
