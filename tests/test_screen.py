"""What a person sees, on a terminal and in a log file."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from handpipe import screen
from handpipe.core.quality import Check
from handpipe.screen import Row, Screen, duration


def shown(total=6, done=2, advances=4, terminal=False, width=100):
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=terminal, color_system=None)
    view = Screen(console)
    view.start("detections", total=total, done=done, noun="images")
    for _ in range(advances):
        view.advance(1)
    view.stop()
    return text.getvalue()


def last_line(text):
    """What stays on a terminal: without the codes that move the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).strip().splitlines()[-1]


def test_a_finished_stage_shows_its_count_and_its_time():
    line = last_line(shown(terminal=True))
    assert line.startswith("✓ detections")
    assert "6/6 images" in line
    assert line.rstrip().endswith(" s")
    assert "-:--" not in line


def test_a_stage_of_one_piece_has_no_count_and_no_rate():
    line = last_line(shown(total=1, done=0, advances=1, terminal=True))
    assert "1/1" not in line
    assert "/s" not in line
    assert line.rstrip().endswith("0.0 s")


def test_a_stage_that_was_stopped_says_so():
    assert "✗ detections" in last_line(shown(advances=1, terminal=True))
    assert "stopped after" in shown(advances=1)


def test_columns_hold_for_long_names_on_a_narrow_terminal():
    text = io.StringIO()
    view = Screen(Console(file=text, width=80, force_terminal=True, color_system=None))
    for name in ("clock", "second_look"):
        view.start(name, total=3000, done=0, noun="images")
        view.advance(3000)
        view.stop()
    lines = [line for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.getvalue()).splitlines() if "✓" in line]
    assert len({line.index("3000/3000 images") for line in lines}) == 1
    assert all(len(line.rstrip()) <= 80 for line in lines)


def test_a_log_file_gets_a_line_for_a_stage_and_one_now_and_then(monkeypatch):
    monkeypatch.setattr(screen, "LOG_EVERY_S", 3600.0)
    assert shown().splitlines() == [last_line(shown())]
    monkeypatch.setattr(screen, "LOG_EVERY_S", -1.0)
    assert len(shown().splitlines()) == 4


def test_remaining_time_is_said_while_a_stage_runs(monkeypatch):
    now = iter([0.0, *[10.0] * 20])
    monkeypatch.setattr(screen, "LOG_EVERY_S", 5.0)
    monkeypatch.setattr(screen.time, "monotonic", lambda: next(now))
    assert "3/6 images, 0.1 images/s, 10 s, 30 s left" in shown()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1:00 min"), (185, "3:05 min"), (3753, "1:02:33 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_brackets_in_a_name_are_not_markup():
    text = io.StringIO()
    Screen(Console(file=text, width=90)).say("warning: [red]c1[/red].mp4")
    assert text.getvalue() == "warning: [red]c1[/red].mp4\n"


def test_a_table_shows_every_row_and_says_what_is_outside_its_limit():
    text = io.StringIO()
    groups = {
        "recording": [Row("frames", "60")],
        "result": [Row("left out", "c3", "warning"), Row("store", "a/[b].zarr")],
    }
    Screen(Console(file=text, width=90)).table("capture-session", groups)
    for part in ("recording", "frames", "60", "c3  (warning)", "a/[b].zarr"):
        assert part in text.getvalue()


def test_findings_of_many_views_take_one_row():
    text = io.StringIO()
    checks = [Check("focus", "warning", view=f"c{n}", reason=f"c{n} is soft.", remedy="Focus it.") for n in range(9)]
    Screen(Console(file=text, width=120)).findings("s", [*checks, Check("clips", "ok", reason="9 clips")])
    lines = text.getvalue()
    assert lines.count("Focus it.") == 1
    assert "c8" in lines
    assert "usable with warnings: 0 errors, 9 warnings, 1 checks passed" in lines
