"""Pictures for the report: strips of frames of some views, and the worst moments with what was seen and fitted."""

# Ring 2: reads and writes.

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from ..capture.video import find_clips, probe, read_frames
from ..core.errors import VideoError
from ..core.hands import BONES
from ..rendering.moving_hands import HAND_BGR

WIDTHS = (480, 400, 320, 256, 200, 160)
"""Of a picture in a strip, pixels; the largest is taken that keeps all strips within their bytes."""

QUALITY = 72
"""Of JPEG."""

SEEN_BGR = (255, 255, 255)


@dataclass(frozen=True)
class Strip:
    """The frames of one view."""

    view: str
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 of what is shown, pixels of the clip."""
    size_px: tuple[int, int]
    """Width and height of the pictures."""
    jpegs: tuple[bytes, ...]
    """One for each frame; empty where the view has none."""
    problem: str = ""
    """Why there are no pictures."""

    def coded(self) -> list[str]:
        """The pictures as base64."""
        return [base64.b64encode(jpeg).decode() for jpeg in self.jpegs]


@dataclass(frozen=True)
class Wanted:
    """Frames of a view that are wanted as pictures."""

    view: str
    source_frame: Sequence[int]
    """Frames of its clip, ascending where they are not -1, which is none."""
    box: tuple[int, int, int, int]


def clip_paths(root: Path) -> dict[str, Path]:
    """The clips of a session by view; none for a session that has no clips."""
    return find_clips(root / "videos") if (root / "videos").is_dir() else {}


def images_of(path: Path, source_frame: Sequence[int]) -> Iterator[ndarray | None]:
    """Images of a clip, (h, w, 3) uint8 BGR, for frames that ascend; None for each -1.

    Raises:
        VideoError: the clip cannot be read; DamagedClip: not from some frame on.
    """
    reader = read_frames(probe(path), sorted({index for index in source_frame if index >= 0}))
    at, image = -1, None
    for index in source_frame:
        if index > at:
            at, image = index, next(reader)
        yield image if index >= 0 else None


def _images(path: Path | None, wanted: Wanted) -> list[ndarray | None]:
    """Cut out images of a clip; raises VideoError."""
    if path is None:
        raise VideoError(f"there is no clip of {wanted.view}")
    x0, y0, x1, y1 = wanted.box
    images = images_of(path, wanted.source_frame)
    return [None if image is None else image[y0:y1, x0:x1].copy() for image in images]


def strips(root: Path, wanted: Sequence[Wanted], max_bytes: int) -> list[Strip]:
    """Strips of several views.

    Args:
        root: the session folder.
        wanted: one for each view.
        max_bytes: of all pictures together.
    """
    paths = clip_paths(root)

    def decode(each: Wanted) -> tuple[list[ndarray | None], str]:
        try:
            return _images(paths.get(each.view), each), ""
        except VideoError as error:
            return [], str(error)

    with ThreadPoolExecutor(2) as pool:
        decoded = list(pool.map(decode, wanted))
        width = _width([images for images, _ in decoded], max_bytes)
        coded = pool.map(lambda images: [_jpeg(image, width) for image in images], (images for images, _ in decoded))
        made = list(coded)
    return [
        Strip(each.view, each.box, _size(each.box, width), tuple(jpegs), problem)
        for each, jpegs, (_, problem) in zip(wanted, made, decoded, strict=True)
    ]


def _width(views: Sequence[Sequence[ndarray | None]], max_bytes: int) -> int:
    """The largest width whose pictures fit, by a sample of them."""
    count = sum(image is not None for images in views for image in images)
    sample = [image for images in views for image in images[:: max(1, len(images) // 2)] if image is not None]
    for width in WIDTHS:
        size = np.mean([len(_jpeg(image, width)) for image in sample]) if sample else 0
        if 1.1 * size * count <= max_bytes:
            return width
    return WIDTHS[-1]


def _size(box: tuple[int, int, int, int], width: int) -> tuple[int, int]:
    w, h = box[2] - box[0], box[3] - box[1]
    width = min(width, w)
    return width, max(1, round(h * width / w))


def _jpeg(image: ndarray | None, width: int) -> bytes:
    if image is None:
        return b""
    size = _size((0, 0, image.shape[1], image.shape[0]), width)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def moment(
    root: Path, wanted: Wanted, fitted_px: ndarray, seen_px: ndarray, hand: int, width: int = 340
) -> bytes | None:
    """A picture of one hand at one frame: the fitted hand as bones, the detections as rings.

    Args:
        root: the session folder.
        wanted: one frame of a view.
        fitted_px, seen_px: (joint, 2) pixels of the clip.
        hand: 0 left, 1 right.
        width: pixels.

    Returns:
        A JPEG; None where the clip cannot be read.
    """
    try:
        image = _images(clip_paths(root).get(wanted.view), wanted)[0]
    except VideoError:
        return None
    if image is None:
        return None
    x0, y0, x1, _ = wanted.box
    scale = width / (x1 - x0)
    large = cv2.resize(image, _size_for(wanted.box, width), interpolation=cv2.INTER_CUBIC)
    fitted, seen = ((uv - [x0, y0] + 0.5) * scale - 0.5 for uv in (fitted_px, seen_px))
    for thick, color in ((5, (20, 20, 20)), (2, HAND_BGR[hand].tolist())):
        for a, b in BONES.tolist():
            if np.isfinite(fitted[[a, b]]).all():
                cv2.line(large, _fixed(fitted[a]), _fixed(fitted[b]), color, thick, cv2.LINE_AA, 4)
    for uv in seen[np.isfinite(seen).all(axis=1)]:
        cv2.circle(large, _fixed(uv), 4 * 16, (20, 20, 20), 3, cv2.LINE_AA, 4)
        cv2.circle(large, _fixed(uv), 4 * 16, SEEN_BGR, 1, cv2.LINE_AA, 4)
    return cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()


def _size_for(box: tuple[int, int, int, int], width: int) -> tuple[int, int]:
    return width, max(1, round((box[3] - box[1]) * width / (box[2] - box[0])))


def _fixed(uv: ndarray) -> tuple[int, int]:
    """With four binary digits after the point, as `shift` wants it."""
    x, y = np.clip(np.round(16 * uv), -(1 << 20), 1 << 20).astype(int).tolist()
    return x, y
