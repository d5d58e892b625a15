"""What can go wrong through no fault of the code: where, what was expected, what was found, what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}

REMOTE_LIBRARIES = {"botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "adlfs", "azure"}
"""What fsspec's file systems use; each has errors of its own for a connection that fails."""


class HandpipeError(Exception):
    """A mistake in the input or the usage. The command line prints it in one sentence and exits with 2.

    The message names the place, what was expected, what was found and what to do.
    """


class SessionError(HandpipeError, ValueError):
    """A session folder, or one of its files, is not what it should be."""


class VideoError(HandpipeError, ValueError):
    """A clip cannot be used: missing, empty, truncated, no video, or unlike the others."""


class ConfigError(HandpipeError, ValueError):
    """A setting has an unknown name, a wrong type or a value out of range."""


class CalibrationError(HandpipeError, ValueError):
    """The cameras cannot be calibrated from what is there, or a calibration file does not fit the session."""


class StoreError(HandpipeError, ValueError):
    """A Zarr store cannot be used: newer schema, foreign content, or not a store."""


class OutOfReachError(StoreError):
    """The connection to a store that is no folder has failed."""


class ModelError(HandpipeError, ValueError):
    """A hand model or detector model file is missing or is not what it should be."""


class GenerationError(HandpipeError, ValueError):
    """Motion to learn from, a checkpoint, keyframes or a trajectory cannot be used."""


class ExportError(HandpipeError, ValueError):
    """Motion cannot be written in a format, or something is in the way of what would be written."""


class DiskError(HandpipeError, OSError):
    """The disk is full or cannot be written."""


class ClusterError(HandpipeError, RuntimeError):
    """The Dask scheduler is lost, or workers die of a task."""


@contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """Turn a broken connection to a store that is no folder into one sentence."""
    try:
        yield
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        broken = isinstance(error, ConnectionError | TimeoutError) or library in REMOTE_LIBRARIES
        if "://" not in url or not broken:
            raise
        raise OutOfReachError(
            f"{url}: expected to reach the store, but the connection failed ({error or type(error).__name__}). "
            "Check the network and the address and run the same command again; what is done is kept."
        ) from error


@contextmanager
def disk_errors(where: str) -> Iterator[None]:
    """Turn the system's refusal to write, and a broken connection, into one sentence."""
    try:
        with remote_errors(where):
            yield
    except OSError as error:
        if error.errno not in DISK_ERRNOS:
            raise
        raise DiskError(
            f"{where}: expected room to write, but the system refused ({error.strerror}). "
            "Free some space or make the folder writable and run the same command again; what is done is kept."
        ) from error


def sentence(error: Exception) -> str | None:
    """What a user is told instead of a traceback; None for a fault of the code."""
    if isinstance(error, HandpipeError):
        return str(error)
    if isinstance(error, MemoryError):
        # A damaged file can say that it is of any size; so can one that is only too long.
        return (
            f"expected data that fits into the memory, but it does not ({error or 'none is left'}). "
            "Check that the files are the right ones, and split them into shorter parts."
        )
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename}: expected to read or write it, but the system refused ({error.strerror}). "
            "Check that it exists and that you have access to it."
        )
    return None
