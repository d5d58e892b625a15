"""The `cameras.toml` of a session: supplied by a person, or written by `calibrate`."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.cameras import Cameras
from ..core.cameras_file import write_cameras
from ..core.storage.atomic import write_whole

CAMERAS_TOML = "cameras.toml"


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
