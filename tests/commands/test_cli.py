"""The command line: help of a bearable size, the version, and words that are mistyped."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from every_command import every_command

from handpipe import __version__
from handpipe.cli import COMMANDS, main

LINES = 80
"""Two screens."""


def help_of(words: list[str], capsys, monkeypatch, columns: int = 100) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_without_a_command_the_help_is_shown(capsys, monkeypatch):
    text = help_of([], capsys, monkeypatch)
    assert text == help_of(["--help"], capsys, monkeypatch) == help_of(["-h"], capsys, monkeypatch)
    for name, entry in COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, entry.summary] for line in text.splitlines()), name
    assert len(text.splitlines()) <= 40


def test_a_group_lists_its_commands(capsys, monkeypatch):
    for group in ("import", "export"):
        text = help_of([group], capsys, monkeypatch)
        assert text == help_of([group, "--help"], capsys, monkeypatch)
        names = [name.split()[1] for name, _ in every_command() if name.startswith(f"{group} ")]
        assert [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2] != " "] == names


@pytest.mark.parametrize("name", [name for name, _ in every_command()])
def test_the_help_of_a_command_fits_on_two_screens(name, capsys, monkeypatch):
    text = help_of([*name.split(), "--help"], capsys, monkeypatch, columns=80)
    assert len(text.splitlines()) <= LINES
    everything = help_of([*name.split(), "--help-all"], capsys, monkeypatch)
    shown, all_shown = (set(re.findall(r"(?m)^\W+(--[a-z][\w.-]*)", each)) for each in (text, everything))
    assert shown <= all_shown


def test_rare_options_are_in_help_all_only(capsys, monkeypatch):
    assert "--fitting.robust-scale" not in help_of(["run", "--help"], capsys, monkeypatch)
    assert "--fitting.robust-scale" in help_of(["run", "--help-all"], capsys, monkeypatch)
    assert "--training.steps" not in help_of(["run", "--help-all"], capsys, monkeypatch)


@pytest.mark.parametrize("start", [["-m", "handpipe"], ["-m", "handpipe.cli"]], ids=" ".join)
def test_the_version(start):
    out = subprocess.run([sys.executable, *start, "--version"], check=True, capture_output=True, text=True)
    assert out.stdout == f"handpipe {__version__}\n"


def test_help_waits_for_no_library():
    """Who asks for help waits for no array library, nor for the parser of flags."""
    code = (
        "import sys, handpipe.cli\n"
        "try: handpipe.cli.main(['--help'])\n"
        "except SystemExit: print([name for name in ('numpy', 'scipy', 'zarr', 'pydantic') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=dict(os.environ))
    assert out.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["triangluate", "x"], "Did you mean `handpipe triangulate`? "),
        (["import", "keypoint"], "Did you mean `handpipe import keypoints`? "),
        (["qqqq"], ""),
        (["--workers", "3"], ""),
    ],
    ids=str,
)
def test_a_mistyped_command(words, advice, capsys):
    assert main(words) == 2
    word, prog = words[-1 if words[0] == "import" else 0], "handpipe import" if words[0] == "import" else "handpipe"
    assert (
        capsys.readouterr().err
        == f"handpipe: {word}: expected a command. {advice}`{prog} --help` lists the commands.\n"
    )


def test_a_mistyped_flag(capsys, monkeypatch):
    """Flags that only `--help-all` shows are suggested too."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        main(["run", "x", "--fitting.robust-scal", "3"])
    assert ended.value.code == 2
    assert "--fitting.robust-scale" in capsys.readouterr().err
