"""What a worker of the local cluster does first: Dask loads this module there, by its name."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave ctrl-C to the process that started the workers: it stops them, without a traceback from each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
