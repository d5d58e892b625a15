"""`handpipe run` on several sessions: one after another on one cluster, each with its own result, fault and verdict."""

# Ring 2: reads and writes.

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..core.cluster.cluster import Cluster
from ..core.engine import Progress
from ..core.errors import sentence
from ..core.settings import EngineSettings
from ..screen import STYLE, Screen, duration
from ..settings import Config, session_folder

Word = Literal["waiting", "running", "done", "up to date", "failed", "not run"]

COLOUR = {"done": "green", "up to date": "green", "failed": "red", "running": "cyan"}

SHOWN = 12
"""Lines of the table while it runs; a terminal has room for these and the bar of a stage."""


@dataclass
class State:
    """One session of the list."""

    session: str
    word: Word = "waiting"
    reason: str = ""
    """Why it failed, for people."""
    figures: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0

    @property
    def verdict(self) -> str:
        return self.figures.get("quality", {}).get("verdict", "")

    @property
    def time(self) -> str:
        if not self.started:
            return ""
        return duration((self.ended or time.monotonic()) - self.started)

    def line(self) -> str:
        """Why it has no result."""
        return f"{self.word}: {self.session}: {self.reason.removeprefix(f'{self.session}: ')}"

    def as_figures(self) -> dict[str, Any]:
        """For `--json`: what one session's run gives, and its state."""
        error = {"error": self.reason} if self.reason else {}
        return {"session": self.session, **self.figures, "state": self.word, **error}


class Named:
    """A screen on which every line says which session it is about."""

    def __init__(self, screen: Screen, name: str) -> None:
        self._screen, self._name = screen, name
        self.start, self.advance, self.stop = screen.start, screen.advance, screen.stop

    def say(self, text: str) -> None:
        word = "warning: " if text.startswith("warning: ") else ""
        self._screen.say(f"{word}{self._name}: {text.removeprefix(word)}")


def distinct(config: Config, sessions: Sequence[str]) -> list[str]:
    """The sessions, each folder once."""
    found: dict[Path, str] = {}
    for name in sessions:
        found.setdefault(session_folder(config, name).resolve(), name)
    return list(found.values())


class Jobs:
    """A list of sessions to run."""

    def __init__(
        self,
        sessions: Sequence[str],
        settings: Callable[[str], Config],
        compute: Callable[[str, Config, Progress, Cluster], dict[str, Any]],
        screen: Screen,
    ) -> None:
        """Jobs for sessions.

        Args:
            sessions: folders or names.
            settings: the settings for one of them.
            compute: runs one of them and gives its figures.
            screen: for people.
        """
        self.states = [State(name) for name in sessions]
        self._settings, self._compute, self._screen = settings, compute, screen

    def run(self, engine: EngineSettings) -> dict[str, Any]:
        """Run all of them; what goes wrong with one is kept in its state.

        Args:
            engine: the cluster for all of them.

        Raises:
            Exception: a fault of the code, after the others are done.
        """
        faults = []
        self._screen.above = lambda: self.table(SHOWN)
        try:
            with Cluster(engine) as cluster:
                for number, state in enumerate(self.states, start=1):
                    if cluster.lost:
                        state.word, state.reason = "not run", "the cluster was lost"
                        continue
                    self._screen.say(f"{state.session}: {number} of {len(self.states)}")
                    faults += self._one(state, cluster)
        finally:
            self._screen.above = None
            self._conclude()
        if faults:
            raise faults[0]
        return {"sessions": [state.as_figures() for state in self.states]}

    def _one(self, state: State, cluster: Cluster) -> Iterator[Exception]:
        """Run one; yields a fault of the code, which is raised when all are done."""
        state.word, state.started = "running", time.monotonic()
        try:
            progress = Named(self._screen, state.session)
            state.figures = self._compute(state.session, self._settings(state.session), progress, cluster)
            state.word = "done" if state.figures["computed"] else "up to date"
        except Exception as error:  # noqa: BLE001, one session's fault, even of the code, stops no other
            found = sentence(error)
            state.word, state.reason = "failed", found or f"{type(error).__name__}: {error}"
            self._screen.say(state.line())
            if found is None:
                yield error
        finally:
            state.ended = time.monotonic()
            if state.word == "running":  # Ctrl-C.
                state.word = "not run"

    def _conclude(self) -> None:
        for state in self.states:
            if state.word == "waiting":
                state.word = "not run"
        self._screen.console.print(self.table(len(self.states)))
        for state in self.states:
            for check in state.figures.get("quality", {}).get("checks", []):
                if check["severity"] == "error":
                    self._screen.say(f"not usable: {state.session}: {check['reason']} {check['remedy']}")
            if state.reason:
                self._screen.say(state.line())

    def table(self, rows: int) -> RenderableType:
        """The states; with fewer rows than sessions, those around the one that runs, and how many there are of each."""
        counts: dict[str, int] = {}
        for state in self.states:
            counts[state.word] = counts.get(state.word, 0) + 1
        title = ", ".join(f"{count} {word}" for word, count in counts.items())
        table = Table(show_header=False)
        at = next((i for i, state in enumerate(self.states) if state.word == "running"), 0)
        first = max(0, min(at - rows // 2, len(self.states) - rows))
        for state in self.states[first : first + rows]:
            table.add_row(
                Text(state.session),
                Text(state.word, style=COLOUR.get(state.word, "")),
                Text(state.verdict, style=STYLE.get(state.verdict, "")),
                state.time,
            )
        return Group(Text(f"{len(self.states)} sessions: {title}"), table)
