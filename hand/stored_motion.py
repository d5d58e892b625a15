"""Motion in a store: the `mano` group of a fitted session or of generated motion with samples."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from ..core.errors import GenerationError
from ..core.hands import HANDS, NUM_BETAS, NUM_POSE
from ..core.quality import from_attributes, verdict
from ..core.storage.opened_arrays import METADATA
from ..core.storage.store import Store
from .keypoints import RATES

COLUMNS: Mapping[str, slice] = {
    "global_orient": slice(0, 3),
    "hand_pose": slice(3, 3 + NUM_POSE),
    "transl": slice(3 + NUM_POSE, 6 + NUM_POSE),
}
"""Columns of MANO's per-frame arrays in the values of a source."""

WIDTH = 6 + NUM_POSE

KINDS = {"f": "numbers", "b": "booleans"}


def place(name: str) -> str:
    """A canonical name, the same for every spelling of a source's location."""
    if "://" in name:
        return name.rstrip("/")
    path = Path(name).expanduser().resolve()
    return str(path.parent if path.name == "session.zarr" else path)


def motion_store(name: str, fitted: bool = True) -> Store:
    """Open the store with fitted or generated motion for a session folder, a Zarr path or a URL.

    Args:
        name: the folder, path or URL.
        fitted: whether the group `mano` is required; otherwise, `keypoints` is sufficient.

    Raises:
        GenerationError: there is none, or it holds no finished `mano` group.
    """
    path = Path(name).expanduser()
    session = path / "session.zarr"
    if "://" in name:
        store = Store(name)
    elif session.is_dir():
        store = Store(str(session))
    elif (path / METADATA).is_file():
        store = Store(str(path))
    elif path.is_dir():
        raise GenerationError(
            f"{name}: expected a session with fitted hands, or a Zarr store, but found neither session.zarr nor "
            f"zarr.json in the folder. If it is a session, run `handpipe fit {name}`."
        )
    else:
        raise GenerationError(
            f"{name}: expected a session folder, a Zarr store, `procedural` or `contact`, but there is no such folder. "
            "Check the path."
        )
    if not store.exists() or not (store.complete("mano") or (not fitted and store.complete("keypoints"))):
        state = "is incomplete" if store.exists() and store.attrs("mano") else "does not exist"
        raise GenerationError(
            f"{name}: expected fitted hands, the group `mano` of {store.url}, but it {state}. "
            f"Run `handpipe fit {name}`."
        )
    return store


def require_usable(name: str) -> None:
    """Raises GenerationError if there is a store whose verdict is "not usable"; names that are none pass."""
    path = Path(name).expanduser()
    if "://" in name:
        store = Store(name)
    elif (path / "session.zarr").is_dir():
        store = Store(str(path / "session.zarr"))
    elif (path / METADATA).is_file():
        store = Store(str(path))
    else:
        return
    checks = from_attributes(store.attrs("quality"))
    if verdict(checks) == "not usable":
        why = next(check for check in checks if check.severity == "error")
        raise GenerationError(
            f"{name}: expected results that can be used, but their verdict is 'not usable': {why.sentence} "
            "Or use them all the same with --accept."
        )


@dataclass(frozen=True, eq=False)
class StoredMotion:
    """The `mano` group of a store; a fitted session is one sample."""

    name: str
    store: Store
    fps: float
    hand_model: tuple[str, str]
    valid: ndarray
    """(sample, frame, hand) bool: what the store says, and finite betas."""
    betas: ndarray
    """(sample, hand, 10)"""
    sampled: bool
    """Whether the arrays have a leading axis `sample`."""

    def load(self, sample: int, start: int, stop: int) -> ndarray:
        """(frame, hand, WIDTH) float32; raises StoreError or GenerationError if it is damaged."""
        region = (sample, slice(start, stop)) if self.sampled else (slice(start, stop),)
        parts = []
        for name, columns in COLUMNS.items():
            part = self.store.read("mano", name, region)
            check_part(f"{self.name}: mano/{name}", part, (stop - start, len(HANDS), columns.stop - columns.start))
            parts.append(part)
        return np.concatenate(parts, axis=-1, dtype=np.float32)


def check_part(where: str, part: ndarray, shape: tuple[int, ...], kind: str = "f") -> None:
    """Raise GenerationError if part of an array has an unexpected type or shape."""
    if part.shape != shape or part.dtype.kind != kind:
        raise GenerationError(
            f"{where}: expected {KINDS[kind]} of shape {shape}, but found {part.dtype} of shape {part.shape}. "
            "Fit or generate the motion again."
        )


def stored_motion(name: str, store: Store) -> StoredMotion:
    """Open the motion in a store from `motion_store`.

    Raises:
        GenerationError: the `mano` group is invalid.
    """
    attrs = store.attrs("mano")
    fps, ids = attrs.get("fps"), attrs.get("hand_model")
    if not isinstance(fps, int | float) or not RATES[0] <= fps <= RATES[1]:
        raise GenerationError(
            f"{name}: mano: expected {RATES[0]:g} to {RATES[1]:g} frames per second in `fps`, but found {fps!r}. "
            "Fit it again."
        )
    if not isinstance(ids, list) or len(ids) != len(HANDS) or not all(isinstance(each, str) for each in ids):
        raise GenerationError(
            f"{name}: mano: expected the ids of two hand models in `hand_model`, but found {ids!r}. Fit it again."
        )
    valid, betas = store.read("mano", "valid"), store.read("mano", "betas")
    check_part(f"{name}: mano/valid", valid, valid.shape, "b")
    sampled = valid.ndim == 3
    if not sampled:
        valid = valid[None]
    alone = betas.shape == (len(HANDS), NUM_BETAS)
    if valid.ndim != 3 or valid.shape[2] != len(HANDS) or not (alone or betas.shape == (len(valid), 2, NUM_BETAS)):
        raise GenerationError(
            f"{name}: mano: expected `valid` (frame, 2 hands) and `betas` (2 hands, 10), or both with a leading axis "
            f"`sample`, but found {valid.shape[1 - sampled :]} and {betas.shape}. Fit or generate the motion again."
        )
    betas = np.broadcast_to(betas, (len(valid), len(HANDS), NUM_BETAS))
    valid = valid & np.all(np.isfinite(betas), axis=-1)[:, None]
    return StoredMotion(name, store, float(fps), (ids[0], ids[1]), valid, betas, sampled)
