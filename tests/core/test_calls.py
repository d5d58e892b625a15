"""Results of calls that do not come, though the call was done."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from handpipe.core.cluster.calls import Calls, Returned
from handpipe.core.cluster.cluster import Cluster
from handpipe.core.settings import EngineSettings


class Future:
    """Done at once; fetching its result fails some times."""

    def __init__(self, failures: int, status: str) -> None:
        self.failures, self.status = failures, status

    def add_done_callback(self, tell: Any) -> None:
        tell(self)

    def result(self, timeout: float) -> str:
        self.failures -= 1
        if self.failures >= 0:
            raise TimeoutError("no worker has it")
        return "found"


class Client(SimpleNamespace):
    """As much of Dask's as a call needs."""

    status = "running"
    scheduler = SimpleNamespace(ncores=None, addr="tcp://here")

    def submit(self, *_: Any, **__: Any) -> Future:
        return self.future

    def sync(self, *_: Any, **__: Any) -> dict[str, int]:
        return {"worker": 1}

    def subscribe_topic(self, *_: Any) -> None: ...
    def unsubscribe_topic(self, *_: Any) -> None: ...
    def cancel(self, *_: Any) -> None: ...


def test_a_result_that_is_lost_with_its_worker_is_waited_for_again():
    calls = Calls(Client(future=Future(failures=2, status="pending")), print)
    assert list(calls.results(print, [()])) == [Returned("found")]


def test_a_call_that_ran_into_a_time_limit_itself_is_an_error():
    calls = Calls(Client(future=Future(failures=1, status="error")), print)
    with pytest.raises(TimeoutError):
        list(calls.results(print, [()]))


def test_dask_logs_no_tracebacks_of_a_scheduler_that_is_gone(caplog):
    """Whenever its client notices it: before handpipe does, afterwards, or while the client is closed."""
    logs = [logging.getLogger(name) for name in ("distributed.client", "distributed.batched")]
    before = [log.getEffectiveLevel() for log in logs]
    with Cluster(EngineSettings(workers=1)) as cluster:
        assert list(cluster.calls(lambda line: None).results(abs, [(-3,)])) == [Returned(3)]
        for log in logs:
            log.error("Failed to reconnect", exc_info=True)
    assert [log.getEffectiveLevel() for log in logs] == before
    assert "Failed to reconnect" not in caplog.text
