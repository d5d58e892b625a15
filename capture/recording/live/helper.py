"""A process beside a recording that looks at images now and then, at low priority: the recording never waits for it."""

# Ring 2: reads and writes.

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from numpy import ndarray

from ..recorder import Recording

NICENESS = 10

ARRIVE_S = 1.0
"""Images of a moment have this long to arrive; those of other cameras are looked at without them."""

Look = Callable[[Mapping[str, ndarray]], Any]
"""Images by view, of one moment, to what is made of them."""


class Helper:
    """Asks for images, has them looked at, and hands on what was found; one set at a time."""

    def __init__(
        self, recording: Recording, make: Callable[..., Look], arguments: tuple[Any, ...], tell: Callable[[Any], None],
        every_s: float,
    ) -> None:  # fmt: skip
        """Start with `with`.

        Args:
            recording: whose cameras give the images.
            make: a function of a module, called in the process with the arguments; it returns what looks.
            arguments: of `make`; they are pickled.
            tell: called with each result, in a thread of this process.
            every_s: least time from one set to the next, seconds.
        """
        self._recording, self._tell, self._every_s = recording, tell, every_s
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, make, arguments), daemon=True)
        self._theirs = theirs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Helper:
        self._process.start()
        self._theirs.close()
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._process.kill()
        self._thread.join()
        self._process.join()

    def _run(self) -> None:
        # A process that is gone ends the looking; the recording goes on.
        with suppress(EOFError, OSError):
            while not self._stop.is_set():
                begun_s = time.monotonic()
                images = self._images()
                if images:
                    self._ours.send(images)
                    self._tell(self._ours.recv())
                self._stop.wait(max(begun_s + self._every_s - time.monotonic(), 0.0))

    def _images(self) -> dict[str, ndarray]:
        channels = list(self._recording.channels)
        with self._recording.asking:
            self._recording.ask()
            until_s = time.monotonic() + ARRIVE_S
            while time.monotonic() < until_s and not self._stop.is_set():
                if all(channel.sample is not None for channel in channels):
                    break
                self._stop.wait(0.02)
            return {channel.name: channel.sample for channel in channels if channel.sample is not None}


def _work(pipe: Connection, make: Callable[..., Look], arguments: tuple[Any, ...]) -> None:
    """The process. It ends with the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the recording, in order.
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    look = make(*arguments)
    with suppress(EOFError, OSError):
        while True:
            pipe.send(look(pipe.recv()))
