"""The engine: nothing twice, nothing half, the same bits wherever it runs."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import SUPPORT
from toy_stage import FRAMES, Quiet, execute, plan

from handpipe.core.cluster.local import cpu_count
from handpipe.core.cluster.scheduler import join
from handpipe.core.engine import Engine, differences, shared
from handpipe.core.errors import SessionError
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "s.zarr"))
    store.open()
    return store


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def test_twice_is_once(store, log):
    assert execute(store, log)[0] is True
    assert execute(store, log)[0] is False
    assert sorted(map(int, log.read_text().split())) == list(range(6))
    assert store.attrs("squares")["sum"] == 1.0


@pytest.mark.parametrize(("workers", "chunk"), [(0, 1), (0, 5), (0, 24), (0, 100), (2, 5), (2, 24)])
def test_the_numbers_do_not_depend_on_chunks_or_workers(store, log, workers, chunk):
    """A wrong region of a chunk, a lost last chunk, or a result that depends on its worker would show here.

    The chunk files themselves differ by design and are not compared.
    """
    execute(store, log, workers=workers, chunk=chunk)
    expected = (np.arange(FRAMES) ** 2).astype(np.float32)
    points = store.read("squares", "points")
    assert (points == expected[:, None, None, None]).all()


def test_the_length_of_chunks_follows_from_that_of_the_recording(store, log, monkeypatch):
    for name, value in {"SHORT_UNIT": 4, "MOST_UNITS": 2}.items():
        monkeypatch.setattr(f"handpipe.core.storage.spec.{name}", value)
    execute(store, log, chunk=None)
    assert store.attrs("squares")["chunk_frames"] == 16
    assert store.read("squares", "points")[-1, 0, 0, 0] == (FRAMES - 1) ** 2
    monkeypatch.undo()
    assert not execute(store, log, chunk=None)[0], "a group stays in the chunks it was begun with"


@pytest.mark.parametrize(
    ("threads", "expected"),
    [
        (1, [["a", 1, 2, 3, 4, 5], ["b", 1, 2]]),
        (3, [["a", 1, 2, 3, 4, 5], ["b", 1, 2]]),
        (4, [["a", 1, 2, 3], ["a", 4, 5], ["b", 1], ["b", 2]]),
        (100, [["a", 1], ["a", 2], ["a", 3], ["a", 4], ["a", 5], ["b", 1], ["b", 2]]),
    ],
)
def test_tasks_are_shared_where_there_are_twice_as_many_threads(threads, expected):
    todo: Any = [("a", [1, 2, 3, 4, 5]), ("b", [1, 2])]
    assert [[task, *units] for task, units in shared(todo, threads)] == expected
    assert list(shared([], threads)) == []


def test_a_changed_setting_computes_again_and_says_why(store, log):
    execute(store, log)
    computed, progress = execute(store, log, factor=2.0)
    assert computed
    assert progress.said == ["squares: computed again, settings.factor 1.0 -> 2.0"]
    assert store.read("squares", "points")[3, 0, 0, 0] == 18


def test_force_computes_again(store, log):
    execute(store, log)
    assert execute(store, log, force=True)[0]
    assert len(log.read_text().split()) == 12


def test_half_a_result_is_continued_in_its_own_chunks(store, log):
    with pytest.raises(SessionError, match="told not to"):
        execute(store, log, chunk=4, fail_at=2)
    assert store.done("squares").tolist() == [True, True, False, False, False, False]
    _, progress = execute(store, log, chunk=8)
    assert (progress.total, progress.done) == (24, 24)
    assert log.read_text().split() == ["0", "1", "2", "3", "4", "5"]


def test_an_error_on_a_worker_is_the_users_error_here(store, log):
    with pytest.raises(SessionError, match="told not to"):
        execute(store, log, workers=1, fail_at=2)
    assert execute(store, log, workers=0)[0]


@dataclass(frozen=True)
class Changing:
    """A task during which a file changes."""

    task: Any
    change: Any
    fails: bool = False

    @property
    def units(self):
        return self.task.units

    def run(self, todo):
        yield from self.task.run(todo)
        self.change()
        if self.fails:
            raise SessionError("half a clip")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("read", [False, True], ids=["of another stage", "read by the tasks"])
@pytest.mark.parametrize("how", ["replaced", "removed", "new"])
def test_a_file_that_changes_during_the_work(store, log, tmp_path, how, read, fails):
    path = tmp_path / "cam0.mp4"
    if how != "new":
        path.write_text("the old clip")

    def change():
        path.unlink() if how == "removed" else path.write_text("another clip")

    def make(chunk):
        whole = plan(log, chunk)
        return replace(whole, tasks=[Changing(whole.tasks[0], change, fails), *whole.tasks[1:]])

    with Engine(EngineSettings(workers=0, chunk_frames=4), Quiet()) as engine:
        engine.watch([path])
        with pytest.raises(SessionError, match=r"cam0\.mp4: expected a session's files to stay as they are"):
            engine.execute(store, make, reads=[path] if read else [])
    assert not store.complete("squares")
    assert (store.fingerprint("squares") is None) == read, "units of two clips are never gone on with"
    assert execute(store, log)[0]
    assert (len(log.read_text().split()) > 6) == read


def test_a_file_that_stays_or_is_watched_again(store, log, tmp_path):
    path = tmp_path / "cameras.toml"
    with Engine(EngineSettings(workers=0), Quiet()) as engine:
        engine.watch([path])
        path.write_text("ours")
        engine.watch([path])
        assert engine.execute(store, lambda frames: plan(log, frames), reads=[path])


def test_no_scheduler_at_the_address(store, log, monkeypatch):
    monkeypatch.setattr("handpipe.core.cluster.scheduler.TIMEOUT_S", 1)
    with (
        Engine(EngineSettings(scheduler="tcp://127.0.0.1:9"), Quiet()) as engine,
        pytest.raises(SessionError, match="expected a running Dask scheduler"),
    ):
        engine.execute(store, lambda frames: plan(log, frames))


def test_a_running_scheduler_is_used(store, log):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        progress = Quiet()
        address = str(cluster.scheduler_address)  # pyright: ignore[reportAttributeAccessIssue]
        with Engine(EngineSettings(scheduler=address, chunk_frames=4), progress) as engine:
            assert engine.execute(store, lambda frames: plan(log, frames))
        assert progress.done == FRAMES


@pytest.fixture(scope="module")
def scheduler():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


OTHERS = {
    "dask": "2024.8.0",
    "distributed": "2024.8.0",
    "python": "3.12.1.final.0",
    "handpipe": "0.0.1",
    "numpy": "1.26.4",
    "zarr": None,
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_worker_with_other_versions_is_a_sentence(scheduler, name):
    worker = scheduler.workers[0]
    true = worker.handlers["versions"]

    def report(**asked):
        found = true(**asked)
        return {**found, "packages": {**found["packages"], name: OTHERS[name]}}

    worker.handlers["versions"] = report
    try:
        with pytest.raises(SessionError, match=rf"but its worker tcp://\S+ has {name} .*\(here .*Install the same"):
            join(scheduler.scheduler_address)
    finally:
        worker.handlers["versions"] = true


@pytest.mark.parametrize("name", ["dask", "distributed", "python"])
def test_a_scheduler_with_other_versions_is_a_sentence(scheduler, name):
    handlers = scheduler.scheduler.handlers
    true = handlers["versions"]

    def report(**asked):
        found = true(**asked)
        return {**found, "packages": {**found["packages"], name: OTHERS[name]}}

    handlers["versions"] = report
    try:
        with pytest.raises(SessionError, match=rf"but its scheduler has {name} .*\(here .*Install the same"):
            join(scheduler.scheduler_address)
    finally:
        handlers["versions"] = true


@pytest.mark.parametrize("error", [TypeError("n_workers"), KeyError("x"), AssertionError(), AttributeError("y")])
def test_a_scheduler_that_breaks_the_client_is_a_sentence(scheduler, monkeypatch, error):
    def breaks(*_, **__):
        raise error

    monkeypatch.setattr("distributed.Client", breaks)
    with pytest.raises(SessionError, match=rf"does not answer like one \({type(error).__name__}.*Install the same"):
        join(scheduler.scheduler_address)


def test_a_scheduler_without_workers_is_a_sentence():
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(SessionError, match="expected workers, but it has none"),
    ):
        join(str(cluster.scheduler_address))  # pyright: ignore[reportAttributeAccessIssue]


def test_something_else_at_the_address_is_a_sentence(monkeypatch):
    monkeypatch.setattr("handpipe.core.cluster.scheduler.TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SessionError, match="could not connect"):
        join(f"tcp://127.0.0.1:{silent.getsockname()[1]}")


def test_as_many_workers_as_cores_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert cpu_count() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert cpu_count() == 7


def test_differences_are_paths():
    old = {"settings": {"a": 1, "b": 2}, "inputs": {"x": "0" * 64}, "code": 1}
    new = {"settings": {"a": 1, "b": 3}, "inputs": {"x": "1" * 64}, "code": 1}
    assert differences(old, new) == ["inputs.x 000000000000… -> 111111111111…", "settings.b 2 -> 3"]


SCRIPT = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from toy_stage import Store, execute
store = Store({url!r}); store.open(); store.clean()
print("ready", flush=True)
execute(store, Path({log!r}), workers=0, chunk=1, pause_s=0.02)
"""


def test_killed_at_any_moment_it_continues_and_the_files_are_the_same(tmp_path, log):
    """SIGKILL a real process again and again at random moments; the store ends as if nothing had happened."""
    rng = np.random.default_rng(0)
    url = str(tmp_path / "killed.zarr")
    code = SCRIPT.format(tests=str(SUPPORT), url=url, log=str(log))
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        time.sleep(float(rng.uniform(0.0, 0.35)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    whole = Store(str(tmp_path / "whole.zarr"))
    whole.open()
    execute(whole, log, workers=0, chunk=1)
    # A unit may be computed again only if the kill fell between its computation and its mark: once per kill.
    assert len(log.read_text().split()) <= 2 * FRAMES + 4
    assert files(Path(url)) == files(whole.local)


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
