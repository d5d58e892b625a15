"""A sample of detections: whether hands are found, in which views, and how large they are in pixels."""

# Ring 2: reads and writes.

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..capture.detector import Candidates
from ..capture.sample import sample_frames
from ..capture.video import DamagedClip
from ..core.cameras import Cameras
from ..core.quality import Check
from ..core.recording import Clip
from ..core.units import reach
from .findings import fine

IMAGES, MORE = 3, 6
"""Images of each view, and more of a view in which they show no hand."""
FEW_HANDS = 0.25
"""Share of the images with a hand that is little."""
SMALL_PX = 40.0
"""Median size of the hands in a view that is small: the detector was made for larger ones."""

HAND_M = (0.04, 0.5)
"""Length of a hand by the rig; hands are 0.1 to 0.2 m, and not always where the cameras look."""


@dataclass(frozen=True)
class HandLook:
    """What the detector found in the sample of one view."""

    images: int
    with_hands: int
    sizes_px: ndarray
    """(hand,) larger side of the box around a hand's joints."""
    seconds: float
    """Of detection alone."""


def look_for_hands(detect: Callable[[ndarray], Candidates], clip: Clip, source_frame: ndarray) -> HandLook:
    """Detect hands in a few images of a clip.

    Args:
        detect: finds hands in a BGR image.
        clip: the clip.
        source_frame: (frame,) its frames at the session's instants; -1 where there is none.
    """
    frames = np.unique(source_frame[source_frame >= 0])
    first = _spread(frames, IMAGES)
    look = _detected(detect, clip, first)
    if look.with_hands == 0:
        more = _detected(detect, clip, np.setdiff1d(_spread(frames, IMAGES + MORE), first))
        look = HandLook(look.images + more.images, more.with_hands, more.sizes_px, look.seconds + more.seconds)
    return look


def _spread(frames: ndarray, count: int) -> ndarray:
    """Frames in the middle of so many equal parts."""
    return frames[np.unique(((np.arange(count) + 0.5) * len(frames) / count).astype(int))] if len(frames) else frames


def _detected(detect: Callable[[ndarray], Candidates], clip: Clip, frames: ndarray) -> HandLook:
    images = with_hands = 0
    seconds, sizes = 0.0, []
    try:
        for image in sample_frames(clip, frames.tolist()):
            start = time.perf_counter()
            found = detect(image)
            seconds += time.perf_counter() - start
            images, with_hands = images + 1, with_hands + (len(found.score) > 0)
            sizes += [float(np.nanmax(np.ptp(hand, axis=0))) for hand in found.points_px]
    except DamagedClip:
        pass  # Said by the check of the clips.
    return HandLook(images, with_hands, np.array(sizes), seconds)


def hand_checks(looks: Mapping[str, HandLook]) -> Iterator[Check]:
    """Findings about the sample, good ones too."""
    images = sum(look.images for look in looks.values())
    found = sum(look.with_hands for look in looks.values())
    share = found / max(images, 1)
    blind = [view for view, look in looks.items() if look.images and not look.with_hands]
    if not found:
        reason = f"expected hands in the clips, but a sample of {images} images shows none."
        remedy = "Check that the clips show hands, larger than in these images, and that they are upright and lit."
        yield Check("hands found", "error", 0.0, FEW_HANDS, "", reason, remedy)
        return
    if share < FEW_HANDS:
        reason = f"expected hands in most images, but {share:.0%} of a sample of {images} show one."
        remedy = "Move the cameras closer to the hands, or lower `detection.min_detection`."
        yield Check("hands found", "warning", share, FEW_HANDS, "", reason, remedy)
    for view in blind if share >= FEW_HANDS else ():
        reason = f"expected hands in {view}, but a sample of {looks[view].images} images shows none."
        remedy = "Point this camera at the hands, or check its focus and light; a view without hands adds nothing."
        yield Check("hands found", "warning", 0.0, FEW_HANDS, view, reason, remedy)
    if share >= FEW_HANDS and not blind:
        yield fine("hands found", f"in {share:.0%} of {images} images, and in every view", share, FEW_HANDS)
    yield from _sizes({view: float(np.median(look.sizes_px)) for view, look in looks.items() if len(look.sizes_px)})


def _sizes(size_px: Mapping[str, float]) -> Iterator[Check]:
    small = {view: size for view, size in size_px.items() if size < SMALL_PX}
    for view, size in small.items():
        reason = f"expected hands of {SMALL_PX:.0f} pixels or more, but those in {view} are {size:.0f} pixels long."
        remedy = "Move the camera closer, use a longer lens, or record with more pixels."
        yield Check("size of the hands", "warning", size, SMALL_PX, view, reason, remedy)
    if not small:
        least = min(size_px, key=lambda view: size_px[view])
        text = f"{np.median(list(size_px.values())):.0f} pixels (median view), {size_px[least]:.0f} in {least}"
        yield fine("size of the hands", text, size_px[least], SMALL_PX)


def length_check(looks: Mapping[str, HandLook], cameras: Cameras) -> Check | None:
    """Whether the hands are as large as hands, by the rig and what it looks at; None where that is not known.

    A rough measure that only tells a wrong unit, or squares of another size by far.
    """
    away_m = reach(cameras)
    seen = [
        float(np.median(look.sizes_px)) / cameras.focal_px[cameras.names.index(view)]
        for view, look in looks.items()
        if len(look.sizes_px) and cameras.calibrated[cameras.names.index(view)]
    ]
    if away_m is None or not seen:
        return None
    length_m = float(np.median(seen)) * away_m
    if HAND_M[0] <= length_m <= HAND_M[1]:
        return fine("length of the hands", f"about {100 * length_m:.0f} cm by the rig", length_m, HAND_M[1])
    reason = (
        f"expected hands of {100 * HAND_M[0]:.0f} to {100 * HAND_M[1]:.0f} cm, but by the size of the rig they are "
        f"about {100 * length_m:.3g} cm long."
    )
    remedy = (
        "Measure the print and correct board.square_m and board.marker_m, or the unit of cameras.toml; all are metres."
    )
    limit = HAND_M[1] if length_m > HAND_M[1] else HAND_M[0]
    return Check("length of the hands", "error", length_m, limit, "", reason, remedy)


def image_ms(looks: Mapping[str, HandLook]) -> float:
    """Milliseconds for one image, on one core; NaN where none was looked at."""
    images = sum(look.images for look in looks.values())
    return 1e3 * sum(look.seconds for look in looks.values()) / images if images else float("nan")
