"""A stage one can check in the head, in a module that Dask workers can import."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handpipe.core.engine import Engine, Plan
from handpipe.core.errors import SessionError
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.schema import GROUPS, group_spec
from handpipe.core.storage.store import Store

FRAMES = 24


@dataclass(frozen=True)
class Squares:
    """A stage one can check in the head: frame n's coordinates are all n squared, `factor` times."""

    chunk: int
    number: int
    factor: float
    log: str
    pause_s: float = 0.0
    fail_at: int | None = None
    die_at: int | None = None

    @property
    def units(self) -> Sequence[tuple[int, ...]]:
        return [(self.number,)]

    def run(self, todo: Sequence[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], Mapping[str, np.ndarray]]]:
        for unit in todo:
            if self.number == self.fail_at:
                raise SessionError("unit 2: expected to work, but was told not to")
            if self.number == self.die_at:
                os._exit(1)
            time.sleep(self.pause_s)
            n = np.arange(FRAMES)[unit[0] * self.chunk :][: self.chunk]
            with Path(self.log).open("a") as file:
                file.write(f"{unit[0]}\n")
            values = (self.factor * n**2).astype(np.float32)
            yield (
                unit,
                {
                    "member": np.zeros((3, len(n), 2), np.int16),
                    "points": np.broadcast_to(values[:, None, None, None], (len(n), 2, 21, 3)),
                    "votes": np.zeros((len(n), 2), np.float32),
                },
            )


def plan(log: Path, chunk: int, factor: float = 1.0, **kwargs) -> Plan:
    chunk = min(chunk, FRAMES)
    chunks = -(-FRAMES // chunk)
    group = group_spec(
        "squares",
        GROUPS,
        {"view": 3, "frame": FRAMES},
        {"frame": chunk},
        {"settings": {"factor": factor}, "inputs": {}, "code": 1},
        {},
    )
    tasks = [Squares(chunk, i, factor, str(log), **kwargs) for i in range(chunks)]
    return Plan(group, tasks, {(i,): chunk for i in range(chunks)}, "frames", lambda store: {"sum": 1.0})


class Quiet:
    """A progress that remembers."""

    def __init__(self):
        self.said, self.total, self.done = [], 0, 0

    def start(self, stage, total, done, noun):
        self.total, self.done = total, done

    def advance(self, amount):
        self.done += amount

    def stop(self):
        pass

    def say(self, text):
        self.said.append(text)


def execute(store: Store, log, workers=0, chunk: int | None = 4, force=False, **kwargs):
    progress = Quiet()
    with Engine(EngineSettings(workers=workers, chunk_frames=chunk), progress) as engine:
        computed = engine.execute(store, lambda frames: plan(log, frames, **kwargs), force=force)
    return computed, progress
