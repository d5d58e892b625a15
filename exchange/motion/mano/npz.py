"""MANO in npz: the numbers of the store as they are, ready for `smplx.MANO`.

Per hand, `left_` and `right_`: `betas` (10), `global_orient` (frame, 3), `hand_pose` (frame, 45), `transl` (frame, 3),
`joints` (frame, 21, 3) and `valid` (frame); and `fps`, `hand_model` (ids of both models), `flat_hand_mean` (True).

Motion of the procedural hands also brings the hands themselves, so that it can be meshed without another file:
`left_model_v_template`, `left_model_f`, ..., the arrays of `procedural_hand`. MANO's files are licensed, and stay out.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy import ndarray

from ....core.errors import SessionError
from ....core.files import LARGE, read_npz
from ....core.hands import HANDS, NUM_BETAS, NUM_JOINTS, NUM_POSE
from ....hand.anatomy import finger_flexion
from ....hand.model import HandModel
from ....hand.plausibility import FROM_PCA, check_mano, zero_frames
from ....hand.presence import hand_is_there, has_numbers
from ....hand.procedural import procedural_hand
from ...recording import HandsMotion, Recording
from ..format import stored_rate

WIDTHS = {"global_orient": 3, "hand_pose": NUM_POSE, "transl": 3}

JOINTS_TOLERANCE_M = 1e-4
"""Between the joints that a file brings and those that its numbers give."""

BENT_BACK = -1.0
"""Of `finger_flexion` toward the palm: eight joints bent back by 7 degrees each, which no hand keeps up."""

MAX_FRAMES = 250_000
"""Of a file: two hours at 30 frames per second, which take two gigabytes of memory while they are judged."""

_REMEDY = "`handpipe export mano` writes such a file"


def write(recording: Recording, out: Path) -> list[str]:
    """One sequence. Every number is kept, bit for bit; of each hand one that was never seen is NaN throughout."""
    motion = recording.motion()
    arrays: dict[str, ndarray] = {
        "fps": np.array(recording.fps),
        "hand_model": np.array(recording.hand_model_id),
        "flat_hand_mean": np.array(True),
    }
    for index, hand in enumerate(HANDS):
        arrays[f"{hand}_betas"] = motion.betas[index]
        for name in (*WIDTHS, "joints", "valid"):
            arrays[f"{hand}_{name}"] = getattr(motion, name)[:, index]
        if recording.hand_model_id[index] == HandModel.procedural(hand).model_id:
            arrays |= {f"{hand}_model_{name}": array for name, array in procedural_hand(hand).items()}
    np.savez(out, **arrays)  # pyright: ignore[reportArgumentType]
    lost = ["The distance of the fit from the keypoints, the keypoints, the cameras and the detections."]
    if recording.hand_model_id[0].startswith("mano"):
        lost.append(
            "The hand model itself: the left hand's betas are for mended shape directions (smplx issue 48); load the "
            "MANO_LEFT.npz that `handpipe import mano` wrote, not the official pickle."
        )
    return lost


def read(path: Path, models: tuple[HandModel, HandModel], fps: float | None) -> tuple[HandsMotion, float, list[str]]:
    """The motion in a file of this format, checked. A hand that the file does not have is NaN and never valid.

    Where a number of a hand is NaN, or all are zero, the hand is not valid, whatever `valid` says. The last of what is
    returned are messages for a user, the second is the frame rate.

    Args:
        path: the file. `joints`, `valid`, `hand_model` and `flat_hand_mean` may be missing.
        models: the left and the right hand model that the numbers are for.
        fps: frames per second, where the file has none, or in place of what it says.

    Raises:
        SessionError: not this format; another hand model; degrees or millimetres; left and right swapped.
    """
    arrays = read_npz(path, "MANO motion")
    there = [hand for hand in HANDS if f"{hand}_hand_pose" in arrays]
    if not there:
        raise SessionError(
            f"{path}: expected MANO's arrays of a hand, left_hand_pose or right_hand_pose among them, but found "
            f"{', '.join(sorted(arrays)[:8]) or 'nothing'}. {_REMEDY}."
        )
    _check_model(path, arrays, models)
    frames = len(np.atleast_1d(arrays[f"{there[0]}_hand_pose"]))
    if frames > MAX_FRAMES:
        raise SessionError(
            f"{path}: expected at most {MAX_FRAMES} frames, but found {frames}. Check where it is from, or cut it into "
            "parts."
        )
    parts = {name: np.full((frames, len(HANDS), width), np.nan, np.float32) for name, width in WIDTHS.items()}
    betas = np.full((len(HANDS), NUM_BETAS), np.nan, np.float32)
    joints = np.full((frames, len(HANDS), NUM_JOINTS, 3), np.nan, np.float32)
    valid = np.zeros((frames, len(HANDS)), bool)
    for hand in there:
        index = HANDS.index(hand)
        betas[index] = _numbers(path, arrays, f"{hand}_betas", (NUM_BETAS,))
        for name, width in WIDTHS.items():
            parts[name][:, index] = _numbers(path, arrays, f"{hand}_{name}", (frames, width))
    zeros = zero_frames(parts)
    for values in parts.values():
        values[zeros] = np.nan
    motion = HandsMotion(betas=betas, joints=joints, valid=valid, **parts)
    finite = has_numbers(vars(motion))
    rate = stored_rate(path, arrays.get("fps")) if fps is None else fps
    messages = check_mano(str(path), {**vars(motion), "valid": finite, "zeros": zeros}, rate)
    for hand in there:
        index, model = HANDS.index(hand), models[HANDS.index(hand)]
        where = finite[:, index]
        computed = model.joints(betas[index], *(parts[name][where, index] for name in WIDTHS))
        joints[where, index] = computed
        if f"{hand}_joints" in arrays:
            stored = _numbers(path, arrays, f"{hand}_joints", (frames, NUM_JOINTS, 3))
            joints[:, index] = np.where(zeros[:, index, None, None], np.nan, stored)
            _check_joints(path, hand, computed, joints[where, index])
        valid[:, index] = where
        if f"{hand}_valid" in arrays:
            valid[:, index] = _flags(path, arrays, f"{hand}_valid", frames)
    motion = replace(motion, valid=hand_is_there(vars(motion)))
    _check_bend(path, motion)
    return motion, rate, messages


def _numbers(path: Path, arrays: Mapping[str, ndarray], name: str, shape: tuple[int, ...]) -> ndarray:
    array = arrays.get(name)
    if array is None or array.shape != shape or array.dtype.kind != "f" or 0 in shape:
        found = "no such array" if array is None else f"{array.dtype} of shape {array.shape}"
        pca = name.endswith("hand_pose") and array is not None and array.ndim == 2 and array.shape[1] < NUM_POSE
        remedy = f"These look like PCA coefficients. {FROM_PCA}" if pca else f"{_REMEDY}."
        raise SessionError(f"{path}: {name}: expected floats of shape {shape}, but found {found}. {remedy}")
    if (np.abs(array.astype(np.float64)) > LARGE).any():  # Half a float holds no limit of that size.
        raise SessionError(
            f"{path}: {name}: expected numbers of hands, and NaN where one is missing, but found infinity or numbers "
            f"beyond {LARGE:g}. Write NaN."
        )
    return array


def _flags(path: Path, arrays: Mapping[str, ndarray], name: str, frames: int) -> ndarray:
    array = arrays[name]
    if array.shape != (frames,) or array.dtype != bool:
        raise SessionError(
            f"{path}: {name}: expected {frames} booleans, but found {array.dtype} of shape {array.shape}. {_REMEDY}."
        )
    return array


def _check_model(path: Path, arrays: Mapping[str, ndarray], models: tuple[HandModel, HandModel]) -> None:
    in_use = [model.model_id for model in models]
    stored = [str(each) for each in arrays["hand_model"].ravel()] if "hand_model" in arrays else in_use
    if stored != in_use:
        raise SessionError(
            f"{path}: expected motion of the hand model in use ({', '.join(in_use)}), but it is for "
            f"{', '.join(stored)}. Name the folder with that model with --hand-model."
        )
    flat = arrays.get("flat_hand_mean", np.array(True))
    if flat.dtype.kind not in "biu" or not flat.all():
        raise SessionError(
            f"{path}: expected flat_hand_mean=True, but found {flat}. Add the model's `hands_mean` to hand_pose."
        )


def _check_joints(path: Path, hand: str, computed: ndarray, stored: ndarray) -> None:
    off = float(np.abs(computed - stored).max(initial=0))
    if not off < JOINTS_TOLERANCE_M:
        raise SessionError(
            f"{path}: {hand}_joints: expected the joints that the hand model gives for these numbers, but they are "
            f"{1000 * off:.3g} mm off. The numbers may be for another hand model or the other hand, in another unit or "
            "order of the joints, or components instead of axis-angles."
        )


def _check_bend(path: Path, motion: HandsMotion) -> None:
    for index, (hand, sign) in enumerate(zip(HANDS, (-1, 1), strict=True)):
        bend = sign * finger_flexion(motion.joints[motion.valid[:, index], index])
        if len(bend) and np.median(bend) < BENT_BACK:
            raise SessionError(
                f"{path}: {hand}_hand_pose: expected fingers that bend to the palm, but they bend to the back. "
                "Left and right may be swapped, or the joints in another order than MANO's (index, middle, pinky, "
                "ring, thumb)."
            )
