"""What would explain that a view does not agree with the hands that the others see.

Explanations are tested one by one on the view's own detections: another view's calibration, an image that is mirrored,
turned, scaled or cut out, a delay, another focal length, a camera that was moved. An explanation counts only if the
view agrees with it as the other views do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from .camera_fits import image_map, moved_camera
from .view_agreement import Agreement, agreement

NEARER = 0.6
"""An explanation that brings no more candidates must bring them this much nearer."""
GAIN = 0.25
"""An explanation must raise the view's share by at least this part of the better views' share."""
CHANCE, MIN_NEARER = 3.0, 40
"""It must also raise it by so many standard errors of the share; and among fewer candidates, that they come nearer
says nothing: many explanations are tried."""
EXPLAINED = 0.75
"""Part of the better views' share that an explanation must reach."""
SIZES = (2.0, 0.5, 1.5, 2 / 3, 4 / 3, 0.75, 3.0, 1 / 3)
"""Usual ratios between the sizes of a recording and of its copy."""
TURNED_BACK = 0.02
"""Scale and shift (relative to the image) within which an image counts as neither scaled nor shifted."""
MAX_DELAY_S = 1.0
SAMPLE_FRAMES = 96
"""Frames on which explanations are tested."""


@dataclass(frozen=True)
class Explanation:
    """What would make a view agree."""

    kind: str
    """exchanged, mirrored, upside down, turned, size, focal length, cut out, delay, moved."""
    share: float
    """Share of its candidates with which it would agree."""
    error_m: float = float("inf")
    """Median distance that its candidates would have."""
    other: str = ""
    """The view whose calibration fits, for `exchanged`; the name of the unit, for `unit`."""
    value: float = float("nan")
    """Scale, focal length over the calibrated one, seconds of delay, or metres moved."""


def explain(
    cameras: Cameras, hands_m: ndarray, points_px: ndarray, found: Agreement, view: int, fps: float
) -> Explanation | None:
    """The simplest explanation with which a view agrees like the others; None if there is none.

    Args:
        cameras: the rig.
        hands_m: (frame, hand, 21, 3), made without this view.
        points_px: (view, frame, candidate, 21, 2).
        found: the agreement of all views.
        view: which one to explain.
        fps: frames per second.
    """
    own = cameras.subset([view])
    frames = _sample(hands_m, points_px[view])
    hands, points = hands_m[frames], points_px[view, frames]

    def judge(kind: str, camera: Cameras, seen_px: ndarray, other: str = "", value: float = np.nan) -> Explanation:
        return _judged(kind, camera, hands, seen_px, other, value)

    others = [other for other in np.flatnonzero(cameras.calibrated).tolist() if other != view]
    exchanged = [judge("exchanged", cameras.subset([i]), points, cameras.names[i]) for i in others]
    tried = [max(exchanged, key=lambda each: each.share)] if exchanged else []
    tried.append(_delay(own, hands_m, points_px[view], fps))
    tried += [judge(kind, own, turn(points)) for kind, turn in _turns(*own.size_px[0].tolist()).items()]
    scale, shift = image_map(own, hands, points)
    if abs(scale - 1) > TURNED_BACK:
        zoomed = replace(own, K=own.K * np.array([[1 / scale, 1, 1], [1, 1 / scale, 1], [1, 1, 1]]))
        ratios = [scale, *(ratio for ratio in SIZES if abs(ratio / scale - 1) < 0.25)]
        sizes = [judge("size", own, ratio * (points + 0.5) - 0.5, value=1 / ratio) for ratio in ratios]
        tried.append(min(sizes, key=lambda each: each.error_m))
        tried.append(judge("focal length", zoomed, points, value=1 / scale))
    moved = moved_camera(own, hands, points)
    if moved is not None:
        away_m = float(np.linalg.norm(moved.centers_m[0] - own.centers_m[0]))
        tried.append(judge("moved", moved, points, value=away_m))
    if abs(scale - 1) > TURNED_BACK:
        tried.append(judge("cut out", own, scale * points + shift, value=1 / scale))
    now = judge("", own, points)
    count = max(int(found.count[view]), 1)

    def better(each: Explanation) -> bool:
        agree = (each.share + now.share) / 2
        chance = CHANCE * np.sqrt(2 * agree * (1 - agree) / count)
        more = each.share >= now.share + max(GAIN * found.usual, chance)
        return more or (count >= MIN_NEARER and each.error_m <= NEARER * now.error_m)

    good = [each for each in tried if each.share >= EXPLAINED * found.usual and better(each)]
    # The first that does about as well as the best: they are in the order of how much they can adapt.
    most = max((each.share for each in good), default=0.0)
    nearest = min((each.error_m for each in good if each.share >= 0.92 * most), default=0.0)
    return next((each for each in good if each.share >= 0.92 * most and each.error_m <= 1.5 * nearest), None)


def _judged(
    kind: str, camera: Cameras, hands_m: ndarray, points_px: ndarray, other: str = "", value: float = np.nan
) -> Explanation:
    found = agreement(camera, hands_m[None], points_px[None])
    share, error_m = float(np.nan_to_num(found.share[0])), float(np.nan_to_num(found.error_m[0], nan=np.inf))
    return Explanation(kind, share, error_m, other, value)


def both_of_a_pair(explained: Mapping[str, Explanation | None]) -> dict[str, Explanation | None]:
    """The same, where a view that is exchanged with an unexplained one explains that one too."""
    whole = dict(explained)
    for view, each in explained.items():
        if each is not None and each.kind == "exchanged" and each.other in whole and whole[each.other] is None:
            whole[each.other] = replace(each, other=view)
    return whole


def _sample(hands_m: ndarray, points_px: ndarray) -> ndarray:
    """Frames in which there is something to compare, spread over the recording."""
    there = np.isfinite(hands_m).any((1, 2, 3)) & np.isfinite(points_px).any((1, 2, 3))
    frames = np.flatnonzero(there)
    return frames[np.unique(np.linspace(0, len(frames) - 1, SAMPLE_FRAMES).astype(int))] if len(frames) else frames


def _turns(width: float, height: float) -> dict[str, Callable[[ndarray], ndarray]]:
    """Images of another orientation, as maps of pixels back to the calibrated image."""
    w, h = width - 1, height - 1
    return {
        "mirrored": lambda p: np.stack([w - p[..., 0], p[..., 1]], -1),
        "upside down": lambda p: np.stack([w - p[..., 0], h - p[..., 1]], -1),
        "mirrored upside down": lambda p: np.stack([p[..., 0], h - p[..., 1]], -1),
        "turned left": lambda p: np.stack([w - p[..., 1], p[..., 0]], -1),
        "turned right": lambda p: np.stack([p[..., 1], h - p[..., 0]], -1),
    }


def _delay(camera: Cameras, hands_m: ndarray, points_px: ndarray, fps: float) -> Explanation:
    """The best of the delays by whole frames; positive if the view's images are late."""
    frames, best = len(hands_m), Explanation("delay", 0.0)
    most = min(max(1, round(MAX_DELAY_S * fps)), frames - 2)
    for delay in range(-most, most + 1):
        if delay:
            hands = hands_m[max(0, -delay) : frames - max(0, delay)]
            seen = points_px[max(0, delay) :][: len(hands)]
            pick = _sample(hands, seen)
            each = _judged("delay", camera, hands[pick], seen[pick], value=delay / fps)
            # Close to the best one, many agree: the nearest counts.
            if each.share - 10 * min(each.error_m, 0.1) > best.share - 10 * min(best.error_m, 0.1):
                best = each
    return best
