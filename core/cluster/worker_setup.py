"""What a worker on another machine needs: this handpipe, the files of the session, enough memory."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ... import __version__
from ..errors import ClusterError

LEAST_MEMORY = 10**9
"""Bytes: Python, the libraries and one chunk of the largest arrays."""


@dataclass(frozen=True)
class WorkerSetup:
    """What has to be so on every worker that tasks of a plan go to."""

    paths: tuple[str, ...]
    """Files and folders that it reads or writes."""
    version: str = __version__

    def check(self) -> None:
        """On a worker: look once. Raises ClusterError for the first thing that is missing."""
        _check(self)


@cache
def _check(setup: WorkerSetup) -> None:
    """As `WorkerSetup.check`. What raises is looked at again: it may be mended while the worker lives."""
    from distributed import get_worker

    worker = get_worker()
    name, memory = worker.address, getattr(worker, "memory_manager", None)
    if setup.version != __version__:
        raise ClusterError(
            f"worker {name}: expected handpipe {setup.version}, as here, but it has {__version__}. "
            "Install the same version there."
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
