"""A file or a folder that appears under its name when it is complete: never half of it, whatever happens.

THE place that renames what the product writes. Content is on the disk before it gets its name, and the name before
the call returns; a name on the way is hidden and belongs to one process of one machine.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ..errors import DiskError, disk_errors

REPLACED = ".replaced"
"""Where a folder waits while another takes its name."""

OTHERS_S = 86400.0
"""What another machine left is swept up when it has not changed for so long: its processes cannot be seen from here."""

_HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.partial", re.DOTALL)


@contextmanager
def appearing(out: Path, check: Callable[[], object] | None = None) -> Iterator[Path]:
    """A place with the final name in a hidden folder beside it; moved there at the end, removed after an error.

    What stands at `out` is replaced: a file in one step; a folder is moved away first, and comes back with the next
    `sweep` if the process is killed in between. What a killed process left is swept up by the next one.

    Args:
        out: the final name; folders above it are made.
        check: called before the move, since others may have been there in the meantime; what it raises prevents it.

    Raises:
        DiskError: it cannot be written.
    """
    with disk_errors(str(out)):
        out.parent.mkdir(parents=True, exist_ok=True)
        sweep(out.parent, out.name)
        hidden = out.with_name(f".{out.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.partial")
        hidden.mkdir()
        place = hidden / out.name
        try:
            yield place
            _to_disk(place)
            if check is not None:
                check()
            if os.path.lexists(out) and (out.is_dir() or place.is_dir()):
                move(out, hidden / REPLACED)
            move(place, out)
        except DiskError as error:
            raise DiskError(str(error).replace(str(place), str(out))) from error
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that appears when it is complete, in place of one that is there; text in UTF-8.

    Raises:
        DiskError: it cannot be written.
    """
    with appearing(path) as place:
        place.write_bytes(content.encode() if isinstance(content, str) else content)


def move(source: Path, target: Path) -> None:
    """Give a file or a folder another name in the same file system, in one step; a file that has it is replaced."""
    os.replace(source, target)  # noqa: PTH105, the one place
    _flush(target.parent)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left of `appearing` in a folder: of one name, or of all."""
    for left in list(folder.iterdir()):
        found = _HIDDEN.fullmatch(left.name)
        if found is None or name not in (None, found["name"]) or not _abandoned(left, found):
            continue
        out = folder / found["name"]
        if os.path.lexists(left / REPLACED) and not os.path.lexists(out):
            move(left / REPLACED, out)
        shutil.rmtree(left, ignore_errors=True)


def _machine() -> str:
    """A name for what has process numbers of its own, short and of plain characters: a machine or a container."""
    numbers = Path("/proc/self/ns/pid")  # Linux
    inside = str(numbers.readlink()) if os.path.lexists(numbers) else ""
    return hashlib.sha256(f"{platform.node()}{inside}".encode()).hexdigest()[:8]


def _abandoned(left: Path, found: re.Match[str]) -> bool:
    """Whether nobody is at work in a hidden folder any more."""
    if found["machine"] == _machine():
        import psutil  # Asking `os.kill` would interrupt the process on Windows.

        return not psutil.pid_exists(int(found["process"]))
    try:
        changed = max(path.stat().st_mtime for path in (left, *left.iterdir()))
    except FileNotFoundError:  # Its owner has just finished.
        return False
    return time.time() - changed > OTHERS_S


def _to_disk(place: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    paths = [place, *(path for path in place.rglob("*") if not path.is_symlink())]
    # Waiting for many at once, the disk writes them together: 0.3 instead of 4 ms for each.
    with ThreadPoolExecutor(min(16, len(paths))) as pool:
        list(pool.map(_flush, paths))


def _flush(path: Path) -> None:
    folder = stat.S_ISDIR(path.stat().st_mode)
    if folder and os.name == "nt":  # Windows opens no folders.
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot, for folders: then the name is on the disk when they say so.
        if not folder or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(handle)
