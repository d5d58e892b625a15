"""One process at a time: a lock on a folder that the operating system keeps, and that ends with the process.

The folder itself is locked: nothing is written, a store that may only be read can be locked, and an older handpipe,
which locks the same folder, is kept out too. Windows opens no folders: there it is the file `.NAME.lock` beside it.
On a network file system the lock of a folder usually holds on one machine only.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreError

LOCKS_FOLDERS = os.name != "nt"


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Keep every other process out that asks for the same.

    Args:
        folder: one that is there.
        wait: until the lock is free; else another's lock is an error.

    Raises:
        StoreError: another process has it, or the file system has no locks.
    """
    from filelock import lock_descriptor  # Here, because it takes 0.05 s, and few commands lock anything.

    if LOCKS_FOLDERS:
        handle = os.open(folder, os.O_RDONLY)
    else:
        handle = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT)
    try:
        try:
            # Not `FileLock`: where there are no locks it would go on with a file that outlives a killed process.
            ours = lock_descriptor(handle, blocking=wait)
        except OSError as error:
            raise StoreError(
                f"{folder}: expected a file system with locks, so that no second handpipe writes here, but it refuses "
                f"them ({error.strerror}). Choose a folder on a local disk, or have the file system mounted with locks "
                "(NFS: the lock service; Lustre: the option `flock`)."
            ) from error
        if not ours:
            raise StoreError(
                f"{folder}: expected to be alone at work on the store, but another handpipe is. "
                "Wait until it is done, or stop it; what it has done is kept."
            )
        yield
    finally:
        os.close(handle)
