"""A session made of data from elsewhere: keypoints, fitted hands, cameras, as far as there are any, in one store."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.errors import SessionError
from ..core.storage.atomic import appearing
from ..core.storage.lock import claimed
from ..core.storage.schema import CAMERAS, KEYPOINTS, MANO, TIMELINE, camera_blocks, group_spec, imported
from ..core.storage.store import GroupSpec, Store
from ..hand.keypoints import Keypoints

CHUNK_FRAMES = 1024
"""Frames per chunk."""


@dataclass(frozen=True, eq=False)
class ImportedSession:
    """What is known; at least keypoints or fitted hands."""

    fps: float
    keypoints: Keypoints | None = None
    mano: Mapping[str, ndarray] | None = None
    """The arrays of the group `mano`."""
    hand_model: tuple[str, str] | None = None
    """Ids of the left and the right hand model that `mano` is for."""
    cameras: Cameras | None = None
    imaged: ndarray | None = None
    """(view, frame) bool: the view has an image of the instant; None for all of them."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Further attributes of the main group: where it comes from."""

    @property
    def main(self) -> str:
        """The group whose fingerprint stands for all."""
        return "mano" if self.keypoints is None else "keypoints"


def write_imported(
    root: Path,
    session: ImportedSession,
    fingerprint: Mapping[str, Any],
    names: Mapping[str, str],
    name: str = "session.zarr",
) -> bool:
    """A session folder with its store, whole or not at all. Returns False if it is there.

    Args:
        root: the session's folder.
        session: checked.
        fingerprint: `settings`, `inputs` and `code`.
        names: of the files it comes from, by role.
        name: of the store.

    Raises:
        SessionError: the folder holds a session with clips, or a store that was not imported.
        DiskError: it cannot be written.
    """
    must_be_folder(root)
    store = Store(str(root / name))
    if (root / "videos").exists() or (store.exists() and not (imported(store) or imported(store, "mano"))):
        raise SessionError(
            f"{root}: expected a new folder, or one made by `handpipe import`, but it holds a filmed session. "
            "Choose another folder."
        )
    if store.fingerprint(session.main) == fingerprint:
        return False
    with claimed(root / name), store.lock() if store.exists() else nullcontext(), appearing(root / name) as place:
        _write(Store(str(place)), _groups(session, fingerprint, names))
    return True


def must_be_folder(path: Path) -> None:
    """Raises SessionError for a file."""
    if path.exists() and not path.is_dir():
        raise SessionError(f"{path}: expected a folder, or nothing yet, but found a file. Choose another place.")


def _groups(
    session: ImportedSession, fingerprint: Mapping[str, Any], names: Mapping[str, str]
) -> list[tuple[GroupSpec, Mapping[str, ndarray]]]:
    groups = []
    attrs = {"fps": session.fps, "imported": dict(names)}
    if session.cameras is not None:
        cameras = session.cameras
        views: Any = {"view": (("view",), np.array(cameras.names, object))}
        spec = group_spec(
            "cameras",
            CAMERAS,
            sizes={"view": len(cameras), "rig": 1},
            unit={"rig": 1},
            fingerprint=fingerprint,
            attrs={"source": "import", "without_calibration": []},
            coords=views,
        )
        groups.append((spec, camera_blocks(cameras, np.full(len(cameras), np.nan))))
        if session.imaged is not None:
            frames = session.imaged.shape[1]
            sizes = {"view": len(cameras), "frame": frames, "session": 1}
            spec = group_spec("timeline", TIMELINE, sizes, {"session": 1}, fingerprint, attrs, coords=views)
            frame, there = np.arange(frames), session.imaged
            blocks = {"source_frame": np.where(there, frame, -1), "time": np.where(there, frame / session.fps, np.nan)}
            groups.append((spec, blocks))
    if session.keypoints is not None:
        points, sigma = session.keypoints.points_m, session.keypoints.sigma_m
        notes = {**session.notes, "reprojection_px": None}
        spec = group_spec(
            "keypoints",
            KEYPOINTS,
            sizes={"view": 0, "frame": len(points)},
            unit={"frame": min(CHUNK_FRAMES, len(points))},
            fingerprint=fingerprint,
            attrs={**attrs, **notes},
            coords={"view": (("view",), np.array([], object))},
        )
        nothing = {"assignment": np.empty((0, *sigma.shape[:2]), np.int16), "inlier": np.empty((0, *sigma.shape), bool)}
        groups.append((spec, {"points": points, "sigma": sigma, **nothing}))
    if session.mano is not None:
        frames = len(session.mano["valid"])
        own = {**attrs, "hand_model": list(session.hand_model or ())}
        if session.keypoints is None:
            own |= session.notes
        spec = group_spec("mano", MANO, {"frame": frames}, {"frame": min(CHUNK_FRAMES, frames)}, fingerprint, own)
        groups.append((spec, session.mano))
    return groups


def _write(store: Store, groups: Sequence[tuple[GroupSpec, Mapping[str, ndarray]]]) -> None:
    """A new store with these groups."""
    store.open()
    for spec, blocks in groups:
        store.create(spec)
        _fill(store, spec, blocks)
        store.finish(spec.name)
    store.consolidate()


def _fill(store: Store, spec: GroupSpec, blocks: Mapping[str, ndarray]) -> None:
    """Unit by unit; a group is cut along `frame` or not at all."""
    for unit in range(spec.units[0]):
        part = {}
        for name, array in spec.arrays.items():
            at = tuple(
                slice(unit * size, (unit + 1) * size) if dim == "frame" else slice(None)
                for dim, size in zip(array.dims, array.chunk, strict=True)
            )
            part[name] = blocks[name][at]
        store.write(spec.name, (unit,), part)
