"""Whether each view agrees with the hands that the rig sees, and what would explain that it does not.

The reprojection error of the detections that were used says little of a view whose detections are all rejected: two
cameras under each other's names lower it. So every candidate is held against the hands in space here, used or not.
Where a view agrees in few of them, explanations are tested one by one on its own detections: another view's
calibration, an image that is mirrored, turned, scaled or cut out, a delay, another focal length, a camera that was
moved. An explanation counts only if the view agrees with it as the other views do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ..candidates import MIN_JOINTS, TOLERANCE_M

SUSPECT = 0.8
"""A view that agrees in less than this part of what the rig's better views reach is examined."""
HOPELESS = 0.2
"""A view below this part disagrees, whether or not an explanation is found."""
FARTHER, NOISE_M = 2.0, 0.004
"""A view whose median distance is this many times the rig's is examined; below `NOISE_M` it is a detector's noise."""
NEARER = 0.6
"""An explanation that brings no more candidates must bring them this much nearer."""
GAIN = 0.25
"""An explanation must raise the view's share by at least this part of the better views' share."""
MIN_CANDIDATES = 8
"""Candidates with a hand in space to compare with, below which a view is not judged."""
EXPLAINED = 0.75
"""Part of the better views' share that an explanation must reach."""
SIZES = (2.0, 0.5, 1.5, 2 / 3, 4 / 3, 0.75, 3.0, 1 / 3)
"""Usual ratios between the sizes of a recording and of its copy."""
SCALES = (0.2, 5.0)
"""Between images of one recording."""
TURNED_BACK = 0.02
"""Scale and shift (relative to the image) within which an image counts as neither scaled nor shifted."""
MAX_DELAY_S = 1.0
_REWEIGHTED = 5
SAMPLE_FRAMES = 96
"""Frames on which explanations are tested."""


@dataclass(frozen=True)
class Agreement:
    """Of every view with the hands in space."""

    share: ndarray
    """(view,) share of the candidates that show a hand in space; NaN for a view that cannot be judged."""
    error_px: ndarray
    """(view,) median distance of all candidates near a hand from it, pixels; NaN without any."""
    error_m: ndarray
    """(view,) the same at the hand's depth, metres."""
    count: ndarray
    """(view,) candidates that could be compared."""

    @property
    def usual(self) -> float:
        """What the rig's better views reach: the upper quartile; 0 where no view can be judged."""
        known = self.share[np.isfinite(self.share)]
        return float(np.quantile(known, 0.75)) if len(known) else 0.0

    @property
    def suspect(self) -> ndarray:
        """(view,) bool, the views to examine: they agree in few candidates, or less closely than the others."""
        few = np.nan_to_num(self.share, nan=1.0) < SUSPECT * self.usual
        known = self.error_m[np.isfinite(self.error_m)]
        usual_m = max(float(np.median(known)), NOISE_M) if len(known) else np.inf
        return few | (np.nan_to_num(self.error_m) > FARTHER * usual_m)

    def where(self, chosen: ndarray, other: Agreement) -> Agreement:
        """Of the (view,) chosen views from this one, of the others from another."""
        return Agreement(*(np.where(chosen, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    @property
    def hopeless(self) -> ndarray:
        """(view,) bool, the views that disagree."""
        return np.nan_to_num(self.share, nan=1.0) < HOPELESS * self.usual


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


def agreement(cameras: Cameras, hands_m: ndarray, points_px: ndarray) -> Agreement:
    """How far each view's candidates show the hands in space.

    Args:
        cameras: the rig.
        hands_m: (view, frame, hand, 21, 3) in the world, NaN where unknown: what each view is held against.
        points_px: (view, frame, candidate, 21, 2) all candidates, NaN where there is none.
    """
    views = [
        _distances(cameras.subset([v]), hands_m[v], points_px[v : v + 1]) if cameras.calibrated[v] else None
        for v in range(len(cameras))
    ]
    count, share = np.zeros(len(cameras), int), np.full(len(cameras), np.nan)
    error_px, error_m = np.full(len(cameras), np.nan), np.full(len(cameras), np.nan)
    for v, distances in enumerate(views):
        if distances is None:
            continue
        off_m, off_px, size_px = distances
        known = np.isfinite(off_m)
        near = known & (off_px < size_px)
        count[v] = known.sum()
        if count[v] >= MIN_CANDIDATES:
            share[v] = (off_m[known] < TOLERANCE_M).mean()
        if near.any():
            error_px[v], error_m[v] = np.median(off_px[near]), np.median(off_m[near])
    return Agreement(share, error_px, error_m, count)


def _distances(cameras: Cameras, hands_m: ndarray, points_px: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """(view, frame, candidate) metres at the hand's depth and pixels from the nearest hand, and that hand's size in
    pixels: medians over the joints, NaN where there is no candidate or no hand."""
    expected = cameras.project(hands_m)
    R, t = cameras.T_cam_world[:, 2, :3], cameras.T_cam_world[:, 2, 3]
    depth = np.einsum("vi,fhji->vfhj", R, hands_m) + t[:, None, None, None]
    scale = _median(np.where(depth > 0, depth, np.nan)) / cameras.focal_px[:, None, None]
    distance = np.linalg.norm(points_px[:, :, :, None] - expected[:, :, None], axis=-1)
    enough = np.isfinite(distance).sum(-1) >= MIN_JOINTS
    off_px = np.where(enough, _median(distance), np.nan)  # (view, frame, candidate, hand)
    off_m = off_px * scale[:, :, None]
    extent = np.fmax.reduce(expected, axis=-2) - np.fmin.reduce(expected, axis=-2)  # They pass over NaN.
    size = np.linalg.norm(extent, axis=-1)[:, :, None]
    best = np.argmin(np.where(np.isfinite(off_m), off_m, np.inf), axis=-1)[..., None]
    pick = lambda values: np.take_along_axis(np.broadcast_to(values, off_m.shape), best, axis=-1)[..., 0]  # noqa: E731
    return pick(off_m), pick(off_px), pick(size)


def _median(values: ndarray) -> ndarray:
    """Lower median over the last axis of what is known; NaN if nothing is. Without a warning, unlike nanmedian."""
    ordered = np.sort(values, axis=-1)  # NaN last.
    middle = np.maximum(np.isfinite(values).sum(-1) - 1, 0) // 2
    return np.take_along_axis(ordered, middle[..., None], axis=-1)[..., 0]


# ---- explanations ------------------------------------------------------------------------------------------------


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
    scale, shift = _image_map(own, hands, points)
    if abs(scale - 1) > TURNED_BACK:
        zoomed = replace(own, K=own.K * np.array([[1 / scale, 1, 1], [1, 1 / scale, 1], [1, 1, 1]]))
        ratios = [scale, *(ratio for ratio in SIZES if abs(ratio / scale - 1) < 0.25)]
        sizes = [judge("size", own, ratio * (points + 0.5) - 0.5, value=1 / ratio) for ratio in ratios]
        tried.append(min(sizes, key=lambda each: each.error_m))
        tried.append(judge("focal length", zoomed, points, value=1 / scale))
    moved = _moved(own, hands, points)
    if moved is not None:
        away_m = float(np.linalg.norm(moved.centers_m[0] - own.centers_m[0]))
        tried.append(judge("moved", moved, points, value=away_m))
    if abs(scale - 1) > TURNED_BACK:
        tried.append(judge("cut out", own, scale * points + shift, value=1 / scale))
    now = judge("", own, points)
    good = [
        each
        for each in tried
        if each.share >= EXPLAINED * found.usual
        and (each.share >= now.share + GAIN * found.usual or each.error_m <= NEARER * now.error_m)
    ]
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


def _pairs(camera: Cameras, hands_m: ndarray, points_px: ndarray) -> tuple[ndarray, ndarray]:
    """Every candidate with every hand of its frame: (pair, 21, 2) seen pixels and (pair, 21, 3) points, whole hands."""
    seen = np.broadcast_to(points_px[:, :, None], (*points_px.shape[:2], hands_m.shape[1], *points_px.shape[2:]))
    world = np.broadcast_to(hands_m[:, None], (*seen.shape[:3], *hands_m.shape[2:]))
    seen, world = seen.reshape(-1, *seen.shape[3:]), world.reshape(-1, *world.shape[3:])
    whole = np.isfinite(seen).all((1, 2)) & np.isfinite(world).all((1, 2))
    return seen[whole], world[whole]


def _image_map(camera: Cameras, hands_m: ndarray, points_px: ndarray) -> tuple[float, ndarray]:
    """Scale and shift from the view's pixels to where its camera should see the hands: what most pairs agree on."""
    seen, world = _pairs(camera, hands_m, points_px)
    expected = camera.project(world)[0] if len(world) else np.empty((0, 21, 2))
    keep = np.isfinite(expected).all((1, 2))
    seen, expected = seen[keep], expected[keep]
    if len(seen) < MIN_CANDIDATES:
        return 1.0, np.zeros(2)
    size = lambda p: np.linalg.norm(p - p.mean(1, keepdims=True), axis=(1, 2))  # noqa: E731
    scales = size(expected) / np.maximum(size(seen), 1e-9)
    votes, members = -1, np.zeros(len(seen), bool)
    for i in np.unique(np.linspace(0, len(seen) - 1, 64).astype(int)):
        for j in np.unique(np.linspace(0, len(seen) - 1, 16).astype(int)):
            a, b = seen[i].mean(0) - seen[j].mean(0), expected[i].mean(0) - expected[j].mean(0)
            scale = scales[i] if a @ a < 1e-6 or i == j else float(a @ b / (a @ a))
            if not SCALES[0] < scale < SCALES[1]:
                continue
            shift = expected[i].mean(0) - scale * seen[i].mean(0)
            off = np.linalg.norm(scale * seen.mean(1) + shift - expected.mean(1), axis=-1)
            inside = off < 0.25 * size(expected) / np.sqrt(21)
            if inside.sum() > votes:
                votes, members = inside.sum(), inside
    if votes < MIN_CANDIDATES:
        return 1.0, np.zeros(2)
    weight = members.astype(float)
    scale, shift = _similarity(seen, expected, weight)
    for _ in range(_REWEIGHTED):
        off = np.sqrt(((scale * seen + shift - expected) ** 2).sum(-1).mean(-1))
        # A candidate beside the other hand is as far away as that hand: those that are nearer decide.
        near = max(float(np.median(off[weight > 0.5 * weight.max()])), 1e-6)
        weight = (1 + (off / near) ** 2) ** -2.0
        scale, shift = _similarity(seen, expected, weight)
    return (scale, shift) if SCALES[0] < scale < SCALES[1] else (1.0, np.zeros(2))


def _similarity(a: ndarray, b: ndarray, weight: ndarray) -> tuple[float, ndarray]:
    """Scale and shift from (pair, 21, 2) points to others by weighted least squares."""
    total = weight.sum()
    middle_a, middle_b = (np.einsum("n,njc->c", weight, each) / (total * each.shape[1]) for each in (a, b))
    scale = float(
        np.einsum("n,njc,njc->", weight, a - middle_a, b - middle_b)
        / max(np.einsum("n,njc,njc->", weight, a - middle_a, a - middle_a), 1e-9)
    )
    return scale, middle_b - scale * middle_a


def _moved(camera: Cameras, hands_m: ndarray, points_px: ndarray) -> Cameras | None:
    """The view's camera where its detections put it: the linear pose of three pairs on which most pairs agree."""
    seen, world = _pairs(camera, hands_m, points_px)
    if len(seen) < MIN_CANDIDATES:
        return None
    xy = camera.undistort(seen[None])[0]
    order = np.random.default_rng(0)
    best, votes = None, -1
    for _ in range(200):
        pick = order.choice(len(seen), 3, replace=False)
        T = _linear_pose(world[pick].reshape(-1, 3), xy[pick].reshape(-1, 2))
        if T is None:
            continue
        there = replace(camera, T_cam_world=T[None])
        off = np.linalg.norm(there.project(world)[0] - seen, axis=-1)
        count = (np.median(np.nan_to_num(off, nan=np.inf), axis=-1) < 0.15 * np.ptp(seen, axis=1).max(-1)).sum()
        if count > votes:
            best, votes = there, count
    return best


def _linear_pose(points_m: ndarray, xy: ndarray) -> ndarray | None:
    """(4, 4) world to camera of normalised image points by the direct linear transform; None where it is degenerate."""
    known = np.isfinite(xy).all(1)
    points_m, xy = points_m[known], xy[known]
    if len(xy) < 8:
        return None
    middle, spread = points_m.mean(0), points_m.std()
    X = np.concatenate([(points_m - middle) / spread, np.ones((len(xy), 1))], axis=1)
    zero = np.zeros_like(X)
    rows = np.concatenate([np.concatenate([X, zero, -xy[:, :1] * X], 1), np.concatenate([zero, X, -xy[:, 1:] * X], 1)])
    P = np.linalg.eigh(rows.T @ rows)[1][:, 0].reshape(3, 4)
    P = P * np.sign(np.linalg.det(P[:, :3]))
    # The rotation nearest to P's left part M: M (M^T M)^(-1/2).
    squares, axes = np.linalg.eigh(P[:, :3].T @ P[:, :3])
    if squares[0] < 1e-6 * squares[2]:
        return None
    T = np.eye(4)
    T[:3, :3] = P[:, :3] @ (axes / np.sqrt(squares)) @ axes.T
    T[:3, 3] = P[:, 3] / np.sqrt(squares).mean() * spread - T[:3, :3] @ middle
    return T
