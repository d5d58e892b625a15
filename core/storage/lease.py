"""A lease on a store: one writer at a time where the operating system's locks do not reach all who may write.

Who wants to write puts a file `.lease-…` of its own into the store, changes it every few seconds, and looks at the
files of others. One that changes is alive; one that does not is taken away. Clocks of different machines are never
compared: only whether a file changes while one's own clock advances. All it takes is that what one process has
written, others see when they list and read afterwards: NFS, SMB and today's object stores do so.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import _thread
import contextlib
import errno
import json
import os
import platform
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec

from ..errors import StoreError, disk_errors, remote_errors
from .lock import NoLocksError, locked, reaches_all

PREFIX = ".lease-"

BEAT_S = 5.0
"""How often an owner changes its file."""
STALE_S = 60.0
"""A file that has not changed for so long has no owner any more."""
LOOK_S = 0.5
"""How often the files of others are looked at."""

WANTS, HOLDS = "wants", "holds"

_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass
class _Lease:
    """One process's file in a store."""

    url: str
    name: str = field(default_factory=lambda: PREFIX + secrets.token_hex(8))
    state: str = WANTS
    beats: int = 0
    lost: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    def write(self, state: str) -> None:
        """Say that this process is alive, and what it does."""
        self.state = state
        self.beats += 1
        owner = {"host": platform.node(), "machine": this_machine(), "process": os.getpid()}
        content = json.dumps({**owner, "state": state, "beat": self.beats}).encode()
        files, root = fsspec.url_to_fs(self.url)
        with disk_errors(self.url):
            files.pipe_file(f"{root}/{self.name}", content)

    def remove(self, name: str) -> None:
        """Take a file away, or find that somebody has."""
        files, root = fsspec.url_to_fs(self.url)
        with contextlib.suppress(FileNotFoundError), remote_errors(self.url):
            files.rm_file(f"{root}/{name}")

    def there(self) -> dict[str, bytes]:
        """Contents of all files of leases, by their names."""
        files, root = fsspec.url_to_fs(self.url)
        files.invalidate_cache()
        found = {}
        with remote_errors(self.url):
            paths = files.ls(root, detail=False)
        for path in paths:
            name = str(path).rpartition("/")[2]
            if name.startswith(PREFIX):
                with contextlib.suppress(FileNotFoundError), remote_errors(self.url):
                    found[name] = files.cat_file(f"{root}/{name}")
        return found

    def keep(self, interrupt: bool) -> None:
        """Change the file again and again, until the lease has ended or somebody has taken it away."""
        while not self.ended.wait(BEAT_S):
            looked_s = _now_s()
            try:
                taken = self.name not in self.there()
                if not taken:
                    self.write(self.state)
                    # If this process stood still since it looked, it has written again what somebody took away.
                    taken = _now_s() - looked_s > STALE_S - 2 * BEAT_S
            except Exception:  # noqa: BLE001
                # What a file system raises while it is out of reach is its own. The next beat may reach it; if none
                # does, others find the lease stale.
                continue
            if taken:
                self.lost = True
                if interrupt:
                    _interrupt_main()
                return

    def wait(self, tell: Callable[[str], None]) -> None:
        """Until no other process has a lease.

        Raises:
            StoreError: one has, and is alive.
        """
        seen: dict[str, tuple[bytes, float]] = {}
        told = False
        while others := {name: content for name, content in self.there().items() if name != self.name}:
            owner: dict[str, Any] = {}
            for name, content in others.items():
                before, since = seen.setdefault(name, (content, time.monotonic()))
                owner = _owner(content)
                # Of two that begin at once, the one with the later name gives way.
                if content != before and owner and (owner["state"] != WANTS or name < self.name):
                    raise StoreError(
                        f"{self.url}: expected to be alone at work on the store, but another handpipe is "
                        f"({_words(owner)}). Wait until it is done, or stop it; what it has done is kept."
                    )
                if content != before:
                    seen[name] = (content, time.monotonic())
                elif _is_dead(owner) or time.monotonic() - since > STALE_S:
                    self.remove(name)
            if not told and time.monotonic() - min(since for _, since in seen.values()) > 2 * LOOK_S:
                told = True
                tell(
                    f"{self.url}: another handpipe was at work on it ({_words(owner)}); "
                    f"waiting up to {STALE_S:.0f} s for a sign that it still is"
                )
            time.sleep(LOOK_S)


def to_stderr(text: str) -> None:
    """Show the user a line where there is no screen."""
    print(text, file=sys.stderr)


@contextlib.contextmanager
def one_writer(url: str, local: Path | None, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep every other writer of a store out: by the system's lock, and by a lease where that does not reach all.

    Args:
        url: of the store.
        local: its folder, if it is one.
        tell: shows the user a line.

    Raises:
        StoreError: another process is at work on the store.
    """
    with contextlib.ExitStack() as held:
        if local is not None:
            with contextlib.suppress(NoLocksError):  # Then the lock does not reach all, and the lease does.
                held.enter_context(locked(local, wait=False))
        if local is None or not reaches_all(local):
            held.enter_context(leased(url, tell))
        yield


@contextlib.contextmanager
def leased(url: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep every other process out that asks for the same, on any machine. Nothing where nobody here may write.

    A process that stood still for longer than `STALE_S` may find its lease taken over: it is interrupted.

    Args:
        url: of a store that is there: a folder or any fsspec URL.
        tell: shows the user a line.

    Raises:
        StoreError: another process has the lease, or has taken it over.
    """
    lease = _Lease(url)
    try:
        lease.write(WANTS)
    except NotImplementedError:  # Such as http: nothing can be written there.
        yield
        return
    except OSError as error:
        number = error.errno or getattr(error.__cause__, "errno", None)
        if number not in _READ_ONLY and not isinstance(error, PermissionError):
            raise
        yield
        return
    in_main = threading.current_thread() is threading.main_thread()
    beating = threading.Thread(target=lease.keep, args=(in_main,), daemon=True, name="handpipe-lease")
    beating.start()
    try:
        with _heard(lease) if in_main else contextlib.nullcontext():
            lease.wait(tell)
            lease.write(HOLDS)
            yield
    except KeyboardInterrupt:
        if lease.lost:
            raise _taken_over(url) from None
        raise
    finally:
        lease.ended.set()
        beating.join()
        lease.remove(lease.name)
    if lease.lost:
        raise _taken_over(url)


def _now_s() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps where there is such a one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@contextlib.contextmanager
def _heard(lease: _Lease) -> Iterator[None]:
    """Let the lease's SIGINT, and no other, interrupt a process that ignores it, as in the background of a script."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        yield
        return

    def interrupted(*_: object) -> None:
        if lease.lost:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt_main() -> None:
    if hasattr(signal, "pthread_kill"):  # Also out of a system call.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _taken_over(url: str) -> StoreError:
    return StoreError(
        f"{url}: expected to be alone at work on the store, but this process gave no sign for {STALE_S:.0f} s and "
        "another handpipe has taken over. Wait until that is done, then run the same command again."
    )


def this_machine() -> str:
    """What processes have in common that see each other's process numbers, until the next start of the machine."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # Linux
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return " ".join(parts)


def _owner(content: bytes) -> dict[str, Any]:
    """Who wrote a file; nothing is known of one that is being written, or that no handpipe has written."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    known = isinstance(found, dict) and found.get("state") in (WANTS, HOLDS) and isinstance(found.get("host"), str)
    return found if known and type(found.get("process")) is int and 0 < found["process"] < 1 << 31 else {}


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether the owner was a process of this machine and has ended."""
    import psutil

    return owner.get("machine") == this_machine() and not psutil.pid_exists(owner["process"])


def _words(owner: dict[str, Any]) -> str:
    return f"process {owner['process']} on {owner['host']}" if owner else "its process is not known"
