"""A Dask scheduler that somebody else started: joined where it and its workers have the versions of this process."""

# Ring 2: reads and writes.

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import SessionError
from .versions import OF_SCHEDULER, OF_WORKERS, OWN, Versions, differences, reported, versions_here

TIMEOUT_S = 10


def join(address: str) -> Any:
    """A client of a running scheduler.

    Args:
        address: the scheduler's.

    Raises:
        SessionError: there is none, it has no workers, or their versions are others than those here.
    """
    from distributed import Client

    try:
        # First, because a client that cannot be started cannot be closed either.
        with ThreadPoolExecutor(1) as aside:  # A notebook's thread has an event loop already.
            aside.submit(asyncio.run, _ask(address)).result()
        return Client(address, timeout=f"{TIMEOUT_S}s")
    except SessionError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error) or f"no answer in {TIMEOUT_S} s"
        raise SessionError(
            f"--scheduler {address}: expected a running Dask scheduler, but could not connect ({reason}). "
            "Start one with `dask scheduler`, or leave the option out for a local cluster."
        ) from error
    except Exception as error:
        # What other versions' answers break is not documented: TypeError, KeyError and AssertionError were seen.
        here = versions_here()
        names = ", ".join(f"{name} {here[name]}" for name in OF_SCHEDULER)
        raise SessionError(
            f"--scheduler {address}: expected a scheduler with {names}, but it does not answer like one "
            f"({type(error).__name__}: {error}). Install the same versions there, and start it again."
        ) from error


async def _ask(address: str) -> None:
    """Ask a scheduler and its workers for their versions, and check them.

    These calls have been the same for years.
    """
    from distributed.core import rpc
    from distributed.security import Security

    here = versions_here()
    async with (
        asyncio.timeout(TIMEOUT_S),
        rpc(address, connection_args=Security().get_connection_args("client")) as scheduler,
    ):
        _check(address, here, {"its scheduler": await scheduler.versions()}, OF_SCHEDULER)
        workers: Any = await scheduler.broadcast(msg={"op": "versions", "packages": OWN}, on_error="ignore")
    if not workers:
        raise SessionError(
            f"--scheduler {address}: expected workers, but it has none. Start some with `dask worker {address}`."
        )
    _check(address, here, {f"its worker {worker}": found for worker, found in workers.items()}, OF_WORKERS)


def _check(address: str, here: Versions, there: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise SessionError for the first process that has other versions.

    Args:
        address: for the message.
        here: those of this process.
        there: reports of others, as Dask gives them, by what to call them.
        names: of the packages that count.
    """
    for who, report in there.items():
        found = differences(here, reported(report), names)
        if found:
            raise SessionError(
                f"--scheduler {address}: expected the same versions there as here, but {who} has {found}. "
                "Install the same versions there, and start it again."
            )
