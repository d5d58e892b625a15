"""Commands in processes of their own that can be disturbed, and what became of a session afterwards.

The processes are forked from one that has imported everything: each is a real process with a real exit, without the
seconds that imports take.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LIMIT_S = 300.0
"""After which a command counts as an endless wait."""
POLL_S = 0.02

LATER = ("clock", "groups", "tracks", "second_look", "keypoints", "quality", "shape", "mano")
"""Groups that are computed after the detection."""

OPTIONS = ("--workers", "0", "--chunk-frames", "2")

Outcome = Literal["same", "sentence", "verify", "silent", "traceback", "endless"]


def load() -> None:
    """Import what a run takes, and start no thread."""
    for name in ("pipeline", "summary", "cli", "commands.sessions", "commands.integrity", "capture.detector", "screen"):
        importlib.import_module(f"handpipe.{name}")
    for name in ("distributed.cli.dask_scheduler", "distributed.cli.dask_worker", "smplx", "mediapipe", "zarr"):
        importlib.import_module(name)


@dataclass
class Child:
    """A running command."""

    pid: int
    said: Path
    """Its standard output and error."""

    def wait(self, limit_s: float = LIMIT_S) -> int | None:
        """Its exit status, negative for a signal; None after the limit: it says where it waits, and is killed."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(POLL_S)
        self.send(signal.SIGABRT)
        time.sleep(2)
        self.kill()
        return None

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """With all of its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # It may not lead a group yet.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    @property
    def text(self) -> str:
        return self.said.read_text(errors="replace")


def fork(work: Callable[[], object], said: Path) -> Child:
    """Call something in a process of its own."""
    said.parent.mkdir(parents=True, exist_ok=True)
    said.touch()
    pid = os.fork()
    if pid:
        return Child(pid, said)
    status: object = 1
    try:
        os.setsid()
        faulthandler.enable(file=2, all_threads=True)  # To descriptor 2, whatever that is then.
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        status = work()
    except SystemExit as error:
        status = error.code
    except BaseException:  # noqa: BLE001, the process ends here.
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0 if status is None else 1)


def command(argv: Sequence[object], said: Path, patch: Callable[[], object] | None = None) -> Child:
    """`handpipe ARGV` in a process of its own, in which something may be patched first."""

    def work() -> int:
        from handpipe import cli

        sys.argv = ["handpipe", *map(str, argv)]
        if patch is not None:
            patch()
        return cli.main()

    return fork(work, said)


def until(child: Child, ready: Callable[[], bool]) -> bool:
    """Wait until something is so; False if the command ends, or hangs, before."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if ready():
            return True
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        time.sleep(POLL_S)
    return False


def files_of(store: Path) -> int:
    """How many there are, as far as they can be counted while somebody writes."""
    with contextlib.suppress(OSError):
        return sum(len(names) for _, _, names in os.walk(store))
    return 0


def contents(store: Path) -> dict[str, object]:
    """Every file of a store but the root's copy of metadata; metadata by meaning."""
    found: dict[str, object] = {}
    for path in sorted(store.rglob("*")):
        name = str(path.relative_to(store))
        if path.is_file() and name != "zarr.json" and not name.startswith((".lease-", "_content")):
            found[name] = content = path.read_bytes()
            with contextlib.suppress(ValueError):  # What is damaged is not the same either way.
                if path.name == "zarr.json":
                    found[name] = json.loads(content)
    return found


@dataclass(frozen=True)
class Sessions:
    """A small session at two stages, to copy from, and what its results have to be."""

    computed: Path
    expected: dict[str, object]
    scratch: Path

    def copy(self, name: str, state: Literal["filmed", "detected", "computed"]) -> Path:
        """A session to work on: nothing computed, up to the detection, or all of it."""
        target = self.scratch / name / "session"
        shutil.rmtree(target.parent, ignore_errors=True)
        shutil.copytree(self.computed, target)
        store = target / "session.zarr"
        if state == "filmed":
            shutil.rmtree(store)
            (target / "cameras.toml").unlink()
        elif state == "detected":
            for group in LATER:
                shutil.rmtree(store / group)
        return target

    def judge(self, session: Path, options: Sequence[object] = OPTIONS) -> tuple[Outcome, str]:
        """What one more `handpipe run` gives, and the words it has for it."""
        child = command(["run", session, *options], session.parent / "again.txt")
        status = child.wait()
        bad = bad_end(status, child.text, (0, 2, 3))
        if bad is not None:
            return bad, child.text[-6000:]
        if status == 2:
            return "sentence", last_line(child.text)
        if contents(session / "session.zarr") == self.expected:
            return ("same" if status == 0 else "silent"), ""
        return self._verified(session)

    def _verified(self, session: Path) -> tuple[Outcome, str]:
        """Whether damage that a run does not read is found, and repaired."""
        for argv, expected in (([], 3), (["--repair"], 0)):
            options = OPTIONS if argv else ()
            child = command(["verify", session, *argv, *options], session.parent / "verify.txt")
            status = child.wait()
            if (bad := bad_end(status, child.text, (0, 3))) is not None:
                return bad, child.text[-2000:]
            if status != expected:
                return "silent", f"verify {argv} exits with {status}: {last_line(child.text)}"
        same = contents(session / "session.zarr") == self.expected
        return ("verify", "") if same else ("silent", "repaired, and still not the same")


def bad_end(status: int | None, text: str, fine: Sequence[int]) -> Outcome | None:
    """What is wrong with how a command ended, if anything."""
    if status is None:
        return "endless"
    # What Python says of the end of a killed process' children is not a command's traceback.
    return "traceback" if "Traceback" in text or status not in fine else None


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
