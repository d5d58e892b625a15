"""One process at a time: a lock on a folder that the operating system keeps, and that ends with the process.

The folder itself is locked: nothing is written, a store that may only be read can be locked, and an older handpipe,
which locks the same folder, is kept out too. Windows opens no folders: there it is the file `.NAME.lock` beside it.
On a network file system the lock of a folder usually holds on one machine only: `reaches_all` tells, and a store is
then leased too (`lease.py`).

What is not there yet cannot be locked: it is claimed, with the file `.NAME.claim` beside it.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import StoreError, disk_errors

LOCKS_FOLDERS = os.name != "nt"

OF_ONE_MACHINE = {
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "tmpfs", "ramfs", "overlay", "squashfs", "erofs"),
    *("apfs", "hfs", "ufs", "exfat", "vfat", "msdos"),
}
"""File systems that no other machine writes to. Of those not listed, that is not known."""


class NoLocksError(StoreError):
    """The file system refuses locks."""


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Keep every other process out that asks for the same.

    Args:
        folder: one that is there.
        wait: until the lock is free; else another's lock is an error.

    Raises:
        StoreError: another process has it.
        NoLocksError: the file system has no locks.
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
            raise NoLocksError(
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


def reaches_all(folder: Path) -> bool:
    """Whether the lock that this process has on a folder keeps out everybody who may write there.

    Not where the system grants the lock twice, or where other machines may write.
    """
    if not LOCKS_FOLDERS:
        return True  # What Windows opens on a server, the server locks.
    from filelock import lock_descriptor

    handle = os.open(folder, os.O_RDONLY)
    try:
        if lock_descriptor(handle, blocking=False):
            return False
    except OSError:  # It has no locks.
        return False
    finally:
        os.close(handle)
    return _file_system(folder) in OF_ONE_MACHINE


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder is on, as the system calls it; empty where it does not tell."""
    import psutil

    above = [folder.resolve(), *folder.resolve().parents]
    # The last of two at the same place hides the other.
    mounted = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounted[path] for path in above if path in mounted), "")


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep every other process from making the same file or folder, from before the work until it has its name.

    The claim is a locked file beside `out`, removed at the end; one that a killed process left is not locked. Where
    no file can be made beside it, or the file system has no locks, two processes are told apart only by what they
    check before they publish.

    Args:
        out: a file or a folder; folders above it are made.

    Raises:
        StoreError: another process has claimed it.
        DiskError: a folder above it cannot be made.
    """
    with disk_errors(str(out)):
        out.parent.mkdir(parents=True, exist_ok=True)
    claim = out.with_name(f".{out.name}.claim")
    try:
        handle = _locked_file(claim)
    except OSError:
        yield
        return
    if handle is None:
        raise StoreError(
            f"{out}: expected nobody else to write there, but another handpipe is doing so. Choose another path, or "
            "wait until it is done and run the same command again."
        )
    try:
        yield
    finally:
        # While it is locked: afterwards it could be another's. Windows removes no open file; there it stays, unlocked.
        with suppress(OSError):
            claim.unlink()
        os.close(handle)


def _locked_file(path: Path) -> int | None:
    """The handle of a locked file, made if it is not there; None when another process has the lock."""
    from filelock import lock_descriptor

    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            ours = lock_descriptor(handle, blocking=False)
            # Its owner may have removed it between the two calls: then the lock is on a file without a name.
            if ours and _has_name(handle, path):
                return handle
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
        if not ours:
            return None


def _has_name(handle: int, path: Path) -> bool:
    """Whether an open file is the one of that name; it may be removed at any time."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
