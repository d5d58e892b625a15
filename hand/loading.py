"""A pair of hand models from a folder, or the procedural pair."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from .model import HandModel


@cache
def hand_models(folder: str | None) -> tuple[HandModel, HandModel]:
    """Load the left and right hand model: MANO_LEFT.npz and MANO_RIGHT.npz of a folder; None: the procedural hands.

    Raises:
        ModelError: a file is missing or is not a hand.
    """
    if folder is None:
        return HandModel.procedural("left"), HandModel.procedural("right")
    path = Path(folder).expanduser()
    return HandModel.load(path / "MANO_LEFT.npz", "left"), HandModel.load(path / "MANO_RIGHT.npz", "right")
