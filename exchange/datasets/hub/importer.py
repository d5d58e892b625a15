"""`handpipe import hub`: a dataset's folder becomes the sessions that it was exported from."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from ....core.engine import Progress
from ....core.errors import SessionError
from ....core.files import UNCHECKED
from ....core.hands import HANDS
from ....hand.keypoints import check_fps, check_hands, check_sigma, where_seen
from ....hand.plausibility import check_mano
from ...imported_session import ImportedSession, write_imported
from ...importing import Imported, content_hash
from . import writer as hub
from .reader import HubSequence, read_hub

CODE = 2
"""Raised when the same files would give other numbers."""


@UNCHECKED
def import_hub(folder: Path, root: Path, only: Sequence[str], progress: Progress) -> Imported:
    """The tables of `handpipe export hub` to sessions `root`/<sequence>.

    Args:
        folder: with sequences.parquet.
        root: where the sessions go.
        only: patterns of names; empty takes all.
        progress: where to show it.

    Raises:
        SessionError: a table is not what it should be, or its joints are not hands by their anatomy.
    """
    sequences = read_hub(folder, only)
    if not sequences:
        raise SessionError(
            f"{folder}: expected sequences that {' or '.join(only)} means, but found none. Correct --only."
        )
    messages = _check(sequences, folder)
    tables = [folder / hub.SEQUENCES, *(path for path in [folder / hub.CAMERAS] if path.exists())]
    inputs = {path.name: content_hash(path) for path in tables}
    written = []
    progress.start("import", len(sequences), 0, "sequences")
    try:
        for each in sequences:
            data = folder / hub.DATA / f"{each.name}.parquet"
            fingerprint = {
                "settings": {"sequence": each.name},
                "inputs": {**inputs, "frames": content_hash(data)},
                "code": CODE,
            }
            if write_imported(root / each.name, _session(each), fingerprint, {"frames": data.name}):
                written.append(each.name)
            progress.advance(1)
    finally:
        progress.stop()
    figures = {"sessions": [str(root / each.name) for each in sequences], "computed": written}
    up_to_date = len(sequences) - len(written)
    return figures, [
        *messages,
        f"{root}: sequences: {len(sequences)}; {len(written)} imported, {up_to_date} up to date",
    ]


def _session(each: HubSequence) -> ImportedSession:
    found = each.keypoints
    return ImportedSession(
        fps=each.fps,
        keypoints=None if found is None else where_seen(found["points"], found["sigma"], each.fps),
        mano=each.mano,
        hand_model=each.hand_model,
        cameras=each.cameras,
    )


def _check(sequences: Sequence[HubSequence], folder: Path) -> list[str]:
    """All sequences together, since one odd motion may well look like another hand. Returns what a user should know."""
    said = []
    for what in ("joints", "keypoints"):
        parts = [points for each in sequences if (points := _points(each, what)) is not None]
        if parts and np.isfinite(np.concatenate(parts)).any():
            points_m = np.concatenate(parts).astype(np.float64)
            check_hands(
                where_seen(points_m, np.ones(points_m.shape[:-1]), 1.0),
                f"{folder}: left_{what} and right_{what}",
                swap="exchange the columns of left and right",
                mirror="negate x everywhere",
                order="write them in this order",
            )
    for each in sequences:
        check_fps(each.fps, f"{folder}: {each.name}")
        if each.keypoints is not None:
            check_sigma(each.keypoints["sigma"], f"{folder}: {each.name}")
        if each.mano is not None:
            said += check_mano(f"{folder}: {each.name}", each.mano, each.fps)
    return said


def _points(each: HubSequence, what: str) -> ndarray | None:
    """(frame, hand, 21, 3) metres, NaN where a hand is not known."""
    if what == "keypoints":
        return None if each.keypoints is None else each.keypoints["points"]
    if each.mano is None:
        return None
    assert each.mano["valid"].shape[1] == len(HANDS)
    return np.where(each.mano["valid"][..., None, None], each.mano["joints"], np.nan)
