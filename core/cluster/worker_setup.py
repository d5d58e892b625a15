"""What a worker on another machine needs: the versions here, the files of the session, enough memory.

Workers that join while a run is under way are checked by this alone.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..errors import ClusterError
from .versions import differences, versions_here

LEAST_MEMORY = 10**9
"""Bytes: Python, the libraries and one chunk of the largest arrays."""


@dataclass(frozen=True)
class WorkerSetup:
    """What has to be so on every worker that tasks of a plan go to."""

    paths: tuple[str, ...]
    """Files and folders that it reads or writes."""
    versions: tuple[tuple[str, str], ...] = field(default_factory=lambda: tuple(versions_here().items()))
    """Of packages, those of the client by default."""

    def check(self) -> None:
        """On a worker: look once. Raises ClusterError for the first thing that is missing."""
        _check(self)


@cache
def _check(setup: WorkerSetup) -> None:
    """As `WorkerSetup.check`. What raises is looked at again: it may be mended while the worker lives."""
    from distributed import get_worker

    worker = get_worker()
    name, memory = worker.address, getattr(worker, "memory_manager", None)
    different = differences(dict(setup.versions), versions_here())
    if different:
        raise ClusterError(
            f"worker {name}: expected the same versions there as here, but it has {different}. "
            "Install the same versions there."
        )
    missing = [path for path in setup.paths if not Path(path).exists()]
    if missing:
        raise ClusterError(
            f"worker {name}: expected to see {missing[0]}, as here, but there is no such file or folder on it. "
            "Put the session on a file system that all machines share under the same path."
        )
    limit = getattr(memory, "memory_limit", None)
    if limit and limit < LEAST_MEMORY:
        raise ClusterError(
            f"worker {name}: expected {LEAST_MEMORY / 1e9:g} GB of memory or more for a worker, but it has "
            f"{limit / 1e9:.2g} GB. Give the jobs more memory, or fewer cores."
        )
