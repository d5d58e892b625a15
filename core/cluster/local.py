"""A Dask cluster of worker processes on this machine."""

# Ring 2: reads and writes.

from __future__ import annotations

import os
from contextlib import ExitStack
from logging import CRITICAL
from typing import Any

from ..errors import ConfigError, disk_errors
from . import on_worker

KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(256 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20)}
"""Dask makes its workers give freed memory back at once. Here every image would be page faults anew."""


def cpu_count() -> int:
    """Cores that this process may use: fewer than the machine has where a batch system or `taskset` says so."""
    if hasattr(os, "sched_getaffinity"):  # Linux; Python 3.13 has os.process_cpu_count.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start(workers: int, dashboard: str, exit_stack: ExitStack) -> Any:
    """A client of a new cluster, which ends with the stack.

    Args:
        workers: number of processes, of one thread each.
        dashboard: address of its dashboard; port 0 is any that is free.
        exit_stack: closes what is opened here.

    Raises:
        ConfigError: it cannot be started so.
        DiskError: Dask's scratch folder cannot be written.
    """
    import dask
    from distributed import Client, LocalCluster

    # Workers are spawned with these, before they import anything that reads them.
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    settings = {
        "distributed.nanny.pre-spawn-environ": {**threads, **KEEP_MEMORY},
        "distributed.worker.memory.terminate": False,
        "distributed.worker.daemon": True,
        "distributed.worker.preload": [on_worker.__name__],
        # What watches the workers runs on the cores they work on: 50 and 100 times a second is more than helps.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "500ms",
        "distributed.admin.system-monitor.interval": "2s",
    }
    exit_stack.enter_context(dask.config.set(settings))  # type: ignore[attr-defined]
    try:
        with disk_errors("Dask's scratch folder"):
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=dashboard,
                # A task's error reaches us; its traceback would stand beside our sentence.
                silence_logs=CRITICAL,
            )
    except (RuntimeError, ValueError) as error:
        reason = error.__cause__ or error
        raise ConfigError(
            f"--workers {workers} --dashboard {dashboard}: expected to start a local Dask cluster "
            f"so, but it failed ({reason}). Correct the address, or use --workers 0 to do without."
        ) from error
    exit_stack.enter_context(cluster)
    return exit_stack.enter_context(Client(cluster))
