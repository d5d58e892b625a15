"""A file or a folder that appears under its name when it is complete: never half of it, whatever happens."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DiskError
from .store import disk_errors


@contextmanager
def appearing(out: Path, check: Callable[[], None] | None = None) -> Iterator[Path]:
    """A place with the final name in a hidden folder beside it; moved there at the end, removed after an error.

    What stands at `out` is replaced. What a killed process left of its hidden folder is swept up by the next one.

    Args:
        out: the final name.
        check: called before the move, since others may have been there in the meantime; what it raises prevents it.

    Raises:
        DiskError: it cannot be written.
    """
    with disk_errors(str(out)):
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f".{_literal(out.name)}.*.partial"):
            if not _alive(left.name.split(".")[-2]):
                shutil.rmtree(left, ignore_errors=True)
        hidden = out.with_name(f".{out.name}.{os.getpid()}.partial")
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        try:
            yield hidden / out.name
            if check is not None:
                check()
            if os.path.lexists(out):
                out.rename(hidden / ".replaced")
            (hidden / out.name).rename(out)
        except DiskError as error:
            raise DiskError(str(error).replace(str(hidden / out.name), str(out))) from error
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _literal(name: str) -> str:
    """A name that `glob` takes at its word."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _alive(pid: str) -> bool:
    """Whether a process of this number is there; what a killed one left behind has one that is not."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def write_whole(path: Path, text: str) -> None:
    """Write next to the target and rename, so that a reader or a crash never meets half a file."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes it private; a camera file is for the whole lab
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
