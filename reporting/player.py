"""What the player of the report draws: meshes, joints, their places in the pictures, and the cameras, packed small."""

# Ring 2: reads and writes.

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.hands import BONES, HANDS
from ..hand.model import HandModel
from .measures import median, project
from .pictures import Strip
from .results import Results

MAX_FRAMES = 240
"""Frames in the player; of a longer session every n-th."""

NONE = -32768
"""Stands for NaN among 16 bit integers."""

PICTURE_UNITS = 8
"""Places in pictures are in eighths of a pixel."""


def player_frames(frames: int) -> ndarray:
    """The frames that the player shows: all, or every n-th."""
    return np.arange(0, frames, max(1, -(-frames // MAX_FRAMES)))


def packed(values: ndarray, dtype: str) -> str:
    """An array as base64, little endian."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def quantised(values: ndarray, origin: ndarray | float, step: float) -> str:
    """Numbers as 16 bit integers, `origin + step * n`; NaN and what is out of range as `NONE`."""
    scaled = np.round((values - origin) / step)
    return packed(np.where(np.abs(scaled) < -NONE, scaled, NONE), "i2")


def player_data(results: Results, frames: ndarray, strips: Sequence[Strip]) -> dict[str, Any]:
    """Everything that assets/player.js reads.

    Args:
        results: the session.
        frames: those of the player.
        strips: the pictures of the chosen views, one for each of `frames`.
    """
    joints = results.joints
    assert joints is not None
    joints = joints[frames]
    meshes = results.vertices(frames)
    seen = joints[np.isfinite(joints).all(axis=-1)]
    center = median(seen, axis=0) if len(seen) else np.zeros(3)
    reach = float(np.percentile(np.linalg.norm(seen - center, axis=-1), 98)) if len(seen) else 0.15
    step = max(1e-5, 4 * reach / 32000)
    residual = 1e3 * results.residual_m(frames)
    return {
        "frames": frames.tolist(),
        "fps": results.fps,
        "hands": list(HANDS),
        "bones": BONES.tolist(),
        "origin": center.tolist(),
        "step": step,
        "reach": reach,
        "joints": quantised(joints, center, step),
        "residual": quantised(residual, 0.0, 0.01),
        "top_mm": max(1.0, float(np.nanpercentile(residual, 95))) if np.isfinite(residual).any() else 1.0,
        "mesh": None if meshes is None else quantised(meshes, center, step),
        "models": None if meshes is None or results.models is None else [model_data(each) for each in results.models],
        "no_mesh": results.no_models,
        "views": _views(results, strips, frames, joints),
        "cameras": [] if results.cameras is None else rig(results, results.cameras, [each.view for each in strips]),
        "up": up(results.cameras),
    }


def model_data(model: HandModel) -> dict[str, Any]:
    """The faces of a model, and the joint that each vertex is nearest to."""
    zero = (np.zeros(10), np.zeros(3), np.zeros(45), np.zeros(3))
    apart = np.linalg.norm(model.vertices(*zero)[:, None] - model.joints(*zero), axis=-1)
    return {"faces": packed(model.faces, "u2"), "nearest": packed(apart.argmin(axis=1), "u1")}


def _views(results: Results, strips: Sequence[Strip], frames: ndarray, joints: ndarray) -> list[dict[str, Any]]:
    """The views' pictures, with the places of the fitted joints and of the detections in them."""
    index = [results.views.index(strip.view) for strip in strips]
    seen = results.detected_px(index, frames)
    fitted = np.full(seen.shape, np.nan) if results.cameras is None else project(results.cameras.subset(index), joints)
    out = []
    for strip, *places in zip(strips, fitted, seen, strict=True):
        x0, y0, x1, _ = strip.box
        scale = strip.size_px[0] / (x1 - x0)
        small = [quantised((uv - [x0, y0] + 0.5) * scale - 0.5, 0.0, 1 / PICTURE_UNITS) for uv in places]
        out.append(
            {
                "name": strip.view,
                "size": list(strip.size_px),
                "images": strip.coded(),
                "problem": strip.problem,
                "fitted": small[0],
                "seen": small[1],
            }
        )
    return out


def rig(results: Results, cameras: Cameras, chosen: Sequence[str]) -> list[dict[str, Any]]:
    """Position, axes, image corners and error of every calibrated camera, in world metres."""
    known = np.flatnonzero(cameras.calibrated)
    errors = view_error_px(results)
    centers = cameras.centers_m
    spread = float(np.median(np.linalg.norm(centers[known] - centers[known].mean(axis=0), axis=1))) if len(known) else 1
    out = []
    for view in known.tolist():
        w, h = cameras.size_px[view].tolist()
        corners = np.array([[0, 0, 1], [w, 0, 1], [w, h, 1], [0, h, 1]]) @ np.linalg.inv(cameras.K[view]).T
        R = cameras.T_cam_world[view, :3, :3]
        size = 0.09 * max(spread, 0.1)
        tips = centers[view] + size * (corners / np.linalg.norm(corners, axis=1, keepdims=True)) @ R
        out.append(
            {
                "name": cameras.names[view],
                "center": centers[view].tolist(),
                "corners": tips.tolist(),
                "forward": R[2].tolist(),
                "up": (-R[1]).tolist(),
                "fov": float(2 * np.degrees(np.arctan(h / 2 / cameras.K[view, 1, 1]))),
                "error": None if not np.isfinite(errors[view]) else round(float(errors[view]), 2),
                "chosen": cameras.names[view] in chosen,
            }
        )
    return out


def view_error_px(results: Results) -> ndarray:
    """(view,) median reprojection error of the hands, pixels; of the calibration where there are no hands."""
    if results.error_px is not None and results.error_px.size:
        return median(results.error_px, axis=(1, 2, 3))
    return np.asarray(results.view_errors.get("rms", np.full(len(results.views), np.nan)), float)


def up(cameras: Cameras | None) -> list[float]:
    """Up in the world: as the cameras stand, else z."""
    found = np.full(3, np.nan) if cameras is None or not cameras.calibrated.any() else cameras.up
    return found.tolist() if np.isfinite(found).all() else [0.0, 0.0, 1.0]
