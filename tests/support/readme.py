"""What the documentation tells its readers to do, and what it says they will see, taken from its text."""

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


def console_blocks(page: str) -> list[tuple[str, str, str]]:
    """Commands whose output a page shows: the bold title before it, the command, and the output."""
    text = (ROOT / page).read_text()
    found = []
    for block in re.finditer(r"^```console\n\$ ([^\n]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        titles = re.findall(r"^(?:\*\*|#+ )([^*\n]+?)\.?(?:\*\*|$)", text[: block.start()], re.MULTILINE)
        found.append((titles[-1], block[1], block[2]))
    return found


def plain(line: str) -> str:
    """A line of output without the lines of tables, spaces and figures, which differ from machine to machine."""
    return re.sub(r"[\d.]*\d", "#", " ".join(re.sub(r"[┌┬┐├┼┤└┴┘─│]", " ", line).split()))


def not_said(shown: str, said: str) -> list[str]:
    """Lines of the documentation that the command does not say, in their order."""
    rest, missing = [plain(line) for line in said.splitlines()], []
    for line in filter(None, map(plain, shown.splitlines())):
        if line in rest:
            rest = rest[rest.index(line) + 1 :]
        else:
            missing.append(line)
    return missing
