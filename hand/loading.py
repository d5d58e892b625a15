"""Hand models from files, and the pair that a folder stands for."""

# Ring 2: reads and writes.

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from ..core.errors import ModelError
from ..core.files import UNCHECKED, read_npz
from .model import HandModel, side_of

MAX_BYTES = 1 << 26
"""Of a hand model, packed or unpacked; MANO's arrays take 4 MB."""


def model_file(folder: Path, side: str) -> Path:
    """Where a folder has the model of a hand: MANO_LEFT.npz or MANO_RIGHT.npz."""
    return folder / f"MANO_{side.upper()}.npz"


@UNCHECKED
def load_hand(path: Path, side: Literal["left", "right"]) -> HandModel:
    """The model in an .npz written by `handpipe import mano`; nothing pickled is ever executed.

    Raises:
        ModelError: no such file, truncated, not an .npz, too large, or not a MANO hand.
    """
    if not path.exists():
        raise ModelError(
            f"{path}: expected a hand model, but there is no such file. "
            "Make it with `handpipe import mano`, or leave the model unset to use the procedural hand."
        )
    advice = "It may be truncated; make it again with `handpipe import mano`."
    arrays = read_npz(path, "MANO's arrays", MAX_BYTES, ModelError, advice)
    model = HandModel.from_arrays(side, arrays, where=str(path))
    found = side_of(model.rest_joints)
    if found != side:
        raise ModelError(
            f"{path}: expected a {side} hand, but its thumb is on the side of a {found} hand. "
            "Create the files again with `handpipe import mano`."
        )
    return model


@cache
def hand_models(folder: str | None) -> tuple[HandModel, HandModel]:
    """Load the left and the right hand model. The only place where a folder becomes a pair of hand models.

    Args:
        folder: folder with MANO_LEFT.npz and MANO_RIGHT.npz; None: the procedural hands.

    Raises:
        ModelError: a file is missing or is not a hand.
    """
    if folder is None:
        return HandModel.procedural("left"), HandModel.procedural("right")
    path = Path(folder).expanduser()
    return load_hand(model_file(path, "left"), "left"), load_hand(model_file(path, "right"), "right")
