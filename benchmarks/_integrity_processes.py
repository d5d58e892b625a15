"""Runs that are killed, stopped, kept from their disk or from their clock, and runs beside each other."""

from __future__ import annotations

import builtins
import errno
import fcntl
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from _integrity_runs import OPTIONS, Child, Outcome, Sessions, bad_end, command, files_of, last_line, until

Fault = Callable[[Sessions, str, random.Random], tuple[Outcome, str]]
"""Takes a name for its folder; returns how it ended, in words where it is not well."""


def begun(
    sessions: Sessions, name: str, rng: random.Random, patch: Callable[[], object] | None = None
) -> tuple[Path, Child]:
    """A run on its way, at a random moment between its first and its last file."""
    state: Literal["filmed", "detected"] = "filmed" if rng.random() < 0.2 else "detected"
    session = sessions.copy(name, state)
    store = session / "session.zarr"
    at = rng.randrange(files_of(store), files_of(sessions.computed / "session.zarr"))
    child = command(["run", session, *OPTIONS], session.parent / "run.txt", patch)
    until(child, lambda: files_of(store) > at)
    return session, child


def ended(child: Child, fine: tuple[int, ...]) -> tuple[Outcome, str] | None:
    """What is wrong with how a disturbed run ended, if anything."""
    bad = bad_end(child.wait(), child.text, fine)
    return None if bad is None else (bad, child.text[-6000:])


def by_signal(number: signal.Signals, status: int) -> Fault:
    """Send a signal to a run."""

    def fault(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
        session, child = begun(sessions, name, rng)
        child.send(number)
        return ended(child, (status, 0)) or sessions.judge(session)

    return fault


def stopped(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
    """Stand still for two seconds and go on."""
    session, child = begun(sessions, name, rng)
    child.send(signal.SIGSTOP)
    time.sleep(2)
    child.send(signal.SIGCONT)
    return ended(child, (0,)) or sessions.judge(session)


def patched(make: Callable[[random.Random], Callable[[], object]], fine: tuple[int, ...] = (0,)) -> Fault:
    """Run to the end with something patched."""

    def fault(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
        session = sessions.copy(name, "filmed" if rng.random() < 0.2 else "detected")
        child = command(["run", session, *OPTIONS], session.parent / "run.txt", make(rng))
        return ended(child, fine) or sessions.judge(session)

    return fault


def clock(step_s: float) -> Callable[[random.Random], Callable[[], object]]:
    """The clock is set, back and forth, while it is read."""

    def make(rng: random.Random) -> Callable[[], object]:
        def patch() -> None:
            true, true_ns, seeded = time.time, time.time_ns, random.Random(rng.random())
            time.time = lambda: true() + step_s * seeded.choice((0, 1))
            time.time_ns = lambda: true_ns() + int(step_s * 1e9) * seeded.choice((0, 1))

        return patch

    return make


def broken_disk(number: int, mode: str) -> Callable[[random.Random], Callable[[], object]]:
    """From some moment on, opening files of the store fails: to write (`w`) or to read (`r`)."""

    def make(rng: random.Random) -> Callable[[], object]:
        after = rng.randrange(20, 400)

        def patch() -> None:
            true, count = builtins.open, [0]

            def opened(file: Any, how: str = "r", *args: Any, **kwargs: Any) -> Any:
                if "session.zarr" in str(file) and (mode == "w") == any(c in how for c in "wax+"):
                    count[0] += 1
                    if count[0] > after:
                        raise OSError(number, os.strerror(number), str(file))
                return true(file, how, *args, **kwargs)

            import io

            builtins.open = io.open = opened

        return patch

    return make


def slow_disk(rng: random.Random) -> Callable[[], object]:
    """Giving a file its name takes up to 0.1 s, and sometimes 5 s."""

    def patch() -> None:
        true, seeded = os.replace, random.Random(0)

        def slowly(*args: Any, **kwargs: Any) -> None:
            time.sleep(5 if seeded.random() < 0.005 else seeded.random() * 0.02)
            true(*args, **kwargs)

        os.replace = slowly

    return patch


def full_disk(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
    """A real file system that is too small; then it is larger."""
    session = sessions.copy(name, "detected")
    store = session / "session.zarr"
    with mounted(session.parent / "disk", f"-t tmpfs -o size={rng.randrange(900, 2400)}k tmpfs") as disk:
        subprocess.run(["cp", "-a", store, disk], check=False, capture_output=True)
        subprocess.run(["rm", "-r", store], check=True)
        store.symlink_to(disk / "session.zarr")
        child = command(["run", session, *OPTIONS], session.parent / "run.txt")
        wrong = ended(child, (0, 2))
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        return wrong or sessions.judge(session)


def read_only(state: Literal["computed", "detected"]) -> Fault:
    """The session is on a file system that is read-only."""

    def fault(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
        session = sessions.copy(name, state)
        with mounted(session, f"--bind -o ro {session}"):
            child = command(["run", session, *OPTIONS], session.parent / "run.txt")
            wrong = ended(child, (0,) if state == "computed" else (2,))
            if wrong is None and state == "computed" and "up to date" not in child.text:
                wrong = "silent", "it does not say `up to date`"
        return wrong or sessions.judge(session)

    return fault


@contextmanager
def mounted(place: Path, arguments: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", *arguments.split(), place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def _refused(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def two_clients(locks: Literal["held", "refused", "without effect"], killed: bool = False) -> Fault:
    """Two runs of one session at once; one of them may be killed."""

    def patch() -> None:
        if locks != "held":
            setattr(fcntl, "flock", _refused if locks == "refused" else lambda *_: None)  # noqa: B010

    def fault(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
        session, first = begun(sessions, name, rng, patch)
        if killed:
            first.kill()
        second = command(["run", session, *OPTIONS], session.parent / "second.txt", patch)
        wrong = ended(second, (0, 2))
        if wrong is None and "another handpipe" not in second.text and not killed and "up to date" not in second.text:
            wrong = "silent", f"the second was let in: {last_line(second.text)}"
        return wrong or (None if killed else ended(first, (0,))) or sessions.judge(session)

    return fault


def at_once(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
    """Two runs that begin together on a session without a store."""
    session = sessions.copy(name, "filmed")
    children = [command(["run", session, *OPTIONS], session.parent / f"run{n}.txt") for n in range(2)]
    found = [ended(child, (0, 2)) for child in children]
    return next((wrong for wrong in found if wrong), None) or sessions.judge(session)


def edited_clip(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
    """A clip changes during the run, and comes back afterwards."""
    session, child = begun(sessions, name, rng)
    clip = sorted((session / "videos").iterdir())[0]
    kept, stat = clip.read_bytes(), clip.stat()
    clip.write_bytes(kept + b"more")
    wrong = ended(child, (0, 2))
    clip.write_bytes(kept)
    os.utime(clip, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return wrong or sessions.judge(session)


def killed_repair(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
    """`verify --repair` of a damaged store is killed."""
    from _integrity_damage import DAMAGE

    session = sessions.copy(name, "computed")
    for _ in range(3):
        DAMAGE[rng.choice(("chunk flipped", "metadata edited", "marks flipped"))](session / "session.zarr", rng)
    child = command(["verify", session, "--repair", *OPTIONS], session.parent / "repair.txt")
    time.sleep(rng.uniform(0.3, 6.0))
    child.kill()
    return sessions.judge(session)


PROCESSES: dict[str, Fault] = {
    "client killed (SIGKILL)": by_signal(signal.SIGKILL, -signal.SIGKILL),
    "client SIGTERM": by_signal(signal.SIGTERM, 1),
    "client SIGINT": by_signal(signal.SIGINT, 1),
    "client stopped, goes on": stopped,
    "repair killed": killed_repair,
    "clock steps an hour": patched(clock(3600.0)),
    "clock steps ten years back": patched(clock(-3e8)),
    "EIO on writing": patched(broken_disk(errno.EIO, "w"), (0, 2)),
    "EIO on reading": patched(broken_disk(errno.EIO, "r"), (0, 2)),
    "too many open files": patched(broken_disk(errno.EMFILE, "r"), (0, 2)),
    "slow disk": patched(slow_disk),
    "full disk": full_disk,
    "read-only, finished": read_only("computed"),
    "read-only, unfinished": read_only("detected"),
    "two clients": two_clients("held"),
    "two clients, no flock": two_clients("refused"),
    "two clients, flock without effect": two_clients("without effect"),
    "no flock, first killed": two_clients("refused", killed=True),
    "two clients begin at once": at_once,
    "clip changes during the run": edited_clip,
}
