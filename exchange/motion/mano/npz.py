"""MANO in npz: the numbers of the store as they are, ready for `smplx.MANO`.

Per hand, `left_` and `right_`: `betas` (10), `global_orient` (frame, 3), `hand_pose` (frame, 45), `transl` (frame, 3),
`joints` (frame, 21, 3) and `valid` (frame); and `fps`, `hand_model` (ids of both models), `flat_hand_mean` (True).
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
from ....hand.presence import hand_is_there, has_numbers
from ...recording import HandsMotion, Recording
from ..format import stored_rate

WIDTHS = {"global_orient": 3, "hand_pose": NUM_POSE, "transl": 3}

TURNS_RAD = 4 * np.pi
"""No joint of a finger turns so far; degrees do, as soon as one of them is bent."""

APART_M = 3.0
"""Two wrists are nearer than this, and no wrist moves so far in a tenth of a second."""

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
    np.savez(out, **arrays)  # pyright: ignore[reportArgumentType]
    lost = ["The distance of the fit from the keypoints, the keypoints, the cameras and the detections."]
    if recording.hand_model_id[0].startswith("mano"):
        lost.append(
            "The hand model itself: the left hand's betas are for mended shape directions (smplx issue 48); load the "
            "MANO_LEFT.npz that `handpipe import mano` wrote, not the official pickle."
        )
    return lost


def read(path: Path, models: tuple[HandModel, HandModel], fps: float | None) -> tuple[HandsMotion, float]:
    """The motion in a file of this format, checked. A hand that the file does not have is NaN and never valid.

    Where a number of a hand is NaN, the hand is not valid, whatever `valid` says.

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
    motion = HandsMotion(betas=betas, joints=joints, valid=valid, **parts)
    finite = has_numbers(vars(motion))
    for hand in there:
        _check_angles(path, hand, motion, finite)
        index, model = HANDS.index(hand), models[HANDS.index(hand)]
        where = finite[:, index]
        computed = model.joints(betas[index], *(parts[name][where, index] for name in WIDTHS))
        joints[where, index] = computed
        if f"{hand}_joints" in arrays:
            joints[:, index] = _numbers(path, arrays, f"{hand}_joints", (frames, NUM_JOINTS, 3))
            _check_joints(path, hand, computed, joints[where, index])
        valid[:, index] = where
        if f"{hand}_valid" in arrays:
            valid[:, index] = _flags(path, arrays, f"{hand}_valid", frames)
    motion = replace(motion, valid=hand_is_there(vars(motion)))
    rate = stored_rate(path, arrays.get("fps")) if fps is None else fps
    _check_places(path, motion, finite, rate)
    return motion, rate


def _numbers(path: Path, arrays: Mapping[str, ndarray], name: str, shape: tuple[int, ...]) -> ndarray:
    array = arrays.get(name)
    if array is None or array.shape != shape or array.dtype.kind != "f" or 0 in shape:
        found = "no such array" if array is None else f"{array.dtype} of shape {array.shape}"
        raise SessionError(f"{path}: {name}: expected floats of shape {shape}, but found {found}. {_REMEDY}.")
    if (np.abs(array) > LARGE).any():
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


def _check_angles(path: Path, hand: str, motion: HandsMotion, finite: ndarray) -> None:
    index = HANDS.index(hand)
    pose = motion.hand_pose[finite[:, index], index].reshape(-1, 3)
    largest = float(np.linalg.norm(pose, axis=-1).max(initial=0))
    if largest > TURNS_RAD:
        raise SessionError(
            f"{path}: {hand}_hand_pose: expected radians, but a joint turns by {largest:.0f}. They look like degrees: "
            "convert them."
        )


def _check_joints(path: Path, hand: str, computed: ndarray, stored: ndarray) -> None:
    off = float(np.abs(computed - stored).max(initial=0))
    if not off < JOINTS_TOLERANCE_M:
        raise SessionError(
            f"{path}: {hand}_joints: expected the joints that the hand model gives for these numbers, but they are "
            f"{1000 * off:.3g} mm off. The numbers may be for another hand model or the other hand, in another unit or "
            "order of the joints, or components instead of axis-angles."
        )


def _check_places(path: Path, motion: HandsMotion, finite: ndarray, fps: float) -> None:
    both = finite.all(axis=-1)
    apart = np.linalg.norm(motion.transl[both, 0] - motion.transl[both, 1], axis=-1)
    speed = np.linalg.norm(np.diff(motion.transl, axis=0), axis=-1) * fps / 10
    for name, found_m in (("between the hands", apart), ("in a tenth of a second", speed[np.isfinite(speed)])):
        if len(found_m) and np.median(found_m) > APART_M:
            raise SessionError(
                f"{path}: transl: expected metres, but found {np.median(found_m):.3g} m {name}. It may be in "
                "millimetres: convert it."
            )
    for index, (hand, sign) in enumerate(zip(HANDS, (-1, 1), strict=True)):
        bend = sign * finger_flexion(motion.joints[finite[:, index], index])
        if len(bend) and np.median(bend) < BENT_BACK:
            raise SessionError(
                f"{path}: {hand}_hand_pose: expected fingers that bend to the palm, but they bend to the back. "
                "Left and right may be swapped, or the joints in another order than MANO's (index, middle, pinky, "
                "ring, thumb)."
            )
