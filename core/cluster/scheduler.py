"""A Dask scheduler that somebody else started: joined only where it and its workers have the versions of this process.

Dask promises nothing between its own versions, and a worker with another handpipe dies of tasks it cannot read.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import SessionError

TIMEOUT_S = 10

OF_SCHEDULER = ("dask", "distributed", "python")
OWN = ("handpipe", "zarr")
"""What Dask does not report by itself."""

OF_WORKERS = (*OF_SCHEDULER, "numpy", *OWN)

PATCHES_ARE_ALIKE = ("python", "numpy", "zarr")
"""Of these only the first two numbers have to agree: 3.11.7 works with 3.11.9."""


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
        names = ", ".join(f"{name} {_version(_versions_here(), name)}" for name in OF_SCHEDULER)
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

    here = _versions_here()
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


def _versions_here() -> Mapping[str, Any]:
    from distributed.versions import get_versions

    return get_versions(packages=OWN)


def _check(address: str, here: Mapping[str, Any], there: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise SessionError for the first process that has other versions.

    Args:
        address: for the message.
        here: this process, as Dask reports it.
        there: reports of others, by what to call them.
        names: of the packages that count.
    """
    for who, report in there.items():
        different = [name for name in names if _relevant(here, name) != _relevant(report, name)]
        if different:
            found = ", ".join(f"{name} {_version(report, name)} (here {_version(here, name)})" for name in different)
            raise SessionError(
                f"--scheduler {address}: expected the same versions there as here, but {who} has {found}. "
                "Install the same versions there, and start it again."
            )


def _version(report: Mapping[str, Any], name: str) -> str:
    """For messages."""
    found = str(report["packages"].get(name) or "not installed")
    return ".".join(found.split(".")[:3]) if name == "python" else found


def _relevant(report: Mapping[str, Any], name: str) -> list[str]:
    """What has to agree of a version."""
    return _version(report, name).split(".")[: 2 if name in PATCHES_ARE_ALIKE else None]
