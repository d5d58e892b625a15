"""The engine: which work is missing, on which workers, with a progress bar.

A stage gives a plan: the group it fills and a list of tasks. A task is a picklable value with a method `run(todo)`
that yields one unit after the other, blocks of every array of the group. The engine decides what is stale, sends the
tasks to a Dask cluster (or runs them here), writes each unit as it comes, and never runs a unit twice.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy import ndarray

from .cluster.calls import Returned, say
from .cluster.cluster import Cluster
from .cluster.worker_setup import WorkerSetup
from .errors import ConfigError, HandpipeError, SessionError
from .settings import EngineSettings
from .storage.spec import SHORT_UNIT, GroupSpec, unit_frames
from .storage.store import Store

if TYPE_CHECKING:
    import torch

Unit = tuple[int, ...]


class Task(Protocol):
    """Some units that one worker computes in one go, because they share what is expensive (one video's decoding)."""

    @property
    def units(self) -> Sequence[Unit]: ...

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        """Compute these of the task's units, in order."""
        ...


@dataclass(frozen=True)
class Plan:
    """All a stage has to say before it runs."""

    group: GroupSpec
    tasks: Sequence[Task]
    weight: Mapping[Unit, int]
    """How much each unit adds to the progress bar."""
    noun: str
    """What the weights count: frames, images, hands."""
    summarize: Callable[[Store], dict[str, Any]] = field(default=lambda store: {})
    """Attributes to add once complete, from what was written."""
    notice: str = ""
    """Said before the work begins: why it takes long."""


class Progress(Protocol):
    """What the screen shows of a stage. `advance` may be called from any thread."""

    def start(self, stage: str, total: int, done: int, noun: str) -> None: ...
    def advance(self, amount: int) -> None: ...
    def stop(self) -> None: ...
    def say(self, text: str) -> None: ...


def torch_device(name: str) -> torch.device:
    """Where PyTorch computes: `auto` is the GPU where there is one, else the CPU. Raises ConfigError without a GPU."""
    import torch

    gpu = torch.cuda.is_available()
    if name == "cuda" and not gpu:
        raise ConfigError("device: expected a GPU that PyTorch can use, but found none. Use `--device auto`.")
    return torch.device("cuda" if name != "cpu" and gpu else "cpu")


def limit_threads() -> None:
    """One thread per worker for BLAS, OpenMP, OpenCV and PyTorch: the engine's parallelism is the workers."""
    import sys

    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    for module, call in (("cv2", "setNumThreads"), ("torch", "set_num_threads")):
        if module in sys.modules:
            getattr(sys.modules[module], call)(1)


def run_task(store: Store, group: str, task: Task, todo: Sequence[Unit], report: Callable[[Unit], None]) -> list[Unit]:
    """Compute and write units of a task, without their marks; returns those that are written.

    Args:
        store: where the group is.
        group: its name.
        task: of the group's plan.
        todo: units of the task, in its order.
        report: called after each unit.
    """
    limit_threads()
    written = []
    for unit, blocks in task.run(todo):
        store.write_blocks(group, unit, blocks)
        report(unit)
        written.append(unit)
    return written


def run_on_worker(store: Store, group: str, task: Task, todo: Sequence[Unit], setup: WorkerSetup | None) -> list[Unit]:
    """`run_task` on a worker of the cluster; `setup` is what a worker on another machine has to have."""
    if setup is not None:
        setup.check()
    return run_task(store, group, task, todo, lambda unit: say({"group": group, "unit": list(unit)}))


def shared(todo: Sequence[tuple[Task, Sequence[Unit]]], threads: int) -> Iterator[tuple[Task, Sequence[Unit]]]:
    """The same units, those of a task in several calls where there are twice as many threads as tasks, or more.

    What units of a task have in common is then done by several workers. Each decodes a clip up to the end of its part.
    """
    parts = max(1, threads // max(1, len(todo)))
    for task, units in todo:
        length = -(-len(units) // parts)
        for start in range(0, len(units), length):
            yield task, units[start : start + length]


def compute(task: Task) -> list[tuple[Unit, Mapping[str, ndarray]]]:
    """Every unit of a task, kept instead of written."""
    limit_threads()
    return list(task.run(task.units))


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What changed between two fingerprints, as `path old -> new`."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} {_short(a)} -> {_short(b)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "…"


def _stamp(path: Path) -> tuple[int, int] | None:
    """Differs for another content; None where there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


class Engine:
    """Runs plans. A context manager: the cluster starts with the first plan that has work, and ends with the block."""

    def __init__(self, options: EngineSettings, progress: Progress, cluster: Cluster | None = None) -> None:
        """An engine with a cluster of its own, or on one that also serves others and outlives it."""
        self.options = options
        self.progress = progress
        self.cluster = cluster or Cluster(options)
        self._exit = contextlib.ExitStack()
        if cluster is None:
            self._exit.enter_context(self.cluster)
        self._inputs: dict[Path, tuple[int, int] | None] = {}

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._exit.close()

    def watch(self, paths: Iterable[Path]) -> None:
        """Remember files as they are now, or that they are not there: no group is complete after one has changed."""
        self._inputs |= {path: _stamp(path) for path in paths}

    def is_done(self, store: Store, make_plan: Callable[[int], Plan]) -> bool:
        """Whether `execute` would have nothing to compute."""
        group = make_plan(SHORT_UNIT).group
        return store.fingerprint(group.name) == group.fingerprint and store.complete(group.name)

    def execute(
        self,
        store: Store,
        make_plan: Callable[[int], Plan],
        *,
        force: bool = False,
        reads: Collection[Path] = (),
    ) -> bool:
        """Bring one group up to date. Returns whether anything had to be computed.

        Args:
            store: where the group is, or will be.
            make_plan: the stage's plan for a number of frames per chunk.
            force: compute again what is there.
            reads: watched files that the tasks read. When one changes, what was computed is of both and is removed.

        Raises:
            SessionError: a watched file has changed.
            HandpipeError: as the store or the stage's tasks raise it. What is done stays.
        """
        plan = self._planned(make_plan)
        name = plan.group.name
        stored = store.fingerprint(name)
        fresh = stored == plan.group.fingerprint
        if fresh and not force:
            # Half a result is continued in the chunks it was begun with.
            plan = make_plan(store.attrs(name)["chunk_frames"])
            # Where somebody has edited that, or the group is half gone, nothing of it is used.
            fresh = store.done(name).shape == plan.group.units
        if fresh and store.complete(name) and not force:
            return False
        if stored is not None and (not fresh or force):
            why = differences(stored, plan.group.fingerprint)
            self.progress.say(f"{name}: computed again, " + ("; ".join(why[:3]) if why else "--force"))
        if plan.notice:
            self.progress.say(f"{name}: {plan.notice}")
        begin = not fresh or force
        grid = np.zeros(plan.group.units, bool) if begin else store.done(name)
        done = sum(weight for unit, weight in plan.weight.items() if grid[unit])
        self.progress.start(name, sum(plan.weight.values()), done, plan.noun)
        try:
            if begin:
                grid = self._begin(store, plan)
            else:
                store.write_coords(plan.group)
            self._run(store, plan, grid)
        except HandpipeError:
            self._expect_unchanged(store, name, reads)  # Half a new clip may be why.
            raise
        finally:
            self.progress.stop()
        self._expect_unchanged(store, name, reads)
        missing = int(np.sum(~store.done(name)))
        if missing:
            raise RuntimeError(f"{name}: {missing} units were not computed by any task")
        store.finish(name, **plan.summarize(store))
        return True

    def _planned(self, make_plan: Callable[[int], Plan]) -> Plan:
        """The plan with as many frames per chunk as the user wants, or as suit the length of the recording."""
        if self.options.chunk_frames is not None:
            return make_plan(self.options.chunk_frames)
        plan = make_plan(SHORT_UNIT)
        chosen = unit_frames(plan.group.frames, of_one_view="view" in plan.group.attrs["unit_dims"])
        return plan if chosen == SHORT_UNIT else make_plan(chosen)

    def _expect_unchanged(self, store: Store, group: str, reads: Collection[Path]) -> None:
        changed = [path for path, stamp in self._inputs.items() if _stamp(path) != stamp]
        if not changed:
            return
        if not set(reads).isdisjoint(changed):
            store.remove(group)
        raise SessionError(
            f"{changed[0]}: expected a session's files to stay as they are during a run, but this one has changed "
            f"since it began. Run the same command again when nobody writes to it; `{group}` is not complete."
        )

    def _begin(self, store: Store, plan: Plan) -> ndarray:
        """Make the group's empty arrays. Returns which units are written.

        What is one unit is computed before the old result is let go: if it cannot be, the old one stays.
        """
        whole = self._compute(plan) if sum(len(task.units) for task in plan.tasks) == 1 else []
        store.create(plan.group)
        grid = np.zeros(plan.group.units, bool)
        for unit, blocks in whole:
            store.write(plan.group.name, unit, blocks)
            grid[unit] = True
            self.progress.advance(plan.weight[unit])
        return grid

    def _compute(self, plan: Plan) -> list[tuple[Unit, Mapping[str, ndarray]]]:
        (task,) = plan.tasks
        if self.cluster.here:
            return compute(task)
        with contextlib.closing(self.cluster.calls(self.progress.say).results(compute, [(task,)])) as items:
            (found,) = (item.value for item in items if isinstance(item, Returned))
        return found

    def _setup(self, store: Store) -> WorkerSetup | None:
        """What workers on other machines have to see: the store, and the folders of the watched files."""
        if not self.cluster.elsewhere:
            return None
        folders = {path.parent for path, stamp in self._inputs.items() if stamp is not None}
        paths = folders if store.local is None else {*folders, store.local}
        return WorkerSetup(tuple(sorted(str(path.absolute()) for path in paths)))

    def _run(self, store: Store, plan: Plan, grid: ndarray) -> None:
        name, marks = plan.group.name, store.marks(plan.group.name, grid)

        def written(*units: Unit) -> None:
            for unit in units:
                if not marks.grid[unit]:
                    self.progress.advance(plan.weight[unit])
            marks.add(units)

        missing = ((task, [unit for unit in task.units if not marks.grid[unit]]) for task in plan.tasks)
        todo = [(task, units) for task, units in missing if units]
        setup = self._setup(store)
        try:
            if self.cluster.here:
                for call in todo:
                    run_task(store, name, *call, report=written)
                return
            calls = self.cluster.calls(self.progress.say)
            parts = ((store, name, *call, setup) for call in shared(todo, calls.threads()))
            with contextlib.closing(calls.results(run_on_worker, parts)) as items:
                for item in items:
                    if isinstance(item, Returned):
                        written(*item.value)
                    elif item.message["group"] == name:
                        written(tuple(item.message["unit"]))
        finally:
            marks.flush()
