"""Messages between computers that record together: one JSON object a line, of bounded length."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

MAX_LINE = 1 << 16
"""Bytes of a message."""

SILENCE_S = 10.0
"""A computer that says nothing for so long is gone."""


class LinkLost(Exception):
    """The other computer is gone, or does not speak this language."""


class Link:
    """A connection to another computer. Several threads may send; one receives."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(SILENCE_S)
        self._socket, self._lines, self._lock = connection, connection.makefile("rb"), threading.Lock()

    def send(self, **message: Any) -> None:
        """Raises LinkLost."""
        data = json.dumps(message).encode() + b"\n"
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError as error:
            raise LinkLost(str(error)) from error

    def receive(self) -> dict[str, Any]:
        """The next message. Raises LinkLost."""
        try:
            line = self._lines.readline(MAX_LINE)
            if not line.endswith(b"\n"):
                raise LinkLost("it closed the connection" if len(line) < MAX_LINE else "its message is too long")
            found = json.loads(line)
        except TimeoutError as error:
            raise LinkLost(f"it said nothing for {SILENCE_S:g} s") from error
        except (OSError, ValueError, RecursionError) as error:
            raise LinkLost(str(error)) from error
        if not isinstance(found, dict):
            raise LinkLost("it does not speak this language")
        return found

    def close(self) -> None:
        """End the connection; whoever receives gets LinkLost."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # The other one closed it already.
            pass
        finally:
            self._socket.close()
