"""Sessions to learn from: their labels, and the crops to learn from."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.engine import Progress
from ...core.errors import SessionError
from ...core.hands import RIGHT, median_of_known
from ...core.recording import Session
from ...core.storage.candidates import detections_group, read_taken_px
from ...core.storage.schema import imported, read_cameras
from ...core.storage.store import Store
from ..session import read_session
from ..settings import TRAINED, CaptureSettings, DetectorTrainingSettings
from ..video import DamagedClip, read_frames
from .crops import Crop, store, store_empty
from .judge import sizes
from .labels import FittedHands, Labels, held_out_frames, held_out_views, moved, projected, trusted_labels

MIN_VIEWS = 3
"""Calibrated views of a session: two agree on anything that lies on their rays."""
MIN_FRAMES = 20
"""Frames of a session with trusted labels."""
EMPTY = 0.1
"""Crops without a hand, per image with both hands known."""
MAX_OFF = 0.25
"""Median distance of the session's own detections from its labels, in sizes of the hand; more is another rig."""
_CHAIN = ("mano", "shape", "keypoints", "second_look", "tracks", "groups", "quality", "aligned")


@dataclass(frozen=True)
class Source:
    """A fitted session."""

    name: str
    session: Session
    store: Store
    cameras: Cameras
    hands: FittedHands
    lag_frames: ndarray | None
    """(view, frame) from image to instant, in frames; None where the cameras are synchronised."""
    source_frame: ndarray
    """(view, frame) index into the clip, -1 none."""
    labels: Labels
    held_out: ndarray
    """(view, frame) bool, images to be judged by."""
    new_view: ndarray
    """(view,) bool, views that are held out."""

    @property
    def identity(self) -> dict[str, str]:
        """Digests of what is learnt from."""
        return {
            group: self.store.digest_of(group)
            for group in ("mano", "keypoints", "cameras", detections_group(self.store))
        }

    @property
    def foreign(self) -> bool:
        """Whether the fit follows a detector, alone or among others, whose landmarks are not the model's joints."""
        known = self.store.fingerprint("detections") or {"settings": {}}
        kinds = str(known["settings"].get("detector", "")).split("+")
        return not all(kind.endswith(TRAINED) for kind in kinds)

    @cached_property
    def lag_px(self) -> ndarray:
        """(view, frame, hand, 21, 2) how far the hands are in the images from where they are at the instants."""
        at_instant = self.cameras.project(self.hands.joints_m)
        if self.lag_frames is None:
            return np.zeros_like(at_instant)
        return np.nan_to_num(projected(self.cameras, moved(self.hands.joints_m, self.lag_frames)) - at_instant)

    @cached_property
    def taken_px(self) -> ndarray:
        """(view, frame, hand, 21, 2) the detections that were used, at the time of their image."""
        return read_taken_px(self.store, slice(None)) + self.lag_px

    def record(self) -> dict[str, Any]:
        """How the detector's file names it."""
        sizes_px = sorted({clip.size_px for clip in self.session.clips})
        detections = self.store.fingerprint("detections") or {"inputs": {}}
        return {
            "name": self.name,
            "views": len(self.session.clips),
            "frames": int(self.hands.valid.shape[0]),
            "image_sizes": [list(size) for size in sizes_px],
            "calibration": self.store.digest_of("cameras"),
            "fit": self.store.digest_of("mano"),
            "detector": detections["inputs"].get("detector"),
        }


def open_source(root: Path, capture: CaptureSettings, fps: float | None, options: DetectorTrainingSettings) -> Source:
    """A session with its labels.

    Raises:
        SessionError: no session, not fitted, out of date, one or two views, too few frames that its views agree on.
        VideoError: as `read_session` raises it.
    """
    stored = Store(str(root / "session.zarr"))
    if not stored.exists() or not all(stored.complete(g) for g in ("cameras", "keypoints", "shape", "mano")):
        raise SessionError(
            f"{root}: expected a fitted session, whose views agree on where the hands are, but its store has no "
            f"complete `shape` and `mano`. Run `handpipe run {root}`."
        )
    if imported(stored):
        raise SessionError(
            f"{root}: expected a session whose hands were detected in its clips, but its keypoints were imported. "
            "There is nothing in it to learn to detect."
        )
    session = read_session(root, capture, fps=fps)
    cameras = read_cameras(stored)
    _check_fresh(root, stored)
    _check_rig(root, session, cameras)
    moves = detections_group(stored) == "aligned"
    hands = FittedHands(
        stored.read("mano", "joints").astype(float),
        stored.read("mano", "valid"),
        stored.read("mano", "residual").astype(float),
        stored.read("keypoints", "sigma").astype(float),
        stored.read("keypoints", "assignment") >= 0,
    )
    lag = stored.read("clock", "lag") * float(stored.attrs("clock")["fps"]) if moves else None
    frame_of = stored.read("clock" if moves else "timeline", "source_frame")
    labels = trusted_labels(cameras, hands, lag)
    labels = Labels(labels.points_px, labels.trusted & (frame_of >= 0)[..., None])
    frames = int(labels.trusted.any((0, 2)).sum())
    if frames < MIN_FRAMES:
        raise SessionError(
            f"{root}: expected at least {MIN_FRAMES} frames in which the views agree on a hand, but found {frames} of "
            f"{len(hands.valid)}. Record longer, or see what `handpipe run {root}` says of the session."
        )
    views = held_out_views(len(cameras), options.held_out_views)
    held_out = views[:, None] | held_out_frames(len(hands.valid), options.held_out_frames)
    source = Source(str(root), session, stored, cameras, hands, lag, frame_of, labels, held_out, views)
    _check_labels(source)
    return source


def _check_fresh(root: Path, stored: Store) -> None:
    """Each group is computed from the groups that are there, down to the calibration."""
    for group in _CHAIN:
        inputs = (stored.fingerprint(group) or {}).get("inputs", {})
        for name, digest in inputs.items():
            if name in stored.groups() and isinstance(digest, str) and digest != stored.digest_of(name):
                raise SessionError(
                    f"{root}: expected results that belong together, but `{group}` was computed with other `{name}`: "
                    f"the calibration or the settings changed since. Run `handpipe run {root}`."
                )


def _check_rig(root: Path, session: Session, cameras: Cameras) -> None:
    known = int(cameras.calibrated.sum())
    if known < MIN_VIEWS:
        raise SessionError(
            f"{root}: expected at least {MIN_VIEWS} calibrated views, because what they agree on is learnt from, but "
            f"found {known}. Record with more cameras."
        )
    if session.views != cameras.names:
        raise SessionError(
            f"{root}: expected clips of the views {', '.join(cameras.names)}, but found {', '.join(session.views)}. "
            f"Run `handpipe run {root}`."
        )
    for clip, size in zip(session.clips, cameras.size_px, strict=True):
        if size.min() > 0 and tuple(size) != clip.size_px:
            raise SessionError(
                f"{clip.path}: expected images of {size[0]}x{size[1]}, as they were calibrated, but found "
                f"{clip.size_px[0]}x{clip.size_px[1]}. Use the clips of the calibrated size."
            )


def _check_labels(source: Source) -> None:
    trusted = source.labels.trusted
    away = np.linalg.norm(source.taken_px[trusted] - source.labels.points_px[trusted], axis=-1)
    off = median_of_known(away / sizes(source.labels.points_px[trusted])[:, None])
    off = off[np.isfinite(off)]
    if not len(off) or np.median(off) > MAX_OFF:
        found = "no detections at all" if not len(off) else f"them {np.median(off):.2f} of its size away"
        raise SessionError(
            f"{source.name}: expected the fitted hands where the detections are, but found {found}: the calibration "
            f"is of another rig, or the clips are others. Run `handpipe run {source.name}`."
        )


def training_crops(sources: Sequence[Source], options: DetectorTrainingSettings, progress: Progress) -> list[Crop]:
    """The labelled hands of all sessions, of images that are not held out, evenly thinned to the number asked for."""
    wanted = [source.labels.trusted & ~source.held_out[..., None] for source in sources]
    count = sum(int(each.sum()) for each in wanted)
    if not count:
        raise SessionError(
            f"{sources[0].name}: expected labels outside the held-out frames, but found none. Record longer."
        )
    keep = np.zeros(count, bool)
    keep[np.unique(np.linspace(0, count - 1, min(count, options.crops)).round().astype(int))] = True
    rng = np.random.default_rng([options.seed, 7])
    found: list[Crop] = []
    progress.start("crops", int(keep.sum()), 0, "hands")
    for source, chosen in zip(sources, wanted, strict=True):
        chosen = chosen.copy()
        chosen[chosen], keep = keep[: int(chosen.sum())], keep[int(chosen.sum()) :]
        for view, frame, image in images(source, np.any(chosen, axis=-1)):
            hands, trusted = source.labels.points_px[view, frame], source.labels.trusted[view, frame]
            for hand in np.flatnonzero(chosen[view, frame]).tolist():
                found.append(store(image, hands[hand], hands[1 - hand], hand == RIGHT))
            if trusted.all() and rng.random() < EMPTY * len(trusted):
                empty = store_empty(image, float(sizes(hands).max()), rng, hands)
                found += [] if empty is None else [empty]
            progress.advance(int(chosen[view, frame].sum()))
    progress.stop()
    return found


def images(source: Source, wanted: ndarray) -> Iterator[tuple[int, int, ndarray]]:
    """(view, frame, image) of wanted (view, frame); each clip is decoded once. A damaged clip ends early."""
    for view, clip in enumerate(source.session.clips):
        frames = np.flatnonzero(wanted[view] & (source.source_frame[view] >= 0))
        # Two instants may show the same image: the first of them counts.
        at, first = np.unique(source.source_frame[view, frames], return_index=True)
        decoded = read_frames(clip, at.tolist())
        for frame in frames[first].tolist():
            try:
                image = next(decoded)
            except DamagedClip:
                break
            yield view, frame, image
