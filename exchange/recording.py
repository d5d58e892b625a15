"""The sequences that `handpipe export` writes: what a store holds of both hands, read when it is asked for.

Formats import this module to be listed, so it loads no store library before a store is read.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from ..core.errors import ExportError
from ..core.hands import HANDS, NUM_JOINTS, NUM_POSE
from ..hand.keypoints import Keypoints
from ..hand.presence import hand_is_there

if TYPE_CHECKING:
    from ..core.cameras import Cameras
    from ..core.storage.store import Store
    from ..hand.model import HandModel

EVERYTHING = slice(None)

MANO_SHAPES = {"global_orient": (3,), "hand_pose": (NUM_POSE,), "transl": (3,), "joints": (NUM_JOINTS, 3)}
KEYPOINT_SHAPES = {"points": (NUM_JOINTS, 3), "sigma": (NUM_JOINTS,)}
"""Of a hand in a frame."""


@dataclass(frozen=True, eq=False)
class HandsMotion:
    """MANO of one sequence (float32); NaN where a hand is not known."""

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
    """(frame, hand) bool: what `hand_is_there` says."""

    @property
    def there(self) -> list[tuple[int, str]]:
        """Index and name of the hands that are there in at least one frame."""
        return [(index, hand) for index, hand in enumerate(HANDS) if self.valid[:, index].any()]

    @property
    def seen_joints(self) -> ndarray:
        """(frame, hand, 21, 3) metres, float32; NaN where a hand is not there."""
        return np.where(self.valid[..., None, None], self.joints, np.float32(np.nan))


@dataclass(frozen=True, eq=False)
class Recording:
    """One sequence of both hands: a fitted session, or a sample of generated motion. Arrays are read when asked for."""

    name: str
    """Safe as a file name, and unique within one export."""
    source: str
    """What the user named."""
    store: Store
    """All groups, such as `detections` and `timeline`; docs/store.md describes them."""
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
    """Whether the images of the session's clips are used."""

    @property
    def fitted(self) -> bool:
        """Whether there is MANO. Only formats that do not need it get recordings without."""
        return self.store.complete("mano")

    def motion(self, frames: slice = EVERYTHING) -> HandsMotion:
        """MANO of some frames."""
        sample = () if self.sample is None else (self.sample,)
        parts = {name: self._part("mano", name, frames, sample) for name in (*MANO_SHAPES, "valid")}
        parts["betas"] = self.store.read("mano", "betas", (*sample, EVERYTHING))
        return HandsMotion(**{**parts, "valid": hand_is_there(parts)})

    def motion_of_some_hand(self) -> HandsMotion:
        """All of MANO. Raises ExportError where no hand is there in any frame."""
        motion = self.motion()
        if not motion.there:
            raise ExportError(
                f"{self.source}: expected a hand in at least one frame, but found none. Leave this session out."
            )
        return motion

    def _part(self, group: str, name: str, frames: slice, sample: tuple[int, ...] = ()) -> ndarray:
        """Some frames of an array; raises GenerationError where it is of another shape."""
        from ..hand.stored_motion import check_part

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
        from ..hand.loading import hand_models

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
        from ..core.storage.schema import read_cameras

        return read_cameras(self.store) if self.store.complete("cameras") else None

    def clips(self) -> dict[str, Path]:
        """The clip of each view, as far as they lie in the session's folder."""
        local = self.store.local
        if local is None or self.sample is not None or not self.images or not self.store.complete("timeline"):
            return {}
        files = {path.stem: path for path in sorted((local.parent / "videos").glob("*")) if path.is_file()}
        return {view: files[view] for view in self.store.labels("timeline", "view") if view in files}


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
    from ..hand.stored_motion import motion_store, stored_motion

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
