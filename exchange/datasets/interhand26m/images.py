"""`handpipe import interhand26m --images`: images become clips of a session, labels its truth."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ....core.engine import Progress
from ....core.errors import SessionError
from ....core.storage.atomic import appearing
from ....core.storage.lock import claimed
from ....core.storage.store import Store
from ....hand.keypoints import Keypoints
from ...imported_session import ImportedSession, write_imported
from ..common.clips import ImageRig, film
from .reader import DatasetSequence

TRUTH = "truth.zarr"

ImagePaths = Mapping[str, Mapping[int, Path]]


def find_images(sequences: Sequence[DatasetSequence], folder: Path) -> tuple[list[ImagePaths], list[str]]:
    """Each sequence's images in a tree Capture*/<sequence>/cam<view>/image<frame>.jpg, by view and instant.

    Args:
        sequences: their own numbers and names make the paths: what the files say of paths is not looked at.
        folder: of the tree; that of its only split will do.

    Returns:
        For each sequence its images, and warnings about those that are not there.

    Raises:
        SessionError: there is none.
    """
    splits = sorted(path.parent for path in folder.glob("*/Capture*")) if folder.is_dir() else []
    if not any(folder.glob("Capture*")) and len(set(splits)) == 1:
        folder = splits[0]
    found, warnings = [], []
    for each in sequences:
        views: dict[str, dict[int, Path]] = {}
        for view, name in enumerate(each.cameras.names):
            frames = np.flatnonzero(each.imaged[view]).tolist()
            number = {instant: each.first_frame_idx + each.frame_idx_step * instant for instant in frames}
            paths = {i: folder / each.place / f"cam{name}" / f"image{n}.jpg" for i, n in number.items()}
            views[name] = {instant: path for instant, path in paths.items() if path.is_file()}
        there, listed = sum(map(len, views.values())), int(each.imaged.sum())
        if there < listed:
            warnings.append(f"warning: {each.place}: {listed - there} of {listed} images are not in {folder}")
        found.append(views)
    if not any(view for views in found for view in views.values()):
        raise SessionError(
            f"{folder}: expected images at Capture*/<sequence>/cam<view>/image<frame>.jpg, as {sequences[0].place}/, "
            "but found none. Name the folder of the split, such as images/train."
        )
    return found, warnings


def film_session(
    root: Path,
    session: ImportedSession,
    images: ImagePaths,
    fingerprint: Mapping[str, Any],
    names: Mapping[str, str],
    progress: Progress,
) -> tuple[bool, list[str]]:
    """A session folder with clips, cameras and `truth.zarr`: whole, or not at all.

    Args:
        root: the session's folder.
        session: the dataset's labels and cameras.
        images: by view and instant; at least one.
        fingerprint, names: as for `write_imported`.
        progress: it has been started, in images.

    Returns:
        Whether it was written, False when it is there; and warnings.

    Raises:
        SessionError: something else is there, or an image is wrong.
        DiskError: it cannot be written.
    """
    if root.exists():
        truth = Store(str(root / TRUTH))
        if truth.exists() and truth.fingerprint(session.main) == fingerprint:
            progress.advance(sum(map(len, images.values())))
            return False, []
        _check_free(root)
    assert session.cameras is not None
    instants = sorted({instant for view in images.values() for instant in view})
    first, frames = instants[0], instants[-1] - instants[0] + 1
    with claimed(root), appearing(root, lambda: _check_free(root)) as place:
        shown = {name: {i - first: path for i, path in view.items()} for name, view in images.items()}
        write_imported(place, _cut(session, slice(first, first + frames)), fingerprint, names, TRUTH)
        without = film(place, ImageRig(session.cameras, shown, session.fps), progress)
    return True, [f"warning: {root}: left out, since they have no image: {', '.join(without)}"] if without else []


def _check_free(root: Path) -> None:
    if root.exists():
        raise SessionError(
            f"{root}: expected nothing there yet, or the same import, but something else is. Choose another folder, or "
            "remove it with what was computed in it."
        )


def _cut(session: ImportedSession, part: slice) -> ImportedSession:
    """Some instants only; a clip begins with its first image."""
    found, mano, imaged = session.keypoints, session.mano, session.imaged
    return replace(
        session,
        keypoints=None if found is None else Keypoints(found.points_m[part], found.sigma_m[part], found.fps),
        mano=None if mano is None else {k: v if k == "betas" else v[part] for k, v in mano.items()},
        imaged=None if imaged is None else imaged[:, part],
    )
