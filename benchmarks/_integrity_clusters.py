"""Runs on clusters of which something dies, leaves, joins or is of another version."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from _integrity_processes import Fault, ended
from _integrity_runs import Child, Outcome, Sessions, command, files_of, fork, until

CHUNKS = ("--chunk-frames", "2")


@contextmanager
def cluster(folder: Path, nanny: str = "--no-nanny") -> Iterator[tuple[str, Child, list[Child], Callable[..., Child]]]:
    """Address, scheduler, workers, and what starts another worker."""
    file = folder / "scheduler.json"

    def scheduling() -> object:
        from distributed.cli.dask_scheduler import main

        options = ["--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
        return main(options, standalone_mode=False)

    def another(version: str | None = None, nanny: str = "--no-nanny") -> Child:
        def working() -> object:
            from distributed import versions
            from distributed.cli.dask_worker import main

            if version is not None:
                true = versions._version_cached
                versions._version_cached = lambda name: version if name == "handpipe" else true(name)
            options = ["--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", nanny]
            return main(options, standalone_mode=False)

        workers.append(fork(working, folder / f"worker{len(workers)}.txt"))
        return workers[-1]

    workers: list[Child] = []
    scheduler = fork(scheduling, folder / "scheduler.txt")
    try:
        until(scheduler, lambda: file.exists() and file.read_text().endswith("}"))
        another(nanny=nanny)
        address = json.loads(file.read_text())["address"]
        until(scheduler, lambda: "Starting established connection" in workers[0].text)
        yield address, scheduler, workers, another
    finally:
        for child in (*workers, scheduler):
            child.kill()


def external(
    act: Callable[[Child, list[Child], Callable[..., Child]], object], fine: tuple[int, ...], nanny: str = "--no-nanny"
) -> Fault:
    """Do something to a scheduler and its workers during a run on them."""

    def fault(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
        session = sessions.copy(name, "detected")
        store = session / "session.zarr"
        at = rng.randrange(files_of(store), files_of(sessions.computed / "session.zarr"))
        with cluster(session.parent, nanny) as (address, scheduler, workers, another):
            child = command(["run", session, "--scheduler", address, *CHUNKS], session.parent / "run.txt")
            until(child, lambda: files_of(store) > at)
            act(scheduler, workers, another)
            wrong = ended(child, fine)
        return wrong or sessions.judge(session)

    return fault


def _leaves(scheduler: Child, workers: list[Child], another: Callable[..., Child]) -> None:
    another()
    workers[0].send(signal.SIGTERM)


def _dies_and_another_joins(scheduler: Child, workers: list[Child], another: Callable[..., Child]) -> None:
    workers[0].kill()
    time.sleep(1)
    another()


def other_version(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
    """A worker with another handpipe is there from the beginning."""
    session = sessions.copy(name, "detected")
    with cluster(session.parent) as (address, scheduler, _, another):
        late = another("9.9.9")
        until(scheduler, lambda: "Starting established connection" in late.text)
        child = command(["run", session, "--scheduler", address, *CHUNKS], session.parent / "run.txt")
        wrong = ended(child, (2,))
    return wrong or sessions.judge(session)


def _nanny_dies_and_another_joins(scheduler: Child, workers: list[Child], another: Callable[..., Child]) -> None:
    workers[0].send(signal.SIGKILL)
    time.sleep(1)
    another()


def local_worker(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
    """Kill a worker of the cluster that a run has started."""
    session = sessions.copy(name, "detected")
    store = session / "session.zarr"
    at = rng.randrange(files_of(store), files_of(sessions.computed / "session.zarr"))
    child = command(["run", session, "--workers", "2", *CHUNKS], session.parent / "run.txt")
    until(child, lambda: files_of(store) > at)
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        children = psutil.Process(child.pid).children(recursive=True)
        rng.choice([each for each in children if "spawn_main" in " ".join(each.cmdline())]).kill()
    return ended(child, (0, 2)) or sessions.judge(session)


CLUSTERS: dict[str, Fault] = {
    "local worker killed": local_worker,
    "scheduler killed": external(lambda scheduler, workers, another: scheduler.kill(), (0, 2)),
    "scheduler SIGTERM": external(lambda scheduler, workers, another: scheduler.send(signal.SIGTERM), (0, 2)),
    "worker killed, another joins": external(_dies_and_another_joins, (0,)),
    "nanny killed, another joins": external(_nanny_dies_and_another_joins, (0,), "--nanny"),
    "worker leaves, another stays": external(_leaves, (0,)),
    "worker joins": external(lambda scheduler, workers, another: another(), (0,)),
    "worker of another version": other_version,
}
