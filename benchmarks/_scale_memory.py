"""How much memory a run takes, group by group: of the client, which holds the scheduler, and of its largest worker."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from _report import Figure
from _scale_stages import fill, plans
from rich.console import Console

from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store
from handpipe.pipeline import Job
from handpipe.pipeline import run as run_session
from handpipe.rendering.rig import dome_rig
from handpipe.screen import Screen
from handpipe.settings import STAGES, load_config

CLIENT_MB, WORKER_MB = 1000.0, 4000.0
"""What a run may take at most."""


@dataclass
class Held:
    """What a group took."""

    wall_s: float = 0.0
    client_mb: float = 0.0
    worker_mb: float = 0.0


class Watch(Screen):
    """Progress that measures. The kernel keeps the largest resident size of a process; it is reset with each group."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.groups: dict[str, Held] = {}
        self._group, self._began_s = "", 0.0

    def start(self, stage: str, total: int, done: int, noun: str) -> None:
        self._group, self._began_s = stage, time.monotonic()
        for pid in (os.getpid(), *_children(os.getpid())):
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        super().start(stage, total, done, noun)

    def stop(self) -> None:
        held = self.groups.setdefault(self._group, Held())
        held.wall_s += time.monotonic() - self._began_s
        held.client_mb = max(held.client_mb, _peak_mb(os.getpid()))
        held.worker_mb = max([held.worker_mb, *map(_peak_mb, _children(os.getpid()))])
        super().stop()


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


def _children(pid: int) -> list[int]:
    """Processes that it has started, and those that they have."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    direct = [int(word) for task in tasks for word in task.read_text().split()]
    return direct + [below for child in direct for below in _children(child)]


def _figures(name: str, groups: dict[str, Held]) -> list[Figure]:
    rows = [
        row
        for group, held in groups.items()
        for row in (
            Figure(f"{name}: {group}: wall time", held.wall_s, "s"),
            Figure(f"{name}: {group}: client and scheduler", held.client_mb, "MB"),
            Figure(f"{name}: {group}: largest worker", held.worker_mb, "MB"),
        )
    ]
    most = Held(0.0, max(h.client_mb for h in groups.values()), max(h.worker_mb for h in groups.values()))
    return [
        *rows,
        Figure(f"{name}: client and scheduler, at the most", most.client_mb, "MB", CLIENT_MB),
        Figure(f"{name}: worker, at the most", most.worker_mb, "MB", WORKER_MB),
    ]


def _apart(work: Callable[..., None], *arguments: object) -> None:
    """Call it in a process of its own, so that the memory of this one stays as it is."""
    process = get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__}: the process ended with {process.exitcode}")


def _filled(url: str, views: int, frames: int) -> None:
    store = Store(url)
    store.open()
    fill(store, dome_rig(views), frames)


def recording(views: int, frames: int) -> list[Figure]:
    """Triangulation and fit of simulated detections with two workers."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/session.zarr"
        _apart(_filled, url, views, frames)
        store = Store(url)
        with Engine(EngineSettings(workers=2), watch) as engine:
            engine.cluster.calls(lambda line: None)
            for plan in plans(store).values():
                engine.execute(store, plan)
    return _figures(f"{views} views, {frames} frames", watch.groups)


def session(root: Path) -> list[Figure]:
    """All stages of a session with clips, with two workers, into a store elsewhere."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        config, _ = load_config(None, str(root))
        config = replace(config, engine=replace(config.engine, workers=2))
        run_session(Job(str(root), config, STAGES, store=f"{folder}/session.zarr"), watch)
    return _figures(root.name, watch.groups)
