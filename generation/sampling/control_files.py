"""Control files of `handpipe generate`: keyframes and wrist trajectories, read into numpy records."""

# Ring 2: reads and writes.

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy import ndarray

from ...core.errors import GenerationError
from ...core.files import read_bytes, read_npz
from ...core.hands import HANDS, NUM_BETAS
from ...hand.stored_motion import COLUMNS, StoredMotion, motion_store, stored_motion
from .control_arrays import MAX_BYTES, check_arrays, check_frames, check_metres, read_zarr

FAR_RAD = 7.0
"""Largest plausible rotation of a joint in radians; larger values are in degrees."""


@dataclass(frozen=True, eq=False)
class Keyframes:
    """Whole poses at some frames of the clip; float64, smplx's conventions, metres and radians."""

    where: str
    """The source as given by the user, for messages."""
    frame: ndarray
    """(key,) int64, ascending, 0 to length - 1."""
    betas: ndarray
    """(hand, 10)"""
    global_orient: ndarray
    """(key, hand, 3)"""
    hand_pose: ndarray
    """(key, hand, 45)"""
    transl: ndarray
    """(key, hand, 3)"""
    has_hand: ndarray
    """(key, hand) bool; where it is False the numbers are 0."""
    hand_model: tuple[str, str] | None
    """Ids of the hand models the numbers are for; None where the file does not say."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Wrist positions at some frames of the clip, in its world frame."""

    where: str
    frame: ndarray
    """(point,) int64, 0 to length - 1, in order; no frame twice for one hand."""
    hand: ndarray
    """(point,) int64, index into HANDS."""
    wrist_m: ndarray
    """(point, 3) float64, joint 0 of the hand."""


# ---- keyframes -----------------------------------------------------------------------------------------------------


def read_keyframes(
    named: str, length: int, fps: float, hand_model: Sequence[str] | None = None, max_bytes: int = MAX_BYTES
) -> Keyframes:
    """Keyframes from what `--keyframes` names.

    Args:
        named: `SESSION:0,30,59` or `SESSION:0-9,40`, frames of a session or of a Zarr store with a `mano` group
            (`OUT.zarr[2]:0,59` for its third sample): the first one named becomes frame 0 of the clip, the others
            follow at their distance in time. Or an .npz or a Zarr group with arrays frame (key,), betas (hand, 10),
            global_orient (key, hand, 3), hand_pose (key, hand, 45), transl (key, hand, 3) and, if some hands are
            missing, has_hand (key, hand).
        length: frames of the clip.
        fps: of the clip.
        hand_model: ids of the models the clip is for; None does not ask.
        max_bytes: the largest file to read.

    Raises:
        GenerationError: not there, not these arrays, or not in the clip.
        StoreError: a store cannot be read.
    """
    session, colon, frames = named.rpartition(":")
    if named.endswith(".npz"):
        arrays = read_npz(Path(named).expanduser(), "keyframes", max_bytes, GenerationError)
        keyframes = _keyframes_of_arrays(named, arrays)
    elif colon and not frames.startswith("//"):
        keyframes = _keyframes_of_session(named, session, frames, fps)
    else:
        keyframes = _keyframes_of_arrays(named, read_zarr(named, max_bytes))
    check_frames(named, keyframes.frame, length)
    if hand_model is not None and keyframes.hand_model is not None and keyframes.hand_model != tuple(hand_model):
        raise GenerationError(
            f"{named}: expected keyframes for the hand models {', '.join(hand_model)}, but they are for "
            f"{', '.join(keyframes.hand_model)}. Fit the session with the hand model of the checkpoint, or use another "
            "checkpoint."
        )
    return keyframes


def _keyframes_of_session(named: str, session: str, frames: str, fps: float) -> Keyframes:
    sample = re.fullmatch(r"(.+)\[(\d{1,9})\]", session)
    name = sample[1] if sample else session
    motion = stored_motion(name, motion_store(name))
    number = _sample_number(named, motion, int(sample[2]) if sample else None)
    taken = _frame_list(named, frames, motion.valid.shape[1])
    place = np.rint((taken - taken[0]) * fps / motion.fps).astype(np.int64)
    same = np.flatnonzero(np.diff(place) == 0)
    if len(same):
        raise GenerationError(
            f"{named}: expected frames that are at least one frame apart in the clip, but {taken[same[0]]} and "
            f"{taken[same[0] + 1]} of the recording ({motion.fps:g} fps) both become its frame {place[same[0]]} "
            f"({fps:g} fps). Give fewer frames."
        )
    numbers = np.concatenate([motion.load(number, int(f), int(f) + 1) for f in taken]).astype(np.float64)
    has_hand = motion.valid[number, taken] & np.isfinite(numbers).all(axis=-1)
    _check_seen(named, has_hand, taken, "of the recording")
    arrays = {key: numbers[..., columns] for key, columns in COLUMNS.items()}
    betas = np.where(np.isfinite(motion.betas[number]), motion.betas[number], 0.0)
    return _keyframes(named, {**arrays, "frame": place, "betas": betas, "has_hand": has_hand}, motion.hand_model)


def _sample_number(named: str, motion: StoredMotion, sample: int | None) -> int:
    samples = len(motion.valid)
    if sample is None and samples == 1:
        return 0
    if sample is None or sample >= samples:
        raise GenerationError(
            f"{named}: expected one of the {samples} motions in {motion.name}, but got "
            f"{'no number' if sample is None else sample}. Give its number, as in {motion.name}[0]:0,30."
        )
    return sample


def _frame_list(named: str, text: str, frames: int) -> ndarray:
    """The frames that `0,30,40-49` means, ascending."""
    taken: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,12})(?:-(\d{1,12}))?\s*", part)
        if not match:
            raise GenerationError(
                f"{named}: expected frames after the colon, like 0,30,59 or 0-9,40, but got '{part}'. Correct it."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last >= frames or first > last:
            raise GenerationError(
                f"{named}: expected frames of the recording, which has 0 to {frames - 1}, but got {part.strip()}. "
                "Give existing frames."
            )
        taken += range(first, last + 1)
        if len(taken) > frames:
            break
    if any(after <= before for before, after in pairwise(taken)):
        raise GenerationError(f"{named}: expected each frame once and in ascending order. Sort them.")
    return np.array(taken)


def _keyframes_of_arrays(named: str, arrays: dict[str, ndarray]) -> Keyframes:
    needed = {"frame": (None,), "betas": (2, NUM_BETAS)}
    needed |= {name: (None, 2, columns.stop - columns.start) for name, columns in COLUMNS.items()}
    check_arrays(named, arrays, needed, {"has_hand": (None, 2)})
    has_hand = arrays.get("has_hand", np.ones((len(arrays["frame"]), 2), bool))
    if has_hand.dtype != bool:
        raise GenerationError(f"{named}: expected has_hand of booleans, but found {has_hand.dtype}. Convert it.")
    frame = arrays["frame"].astype(np.int64)
    _check_seen(named, has_hand, frame, "")
    for name in ("betas", *COLUMNS):
        finite = np.all(np.isfinite(arrays[name]), axis=-1)
        conditioning = has_hand if name in COLUMNS else np.any(has_hand, axis=0)
        bad = np.argwhere(~finite & conditioning)
        if len(bad):
            at = f" at frame {frame[bad[0][0]]}" if name in COLUMNS else ""
            raise GenerationError(
                f"{named}: expected finite numbers, but {name} of the {HANDS[bad[0][-1]]} hand{at} is not. "
                "Set has_hand to false for missing hands."
            )
    return _keyframes(named, {**arrays, "frame": frame, "has_hand": has_hand}, None)


def _keyframes(named: str, arrays: Mapping[str, ndarray], hand_model: tuple[str, str] | None) -> Keyframes:
    order = np.argsort(arrays["frame"], kind="stable")
    frame, has_hand = arrays["frame"][order], arrays["has_hand"][order]
    twice = np.flatnonzero(np.diff(frame) == 0)
    if len(twice):
        raise GenerationError(f"{named}: expected each frame once, but found {frame[twice[0]]} twice. Remove one.")
    known = {name: np.where(has_hand[..., None], arrays[name][order].astype(np.float64), 0.0) for name in COLUMNS}
    check_metres(f"{named}: transl", known["transl"][has_hand])
    for name in ("global_orient", "hand_pose"):
        with np.errstate(over="ignore"):
            largest = float(np.linalg.norm(known[name].reshape(-1, 3), axis=-1).max(initial=0.0))
        if largest > FAR_RAD:
            raise GenerationError(
                f"{named}: {name}: expected axis-angles in radians, but found an angle of {largest:.4g}; that looks "
                "like degrees. Multiply them by pi / 180."
            )
    betas = np.where(np.any(has_hand, axis=0)[:, None], arrays["betas"].astype(np.float64), 0.0)
    return Keyframes(named, frame, betas, **known, has_hand=has_hand, hand_model=hand_model)


def _check_seen(named: str, has_hand: ndarray, frame: ndarray, whose: str) -> None:
    if not len(frame):
        raise GenerationError(f"{named}: expected at least one keyframe, but found none. Add one.")
    empty = np.flatnonzero(~has_hand.any(axis=1))
    if len(empty):
        raise GenerationError(
            f"{named}: expected at least one hand in every keyframe, but in frame {frame[empty[0]]} {whose}".rstrip()
            + " both are missing. Remove this frame."
        )


# ---- trajectories --------------------------------------------------------------------------------------------------


def read_trajectory(path: Path, length: int, max_bytes: int = MAX_BYTES) -> Trajectory:
    """Wrist positions from what `--trajectory` names.

    Args:
        path: a CSV with the header `frame,hand,x,y,z` (hand: left or right; metres, in the clip's world), or an .npz
            with frame (point,), hand (point,; names, or 0 left and 1 right) and wrist_m (point, 3).
        length: frames of the clip.
        max_bytes: the largest file to read.

    Raises:
        GenerationError: not there, not these columns, a frame twice or outside of the clip, or not metres.
    """
    named = str(path)
    if path.suffix.lower() == ".npz":
        arrays = read_npz(path, "wrist positions", max_bytes, GenerationError)
        check_arrays(named, arrays, {"frame": (None,), "hand": (None,), "wrist_m": (None, 3)}, {})
        names = arrays["hand"].tolist()
        hands = [HANDS[name] if name in (0, 1) and not isinstance(name, str) else str(name) for name in names]
        frame, wrist_m = arrays["frame"].astype(np.int64), arrays["wrist_m"].astype(np.float64)
    else:
        frame, hands, wrist_m = _read_csv(path, max_bytes)
    unknown = next((row for row, name in enumerate(hands) if name not in HANDS), None)
    if unknown is not None:
        raise GenerationError(
            f"{named}: expected the hand left or right, but point {unknown + 1} (frame {frame[unknown]}) has "
            f"'{hands[unknown][:40]}'. Correct it."
        )
    if not len(frame):
        raise GenerationError(f"{named}: expected at least one wrist position, but found none. Add one.")
    hand = np.array([HANDS.index(name) for name in hands], np.int64)
    check_frames(named, frame, length)
    bad = np.flatnonzero(~np.isfinite(wrist_m).all(axis=1))
    if len(bad):
        raise GenerationError(
            f"{named}: expected finite positions, but that of the {hands[bad[0]]} hand at frame {frame[bad[0]]} is "
            "not. Remove missing positions."
        )
    order = np.lexsort((hand, frame))
    frame, hand, wrist_m = frame[order], hand[order], wrist_m[order]
    twice = np.flatnonzero((np.diff(frame) == 0) & (np.diff(hand) == 0))
    if len(twice):
        raise GenerationError(
            f"{named}: expected one position for a hand at a frame, but the {HANDS[hand[twice[0]]]} hand has two at "
            f"frame {frame[twice[0]]}. Remove one."
        )
    check_metres(named, wrist_m)
    return Trajectory(named, frame, hand, wrist_m)


def _read_csv(path: Path, max_bytes: int) -> tuple[ndarray, list[str], ndarray]:
    columns = ("frame", "hand", "x", "y", "z")
    wanted = f"{path}: expected a CSV file with the header {','.join(columns)}"
    try:
        text = read_bytes(path, "a CSV file of wrist positions", max_bytes, GenerationError).decode("utf-8-sig")
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise GenerationError(f"{wanted}, but it cannot be read ({error}). Write it as UTF-8 text.") from error
    header = rows[0] if rows else []
    if sorted(header) != sorted(columns):
        raise GenerationError(f"{wanted}, but found '{','.join(header)[:80]}'. Rename the columns.")
    frame, hand, wrist_m = [], [], []
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        try:
            cells = dict(zip(header, row, strict=True))
            frame.append(np.int64(cells["frame"]))
            hand.append(cells["hand"])
            wrist_m.append([float(cells[axis]) for axis in "xyz"])
        except (ValueError, OverflowError) as error:
            raise GenerationError(
                f"{path}: line {number}: expected a whole frame number, a hand and three coordinates, but found "
                f"'{','.join(row)[:80]}'. Correct it."
            ) from error
    return np.array(frame, np.int64), hand, np.array(wrist_m, np.float64).reshape(-1, 3)


def contradictions(
    keyframes: Keyframes, wrist_of_keyframes_m: ndarray, trajectory: Trajectory, tolerance_m: float = 1e-3
) -> None:
    """Raise GenerationError if a keyframe and the trajectory contradict each other.

    Args:
        keyframes: as read.
        wrist_of_keyframes_m: (key, hand, 3) their wrists, joint 0, in the clip's world.
        trajectory: as read.
        tolerance_m: what counts as the same place.
    """
    key = np.searchsorted(keyframes.frame, trajectory.frame)
    key = np.minimum(key, len(keyframes.frame) - 1)
    both = (keyframes.frame[key] == trajectory.frame) & keyframes.has_hand[key, trajectory.hand]
    there = wrist_of_keyframes_m[key, trajectory.hand]
    distance_m = np.where(both, np.linalg.norm(there - trajectory.wrist_m, axis=1), 0.0)
    wrong = np.flatnonzero(distance_m > tolerance_m)
    if len(wrong):
        point = wrong[0]
        hand, frame = HANDS[trajectory.hand[point]], trajectory.frame[point]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise GenerationError(
            f"{trajectory.where}: expected the {hand} wrist at frame {frame} where "
            f"the keyframe of {keyframes.where} has it, {_xyz(there[point])}, but found "
            f"{_xyz(trajectory.wrist_m[point])}, {distance_m[point]:.4g} m away{more}. "
            "Remove that frame from one of them, or transform both to the same coordinate system."
        )


def _xyz(place_m: ndarray) -> str:
    return "(" + ", ".join(f"{x:.4f}" for x in place_m) + ") m"
