"""`handpipe export`: sequences from finished stores to other people's formats; whole, or not at all.

A format is an `ExportFormat`: it gets the recordings and a place to write to. `export` checks what is there, gives it
a place beside the final one, and moves the result to its name at the end.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.engine import Progress
from ..core.errors import ExportError
from ..core.storage.atomic import appearing
from ..core.storage.lock import claimed
from .export_format import ExportFormat
from .recording import recordings

REPORT = "export.json"
"""In every exported folder: the format, the version, the sequences, what is lost. --force replaces only folders that
have it."""


def export(
    into: ExportFormat,
    names: Sequence[str],
    out: Path,
    hand_model: str | None,
    progress: Progress,
    *,
    force: bool = False,
    images: bool = True,
) -> dict[str, Any]:
    """Write sequences in a format. `out` appears when it is complete.

    Args:
        into: the format.
        names: session folders, Zarr stores or URLs.
        out: a file or a folder that is not there yet, or an empty folder.
        hand_model: folder of the hand model in use; None is the procedural hand.
        progress: where to show it.
        force: replace an export or a file that is there; a folder that is no export is never replaced.
        images: whether the sessions' images are used.

    Returns:
        Figures of the run, with `lost`.

    Raises:
        ExportError: something is in the way, or the motion cannot be written in this format.
        GenerationError: a name means no finished motion.
    """
    if not names:
        raise ExportError("expected a session to export, but none is named. Name a session folder or a Zarr store.")
    out = out.expanduser().absolute()
    if out.name in ("", ".."):
        raise ExportError(f"--out {out}: expected a name for what is written, but found none. Name a file or a folder.")
    _check_free(out, force)
    sequences = recordings(names, hand_model, into.needs_mano, images)
    figures: dict[str, Any] = {
        "format": into.name,
        "out": str(out),
        "sequences": [
            {"name": each.name, "source": each.source, "sample": each.sample, "frames": each.frames, "fps": each.fps}
            for each in sequences
        ],
    }
    with claimed(out), appearing(out, lambda: _check_free(out, force)) as place:
        figures["lost"] = into.export(sequences, place, progress)
        if place.is_dir():
            (place / REPORT).write_text(json.dumps({**figures, "handpipe": __version__}, indent=1) + "\n")
    return figures


def _check_free(out: Path, force: bool) -> None:
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    if not force:
        raise ExportError(
            f"{out}: expected nothing there yet, but something is. Choose another place, or replace it with --force."
        )
    if out.is_dir() and not (out / REPORT).is_file():
        raise ExportError(
            f"{out}: expected an earlier export, a folder with {REPORT}, but found another folder, which --force does "
            "not replace. Choose another place."
        )
