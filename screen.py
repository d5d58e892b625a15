"""Terminal output: progress bars with rate and remaining time, messages, and the final table. All on standard error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

LOG_EVERY_S = 30.0
"""Seconds between two progress lines if there is no terminal."""


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {task.fields['noun']}/s", style="progress.data.speed")


class Screen:
    """The engine's progress on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: Any = None
        self._printed = 0.0

    def start(self, stage: str, total: int, done: int, noun: str) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            _RateColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
        )
        self._bar.start()
        self._printed = time.monotonic()
        self._task = self._bar.add_task(stage, total=total, completed=done, noun=noun)

    def advance(self, amount: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, amount)
            if not self.console.is_terminal and time.monotonic() - self._printed > LOG_EVERY_S:
                # A log file cannot show a progress bar: print a line at intervals.
                self._printed = time.monotonic()
                self.console.print(self._bar.get_renderable())

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, text: str) -> None:
        self.console.print(text, style="yellow" if text.startswith("warning") else None, markup=False, soft_wrap=True)

    def table(self, title: str, rows: Mapping[str, str]) -> None:
        """The figures of a run."""
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in rows.items():
            table.add_row(name, value)
        self.console.print(table)
