"""The motion that `render` and `view` show: of a fitted session, with its cameras and clips, or of a store."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.errors import ConfigError, ModelError, SessionError
from ..core.storage.opened_arrays import METADATA
from ..core.storage.schema import read_cameras
from ..core.storage.store import Store
from ..hand.stored_motion import COLUMNS, StoredMotion, motion_store, stored_motion
from ..rendering.moving_hands import MovingHands
from .measures import spread_views
from .results import STAGES, find_stores, hand_models_of


@dataclass(frozen=True, eq=False)
class ShownMotion:
    """A fitted session or a store with motion, opened."""

    name: str
    """As the user calls it."""
    motion: StoredMotion
    root: Path | None
    """The session folder; None for a store."""
    store: Store
    rig: Store
    """Where the cameras are: another store for a run that was pruned."""

    @property
    def samples(self) -> int:
        return len(self.motion.valid)

    @property
    def frames(self) -> int:
        return self.motion.valid.shape[1]

    @cached_property
    def cameras(self) -> Cameras | None:
        return read_cameras(self.rig) if self.root is not None and self.rig.complete("cameras") else None

    @cached_property
    def source_frame(self) -> ndarray | None:
        """(view, frame) int, frame of the view's clip; -1 none."""
        known = next((group for group in ("clock", "timeline") if self.store.complete(group)), None)
        return None if known is None or self.root is None else self.store.read(known, "source_frame")

    @cached_property
    def keyframes(self) -> ndarray:
        """Frames whose pose was asked for; none in a session."""
        if not self.store.complete("controls"):
            return np.zeros(0, int)
        given = np.isfinite(self.store.read("controls", "hand_pose"))
        return np.flatnonzero(given.reshape(len(given), -1).any(axis=1))

    def hands(self, sample: int, number: ndarray, hand_model: str | None, *, arms: bool, tinted: bool) -> MovingHands:
        """Some frames of a sample.

        Args:
            sample: 0 for a session.
            number: (frame,) ascending.
            hand_model: folder with the hand model; None: the procedural hands.
            arms, tinted: see MovingHands.

        Raises:
            ConfigError: there is no such sample.
            ModelError: the hands are of another model.
            SessionError: no hand is there in any of the frames.
        """
        if not 0 <= sample < self.samples:
            raise ConfigError(
                f"--sample: expected one of the {self.samples} samples of {self.name}, 0 to {self.samples - 1}, but "
                f"found {sample}."
            )
        models, why = hand_models_of(self.motion.hand_model, hand_model)
        if models is None:
            raise ModelError(why)
        values = self.motion.load(sample, 0, self.frames)[number].astype(float)
        pose = {key: values[..., columns] for key, columns in COLUMNS.items()}
        valid = self.motion.valid[sample][number] & np.isfinite(values).all(axis=-1)
        if not valid.any():
            raise SessionError(
                f"{self.name}: expected a hand in frames {number[0]} to {number[-1]}, but no fit is valid there. "
                + ("Choose other --frames." if self.root is None else f"`handpipe report {self.name}` shows why.")
            )
        betas = self.motion.betas[sample].astype(float)
        fps = self.motion.fps / max(1, round(float(np.median(np.diff(number)))) if len(number) > 1 else 1)
        return MovingHands(models, betas, pose, valid, number, fps, arms, tinted)

    def calibrated(self) -> Cameras:
        """The cameras, of a session whose calibration and clips' frames are known; raises SessionError."""
        if self.root is None:
            raise SessionError(
                f"{self.name}: expected a session with clips for --views, but it is a store with motion alone. "
                "Leave out --views: the hands are then shown without footage."
            )
        if self.cameras is None:
            raise not_computed(self.name, self.rig, "cameras")
        if self.source_frame is None:
            raise not_computed(self.name, self.store, "detections")
        return self.cameras

    def views(self, names: tuple[str, ...]) -> list[int]:
        """Positions of views by their names; of none, the one that sees the hands best. Raises SessionError."""
        cameras = self.calibrated()
        known = [name for name, ok in zip(cameras.names, cameras.calibrated, strict=True) if ok]
        wrong = [name for name in names if name not in known]
        if wrong or not known:
            raise SessionError(
                f"--views: expected calibrated views of {self.name} ({', '.join(known) or 'it has none'}), but found "
                f"{', '.join(wrong) or 'none'}. Correct the names, or use --turntable."
            )
        if names:
            return [cameras.names.index(name) for name in names]
        used = np.zeros(len(cameras))
        if self.store.complete("keypoints") and self.store.has("keypoints", "assignment"):
            used = (self.store.read("keypoints", "assignment") >= 0).sum(axis=(1, 2))
        return spread_views(cameras, used, 1)


def chosen_frames(text: str, frames: int) -> tuple[ndarray, bool]:
    """Frames from "0-120", "20" or "0,20,40-59"; all from an empty text.

    Returns:
        (n,) ascending, and whether they are named one by one.

    Raises:
        ConfigError: it is not of this form, or there are no such frames.
    """
    if not text:
        return np.arange(frames), False
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or not (last.isdecimal() if dash else True):
            raise ConfigError(
                f"--frames: expected frames such as 0-120 or 0,20,40, but found {text!r}. Use numbers, commas and -."
            )
        low, high = int(first), int(last) if dash else int(first)
        if not low <= high < frames:
            raise ConfigError(f"--frames: expected frames from 0 to {frames - 1}, but found {part}. Correct it.")
        found |= set(range(low, high + 1))
    return np.array(sorted(found)), "," in text or "-" not in text


def not_computed(name: str, store: Store, group: str) -> SessionError:
    """What is missing, and the command that computes it."""
    command, what = STAGES[group]
    return SessionError(
        f"{store.url}: expected {what}, the group `{group}`, but it was not computed yet. "
        f"Run `handpipe {command} {name}` first."
    )


def open_motion(name: str, root: Path, store: str | None, prune: int | None) -> ShownMotion:
    """Open a fitted session, generated motion, or another store with a group `mano`.

    Args:
        name: as the user calls it.
        root: the folder that it means.
        store: where the results of a session are; None: in its folder.
        prune: results of `--prune N`.

    Raises:
        SessionError: there is none, or the hands were not fitted yet.
        StoreError: a store cannot be read, or a newer handpipe wrote it.
        GenerationError: the motion is damaged.
    """
    if "://" in name or (root / METADATA).is_file():
        found = motion_store(name if "://" in name else str(root))
        return ShownMotion(name, stored_motion(name, found), None, found, found)
    results, rig = find_stores(root, store, prune)
    if not results.complete("mano"):
        raise not_computed(name, results, "mano")
    return ShownMotion(name, stored_motion(name, results), root, results, rig)
