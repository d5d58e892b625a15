"""Every command and every Python snippet of the documentation is read by the parser that the user's will be read by."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from paths import ROOT

from handpipe.cli import COMMANDS, find_command, parse
from handpipe.settings import load_config

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

PLACEHOLDER = {"FORMAT": "gltf", "BACK": "bvh"}
"""Words that stand for the name of a format."""


def blocks(page: str, *languages: str) -> list[str]:
    return [text for language, text in BLOCK.findall((ROOT / page).read_text()) if language in languages]


def commands(page: str) -> list[list[str]]:
    """The words after `handpipe` of every command line in the page's shell blocks."""
    found = []
    for block in blocks(page, "bash", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line):
                words = shlex.split(part, comments=True)
                names = [Path(word).name for word in words]
                if "handpipe" in names[:1]:
                    found.append([PLACEHOLDER.get(word, word) for word in words[1:]])
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_are_understood(page):
    config, _ = load_config(None, None)
    for words in commands(page):
        words = words[: next((i for i, word in enumerate(words) if word in (">", "2>")), len(words))]
        if words[-1] == "--help":
            words = words[:-1]
            assert not words or words[0] in COMMANDS
            continue
        name, command, rest = find_command(words)
        parse(name, command, rest, config)  # it exits if it does not understand


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_is_python(page):
    for number, block in enumerate(blocks(page, "python")):
        signature = re.fullmatch(r"[\w.]+(\(.*\) -> [^\n]*)", block.strip(), re.DOTALL)
        if signature is not None:
            block = f"def documented{signature[1]}: ..."
        compile(block, f"{page}, snippet {number}", "exec")


def test_there_are_commands_to_read():
    assert sum(len(commands(page)) for page in PAGES) > 40
