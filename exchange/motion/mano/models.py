"""Which hand an official MANO file is, and the left one's shape directions mended."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from ....core.errors import ModelError
from ....hand.model import HandModel, side_of
from .pickle import read_mano_pickle


def mend_left(left: Mapping[str, ndarray], right: Mapping[str, ndarray] | None) -> tuple[dict[str, ndarray], str]:
    """The left hand with shape directions that are its own.

    The official left hand's `shapedirs` are the right's in y and z but not mirrored in x (smplx issue 48): a larger
    beta makes it shorter where it should get longer.

    Args:
        left: its arrays.
        right: the right hand's, to compare with; None to judge by the left alone: its first shape, size, must
            stretch x like y and z.

    Returns:
        The arrays, and what was found and done in one clause.
    """
    if right is not None:
        same = np.abs(left["shapedirs"][:, 0] - right["shapedirs"][:, 0]).sum()
        mirrored = np.abs(left["shapedirs"][:, 0] + right["shapedirs"][:, 0]).sum()
        wrong, by = bool(same < mirrored), "compared with the right hand"
    else:
        centered = left["v_template"] - left["v_template"].mean(axis=0)
        growth = np.einsum("vi,vi->i", centered, left["shapedirs"][:, :, 0])
        wrong, by = bool(growth[0] * (growth[1] + growth[2]) < 0), "judged by the left hand alone"
    if not wrong:
        return dict(left), f"left hand: shape directions are right as they are ({by})"
    shapedirs = left["shapedirs"] * np.array([-1.0, 1.0, 1.0])[:, None]
    return {**left, "shapedirs": shapedirs}, f"left hand: x of its shape directions mirrored ({by})"


def read_mano_hands(paths: Sequence[Path]) -> tuple[dict[str, dict[str, ndarray]], list[str]]:
    """Both official hands, or one of them, ready to be kept as npz.

    Args:
        paths: one or two files, in any order.

    Returns:
        The arrays by side, and what there is to say about them.

    Raises:
        ModelError: as `read_mano_pickle`; a file is not the hand its name says; two files are the same hand.
    """
    hands: dict[str, dict[str, ndarray]] = {}
    came_from: dict[str, Path] = {}
    for path in paths:
        arrays = read_mano_pickle(path)
        side = side_of(HandModel.from_arrays("right", arrays, where=str(path)).rest_joints)
        other = "left" if side == "right" else "right"
        if other in path.stem.lower() and side not in path.stem.lower():
            raise ModelError(
                f"{path}: expected a {other} hand, as the name says, but its thumb is on a {side} hand's side. "
                "Rename the file, or download it again."
            )
        if side in hands:
            raise ModelError(
                f"{path}: expected one left and one right hand, but this and {came_from[side]} are both {side} hands. "
                "Give MANO_RIGHT.pkl and MANO_LEFT.pkl."
            )
        hands[side], came_from[side] = arrays, path
    messages = []
    if "left" in hands:
        hands["left"], note = mend_left(hands["left"], hands.get("right"))
        messages.append(note)
    return hands, messages
