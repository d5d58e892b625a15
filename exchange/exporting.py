"""`handpipe export`: sequences from finished stores to other people's formats; whole, or not at all.

A format is an `Exporter`: it gets the recordings and a place to write to. `export` checks what is there, gives it a
place beside the final one, and moves the result to its name at the end. The formats are in `generation/formats`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from .. import __version__
from ..core.atomic import appearing
from ..core.cameras import Cameras
from ..core.engine import Progress
from ..core.errors import ExportError
from ..core.hands import HANDS, NUM_JOINTS, NUM_POSE
from ..core.schema import read_cameras
from ..core.store import Store
from ..hand.keypoints import Keypoints
from ..hand.loading import hand_models
from ..hand.model import HandModel
from ..hand.stored_motion import check_part, motion_store, stored_motion

REPORT = "export.json"
"""What every exported folder says of itself: the format, the version, the sequences, what is lost. By this file
--force knows that it may replace the folder."""

EVERYTHING = slice(None)

MANO_SHAPES = {"global_orient": (3,), "hand_pose": (NUM_POSE,), "transl": (3,), "joints": (NUM_JOINTS, 3)}
KEYPOINT_SHAPES = {"points": (NUM_JOINTS, 3), "sigma": (NUM_JOINTS,)}
"""Of a hand in a frame."""


@dataclass(frozen=True, eq=False)
class HandsMotion:
    """The `mano` group of one sequence, the numbers as they are stored (float32); NaN where a hand is not known."""

    betas: ndarray
    """(hand, 10)"""
    global_orient: ndarray
    """(frame, hand, 3) axis-angle, radians."""
    hand_pose: ndarray
    """(frame, hand, 45) axis-angle, radians, flat_hand_mean=True."""
    transl: ndarray
    """(frame, hand, 3) smplx's transl, metres."""
    joints: ndarray
    """(frame, hand, 21, 3) metres, world."""
    valid: ndarray
    """(frame, hand) bool: supported by observations."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One sequence of both hands: a fitted session, or a sample of generated motion. Arrays are read when asked for."""

    name: str
    """Fit for a file's name, and different for every recording of an export."""
    source: str
    """What the user named."""
    store: Store
    """For whatever else a format wants: `detections`, `timeline`, ... as docs/store.md describes them."""
    sample: int | None
    """Which sample of the store; None for a session."""
    fps: float
    frames: int
    hand_model_id: tuple[str, str]
    """Ids of the left and the right hand model that the numbers are for."""
    hand_model: str | None
    """Folder of the hand model in use; None is the procedural hand."""
    attrs: Mapping[str, Any]
    """Attributes of the `mano` group; empty where nothing was fitted."""
    images: bool = True
    """Whether the session's clips are to be used."""

    @property
    def fitted(self) -> bool:
        """Whether there is MANO. Only formats of `KEYPOINTS_DO` meet recordings without."""
        return self.store.complete("mano")

    def motion(self, frames: slice = EVERYTHING) -> HandsMotion:
        """MANO of some frames."""
        sample = () if self.sample is None else (self.sample,)
        parts = {name: self._part("mano", name, frames, sample) for name in (*MANO_SHAPES, "valid")}
        return HandsMotion(betas=self.store.read("mano", "betas", (*sample, EVERYTHING)), **parts)

    def _part(self, group: str, name: str, frames: slice, sample: tuple[int, ...] = ()) -> ndarray:
        """Some frames of an array; raises GenerationError where it is of another shape."""
        part = self.store.read(group, name, (*sample, frames))
        shape = (len(range(self.frames)[frames]), len(HANDS), *(MANO_SHAPES | KEYPOINT_SHAPES).get(name, ()))
        check_part(f"{self.source}: {group}/{name}", part, shape, "b" if name == "valid" else "f")
        return part

    @cached_property
    def models(self) -> tuple[HandModel, HandModel]:
        """The left and the right hand model.

        Raises:
            ExportError: the model in use is not the one that the motion was fitted with.
        """
        models = hand_models(self.hand_model)
        in_use = tuple(model.model_id for model in models)
        if in_use != self.hand_model_id:
            raise ExportError(
                f"{self.source}: expected the hand model that it was fitted with ({', '.join(self.hand_model_id)}), "
                f"but the one in use is {', '.join(in_use)}. Name the folder with the right one with --hand-model."
            )
        return models

    def keypoints(self, frames: slice = EVERYTHING) -> Keypoints | None:
        """Triangulated or imported keypoints with sigma; None where there are none, as for generated motion."""
        if self.sample is not None or not self.store.complete("keypoints"):
            return None
        points, sigma = (self._part("keypoints", name, frames) for name in KEYPOINT_SHAPES)
        return Keypoints(points, sigma, self.fps)

    def cameras(self) -> Cameras | None:
        """The rig, views in the session's order; None where there is none."""
        return read_cameras(self.store) if self.store.complete("cameras") else None

    def clips(self) -> dict[str, Path]:
        """The clip of each view, as far as they lie in the session's folder."""
        local = self.store.local
        if local is None or self.sample is not None or not self.images or not self.store.complete("timeline"):
            return {}
        files = {path.stem: path for path in sorted((local.parent / "videos").glob("*")) if path.is_file()}
        return {view: files[view] for view in self.store.labels("timeline", "view") if view in files}


Exporter = Callable[[Sequence[Recording], Path, Progress], list[str]]
"""(recordings, where, progress) -> what is lost in this format, in sentences.

`where` does not exist yet and has the final name and suffix: write a folder there, or a file. What stands there when
the function returns is moved to its place; after an error it is removed."""


def safe_name(text: str) -> str:
    """A name from data as a file's name: no separators, no leading dot, at most 80 characters; it cannot climb out."""
    name = re.sub(r"[^\w.-]+", "_", text).strip("._")[:80]
    return name or "unnamed"


def recordings(
    names: Sequence[str], hand_model: str | None, fitted: bool = True, images: bool = True
) -> list[Recording]:
    """The sequences of session folders, Zarr stores and URLs; a store of generated motion has one for each sample.

    Args:
        names: what the user wrote.
        hand_model: folder of the hand model in use; None is the procedural hand.
        fitted: whether every one must have MANO; else keypoints will do.
        images: whether the sessions' clips are to be used.

    Raises:
        GenerationError: there is none, or it is not finished.
    """
    found: list[Recording] = []
    taken: set[str] = set()
    for name in names:
        store = motion_store(name, fitted)
        if not store.complete("mano"):
            unique, fps = _unique(safe_name(_stem(store)), taken), float(store.attrs("keypoints")["fps"])
            frames = len(store.read("keypoints", "sigma"))
            found.append(Recording(unique, name, store, None, fps, frames, ("", ""), hand_model, {}, images))
            continue
        motion = stored_motion(name, store)
        samples, frames = motion.valid.shape[:2]
        stem = safe_name(_stem(store))
        for sample in range(samples):
            unique = _unique(f"{stem}-{sample:04d}" if motion.sampled else stem, taken)
            which = sample if motion.sampled else None
            ids, attrs = motion.hand_model, store.attrs("mano")
            found.append(Recording(unique, name, store, which, motion.fps, frames, ids, hand_model, attrs, images))
    return found


def _stem(store: Store) -> str:
    """A session's folder, or the store's own name."""
    parts = [part for part in store.url.split("/") if part]
    if store.local is not None:
        parts = list(store.local.expanduser().resolve().parts)
    last = parts[-1].removesuffix(".zarr")
    return parts[-2] if last == "session" and len(parts) > 1 else last


def _unique(name: str, taken: set[str]) -> str:
    """The name, or with a number where it is taken; letters' case makes no difference, as on some file systems."""
    number, unique = 1, name
    while unique.lower() in taken:
        number += 1
        unique = f"{name}-{number}"
    taken.add(unique.lower())
    return unique


def one_file_each(suffix: str, write: Callable[[Recording, Path], list[str]]) -> Exporter:
    """A format with one file per sequence: a folder of them, or a file where the user named one with this suffix.

    Args:
        suffix: of the files, `.npz`.
        write: writes one of them and returns what is lost in it.
    """

    def exporter(recordings: Sequence[Recording], out: Path, progress: Progress) -> list[str]:
        lost: dict[str, None] = {}
        alone = out.suffix.lower() == suffix
        if alone and len(recordings) > 1:
            raise ExportError(
                f"--out {out.name}: expected a folder for {len(recordings)} sequences, but this is the name of a "
                f"{suffix} file. Leave out the suffix."
            )
        if not alone:
            out.mkdir()
        progress.start("export", len(recordings), 0, "sequences")
        try:
            for recording in recordings:
                lost |= dict.fromkeys(write(recording, out if alone else out / f"{recording.name}{suffix}"))
                progress.advance(1)
        finally:
            progress.stop()
        return list(lost)

    return exporter


def export(
    kind: str,
    exporter: Exporter,
    names: Sequence[str],
    out: Path,
    hand_model: str | None,
    progress: Progress,
    *,
    force: bool = False,
    fitted: bool = True,
    images: bool = True,
) -> dict[str, Any]:
    """Write sequences in a format. `out` appears when it is complete.

    Args:
        kind: the format's name.
        exporter: the format.
        names: session folders, Zarr stores or URLs.
        out: a file or a folder that is not there yet, or an empty folder.
        hand_model: folder of the hand model in use; None is the procedural hand.
        progress: where to show it.
        force: replace an export or a file that is there; a folder that is no export is never replaced.
        fitted, images: as for `recordings`.

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
    sequences = recordings(names, hand_model, fitted, images)
    figures: dict[str, Any] = {
        "format": kind,
        "out": str(out),
        "sequences": [
            {"name": each.name, "source": each.source, "sample": each.sample, "frames": each.frames, "fps": each.fps}
            for each in sequences
        ],
    }
    with appearing(out, lambda: _check_free(out, force)) as place:
        figures["lost"] = exporter(sequences, place, progress)
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


def known(motion: HandsMotion) -> ndarray:
    """(frame, hand) bool: every number of the hand is finite."""
    per_frame = [motion.global_orient, motion.hand_pose, motion.transl]
    finite = np.isfinite(np.concatenate(per_frame, axis=-1)).all(axis=-1)
    return np.asarray(finite & np.isfinite(motion.betas).all(axis=-1))


def hands_there(motion: HandsMotion) -> list[tuple[int, str]]:
    """Index and name of the hands that are known in at least one frame."""
    return [(index, hand) for index, hand in enumerate(HANDS) if known(motion)[:, index].any()]


def seen_joints(motion: HandsMotion) -> ndarray:
    """(frame, hand, 21, 3) metres, float32; NaN where a hand is not supported by observations."""
    there = motion.valid & known(motion)
    return np.where(there[..., None, None], motion.joints, np.float32(np.nan))
