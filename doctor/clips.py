"""Clips decoded in part: damage, doubled frames, exposure, focus, and whether the views move at the same time."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..capture.sample import sample_frames
from ..capture.video import DamagedClip
from ..core.quality import Check
from ..core.recording import Clip, Timeline
from .findings import fine, listed, told
from .images import doubled, edge_blur_px, lag, reduced

PIXELS = 7e8
"""Of all clips together, decoded to look at: some seconds on two cores."""
INSTANTS = (24, 150)
"""Consecutive instants that are looked at."""
STILLS = 4
"""Images of each clip, spread over it, that exposure and focus are measured in."""
DARK, BRIGHT, CLIPPED = 45.0, 0.3, 250
"""Too dark: 95 % of the pixels are below. Overexposed: so many of the pixels are at or above `CLIPPED`."""
BLUR_PX, BLUR = 2.0, 0.0016
"""Blur of edges that is out of focus, pixels; or this part of the image's width if that is more."""
MANY_DOUBLED = 0.02
LATE_STEPS, ALIKE, BETTER = 2, 0.6, 0.25
"""A view is late by so many steps or more if its motion is then like the others', and by how much more."""
MIN_VIEWS, MIN_STEPS, MIN_MOTION = 3, 20, 0.3
"""Views and steps that say something; spread of the logarithm of a view's motion."""


@dataclass(frozen=True)
class ClipLook:
    """What a clip showed."""

    clip: Clip
    motion: ndarray
    """(step,) difference of each instant's image from the one before, grey levels; NaN where one is missing."""
    repeats: int
    """Frames that repeat the one before."""
    p95: float
    """Brightness that 95 % of the pixels are below."""
    clipped: float
    """Share of the pixels at the upper end."""
    blur_px: float
    damage: str = ""
    """What cannot be decoded."""


def window(clips: Sequence[Clip], timeline: Timeline) -> ndarray:
    """The consecutive instants to look at, in the middle of the recording."""
    pixels = sum(clip.size_px[0] * clip.size_px[1] for clip in clips)
    count = int(np.clip(PIXELS / max(pixels, 1), *INSTANTS))
    first = max((timeline.frames - count) // 2, 0)
    return np.arange(first, min(first + count, timeline.frames))


def look_at(clip: Clip, source_frame: ndarray) -> ClipLook:
    """Decode some frames of a clip.

    Args:
        clip: the clip.
        source_frame: (instant,) its frames at consecutive instants; -1 where there is none.
    """
    stills = set(np.unique(np.linspace(0, clip.frames - 1, STILLS).astype(int)).tolist())
    wanted = sorted({*stills, *source_frame[source_frame >= 0].tolist()})
    small, p95, clipped, blur, damage = {}, [], [], [], ""
    try:
        for index, gray in zip(wanted, sample_frames(clip, wanted, "gray"), strict=True):
            small[index] = reduced(gray)
            if index in stills:
                p95.append(float(np.percentile(gray[::2, ::2], 95)))
                clipped.append(float((gray >= CLIPPED).mean()))
                blur.append(edge_blur_px(gray))
    except DamagedClip as error:
        damage = str(error)
    motion = np.full(max(len(source_frame) - 1, 0), np.nan)
    for step, (before, after) in enumerate(zip(source_frame[:-1].tolist(), source_frame[1:].tolist(), strict=True)):
        if before in small and after in small and after != before:
            motion[step] = np.abs(small[after] - small[before]).mean()
    # A frame that the timeline uses twice is not one that the camera sent twice.
    known = motion[np.isfinite(motion)]
    return ClipLook(clip, motion, int(doubled(known).sum()), _median(p95), _median(clipped), _median(blur), damage)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def clip_checks(looks: Mapping[str, ClipLook]) -> Iterator[Check]:
    """Findings about the images of all views, good ones too."""
    yield from _decoded(looks)
    yield from _doubled(looks)
    yield from _exposure(looks)
    yield from _focus(looks)


def _decoded(looks: Mapping[str, ClipLook]) -> Iterator[Check]:
    damaged = {view: look.damage for view, look in looks.items() if look.damage}
    for view, why in damaged.items():
        yield told("decoding", "error", why, view)
    if not damaged:
        yield fine("decoding", f"samples of {len(looks)} clips decode, to their last frames")


def _doubled(looks: Mapping[str, ClipLook]) -> Iterator[Check]:
    share = {view: look.repeats / max(len(look.motion), 1) for view, look in looks.items()}
    many = {view: value for view, value in share.items() if value > MANY_DOUBLED and looks[view].repeats > 1}
    for view, value in many.items():
        reason = f"expected a new image in every frame, but {value:.0%} of the frames of {view} repeat the one before."
        remedy = "The camera sends fewer frames than are recorded: lower the rate or the exposure time, or add light."
        yield Check("doubled frames", "warning", value, MANY_DOUBLED, view, reason, remedy)
    if not many:
        worst = max(share.values(), default=0.0)
        yield fine("doubled frames", f"at most {worst:.1%} of a view's frames", worst, MANY_DOUBLED)


def _exposure(looks: Mapping[str, ClipLook]) -> Iterator[Check]:
    good = True
    for view, look in looks.items():
        if look.p95 < DARK:
            good = False
            reason = (
                f"expected images in which hands can be seen, but 95 % of the pixels of {view} are below "
                f"{look.p95:.0f} of 255."
            )
            remedy = "Add light, open the aperture, or raise the exposure time or the gain of this camera."
            yield Check("exposure", "warning", look.p95, DARK, view, reason, remedy)
        elif look.clipped > BRIGHT:
            good = False
            reason = (
                f"expected images that are not overexposed, but {look.clipped:.0%} of the pixels of {view} are white."
            )
            remedy = "Lower the exposure time or the gain of this camera, or turn the light away from it."
            yield Check("exposure", "warning", look.clipped, BRIGHT, view, reason, remedy)
    if good and looks:
        p95 = [look.p95 for look in looks.values()]
        yield fine("exposure", f"95 % of the pixels are below {min(p95):.0f} to {max(p95):.0f} of 255", min(p95), DARK)


def _focus(looks: Mapping[str, ClipLook]) -> Iterator[Check]:
    limit = {view: max(BLUR_PX, BLUR * look.clip.size_px[0]) for view, look in looks.items()}
    soft = {view: look.blur_px for view, look in looks.items() if look.blur_px > limit[view]}
    for view, blur in soft.items():
        reason = (
            f"expected edges within {limit[view]:.1f} px of blur, but the sharper edges of {view} have {blur:.1f} px."
        )
        remedy = "Focus this camera on the hands and lock its focus, and clean its lens."
        yield Check("focus", "warning", blur, limit[view], view, reason, remedy)
    known = {view: look.blur_px for view, look in looks.items() if np.isfinite(look.blur_px)}
    if not soft and known:
        yield fine("focus", f"blur of the sharper edges, px: {listed(known, '.1f', 3)}", max(known.values()), BLUR_PX)


def simultaneous(looks: Mapping[str, ClipLook], fps: float) -> Iterator[Check]:
    """Whether the images of all views change at the same instants."""
    steps = min((len(look.motion) for look in looks.values()), default=0)
    signals = {view: signal for view, look in looks.items() if (signal := _signal(look.motion)) is not None}
    if len(signals) < MIN_VIEWS or steps < MIN_STEPS:
        why = "too few views with motion" if len(signals) < MIN_VIEWS else "too few instants"
        yield fine("synchronisation by motion", f"not tested: {why}")
        return
    shifts, agree = {}, []
    for view, signal in signals.items():
        others = np.median([other for name, other in signals.items() if name != view], axis=0)
        shift, best, without = lag(signal, others, min(15, steps // 4))
        agree.append(without)
        if abs(shift) >= LATE_STEPS and best > ALIKE and best - without > BETTER:
            shifts[view] = shift
    for view, shift in shifts.items():
        reason = (
            f"expected all views to move at the same time, but the motion in {view} is {abs(shift)} frames "
            f"({1e3 * abs(shift) / fps:.0f} ms) {'later' if shift > 0 else 'earlier'} than in the others."
        )
        remedy = "Trigger the cameras together, trim its clip, or add a timestamps.csv with the true times."
        yield Check("synchronisation by motion", "warning", float(shift), LATE_STEPS, view, reason, remedy)
    if not shifts:
        yield fine(
            "synchronisation by motion",
            f"motion in {len(signals)} views correlates with that in the others by {np.median(agree):.2f}",
        )


def _signal(motion: ndarray) -> ndarray | None:
    """The logarithm of a view's motion about its mean; None where it says little."""
    known = np.isfinite(motion)
    if known.mean() < 0.8:
        return None
    step = np.arange(len(motion))
    value = np.log(np.interp(step, step[known], motion[known]) + 0.05)
    return value - value.mean() if value.std() > MIN_MOTION else None
