"""Hostile files: every reader of files from elsewhere is given files that were mutated from valid ones.

    python benchmarks/fuzzing.py [--count 20000] [--seconds S] [--only WORD...] [--seed 0] [--save FOLDER] [--json FILE]

Each format has a process of its own, which is limited in memory and time and started again if it dies. A reader may
accept an input, if what it returns is as its documentation says, or refuse it with handpipe's error, which the command
line prints as one sentence. All else is a finding: other exceptions, warnings, crashes, more than 5 s of processor
time, more than 1 GiB of memory. Inputs are the same for the same seed. Lines are those of the reader's own modules that
every twentieth input reached.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import _fuzzing_cameras
import _fuzzing_models
import _fuzzing_motion
import _fuzzing_points2d
import _fuzzing_sessions
import _fuzzing_stores
from _fuzzing_child import LIMIT_S, MEMORY_BYTES, Finding, Tally, fuzz
from _fuzzing_format import Format
from _fuzzing_mutations import Files
from _report import Figure, report, write
from rich.console import Console
from rich.table import Table

QUIET_S = 60.0
"""A process that says nothing for so long hangs where Python cannot stop it."""

IN_MEMORY = Path("/dev/shm")

GROUPS = (_fuzzing_cameras, _fuzzing_motion, _fuzzing_points2d, _fuzzing_sessions, _fuzzing_models, _fuzzing_stores)

FORK = multiprocessing.get_context("fork")


def formats() -> list[Format]:
    """All of them."""
    return [each for group in GROUPS for each in group.formats()]


def make_all(chosen: Sequence[Format], work: Path) -> dict[str, list[Files]]:
    """Valid files of every format, made in a process of their own: forks of this one must find no threads in it."""
    here, there = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_make, args=(chosen, work, there))
    process.start()
    there.close()
    made = here.recv()
    process.join()
    return made


def _make(chosen: Sequence[Format], work: Path, pipe: Connection) -> None:
    made = {}
    for number, each in enumerate(chosen):
        folder = work / f"made-{number}"
        folder.mkdir()
        made[each.name] = list(each.make(folder))
        shutil.rmtree(folder)
    pipe.send(made)


def run(each: Format, seeds: Sequence[Files], options: argparse.Namespace, work: Path) -> tuple[Tally, list[Finding]]:
    """All inputs of a format."""
    total, findings, end_s = Tally(), [], time.monotonic() + (options.seconds or 1e9)
    while total.inputs < options.count and time.monotonic() < end_s:
        folder = work / "input"
        folder.mkdir()
        here, there = FORK.Pipe(duplex=False)
        arguments = (each, seeds, total.inputs, options.count, options.seed, folder, there)
        process = FORK.Process(target=_child, args=arguments)
        process.start()
        there.close()
        tally, found, how = _listen(process, here, end_s)
        findings += found
        _add(total, tally)
        if how:
            files = {
                path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
            }
            findings.append(Finding(how, total.inputs, files, ""))
            total.findings[how] = total.findings.get(how, 0) + 1
            total.inputs += 1
        shutil.rmtree(folder)
    return total, findings


def _child(
    each: Format, seeds: Sequence[Files], first: int, count: int, seed: int, folder: Path, pipe: Connection
) -> None:
    fuzz(each, seeds, first, count, seed, folder, lambda tally, finding: pipe.send((tally, finding)))


def _listen(process: BaseProcess, pipe: Connection, end_s: float) -> tuple[Tally, list, str]:
    """What a process says until it ends; and how it ended, where that is a finding."""
    tally, findings, how = Tally(), [], ""
    while True:
        if not pipe.poll(QUIET_S):
            how = f"hangs for {QUIET_S:g} s"
            break
        try:
            tally, finding = pipe.recv()
        except EOFError:
            break
        if finding is not None and finding.what not in [each.what for each in findings]:
            findings.append(finding)
        if time.monotonic() > end_s:
            break
    if how or time.monotonic() > end_s:
        process.kill()
    process.join()
    if process.exitcode == 1:
        raise RuntimeError("the fuzzer itself has failed, as its process has told")
    if not how and process.exitcode and time.monotonic() <= end_s:
        how = f"the process ends with {process.exitcode}"
    return tally, findings, how


def _add(total: Tally, part: Tally) -> None:
    total.inputs, total.accepted = total.inputs + part.inputs, total.accepted + part.accepted
    total.refused += part.refused
    total.slowest_s = max(total.slowest_s, part.slowest_s)
    total.peak_bytes = max(total.peak_bytes, part.peak_bytes)
    total.reached |= part.reached
    total.lines = part.lines or total.lines
    for what, count in part.findings.items():
        total.findings[what] = total.findings.get(what, 0) + count


def save(folder: Path, each: Format, findings: Sequence[Finding]) -> None:
    """The inputs of findings, a folder each, with what happened."""
    for finding in findings:
        name = "".join(c if c.isalnum() else "_" for c in f"{each.name} {finding.number}")
        for path, content in finding.files.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / path).write_bytes(content)
        (folder / f"{name}.txt").write_text(f"{finding.what}\n\n{finding.text}")


def show(tallies: dict[str, Tally]) -> None:
    table = Table(title="mutated files", title_justify="left")
    for column in ("format", "inputs", "accepted", "refused", "findings", "slowest", "memory", "lines reached"):
        table.add_column(column, justify="left" if column == "format" else "right")
    for name, tally in tallies.items():
        numbers = [f"{n:,}" for n in (tally.inputs, tally.accepted, tally.refused, sum(tally.findings.values()))]
        share = f"{100 * len(tally.reached) / max(1, tally.lines):.0f} % of {tally.lines}"
        table.add_row(name, *numbers, f"{tally.slowest_s:.2f} s", f"{tally.peak_bytes / 2**20:.0f} MiB", share)
    console = Console(width=130)
    console.print(table)
    for name, tally in tallies.items():
        for what, count in sorted(tally.findings.items(), key=lambda item: -item[1]):
            console.print(f"{name}: {what}, {count} times", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="inputs of each format")
    parser.add_argument("--seconds", type=float, help="stop with a format after this time, whatever its count")
    parser.add_argument("--only", nargs="+", help="formats whose name contains one of these words")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--save", type=Path, help="keep the first input of each kind of finding in this folder")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    os.environ |= {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}  # As the command line has them.
    chosen = [each for each in formats() if not options.only or any(word in each.name for word in options.only)]
    tallies = {}
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as name:
        made = make_all(chosen, Path(name))
        for each in chosen:
            tallies[each.name], findings = run(each, made[each.name], options, Path(name))
            if options.save is not None:
                save(options.save, each, findings)
    show(tallies)
    rows = [
        Figure("inputs", sum(tally.inputs for tally in tallies.values()), ""),
        Figure("formats", len(tallies), ""),
        Figure("fewest inputs of a format", min(tally.inputs for tally in tallies.values()), ""),
        Figure("findings", sum(sum(tally.findings.values()) for tally in tallies.values()), "", 0),
        Figure("slowest input", max(tally.slowest_s for tally in tallies.values()), "s", LIMIT_S),
        Figure("most memory", max(tally.peak_bytes for tally in tallies.values()) / 2**20, "MiB", MEMORY_BYTES / 2**20),
        *(
            Figure(f"{name}: {what}", number, unit)
            for name, tally in tallies.items()
            for what, number, unit in (
                ("inputs", tally.inputs, ""),
                ("accepted", tally.accepted, ""),
                ("refused", tally.refused, ""),
                ("findings", sum(tally.findings.values()), ""),
                ("lines reached", 100 * len(tally.reached) / max(1, tally.lines), "%"),
            )
        ),
    ]
    report("hostile files", rows[:6], None)
    if options.json is not None:
        write("hostile files", rows, options.json)


if __name__ == "__main__":
    main()
