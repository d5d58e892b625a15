"""Calls on the workers of a Dask cluster: handed out in waves, and never waited for without a word.

Dask keeps every call that it was given in the scheduler and in the client. So only some per thread are given at a
time; the next follow as results come.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

from ..errors import ClusterError

TOPIC = "handpipe-progress"
"""Under which workers say what they have done."""

CALLS_PER_THREAD = 4
LEAST_CALLS = 16

TICK_S = 2.0
"""How often the cluster is looked at while nothing comes from it."""
QUIET_S = 30.0
"""After which a wait is said."""
FETCH_S = 10.0
"""How long a result may take to be fetched; after that it is waited for like one that is not done."""
ANSWER_S = 10.0
"""How long the scheduler may take for an answer."""

KEPT = "what is done is kept"


@dataclass(frozen=True)
class Said:
    """What a worker said during a call."""

    message: Any


@dataclass(frozen=True)
class Returned:
    """What a call gave back."""

    value: Any


def say(message: Mapping[str, Any]) -> None:
    """On a worker: tell whoever waits for this call's result something now."""
    from distributed import get_worker

    get_worker().log_event(TOPIC, message)


@dataclass(frozen=True)
class Calls:
    """Hands calls to a cluster."""

    client: Any
    """Dask's."""
    tell: Callable[[str], None]
    """Shows the user a line."""

    def threads(self) -> int:
        """Of all workers that are there now."""
        return _Watch(self.client, self.tell).threads

    def results(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Generator[Said | Returned]:
        """What the workers say and what the calls return, as it comes.

        Args:
            function: called on the workers.
            calls: the arguments of each call.

        Raises:
            ClusterError: the scheduler is lost, or workers die of a call.
            Exception: what the function raises.
        """
        from distributed.client import ClosedClientError

        try:
            yield from self._results(function, calls)
        except ClosedClientError as error:  # The connection ends between a look at it and its use.
            raise lost(self.client) from error

    def _results(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Generator[Said | Returned]:
        inbox: SimpleQueue[Any] = SimpleQueue()
        waiting, running, watch = iter(calls), set(), _Watch(self.client, self.tell)
        self.client.subscribe_topic(TOPIC, lambda event: inbox.put(Said(event[1])))
        try:
            while True:
                for arguments in islice(waiting, max(0, watch.room() - len(running))):
                    future = self.client.submit(function, *arguments, pure=False)
                    running.add(future)
                    future.add_done_callback(inbox.put)
                if not running:
                    return
                try:
                    item = inbox.get(timeout=TICK_S)
                except Empty:
                    watch.look()
                    continue
                if isinstance(item, Said):
                    yield item
                    continue
                returned = self._result(item)
                if returned is None:  # Lost with its worker before it was fetched: it is computed again.
                    item.add_done_callback(inbox.put)
                    watch.look()
                else:
                    running.discard(item)
                    yield returned
        finally:
            if self.client.status == "running":
                self.client.cancel(list(running))
                self.client.unsubscribe_topic(TOPIC)

    def _result(self, future: Any) -> Returned | None:
        """What a call gave back; None if it does not come, though the call was done."""
        from distributed.scheduler import KilledWorker

        try:
            return Returned(future.result(timeout=FETCH_S))
        except TimeoutError:
            if future.status == "error":  # The call's own.
                raise
            return None
        except CancelledError as error:
            raise lost(self.client) from error
        except KilledWorker as error:
            raise ClusterError(
                "expected workers to live until their task is done, but several died of the same one. The usual cause "
                "is memory: use fewer workers (--workers) or shorter chunks (--chunk-frames) and run the same command "
                f"again; {KEPT}."
            ) from error


def lost(client: Any) -> ClusterError:
    """The sentence for a scheduler that is gone."""
    address = client.scheduler.addr if client.scheduler is not None else "its address"
    return ClusterError(
        f"{address}: expected the Dask scheduler until the work is done, but the connection to it is lost. "
        f"Start it again and run the same command; {KEPT}."
    )


class _Watch:
    """Looks after a cluster: how much it can take, and whether it is still there."""

    def __init__(self, client: Any, tell: Callable[[str], None]) -> None:
        self._client, self._tell = client, tell
        self.threads, self._looked, self._well, self._said = 0, 0.0, time.monotonic(), False
        self.look()

    def room(self) -> int:
        """How many calls may be at the cluster at a time."""
        if time.monotonic() - self._looked > QUIET_S:  # Workers may have joined.
            self.look()
        return max(LEAST_CALLS, CALLS_PER_THREAD * self.threads)

    def look(self) -> None:
        """Count the threads of the workers; say what is waited for if there are none for a while."""
        client = self._client
        if client.status in ("closed", "closing"):
            raise lost(client)
        try:
            threads = client.sync(client.scheduler.ncores, workers=None, callback_timeout=ANSWER_S)
            self.threads, missing = sum(threads.values()), "worker"
        except OSError:  # Also what comes of a timeout.
            self.threads, missing = 0, "answer from the scheduler"
        self._looked = time.monotonic()
        if self.threads:
            if self._said:
                self._tell("the work goes on")
            self._well, self._said = self._looked, False
        elif self._looked - self._well >= QUIET_S and not self._said:
            self._said = True
            self._tell(
                f"no {missing} for {self._looked - self._well:.0f} s; waiting for one at {client.scheduler.addr} "
                f"(ctrl-C keeps what is done)"
            )
