"""Terminal output: progress bars, messages, findings, and the table of a run. All on standard error.

On a terminal a stage is a bar, and one line with its time when it is done. In a log file it is one line, and one every
30 seconds while it runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task
from rich.table import Column, Table
from rich.text import Text

from .core.quality import Check, Severity, Verdict, verdict

LOG_EVERY_S = 30.0
"""Seconds between two progress lines if there is no terminal."""
NAME_WIDTH = 14
"""Columns stay where they are from stage to stage."""
SAME_FINDINGS = 3
"""Views that are listed in full when many have the same finding."""

STYLE: Mapping[str, str] = {
    "ok": "green",
    "warning": "yellow",
    "error": "red",
    "good": "green",
    "usable with warnings": "yellow",
    "not usable": "red",
}
"""Colours only repeat what a word says."""


@dataclass(frozen=True)
class Row:
    """One figure of a run."""

    name: str
    value: str
    severity: Severity | Verdict | None = None
    """None where there is no limit."""


def duration(seconds: float) -> str:
    """`0.8 s`, `12 s`, `3:05 min`, `1:02:33 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02} h"


@dataclass
class _Stage:
    """A stage that runs, or has run."""

    name: str
    total: int
    before: int
    """Done by an earlier run."""
    noun: str
    done: int
    started: float
    ended: float | None = None

    @property
    def elapsed_s(self) -> float:
        return (self.ended or time.monotonic()) - self.started

    @property
    def complete(self) -> bool:
        return self.done >= self.total

    @property
    def rate(self) -> float | None:
        """Per second; None where there is nothing to count: what is one piece has no rate."""
        new = self.done - self.before
        return new / self.elapsed_s if new > 0 and self.total > 1 and self.elapsed_s > 0.05 else None

    def count(self) -> str:
        return f"{self.done}/{self.total} {self.noun}" if self.total > 1 else ""

    def speed(self) -> str:
        return "" if self.rate is None else f"{self.rate:.1f} {self.noun}/s"

    def time(self) -> str:
        """How long it took; while it runs, how long it has run, and how long it still takes as far as known."""
        text = duration(self.elapsed_s)
        if self.ended is not None:
            return text if self.complete else f"stopped after {text}"
        left = "" if self.rate is None else f", {duration((self.total - self.done) / self.rate)} left"
        return f"{text}{left}"

    def line(self) -> str:
        parts = [part for part in (self.count(), self.speed(), self.time()) if part]
        return f"{self.name:<{NAME_WIDTH}} {', '.join(parts)}"


class _MarkColumn(SpinnerColumn):
    """A spinner while the stage runs, then whether it is complete."""

    def render(self, task: Task) -> Any:
        stage: _Stage = task.fields["stage"]
        if stage.ended is None:
            return super().render(task)
        return Text("✓", style="green") if stage.complete else Text("✗", style="red")


class _StageColumn(ProgressColumn):
    """One thing that a stage says of itself."""

    max_refresh = 0.5

    def __init__(self, part: str, width: int, style: str = "") -> None:
        super().__init__(Column(no_wrap=True, min_width=width))
        self.part, self.style = part, style

    def render(self, task: Task) -> Text:
        value = getattr(task.fields["stage"], self.part)
        return Text(value if isinstance(value, str) else value(), style=self.style)


class _Bars(Progress):
    """The bar of a stage, below what stands above it."""

    above: Callable[[], RenderableType] | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.above is not None:
            yield self.above()
        yield from super().get_renderables()


class Screen:
    """The engine's progress on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.above: Callable[[], RenderableType] | None = None
        """What a terminal shows above the bar of a stage. If there is any, finished stages are not kept."""
        self._bar: _Bars | None = None
        self._task: Any = None
        self._stage: _Stage | None = None
        self._printed = 0.0

    def start(self, stage: str, total: int, done: int, noun: str) -> None:
        self._printed = time.monotonic()
        self._stage = _Stage(stage, total, done, noun, done, self._printed)
        if self.console.is_terminal:
            self._bar = _Bars(
                _MarkColumn(),
                _StageColumn("name", NAME_WIDTH),
                BarColumn(bar_width=20 if self.console.width >= 100 else 8),
                _StageColumn("count", 16),
                _StageColumn("speed", 14, "cyan"),
                _StageColumn("time", 8),
                console=self.console,
                transient=self.above is not None,
            )
            self._bar.above = self.above
            self._task = self._bar.add_task(stage, total=total, completed=done, stage=self._stage)
            self._bar.start()

    def advance(self, amount: int) -> None:
        stage = self._stage
        if stage is None:
            return
        stage.done += amount
        if self._bar is not None:
            self._bar.advance(self._task, amount)
        elif not stage.complete and time.monotonic() - self._printed > LOG_EVERY_S:
            # A log file cannot show a progress bar: print a line at intervals.
            self._printed = time.monotonic()
            self._print(stage.line())

    def stop(self) -> None:
        if self._stage is None:
            return
        self._stage.ended = time.monotonic()
        if self._bar is not None:
            self._bar.stop()
        else:
            self._print(self._stage.line())
        self._bar = self._stage = None

    def say(self, text: str) -> None:
        self._print(text, "yellow" if text.startswith("warning") else None)

    def _print(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, soft_wrap=True)

    def table(self, title: str, groups: Mapping[str, Sequence[Row]]) -> None:
        """The figures of a run, group by group; what is outside its limit says so."""
        table = Table(title=title, show_header=False, title_justify="left")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, rows in groups.items():
            if name:
                table.add_row(Text(name, style="bold"), "")
            for row in rows:
                style = STYLE.get(row.severity or "", "")
                mark = f"  ({row.severity})" if row.severity in ("warning", "error") else ""
                table.add_row(Text(f"{'  ' * bool(name)}{row.name}"), Text(f"{row.value}{mark}", style=style))
            table.add_section()
        self.console.print(table)

    def findings(self, title: str, checks: Sequence[Check]) -> None:
        """What was checked, with reason and remedy; the verdict last, where one looks."""
        table = Table(title=title, show_header=False, title_justify="left", padding=(0, 1))
        for fixed in (True, True, False):
            table.add_column(no_wrap=fixed, overflow="fold")
        for check, more in _alike(checks):
            text = Text(check.reason)
            if more:
                text.append(f" The same: {', '.join(more)}.")
            if check.remedy:
                text.append(f"\n{check.remedy}", style="bold")
            table.add_row(Text(check.severity, style=STYLE[check.severity]), Text(check.name), text)
        self.console.print(table)
        count = {each: sum(check.severity == each for check in checks) for each in ("error", "warning", "ok")}
        concluded = verdict(checks)
        words = [f"{count[each]} {each}{'s' * (count[each] != 1)}" for each in ("error", "warning")]
        text = f"{concluded}: {', '.join(words)}, {count['ok']} checks passed"
        self._print(text, STYLE[concluded])


def _alike(checks: Iterable[Check]) -> list[tuple[Check, list[str]]]:
    """Findings to show; of many views with the same remedy the first, and the names of the others."""
    groups: dict[tuple[str, str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.severity, check.name, check.remedy if check.view else check.reason), []).append(check)
    shown: list[tuple[Check, list[str]]] = []
    for group in groups.values():
        if len(group) > SAME_FINDINGS:
            shown.append((group[0], [check.view for check in group[1:]]))
        else:
            shown += [(check, []) for check in group]
    return shown
