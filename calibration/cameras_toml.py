"""The `cameras.toml` of a session: supplied by a person, or written by `calibrate`."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.cameras import Cameras
from ..core.cameras_file import format_cameras, write_cameras
from ..core.recording import Session
from ..core.storage.atomic import write_whole
from ..core.storage.schema import read_cameras as stored_cameras
from ..core.storage.store import Store, digest

CAMERAS_TOML = "cameras.toml"
SIGNED = b"# written by handpipe calibrate; edit it as you like: "
"""Before the last line's signature, which an edit breaks."""


def replace_cameras(root: Path, cameras: Cameras, why: str, metadata: Mapping[str, Any]) -> list[str]:
    """Write the session's cameras.toml; the one before becomes cameras.before-<why>.toml, or -<why>-2 and so on.

    Returns:
        Lines for a person.
    """
    path, messages = root / CAMERAS_TOML, []
    if path.exists():
        kept = _free_name(root, f"cameras.before-{why}", path.read_bytes())
        if not kept.exists():
            write_whole(kept, path.read_bytes())
        messages.append(f"{kept}: the cameras as they were")
    write_cameras(path, cameras, metadata)
    return [*messages, f"{path}: written"]


def _free_name(root: Path, stem: str, content: bytes) -> Path:
    """A name that is free, or that already has this content."""
    number = 1
    while True:
        path = root / (f"{stem}.toml" if number == 1 else f"{stem}-{number}.toml")
        if not path.exists() or path.read_bytes() == content:
            return path
        number += 1


def supplied_cameras(session: Session, store: Store, hashes: Mapping[str, str]) -> Path | None:
    """The session's cameras.toml, unless `publish` wrote it from this session's board and nobody touched it since.

    A file that was calibrated elsewhere and copied here counts as supplied, whoever wrote it.
    """
    path = session.root / CAMERAS_TOML
    if not path.exists():
        return None
    text = path.read_bytes()
    body, _, signature = text.rpartition(SIGNED)
    here = hashlib.sha256(body + digest(dict(hashes)).encode()).hexdigest().encode()
    if signature.strip() == here or hashlib.sha256(text).hexdigest() in _written(store):
        return None
    return path


def publish(session: Session, store: Store, hashes: Mapping[str, str]) -> None:
    """Write the rig that was found to the session's cameras.toml.

    Args:
        session: whose folder it is.
        store: with the rig.
        hashes: SHA-256 of each board clip.
    """
    path = session.root / CAMERAS_TOML
    body = format_cameras(stored_cameras(store)).encode()
    signature = hashlib.sha256(body + digest(dict(hashes)).encode()).hexdigest().encode()
    text = body + SIGNED + signature + b"\n"
    sha = hashlib.sha256(text).hexdigest()
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha:
        return
    # Remembered before the file appears: a file that is ours must never be taken for one that was supplied.
    store.set_attrs("_written", cameras_toml=sorted({*_written(store), sha}))
    write_whole(path, text)


def _written(store: Store) -> set[str]:
    return set(store.attrs("_written").get("cameras_toml", []))
