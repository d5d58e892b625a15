"""The page of a recording: all views and their figures, in a browser, by WebSocket.

It listens on this computer only, unless another address is named; then every request needs the token of the address.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import threading
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..camera import RecordingError

LOOPBACK = ("127.0.0.1", "localhost", "::1")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page:
    """Serves the page while a recording goes on; `update` what it shows. Use with `with`."""

    def __init__(self, host: str, port: int) -> None:
        """Listen.

        Args:
            host: address to listen on.
            port: 0 takes one that is free.

        Raises:
            RecordingError: the address cannot be used.
        """
        self.token = "" if host in LOOPBACK else secrets.token_urlsafe(16)
        self._host = host
        try:
            self._sockets = bind_sockets(port, host)
        except (OSError, OverflowError) as error:
            raise RecordingError(
                f"--page {host}:{port}: expected an address of this computer with a free port, but it cannot be used "
                f"({error}). Name another one."
            ) from error
        self.port: int = self._sockets[0].getsockname()[1]
        self.state: dict[str, Any] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def update(self, **parts: Any) -> None:
        """Replace parts of what is shown: values for JSON."""
        self.state = self.state | parts

    def __enter__(self) -> Page:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        mine = {"token": self.token, "state": lambda: self.state}
        server = HTTPServer(Application([("/", _Html, mine), ("/live", _Live, mine)], log_function=lambda _: None))
        server.add_sockets(self._sockets)
        self._loop.run_forever()
        server.stop()
        self._loop.run_until_complete(server.close_all_connections())
        self._loop.close()


def check_allowed(handler: RequestHandler, token: str) -> None:
    """Raise HTTPError for a request without the token; on loopback, for one that names this computer by another name:
    so a page of another site cannot reach it through a name of its own."""
    if token:
        if not hmac.compare_digest(handler.get_query_argument("token", ""), token):
            raise HTTPError(403)
    elif handler.request.host_name not in LOOPBACK:
        raise HTTPError(403)


class _Html(RequestHandler):
    def initialize(self, token: str, state: Callable[[], dict[str, Any]]) -> None:
        self._token = token

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def get(self) -> None:
        check_allowed(self, self._token)
        self.finish(files(__name__.rpartition(".")[0]).joinpath("page.html").read_text(encoding="utf-8"))


class _Live(WebSocketHandler):
    """Answers each message with the state: a browser that is slow asks less often, and nothing piles up."""

    def initialize(self, token: str, state: Callable[[], dict[str, Any]]) -> None:
        self._token, self._state = token, state

    def prepare(self) -> None:
        check_allowed(self, self._token)

    async def on_message(self, message: str | bytes) -> None:
        try:
            await self.write_message(json.dumps(self._state(), allow_nan=False))
        except WebSocketClosedError:
            self.close()
