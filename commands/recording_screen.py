"""What a person sees while it is recorded: a table on a terminal, a line every 30 seconds elsewhere."""

# Ring 2: reads and writes.

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..capture.recording.channel import Status
from ..screen import LOG_EVERY_S, Screen, duration


class LiveTable:
    """Called with the state of all cameras, a few times per second."""

    def __init__(self, screen: Screen, title: str) -> None:
        self.screen, self.title = screen, title
        self._started = self._printed = time.monotonic()
        self._live: Live | None = None
        self._guidance: dict[str, Any] = {}

    def __enter__(self) -> LiveTable:
        if self.screen.console.is_terminal:
            self._live = Live(console=self.screen.console, refresh_per_second=4, transient=True)
            self._live.start()
        else:
            self.screen.say(f"{self.title}: recording")
        self._started = self._printed = time.monotonic()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live is not None:
            self._live.stop()

    def guided(self, found: dict[str, Any]) -> None:
        """Guidance while the board is filmed; a bell when a frame added something."""
        before, self._guidance = self._guidance, found
        if self._live is not None:
            if found["adds"]:
                self.screen.console.bell()
        elif found["text"] != before.get("text"):
            self.screen.say(self._advice())

    def _advice(self) -> str:
        found = self._guidance
        words = ["Enough: the calibration would pass." if found["enough"] else "", found["text"], *found["problems"]]
        return " ".join(filter(None, words))

    def __call__(self, cameras: Sequence[Status], free: float) -> None:
        if self._live is not None:
            self._live.update(self._shown(cameras, free))
        elif time.monotonic() - self._printed > LOG_EVERY_S:
            self._printed = time.monotonic()
            self.screen.say(self._line(cameras, free))

    def _line(self, cameras: Sequence[Status], free: float) -> str:
        rates = [each.rate for each in cameras]
        away = sum(each.state != "recording" for each in cameras)
        return (
            f"{duration(time.monotonic() - self._started)}: {len(cameras)} cameras, {min(rates):.1f} to "
            f"{max(rates):.1f} fps, {sum(each.frames for each in cameras)} frames, "
            f"{sum(each.missing for each in cameras)} missing, queues at most "
            f"{max(each.queue / each.capacity for each in cameras):.0%} full, {free / 1e9:.1f} GB free"
            + (f", {away} not recording" if away else "")
        )

    def _shown(self, cameras: Sequence[Status], free: float) -> RenderableType:
        table = self._table(cameras, free)
        if not self._guidance:
            return table
        style = "bold green" if self._guidance["enough"] else "bold"
        return Group(Text(self._advice(), style=style), Text(self._guidance["facts"]), table)

    def _table(self, cameras: Sequence[Status], free: float) -> Table:
        seconds = time.monotonic() - self._started
        written = sum(each.bytes for each in cameras) / max(seconds, 1.0)
        left = f", room for {duration(free / written)}" if written > 0 and seconds > 3 else ""
        table = Table(
            title=f"{self.title}: {duration(seconds)}, {free / 1e9:.1f} GB free{left}; q and Enter ends",
            title_justify="left",
        )
        coverage = self._guidance.get("coverage")
        for name in ("camera", "fps", "frames", "missing", "queue", "MB", *(["image covered"] if coverage else []), ""):
            table.add_column(name, justify="left" if name in ("camera", "") else "right", no_wrap=True)
        room = max(self.screen.console.height - (9 if coverage else 6), 3)
        # Where not all fit, those with trouble are shown first.
        order = sorted(cameras, key=lambda each: (each.state == "recording", -each.missing))
        for each in cameras if len(cameras) <= room else order[:room]:
            table.add_row(
                each.name,
                f"{each.rate:.1f}",
                str(each.frames),
                Text(str(each.missing), style="yellow" if each.missing else ""),
                Text(f"{each.queue}/{each.capacity}", style="yellow" if 2 * each.queue > each.capacity else ""),
                f"{each.bytes / 1e6:.1f}",
                *(
                    [f"{coverage[each.name]:.0%}" + (" now" if each.name in self._guidance["seen"] else "")]
                    if coverage
                    else []
                ),
                Text(each.state, style="" if each.state == "recording" else "yellow"),
            )
        if len(cameras) > room:
            table.add_row(f"and {len(cameras) - room} more", *[""] * (len(table.columns) - 1))
        return table
