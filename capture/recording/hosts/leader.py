"""The computer that the others join: it checks that all record the same, and says when to start and to end."""

# Ring 2: reads and writes.

from __future__ import annotations

import hmac
import os
import platform
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ..camera import RecordingError
from ..settings import unusable_names
from .link import Link, LinkLost
from .together import END_S, START_S, Terms

LOOPBACK = ("127.0.0.1", "localhost", "::1")

TOKEN = "HANDPIPE_TOKEN"
"""Variable with the token, for who wants the same one for many recordings."""

LOOK_S = 0.05


class Leader:
    """Listens until the other computers have joined. Use with `with`."""

    def __init__(
        self,
        address: tuple[str, int],
        others: int,
        terms: Terms,
        views: Sequence[str],
        duration_s: float | None,
        say: Callable[[str], None],
    ) -> None:
        """Listen.

        Args:
            address: to listen on; port 0 takes one that is free. Other addresses than loopback need the token.
            others: number of computers that will join.
            terms: what all have in common.
            views: this computer's cameras.
            duration_s: length of the recording, which the others take over.
            say: told what happens.

        Raises:
            RecordingError: the address cannot be used.
        """
        host, port = address
        # Not `token_urlsafe`: a value that begins with a dash would be taken for a flag of the command line.
        self.token = "" if host in LOOPBACK else os.environ.get(TOKEN) or secrets.token_hex(16)
        if self.token.startswith("-"):
            raise RecordingError(f"{TOKEN}: expected a token that does not begin with a dash. Use another one.")
        self.notes: list[str] = []
        self.id = secrets.token_hex(8)
        self._others, self._terms, self._say, self._host = others, terms, say, host
        self._duration_s = duration_s
        self._views = {view: platform.node() for view in views}
        self._lock = threading.Lock()
        self._links: dict[str, Link] = {}
        """Of the computers that joined."""
        self._ready: set[str] = set()
        self._problem = ""
        self._start_s: float | None = None
        self._stop = threading.Event()
        self._closed = False
        try:
            self._socket = socket.create_server((host, port), family=_family(host))
        except (OSError, OverflowError) as error:
            raise RecordingError(
                f"--leader {host}:{port}: expected an address of this computer with a free port, but it cannot be used "
                f"({error}). Name another one."
            ) from error
        self.port: int = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """What the others give to --join."""
        host = platform.node() if self._host in ("0.0.0.0", "::") else self._host
        host = f"[{host}]" if ":" in host else host
        return (f"{self.token}@" if self.token else "") + f"{host}:{self.port}"

    def __enter__(self) -> Leader:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, *_: Any) -> None:
        if error is not None and self._start_s is None:
            self.fail(str(error))
        self._closed = True
        with suppress(OSError):  # It wakes who waits in `accept`; not every system allows it.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for link in list(self._links.values()):
            link.close()

    def begin(self, stop: threading.Event) -> float:
        self._stop = stop
        while len(self._ready) < self._others and not self._problem and not stop.wait(LOOK_S):
            pass
        with self._lock:
            if not self._problem and stop.is_set():
                self._problem = f"expected {self._others} computers to join, but it was ended before they had"
            if not self._problem:
                self._start_s = time.monotonic() + START_S
                self._tell(start_s=self._start_s)
                return self._start_s
        self.fail(self._problem)
        raise RecordingError(self._problem)

    def fail(self, why: str) -> None:
        self._tell(failed=why)

    def due_s(self, since_s: float) -> float:
        assert self._start_s is not None
        return self._start_s + since_s

    def end(self) -> float:
        end_s = time.monotonic() + END_S
        self._tell(end_s=end_s)
        return end_s

    def told(self) -> dict[str, Any]:
        """This computer's clock is the one of all."""
        hosts = sorted(set(self._views.values()))
        return {"id": self.id, "host": platform.node(), "leader": True, "hosts": hosts, "clock": [], "error_s": 0.0}

    def _tell(self, **message: Any) -> None:
        for link in list(self._links.values()):
            with suppress(LinkLost):  # Its own thread notes it.
                link.send(**message)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # It was closed, or who came is gone already.
                time.sleep(LOOK_S)
                continue
            threading.Thread(target=self._serve, args=(Link(connection),), daemon=True).start()

    def _serve(self, link: Link) -> None:
        """One computer, from its first word to its last."""
        try:
            who = self._welcome(link, link.receive())
        except LinkLost:
            link.close()
            return
        except RecordingError as error:
            with suppress(LinkLost):
                link.send(failed=str(error))
            link.close()
            return
        try:
            while True:
                self._hear(who, link, link.receive())
        except LinkLost as error:
            if self._closed:
                return
            with self._lock:
                self._ready.discard(who)
                if self._start_s is None:
                    self._problem = self._problem or f"{who}: it joined, but it is gone ({error}). Start all again."
                else:
                    self.notes.append(f"the connection to {who} was lost ({error}); it goes on by itself")

    def _welcome(self, link: Link, hello: dict[str, Any]) -> str:
        """Check a computer that wants to join; returns its name. Raises RecordingError."""
        if not hmac.compare_digest(str(hello.get("token", "")).encode(), self.token.encode()):
            raise RecordingError("--join: expected the token that the leader printed (TOKEN@HOST:PORT). Correct it.")
        who, views = str(hello.get("host"))[:100], hello.get("views")
        if not isinstance(views, list) or not views or any(not isinstance(view, str) for view in views):
            raise RecordingError(f"{who}: expected the names of its cameras, but found none. Update handpipe there.")
        self._terms.check(hello, who)
        with self._lock:
            if self._start_s is not None or len(self._links) >= self._others:
                raise RecordingError(
                    f"{who}: expected to join before all {self._others} others had, but it came later. Raise --others "
                    "on the leader."
                )
            if who in self._links or who == platform.node():
                who = f"{who} ({len(self._links) + 2})"
            for view in views:
                if view in self._views:
                    raise RecordingError(
                        f"cameras.{view}: expected names that no other computer uses, but {self._views[view]} has a "
                        "camera of this name too. Rename one of them."
                    )
            if problem := next(unusable_names(dict.fromkeys([*self._views, *views])), None):
                raise RecordingError(problem)
            self._views |= dict.fromkeys(views, who)
            self._links[who] = link
            link.send(id=self.id, duration_s=self._duration_s, host=who)
        self._say(f"{who} joined with {len(views)} cameras ({len(self._links)} of {self._others})")
        return who

    def _hear(self, who: str, link: Link, message: dict[str, Any]) -> None:
        if "ping" in message:
            link.send(pong=message["ping"], there_s=time.monotonic())
        elif "ready" in message:
            self._ready.add(who)
        elif "failed" in message:
            self._problem = self._problem or f"{who}: {message['failed']}"
        elif "end" in message:
            self._stop.set()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
