"""Detection of hands where they are expected; whole images are searched only where one is not found."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ...core.engine import Unit
from ...core.hands import NUM_JOINTS, RIGHT
from ...core.recording import ViewFrames
from ...core.storage.schema import read_cameras
from ...core.storage.store import Store
from ..detector import Candidates, NearDetector

MIN_JOINTS = 10
"""Joints of a hand that must be expected inside an image for it to be looked for."""
MAX_AWAY = 0.3
"""Median distance from where a hand was expected, in sizes of the hand, beyond which the image is searched."""
CODE = 2
"""Version of this code. Increase it when results change for the same image."""
SAME = 0.15
"""Median distance of two candidates, in sizes of the hand, below which they are one hand found twice."""


@dataclass(frozen=True)
class Expected:
    """Where hands are expected in the images, from the group `places`."""

    store: Store
    """With `places`."""
    rig: Store
    """With `cameras`."""

    def look(
        self, frames: ViewFrames, todo: Sequence[Unit], detector: NearDetector
    ) -> Iterator[tuple[Unit, list[Candidates | None]]]:
        """The hands in each image of a view, as `ViewFrames.look` yields them; an image depends on nothing else."""
        view = read_cameras(self.rig).subset([frames.view])
        wanted = np.unique(np.concatenate([frames.chunk(unit) for unit in todo]))
        images = frames.read(frames.clip, wanted[wanted >= 0].tolist())
        at, image = -1, None
        for unit in todo:
            source = frames.chunk(unit)
            start = unit[1] * frames.chunk_frames
            part = slice(start, start + len(source))
            expected = view.project(self.store.read("places", "points", part).astype(float))[0]
            expected = np.where(_visible(expected, view.size_px[0])[..., None, None], expected, np.nan)
            search = self.store.read("places", "search", part) | (not view.calibrated[0])
            found: list[Candidates | None] = []
            for i, frame in enumerate(source.tolist()):
                if frame > at:
                    at, image = frame, next(images, None)
                found.append(None if frame < 0 or image is None else see(detector, image, expected[i], bool(search[i])))
            yield unit, found


def _visible(expected_px: ndarray, size_px: ndarray) -> ndarray:
    """(frame, hand) whether enough joints (frame, hand, 21, 2) are inside the image."""
    with np.errstate(invalid="ignore"):
        return ((expected_px >= -0.5) & (expected_px <= size_px - 0.5)).all(-1).sum(-1) >= MIN_JOINTS


def see(detector: NearDetector, image_bgr: ndarray, expected_px: ndarray, search: bool) -> Candidates:
    """The hands in one image.

    Args:
        detector: finds them.
        image_bgr: (height, width, 3) uint8.
        expected_px: (hand, 21, 2) where they are expected; NaN throughout for a hand that is not.
        search: whether to search the whole image too. It is done in any case if hands are expected, and none is found
            near its place. One of two that is not found is most likely covered.
    """
    none = np.zeros(0, np.float32)
    kept: Candidates | None = None
    hands = np.flatnonzero(np.isfinite(expected_px).any((1, 2)))
    of_each = detector.detect_near(image_bgr, expected_px[hands], hands == RIGHT) if len(hands) else []
    for hand, found in zip(hands, of_each, strict=True):
        away = [_away(hand_px, expected_px[hand]) for hand_px in found.points_px]
        near = [i for i in np.argsort(away, kind="stable") if away[i] <= MAX_AWAY]
        kept = _joined(kept, found.take(near[:1]))
    if search or (kept is not None and not len(kept.score)):
        kept = _joined(kept, detector.detect(image_bgr))
    if kept is None:
        return Candidates(np.zeros((0, NUM_JOINTS, 2), np.float32), none, none)
    return kept.take(np.argsort(-kept.score, kind="stable"))


def _away(hand_px: ndarray, other_px: ndarray) -> float:
    """Median distance of the joints that both know, in sizes of the second hand; infinite if there are none."""
    away = np.linalg.norm(hand_px - other_px, axis=-1)
    known = other_px[np.isfinite(other_px).all(-1)]
    size = float(np.ptp(known, axis=0).max())
    return float(np.median(away[np.isfinite(away)])) / max(size, 1.0) if np.isfinite(away).any() else np.inf


def _joined(kept: Candidates | None, more: Candidates) -> Candidates:
    """The candidates and those of the others that are none of them."""
    if kept is None:
        return more
    new = [i for i, hand in enumerate(more.points_px) if all(_away(hand, known) > SAME for known in kept.points_px)]
    return Candidates.joined([kept, more.take(new)])
