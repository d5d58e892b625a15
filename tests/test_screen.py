"""What a person sees, on a terminal and in a log file."""

from __future__ import annotations

import io

from rich.console import Console

from handpipe import screen
from handpipe.screen import Screen


def shown(monkeypatch=None, every_s=None):
    text = io.StringIO()
    if monkeypatch is not None:
        monkeypatch.setattr(screen, "LOG_EVERY_S", every_s)
    view = Screen(Console(file=text, width=90))
    view.start("detections", total=6, done=2, noun="images")
    for _ in range(4):
        view.advance(1)
    view.stop()
    return text.getvalue()


def test_a_finished_bar_has_its_count():
    assert "detections" in shown()
    assert "6/6" in shown()


def test_a_log_file_gets_a_line_now_and_then(monkeypatch):
    assert shown(monkeypatch, 3600.0).count("detections") == 1
    assert shown(monkeypatch, -1.0).count("detections") == 5


def test_brackets_in_a_name_are_not_markup():
    text = io.StringIO()
    Screen(Console(file=text, width=90)).say("warning: [red]c1[/red].mp4")
    assert text.getvalue() == "warning: [red]c1[/red].mp4\n"


def test_a_table_shows_every_row():
    text = io.StringIO()
    Screen(Console(file=text, width=90)).table("capture-session", {"frames": "60", "store": "a/b.zarr"})
    assert "frames" in text.getvalue()
    assert "a/b.zarr" in text.getvalue()
