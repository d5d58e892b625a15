"""What the README tells a newcomer to do, taken from its text."""

from __future__ import annotations

import re

from paths import ROOT


def section(title: str, page: str = "README.md") -> str:
    """The text below a heading of the second level."""
    text = (ROOT / page).read_text()
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no section {title}"
    return found[1]


def shell_lines(text: str) -> list[str]:
    """Every line of the shell blocks that is a command."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def install_line() -> str:
    """The command that installs handpipe."""
    (line,) = (
        line for line in shell_lines(section("Try it")) if " pip install " in f" {line} " or "/pip install " in line
    )
    return line


def quoted(text: str, pattern: str) -> list[str]:
    """What stands in backticks and begins like this."""
    return [found for found in re.findall(r"`([^`\n]+)`", text) if re.match(pattern, found)]
