"""The process in which one format's reader gets its inputs: limits of time and memory, findings, reached lines.

Memory is limited to `MEMORY_BYTES` beyond what the process has at the start, time to `LIMIT_S` of processor time. Every
`TRACED`th input is traced; one that reaches new lines of the reader becomes another start for mutations.
"""

from __future__ import annotations

import inspect
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from random import Random
from types import CodeType, FrameType, ModuleType
from typing import Any

from _fuzzing_format import Format
from _fuzzing_mutations import Files, havoc, in_a_file

import handpipe
from handpipe.core.errors import HandpipeError, sentence

MEMORY_BYTES = 1 << 30
LIMIT_S = 5.0
TRACED = 20
STARTS = 200
"""Inputs that mutations start from, at most."""

WRITERS = re.compile(r"_?(write|format|fill|save|losses|entry|loses)|<lambda>")
"""Functions that are not part of a reader: they write, or describe."""

Place = tuple[str, int]
"""A line of a module of handpipe."""


class TooSlowError(BaseException):
    """Raised in a reader that takes too long; nothing there may catch it."""


@dataclass
class Tally:
    """What came of a format's inputs."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    peak_bytes: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    """Number of inputs by what went wrong and where."""
    reached: set[Place] = field(default_factory=set)
    lines: int = 0
    """Of the reader."""


@dataclass(frozen=True)
class Finding:
    """The first input with which something went wrong."""

    what: str
    number: int
    files: Files
    text: str
    """The traceback."""


Tell = Callable[[Tally, Finding | None], None]


def fuzz(each: Format, seeds: Sequence[Files], first: int, count: int, seed: int, folder: Path, tell: Tell) -> None:
    """Give a reader its inputs, from number `first` on; the first ones are the valid files themselves.

    Args:
        each: the format.
        seeds: valid files.
        first: number of the first input; others of the same numbers and seed are the same.
        count: number to end at.
        seed: of all random numbers.
        folder: in memory; the input that is read stands there, also if this process dies of it.
        tell: called now and then with the tally so far, and with each new kind of finding.
    """
    reader = _Reader(each, folder)
    for files in seeds:  # Imports and caches: what they take is not the input's.
        reader.put(files)
        with suppress(Exception):  # What is wrong with them is found below.
            reader.try_it()
    reader.begin()
    starts = [dict(files) for files in seeds]
    for number in range(first, count):
        rng = Random(f"{seed} {each.name} {number}")
        files = dict(seeds[number]) if number < len(seeds) else _mutated(rng, each, starts)
        reader.put(files)
        new, found = reader.read(traced=number % TRACED == 0 or number < len(seeds))
        if new and len(starts) < STARTS and sum(map(len, files.values())) < 2 * sum(map(len, seeds[0].values())) + 4096:
            starts.append(files)
        if found is not None or number % 100 == 0:
            tell(reader.tally, None if found is None else Finding(found[0], number, files, found[1]))
    tell(reader.tally, None)


def _mutated(rng: Random, each: Format, starts: Sequence[Files]) -> Files:
    files = rng.choice(starts)
    for _ in range(rng.choice((1, 1, 1, 2))):
        other = rng.choice(starts)
        try:
            files = rng.choice(each.mutators)(rng, files, other)
        except Exception:  # noqa: BLE001
            # Changes of what a file holds need a file that can be read, which an earlier change may have broken.
            files = in_a_file(havoc)(rng, files, other)
        files = files or dict(other)
    return dict(files)


class _Reader:
    """A format's reader, watched."""

    def __init__(self, each: Format, folder: Path) -> None:
        self.format, self.folder, self.tally = each, folder, Tally()
        self.there: Files = {}
        self.said: list[str] = []
        self.lines = {place for name in each.modules for place in lines_of(import_module(f"handpipe.{name}"))}
        self.files = {file for file, _ in self.lines}
        self.tally.lines = len(self.lines)

    def put(self, files: Files) -> None:
        """Make the folder hold these files and no others."""
        if self.format.writes:
            self.there = {}
            for path in sorted(self.folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for name in self.there.keys() - files.keys():
            (self.folder / name).unlink()
        for name, content in files.items():
            if self.there.get(name) != content:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self.there = dict(files)

    def begin(self) -> None:
        """Set the limits."""
        warnings.showwarning = lambda message, category, file, line, *rest: self.said.append(
            f"{category.__name__} in {_inside(file)}:{line}"
        )
        warnings.simplefilter("always")
        signal.signal(signal.SIGPROF, self._stop)
        self.base_bytes = _memory(1)
        most = _memory(0) + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        Path("/proc/self/clear_refs").write_text("5")  # The highest memory so far is forgotten.

    def _stop(self, number: int, frame: FrameType | None) -> None:
        raise TooSlowError

    def try_it(self) -> None:
        self.format.read(self.folder)

    def read(self, traced: bool) -> tuple[bool, tuple[str, str] | None]:
        """Read what is in the folder; returns whether new lines were reached, and what went wrong."""
        known, found = len(self.tally.reached), None
        self.said.clear()
        start_s = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        try:
            if traced:
                sys.settrace(self._enter)
            self.try_it()
            self.tally.accepted += 1
        except HandpipeError:
            self.tally.refused += 1
        except TooSlowError as error:
            found = _told(f"over {LIMIT_S:g} s", error)
        except MemoryError as error:
            found = _told("over 1 GiB (MemoryError)", error)
        except (Exception, SystemExit) as error:  # noqa: BLE001
            if isinstance(error, SystemExit) or sentence(error) is None:
                found = _told(type(error).__name__, error)
            else:
                self.tally.refused += 1
        finally:
            sys.settrace(None)
            signal.setitimer(signal.ITIMER_PROF, 0)
        if found is None and self.said:
            found = self.said[0], ""
        self._count(time.process_time() - start_s, found)
        return len(self.tally.reached) > known, found

    def _count(self, taken_s: float, found: tuple[str, str] | None) -> None:
        tally = self.tally
        tally.inputs += 1
        tally.slowest_s = max(tally.slowest_s, taken_s)
        if tally.inputs % 20 == 1 or taken_s > 0.1:
            tally.peak_bytes = max(0, _highest() - self.base_bytes)
        if found is not None:
            tally.findings[found[0]] = tally.findings.get(found[0], 0) + 1

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename in self.files else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and place in self.lines:
            self.tally.reached.add(place)
        return self._line


def _told(what: str, error: BaseException) -> tuple[str, str]:
    """What went wrong and where in handpipe, and the traceback."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if _inside(each.filename) != each.filename]
    own = [each for each in frames if not _inside(each.filename).startswith("benchmarks/")] or frames
    where = f"{_inside(own[-1].filename)}:{own[-1].lineno}" if own else "nowhere"
    return f"{what} in {where}", "".join(traceback.format_exception(error, limit=-12))


def _inside(file: str) -> str:
    """The path of a module of handpipe below its root; that of another as it is."""
    root = Path(handpipe.__file__ or "").parent
    return file.removeprefix(f"{root}/").removeprefix(f"{root.resolve()}/")


def _memory(column: int) -> int:
    """Bytes of address space (0) or of memory (1) that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[column]) * resource.getpagesize()


def _highest() -> int:
    """Most bytes of memory that this process had since the limits were set."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024  # pyright: ignore[reportOptionalSubscript]


def lines_of(module: ModuleType) -> Iterator[Place]:
    """The lines of a module's functions, without those that write."""
    file = module.__file__ or ""
    yield from ((file, line) for line in _lines(compile(inspect.getsource(module), file, "exec")))


def _lines(code: CodeType) -> Iterator[int]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and not WRITERS.match(inner.co_name):
            if inner.co_flags & inspect.CO_OPTIMIZED:
                yield from {line for _, _, line in inner.co_lines() if line not in (None, inner.co_firstlineno)}  # type: ignore[misc]
            yield from _lines(inner)
