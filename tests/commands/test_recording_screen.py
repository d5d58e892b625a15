"""What is shown while it is recorded."""

from __future__ import annotations

import io

from rich.console import Console

from handpipe.capture.recording.channel import Status
from handpipe.commands import recording_screen
from handpipe.commands.recording_screen import LiveTable
from handpipe.screen import Screen


def cameras(count, missing=3):
    good = [Status(f"c{n}", 100, 0, 29.97, 1, 40, 5_000_000, "recording") for n in range(count - 1)]
    return [*good, Status("bad", 60, missing, 12.0, 30, 40, 3_000_000, "disconnected")]


def test_a_terminal_shows_a_table_with_trouble_first():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100, height=20)
    with LiveTable(Screen(console), "day/take-001") as table:
        table(cameras(50), 8e9)
        table._live.refresh()  # type: ignore[union-attr]
    shown = text.getvalue()
    assert "day/take-001" in shown
    assert "8.0 GB free" in shown
    assert shown.index("bad") < shown.index("c0")
    assert "and 36 more" in shown
    assert "disconnected" in shown


def test_elsewhere_it_is_a_line_now_and_then(monkeypatch):
    text = io.StringIO()
    with LiveTable(Screen(Console(file=text, width=100)), "day/take-001") as table:
        table(cameras(3), 8e9)
        monkeypatch.setattr(recording_screen, "LOG_EVERY_S", -1.0)
        table(cameras(3), 8e9)
    first, second = text.getvalue().splitlines()
    assert first == "day/take-001: recording"
    assert second.endswith(
        "3 cameras, 12.0 to 30.0 fps, 260 frames, 3 missing, queues at most 75% full, 8.0 GB free, 1 not recording"
    )
