"""A cluster that fails: one sentence, and no wait without a word. On real schedulers, workers and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from paths import SUPPORT
from toy_stage import FRAMES, Quiet, plan

from handpipe.core.cluster import calls
from handpipe.core.engine import Engine
from handpipe.core.errors import ClusterError
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store

PATH = f"import sys; sys.path.insert(0, {str(SUPPORT)!r})"
SCHEDULER = f"{PATH}; from distributed.cli.dask_scheduler import main; main()"
WORKER = f"{PATH}; from distributed.cli.dask_worker import main; main()"


def started(code: str, *argv: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *argv]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def stop(process: subprocess.Popen[str]) -> None:
    """With all of its children, at once."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.communicate()


@pytest.fixture
def cluster(tmp_path) -> Iterator[tuple[str, subprocess.Popen[str], subprocess.Popen[str]]]:
    """Address, scheduler and worker, each a process of its own."""
    file = tmp_path / "scheduler.json"
    scheduler = started(
        SCHEDULER, "--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)
    )
    worker = started(WORKER, "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--no-nanny")
    for _ in range(600):
        if file.exists() and file.read_text().endswith("}"):
            break
        time.sleep(0.1)
    address = json.loads(file.read_text())["address"]
    _wait_for_worker(address)
    yield address, scheduler, worker
    stop(worker)
    stop(scheduler)


def _wait_for_worker(address: str) -> None:
    from distributed import Client

    with Client(address) as client:
        client.wait_for_workers(1, timeout=60)


class Acting(Quiet):
    """Does something when the first frames are done."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def advance(self, amount):
        super().advance(amount)
        if self.act is not None:
            self.act, act = None, self.act
            act()


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "s.zarr"))
    store.open()
    (tmp_path / "log").touch()
    return store


def run(store, address, progress, tmp_path, pause_s=0.3):
    with Engine(EngineSettings(scheduler=address, chunk_frames=2), progress) as engine:
        return engine.execute(store, lambda frames: plan(tmp_path / "log", frames, pause_s=pause_s))


def test_a_lost_scheduler_is_a_sentence_and_what_is_done_is_kept(store, cluster, tmp_path, capfd):
    address, scheduler, _ = cluster
    with pytest.raises(ClusterError, match=rf"{address}: expected the Dask scheduler .* is lost\. Start it again"):
        run(store, address, Acting(lambda: stop(scheduler)), tmp_path)
    assert "Traceback" not in capfd.readouterr().err
    assert 0 < store.done("squares").sum() < FRAMES // 2


def test_a_connection_that_ends_between_a_look_and_its_use_is_a_sentence(monkeypatch):
    from distributed import Client

    look = calls._Watch.look

    def look_and_lose(watch):
        look(watch)
        watch._client.close()

    monkeypatch.setattr(calls._Watch, "look", look_and_lose)
    with (
        Client(processes=False, dashboard_address=None, n_workers=1, threads_per_worker=1) as client,
        pytest.raises(ClusterError, match=r"expected the Dask scheduler .* is lost\. Start it again"),
    ):
        list(calls.Calls(client, print).results(abs, [(1,)]))


def test_no_worker_is_said_and_the_next_one_is_taken(store, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(calls, "QUIET_S", 2.0)
    monkeypatch.setattr(calls, "TICK_S", 0.5)
    address, _, worker = cluster
    joined = []

    class Waiting(Acting):
        def say(self, text):
            super().say(text)
            if text.startswith("no worker for"):
                joined.append(started(WORKER, address, "--nthreads", "1", "--no-dashboard", "--no-nanny"))

    progress = Waiting(lambda: stop(worker))
    try:
        assert run(store, address, progress, tmp_path)
    finally:
        for each in joined:
            stop(each)
    (said,) = (text for text in progress.said if text.startswith("no worker"))
    assert said.endswith(f"s; waiting for one at {address} (ctrl-C keeps what is done)")
    assert progress.done == FRAMES
    assert len((tmp_path / "log").read_text().split()) <= FRAMES // 2 + 2, "what was done is not done again"


def test_a_task_that_kills_its_workers_is_a_sentence(store, tmp_path):
    def make(frames):
        return plan(tmp_path / "log", frames, die_at=1)

    with (
        Engine(EngineSettings(workers=1, chunk_frames=4), Quiet()) as engine,
        pytest.raises(ClusterError, match=r"workers to live .* several died .* memory: use fewer workers"),
    ):
        engine.execute(store, make)


COMMAND = """
import sys; sys.path.insert(0, {support!r})
from pathlib import Path
from handpipe import cli
from toy_stage import plan
from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store
from handpipe.screen import Screen
def dispatch(argv):
    store = Store({url!r}); store.open()
    with Engine(EngineSettings(workers=2, chunk_frames=1), Screen()) as engine:
        engine.execute(store, lambda frames: plan(Path({log!r}), frames, pause_s=0.5))
cli._dispatch = dispatch
if __name__ == "__main__":
    sys.exit(cli.main())
"""


@pytest.mark.parametrize(("sent", "to_all"), [("SIGINT", True), ("SIGTERM", False), ("SIGTERM", True)])
def test_a_signal_is_one_line_and_what_is_done_is_kept(store, tmp_path, sent, to_all):
    """As ctrl-C on a terminal, which reaches the workers too, and as a batch system sends it."""
    script, log = tmp_path / "command.py", tmp_path / "log"
    script.write_text(COMMAND.format(support=str(SUPPORT), url=store.url, log=str(log)))
    process = subprocess.Popen(
        [sys.executable, script], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(600):
        if len(log.read_text().split()) > 3:
            break
        time.sleep(0.1)
    (os.killpg if to_all else os.kill)(process.pid, getattr(signal, sent))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in out + err
    assert err.splitlines()[-1] == "handpipe: interrupted; what is done is kept, the same command continues"
    assert store.done("squares").sum() >= 2
