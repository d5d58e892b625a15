"""Time offsets between clips in whole frames, from the epipolar distance of the hands."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.hands import JOINTS
from .candidates import TOLERANCE_M, normalised
from .grouping import pair_geometry

_JOINTS = [
    JOINTS.index(name)
    for name in ("wrist", "thumb_tip", "index_mcp", "index_tip", "middle_tip", "pinky_mcp", "pinky_tip")
]
_PARTNERS = 6  # Views that each view is compared with.
_MIN_FRAMES = 8  # Instants that two views must share for a shift to be rated.
_GAIN = 0.02  # Better agreement, on average over the pairs, that a shift must bring.
_TOLD = 0.1  # How much better than others a shift must be: resting hands agree at any shift.


def find_shifts(
    cameras: Cameras, points_px: ndarray, score: ndarray, frames: ndarray, looked: ndarray, reach: int
) -> ndarray:
    """Estimate the shift of each view's clip in whole frames: frame n + shift of the clip belongs to instant n.

    For every pair of neighbouring views, every relative shift is rated. The shifts with the best total rating are
    returned.

    Args:
        cameras: the rig.
        points_px: (view, n, candidate, joint, 2) detections.
        score: (view, n, candidate).
        frames: (n,) the frames of the recording that those are, increasing.
        looked: instants to compare at, among `frames`.
        reach: the largest shift.

    Returns:
        (view,) shifts, 0 where nothing is better than that.
    """
    xy, weight = normalised(cameras, points_px, score)
    gate = _gates(xy)
    xy = np.concatenate([xy[..., _JOINTS, :], np.ones((*xy.shape[:3], len(_JOINTS), 1))], axis=-1)
    place = np.full(int(frames[-1]) + 1, -1)
    place[frames] = np.arange(len(frames))
    pairs = _pairs(cameras, weight)
    E = pair_geometry(cameras)
    span = np.arange(-2 * reach, 2 * reach + 1)
    rating, shared = np.zeros((2, len(pairs), len(span)))
    for k, (i, j) in enumerate(pairs):
        for n, d in enumerate(span):
            to = looked + d
            ok = (to >= 0) & (to < len(place))
            f, g = place[looked[ok]], place[to[ok]]
            f, g = f[g >= 0], g[g >= 0]
            rating[k, n] = _agreement(E[i, j], xy[i, f], xy[j, g], gate[i, f], gate[j, g])
            shared[k, n] = len(f) / len(looked)
    # A pair's rating is how much better a shift is than most, weighted by the number of compared instants.
    known = np.isfinite(rating)
    usual = np.array([np.median(row[ok]) if ok.any() else 0.0 for row, ok in zip(rating, known, strict=True)])
    rating = np.where(known, (np.where(known, rating, 0.0) - usual[:, None]) * shared, 0.0)
    return _best_shifts(len(cameras), np.array(pairs).reshape(-1, 2), rating)


def _gates(xy: ndarray) -> ndarray:
    """(view, n, candidate) how far from its epipolar line a joint may lie, by the size of its hand."""
    known = np.isfinite(xy[..., 0])
    count = np.maximum(known.sum(-1), 1)
    off = np.where(
        known[..., None], xy - (np.where(known[..., None], xy, 0.0).sum(-2) / count[..., None])[..., None, :], 0.0
    )
    spread = np.sqrt((off**2).sum((-2, -1)) / count)
    return np.maximum(spread, 0.02) * (TOLERANCE_M / 0.05)


def _pairs(cameras: Cameras, weight: ndarray) -> list[tuple[int, int]]:
    """Pairs of views to compare: both often see a hand, from different directions."""
    seen = (weight > 0).any(-1).astype(float)
    axis = np.nan_to_num(cameras.T_cam_world[:, 2, :3])
    value = (seen @ seen.T) * np.sqrt(np.clip(1 - (axis @ axis.T) ** 2, 0.0, 1.0))
    np.fill_diagonal(value, 0.0)
    usable = cameras.calibrated.astype(float)
    value = value * usable[:, None] * usable
    best = np.argsort(-value, axis=1, kind="stable")[:, :_PARTNERS]
    chosen = {(min(i, int(j)), max(i, int(j))) for i in range(len(value)) for j in best[i] if value[i, j] > 0}
    return sorted(chosen)


def _agreement(E: ndarray, one: ndarray, other: ndarray, gate_one: ndarray, gate_other: ndarray) -> float:
    """Mean agreement 0..1 of the candidates of two views, (n, candidate, joint, 3) each; NaN with too few."""
    there = np.isfinite(one[..., 0]).any(-1).any(-1) & np.isfinite(other[..., 0]).any(-1).any(-1)
    if there.sum() < _MIN_FRAMES:
        return np.nan
    one, other, gate_one, gate_other = one[there], other[there], gate_one[there], gate_other[there]
    line_other, line_one = one @ E.T, other @ E
    value = np.abs(np.einsum("ncjk,ndjk->ncdj", line_other, other))
    off_other = value / (np.hypot(line_other[..., 0], line_other[..., 1])[:, :, None] * gate_other[:, None, :, None])
    off_one = value / (np.hypot(line_one[..., 0], line_one[..., 1])[:, None] * gate_one[:, :, None, None])
    off = np.maximum(off_one, off_other)
    fit = np.where(off < 1, 1 - off**2, 0.0).mean(-1)
    hands = np.minimum(np.isfinite(one[..., 0]).any(-1).sum(-1), np.isfinite(other[..., 0]).any(-1).sum(-1))
    total = np.minimum(fit.max(1).sum(-1), fit.max(2).sum(-1))
    return float((total / hands).mean())


def _best_shifts(views: int, pairs: ndarray, rating: ndarray) -> ndarray:
    """(view,) shifts with the best total rating: from one view outward, then each in turn until none changes."""
    middle = rating.shape[1] // 2
    shift, placed = np.zeros(views, int), np.zeros(views, bool)
    if not len(pairs):
        return shift

    span = np.arange(-middle, middle + 1)

    def votes(view: int, known: ndarray) -> ndarray:
        """(shift,) total rating of the view's shifts by the pairs with known partners, over `span`."""
        total = np.zeros(len(span))
        for k, (i, j) in enumerate(pairs):
            if view in (i, j) and known[j if view == i else i]:
                at = middle + (shift[j] - span if view == i else span - shift[i])
                inside = (at >= 0) & (at < len(span))
                total += np.where(inside, rating[k, np.clip(at, 0, len(span) - 1)], 0.0)
        return total

    placed[pairs[rating.max(1).argmax()][0]] = True
    while True:
        open_ = [
            v for v in range(views) if not placed[v] and any(placed[i] or placed[j] for i, j in pairs if v in (i, j))
        ]
        if not open_:
            break
        best = {v: votes(v, placed) for v in open_}
        v = max(open_, key=lambda v: (float(best[v].max()), -v))
        shift[v] = int(span[best[v].argmax()])
        placed[v] = True
    for _ in range(20):
        before = shift.copy()
        for v in range(views):
            others = placed & (np.arange(views) != v)
            shift[v] = int(span[votes(v, others).argmax()]) if others.any() else shift[v]
        if (shift == before).all():
            break
    shift -= int(np.round(np.median(shift)))

    def pleased(s: ndarray) -> float:
        at = middle + s[pairs[:, 1]] - s[pairs[:, 0]]
        return float(rating[np.arange(len(pairs)), np.clip(at, 0, rating.shape[1] - 1)].mean())

    told = pleased(shift) > max(pleased(np.zeros(views, int)) + _GAIN, _TOLD)
    return shift if told else np.zeros(views, int)
