"""Errors of detections and of the hands made of them, against the truth of a synthetic session."""

from __future__ import annotations

import numpy as np
from _report import Figure
from numpy import ndarray

from handpipe.core.cameras import Cameras
from handpipe.core.geometry import align
from handpipe.core.hands import JOINTS, TIPS
from handpipe.core.storage.candidates import read_candidates
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store

PALM = ("wrist", "index_mcp", "middle_mcp", "pinky_mcp")
BOTH_PX = 10.0
"""Median distance of a hand's joints within which it counts as right."""
INSIDE = 16
"""Joints in the image of a hand that a detector can be expected to find."""


def visible(true_px: ndarray, cameras: Cameras) -> ndarray:
    """(view, frame, hand) whether a detector can be expected to find the hand at (view, frame, hand, 21, 2)."""
    with np.errstate(invalid="ignore"):
        inside = ((true_px >= -0.5) & (true_px <= cameras.size_px[:, None, None, None] - 0.5)).all(-1).sum(-1)
    return inside >= INSIDE


def nearest(store: Store, true_px: ndarray, second_look: bool) -> ndarray:
    """(view, frame, hand, 21, 2) of each true hand the nearest candidate, if half a hand away at most; else NaN."""
    points = read_candidates(store, slice(None), second_look)["points"].astype(float)
    away = np.linalg.norm(points[:, :, None] - true_px[:, :, :, None], axis=-1)
    away = np.nan_to_num(away, nan=np.inf).mean(-1)
    best = away.argmin(-1)
    found = np.take_along_axis(points, best[..., None, None], axis=2)
    close = np.take_along_axis(away, best[..., None], -1)[..., 0] < 0.5 * np.ptp(true_px, axis=-2).max(-1)
    return np.where(close[..., None, None], found, np.nan)


def figures_3d(name: str, store: Store, truth: Store, limits: bool) -> list[Figure]:
    """Errors in space, after alignment of the rigs."""
    cameras, true_m = read_cameras(store), truth.read("mano", "joints").astype(float)
    known = read_cameras(truth)
    T = align(cameras.centers_m, known.subset([known.names.index(name) for name in cameras.names]).centers_m)
    true_m = true_m[: store.read("keypoints", "sigma").shape[0]]
    rows = []
    for what, group, array, wanted in (
        ("triangulated joints", "keypoints", "points", {"mean": 2.5, "p95": None}),
        ("fitted joints", "mano", "joints", {"mean": 2.0, "p95": 4.5}),
    ):
        found_m = T.apply(store.read(group, array).astype(float).reshape(-1, 3)).reshape(true_m.shape)
        error_mm = 1e3 * np.linalg.norm(found_m - true_m, axis=-1)
        value = {"mean": float(np.nanmean(error_mm)), "p95": float(np.nanpercentile(error_mm, 95))}
        bias_mm, spread_mm = in_hand(1e3 * (found_m - true_m), true_m)
        value |= {"bias": float(bias_mm.mean()), "spread": float(spread_mm.mean())}
        value |= {"bias of the fingertips": float(bias_mm[:, TIPS].mean())}
        rows += [
            Figure(f"{name}: {what}, {which}", value[which], "mm", limit if limits else None)
            for which, limit in {**dict.fromkeys(value), **wanted}.items()
        ]
    return rows


def in_hand(error: ndarray, joints_m: ndarray) -> tuple[ndarray, ndarray]:
    """(hand, 21) length of the mean error in the frame of the palm, and mean distance from it.

    Args:
        error, joints_m: (frame, hand, 21, 3)
    """
    wrist, index, middle, pinky = (joints_m[..., JOINTS.index(name), :] for name in PALM)
    along = (middle - wrist) / np.linalg.norm(middle - wrist, axis=-1, keepdims=True)
    across = index - pinky
    across = across - (across * along).sum(-1, keepdims=True) * along
    across = across / np.linalg.norm(across, axis=-1, keepdims=True)
    R = np.stack([along, across, np.cross(along, across)], axis=-2)
    local = np.einsum("fhab,fhjb->fhja", R, error)
    bias = np.nanmean(local, axis=0)
    return np.linalg.norm(bias, axis=-1), np.nanmean(np.linalg.norm(local - bias, axis=-1), axis=0)
