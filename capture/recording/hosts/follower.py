"""A computer that joins another one's recording: it starts and ends when that one says, on that one's clock."""

# Ring 2: reads and writes.

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from ..camera import RecordingError
from .leader import LOOK_S, TOKEN
from .link import Link, LinkLost
from .offsets import Offsets, RoundTrip, offsets_of, quickest
from .together import END_S, Terms

FIRST_TRIPS, FIRST_S = 40, 0.005
"""Round trips before the start, and the time between two of them."""

PING_S = 1.0
"""From one round trip to the next, later."""

CONNECT_S = 5.0


class Follower:
    """Joins when it is made, and measures the clock all the time. Use with `with`."""

    def __init__(self, address: str, terms: Terms, views: Sequence[str]) -> None:
        """Connect.

        Args:
            address: [TOKEN@]HOST:PORT, as the leader printed it.
            terms: what all computers have in common.
            views: this computer's cameras.

        Raises:
            RecordingError: nobody leads there, or it refuses.
        """
        self.notes: list[str] = []
        token, (host, port) = _parsed(address)
        try:
            self._link = Link(socket.create_connection((host, port), CONNECT_S))
            self._link.send(token=token, host=platform.node(), views=list(views), **asdict(terms))
            welcome = self._link.receive()
            if "failed" not in welcome:
                self.id, self.duration_s, self.host = welcome["id"], welcome["duration_s"], welcome["host"]
        except (OSError, LinkLost, KeyError) as error:
            raise RecordingError(
                f"--join {host}:{port}: expected `handpipe record --leader` there, but it does not answer ({error}). "
                "Start it first, and check the address."
            ) from error
        if "failed" in welcome:
            raise RecordingError(str(welcome["failed"]))
        self._leader = f"{host}:{port}"
        self._trips: list[RoundTrip] = []
        """The quickest ones."""
        self._measurements = 0
        self._measured, self._answered = threading.Event(), threading.Event()
        self._start_s: float | None = None
        """On the leader's clock; the same of the end."""
        self._end_s: float | None = None
        self._failed = ""
        self._lost = self._closed = False
        self._stop = threading.Event()

    def __enter__(self) -> Follower:
        for work in (self._listen, self._ping):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, *_: Any) -> None:
        if error is not None and self._start_s is None:
            self.fail(str(error))
        self._closed = True
        self._link.close()

    def begin(self, stop: threading.Event) -> float:
        self._stop = stop
        while not self._measured.wait(LOOK_S) and not self._failed and not stop.is_set():
            pass
        if self._measured.is_set():
            self._send(ready=True)
        while self._start_s is None and not self._failed and not stop.wait(LOOK_S):
            pass
        if self._start_s is None or self._failed:
            raise RecordingError(self._failed or "expected the leader to start, but it was ended before.")
        return self.offsets().here_s(self._start_s)

    def fail(self, why: str) -> None:
        self._send(failed=why)

    def due_s(self, since_s: float) -> float:
        assert self._start_s is not None
        return self.offsets().here_s(self._start_s + since_s)

    def end(self) -> float:
        self._send(end=True)
        until_s = time.monotonic() + 2 * END_S
        while self._end_s is None and not self._lost and time.monotonic() < until_s:
            time.sleep(0.01)
        return time.monotonic() if self._end_s is None else self.offsets().here_s(self._end_s)

    def offsets(self) -> Offsets:
        """The leader's clock, as far as it is known by now."""
        return offsets_of(self._trips)

    def told(self) -> dict[str, Any]:
        offsets = self.offsets()
        clock = np.stack([offsets.at_s, offsets.offset_s, offsets.error_s], -1)
        return {
            "id": self.id, "host": self.host, "leader": False, "clock": clock.round(7).tolist(),
            "error_s": float(offsets.error_s.max()),
        }  # fmt: skip

    def _send(self, **message: Any) -> None:
        with suppress(LinkLost):  # Who listens notes it.
            self._link.send(**message)

    def _ping(self) -> None:
        while not self._closed and not self._lost:
            self._answered.clear()
            self._send(ping=time.monotonic())
            self._answered.wait(PING_S)
            time.sleep(FIRST_S if self._measurements < FIRST_TRIPS else PING_S)

    def _listen(self) -> None:
        try:
            while True:
                self._hear(self._link.receive())
        except LinkLost as error:
            if self._closed:
                return
            self._lost = True
            why = f"the connection to the leader {self._leader} was lost ({error})"
            if self._start_s is None:
                self._failed = self._failed or f"{why}. Start all again."
                self._stop.set()
            else:
                self.notes.append(f"{why}; the recording goes on until it is ended here")

    def _hear(self, message: dict[str, Any]) -> None:
        now_s = time.monotonic()
        if "pong" in message:
            self._trips = quickest([*self._trips, RoundTrip(message["pong"], now_s, message["there_s"])])
            self._measurements += 1
            self._answered.set()
            if self._measurements >= FIRST_TRIPS:
                self._measured.set()
        elif "start_s" in message:
            self._start_s = message["start_s"]
        elif "failed" in message:
            self._failed = str(message["failed"])
            self._stop.set()
        elif "end_s" in message:
            self._end_s = message["end_s"]
            self._stop.set()


def _parsed(address: str) -> tuple[str, tuple[str, int]]:
    """Token, host and port."""
    token, _, place = address.rpartition("@")
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise RecordingError(
            "--join: expected TOKEN@HOST:PORT as the leader printed it, or HOST:PORT on loopback. Correct it."
        )
    return token or os.environ.get(TOKEN, ""), (host.strip("[]"), int(port))
