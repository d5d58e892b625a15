"""The cluster that plans run on: it starts with the first call, and may serve many sessions."""

# Ring 2: reads and writes.

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ..errors import ConfigError
from ..settings import EngineSettings
from . import batch, local
from .calls import Calls
from .description import read_cluster
from .scheduler import join

DASK_LOGS = ("distributed", "distributed.client")
"""Loggers that Dask gives levels of their own."""


class Cluster:
    """Where the work is done, by the settings of the engine. A context manager: what it started ends with the block."""

    def __init__(self, options: EngineSettings) -> None:
        """A cluster that is not started yet.

        Raises:
            ConfigError: the file that describes it is wrong, or two clusters are asked for.
        """
        self.options = options
        self._file = None if options.cluster is None else read_cluster(options.cluster)
        if self._file is not None and (options.scheduler is not None or options.workers == 0):
            other = "--workers 0" if options.scheduler is None else f"--scheduler {options.scheduler}"
            raise ConfigError(f"{other}: expected it without --cluster {options.cluster}. Leave one of them out.")
        self._client: Any = None
        self._exit = ExitStack()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client = None
        self._exit.close()

    @property
    def here(self) -> bool:
        """Whether the work is done in this process."""
        return self.options.workers == 0 and self.options.scheduler is None and self._file is None

    @property
    def elsewhere(self) -> bool:
        """Whether its workers may be on other machines."""
        return self.options.scheduler is not None or (self._file is not None and self._file.cluster.type != "local")

    @property
    def lost(self) -> bool:
        """Whether it was started, and its scheduler is gone."""
        return self._client is not None and self._client.status in ("closed", "closing")

    def calls(self, tell: Callable[[str], None]) -> Calls:
        """Hands calls to the cluster; `tell` shows the user a line.

        Raises:
            HandpipeError: it cannot be started or joined.
        """
        if self._client is None:
            self._quieten()
            self._client = self._start()
            tell(f"Dask dashboard: {self._client.dashboard_link}")
        return Calls(self._client, tell)

    def _quieten(self) -> None:
        """What Dask logs of a scheduler that is gone are tracebacks; users are told in a sentence."""
        for log in map(logging.getLogger, DASK_LOGS):
            self._exit.callback(log.setLevel, log.level)  # After the client is closed.
            log.setLevel(logging.CRITICAL)

    def _start(self) -> Any:
        options, file = self.options, self._file
        address = options.scheduler if file is None else file.cluster.address
        if address is not None:
            return self._exit.enter_context(join(address))
        workers = options.workers or (file.cluster.workers if file is not None else None) or local.cpu_count()
        if file is None or file.cluster.type == "local":
            return local.start(workers, options.dashboard, self._exit)
        return batch.start(file, workers, options.dashboard, self._exit)
