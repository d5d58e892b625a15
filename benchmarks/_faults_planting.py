"""What every planted fault needs: a command run in this process, and what it said held against what is true."""

from __future__ import annotations

import io
import json
import re
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.random import Generator

from handpipe.cli import main

Remedy = Literal["works", "wrong", "none"]

LIMIT_S = 300
"""A command that takes longer waits for something."""


@dataclass(frozen=True)
class Planted:
    """A fault that was planted, and what became of it."""

    kind: str
    name: str
    detected: bool
    """It was noticed, or put right."""
    right_reason: bool
    """The message names it, or the result is right."""
    remedy: Remedy
    """Whether the result is right after the printed advice was followed; none where it is not followed."""
    said: str
    """What was printed, in one line."""


@dataclass(frozen=True)
class Seen:
    """What became of a fault."""

    detected: bool
    right_reason: bool
    said: str
    remedy: Remedy = "none"


@dataclass(frozen=True)
class Fault:
    """A fault, and how it is planted in an empty folder."""

    kind: str
    name: str
    plant: Callable[[Path, Generator], Seen]


@dataclass(frozen=True)
class Ran:
    """A command that has run."""

    status: int
    """Of a traceback -1."""
    said: str
    """Messages without the table, in one line."""
    figures: dict[str, Any]
    """Of --json."""

    @property
    def complaint(self) -> str:
        """What would alarm a user; empty where nothing does."""
        if self.status:
            return f"status {self.status}: {self.said}"
        return self.said[self.said.index("warning") :] if "warning" in self.said else ""


def handpipe(*argv: object) -> Ran:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            with _limited():
                status = main([str(each) for each in argv])
        except SystemExit as exit:
            status = int(exit.code or 0)
        except Exception:  # noqa: BLE001 - a traceback is what a fault must not end in
            status = -1
            err.write("Traceback: " + traceback.format_exc().strip().splitlines()[-1])
    lines = [line for line in err.getvalue().splitlines() if not re.match(r"\s*[┌│└]|.*━|[⠀-⣿]", line)]
    text = out.getvalue()
    start = text.find("{\n")
    return Ran(status, " ".join(" ".join(lines).split()), json.loads(text[start:]) if start >= 0 else {})


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"still waiting after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def told(ran: Ran, *reasons: str) -> Seen:
    """Whether a command complained, and in words that match all the reasons."""
    matches = all(re.search(reason, ran.said) for reason in reasons)
    detected = ran.status in (2, 3) or (ran.status == 0 and (matches or "warning" in ran.said))
    return Seen(detected, detected and matches, ran.said)


def put_right(ran: Ran, right: bool) -> Seen:
    """The command has to see through the fault: no message is needed."""
    fine = ran.status == 0 and right
    return Seen(fine, fine, ran.said or "(the result is right)")


def followed(seen: Seen, pattern: str, follow: Callable[[re.Match[str]], bool]) -> Seen:
    """Follow the advice that a pattern finds in what was said; `follow` says whether the result is right."""
    advice = re.search(pattern, seen.said)
    remedy: Remedy = "none" if advice is None else "works" if follow(advice) else "wrong"
    return Seen(seen.detected, seen.right_reason, seen.said, remedy)


def plant(fault: Fault, folder: Path, rng: Generator) -> Planted:
    """Plant one fault in a folder that is not there yet."""
    folder.mkdir(parents=True)
    seen = fault.plant(folder, rng)
    said = seen.said.replace(str(folder), "").strip()
    return Planted(fault.kind, fault.name, seen.detected, seen.right_reason, seen.remedy, said[:400])
