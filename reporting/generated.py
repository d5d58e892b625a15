"""The report of generated motion: samples side by side, beside real motion if there is some to compare with."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.errors import SessionError
from ..core.hands import BONES, HANDS
from ..core.storage.atomic import write_whole
from ..core.storage.store import Store
from ..hand.model import HandModel
from ..hand.stored_motion import COLUMNS, StoredMotion, stored_motion
from .charts import Chart, over_frames
from .headline import Figure
from .measures import derivative, median, touching
from .page import page
from .player import model_data, quantised
from .results import hand_models_of

MAX_SAMPLES = 6
"""Samples in the player."""

PAIR_FRAMES = 600
"""Frames of all pairs of hands in the player together: some 7 MB."""

SPACING = 3.2
"""Distance between neighbouring pairs of hands, relative to how far the joints of one are from its middle."""

IN_A_ROW = 3
"""Pairs of hands."""

MEASURES: Mapping[str, tuple[int, str]] = {"speed": (1, "m/s"), "acceleration": (2, "m/s²"), "jerk": (3, "m/s³")}
"""Derivatives of the joints' positions: order and unit."""


@dataclass(frozen=True, eq=False)
class Motions:
    """Motions of two hands, of one hand model."""

    betas: ndarray
    """(sample, hand, 10)"""
    pose: Mapping[str, ndarray]
    """`global_orient`, `hand_pose`, `transl`: (sample, frame, hand, ...), as in the store."""
    joints_m: ndarray
    """(sample, frame, hand, joint, 3)"""
    fps: float

    @property
    def frames(self) -> int:
        return self.joints_m.shape[1]


def read_motions(motion: StoredMotion, frames: int | None = None) -> Motions | None:
    """Motions of a store, whole, or the parts in which both hands are valid cut to so many frames; None without one.

    Raises:
        GenerationError: the store is damaged.
    """
    parts = []
    for sample, valid in enumerate(np.asarray(motion.valid.all(axis=-1))):
        length, at = frames or len(valid), 0
        while at + length <= len(valid):
            gap = np.flatnonzero(~valid[at : at + length])
            if len(gap):
                at += int(gap[-1]) + 1
            else:
                parts.append((sample, at, at + length))
                at += length
    if not parts:
        return None
    numbers = np.stack([motion.load(*part) for part in parts]).astype(float)
    pose = {name: numbers[..., COLUMNS[name]] for name in ("global_orient", "hand_pose", "transl")}
    joints = [_joints_of(motion, *part) for part in parts]
    return Motions(motion.betas[[sample for sample, _, _ in parts]].astype(float), pose, np.stack(joints), motion.fps)


def _joints_of(motion: StoredMotion, sample: int, start: int, stop: int) -> ndarray:
    """(frame, hand, joint, 3) metres."""
    region = (sample, slice(start, stop)) if motion.sampled else (slice(start, stop),)
    return motion.store.read("mano", "joints", region).astype(float)


def write_generated_report(
    store: Store, out: Path, reference: tuple[str, Store] | None, hand_model: str | None
) -> dict[str, Any]:
    """Write the report of generated motion.

    Args:
        store: from `handpipe generate`.
        out: the HTML file.
        reference: name and store of real motion to compare with.
        hand_model: folder with the hand model; None: the procedural hands.

    Returns:
        Figures for the command's summary.

    Raises:
        SessionError: the reference has no stretch of motion that is as long.
        GenerationError: a store is damaged.
        DiskError: the file cannot be written.
    """
    generated, real = stored_motion(store.url, store), None
    motions = read_motions(generated)
    assert motions is not None
    if reference is not None:
        name, source = reference
        found = stored_motion(name, source)
        length = max(2, round(motions.frames / motions.fps * found.fps))
        real = read_motions(found, length)
        if real is None:
            raise SessionError(
                f"--reference {name}: expected {length} consecutive frames in which both hands are valid, as in the "
                "generated motion, but found none. Give a session with longer motion, or generate fewer `--frames`."
            )
    models, no_models = hand_models_of(store.attrs("mano").get("hand_model"), hand_model)
    given = store.read("controls", "wrist").astype(float) if store.complete("controls") else None
    whole = store.read("controls", "hand_pose") if store.complete("controls") else None
    keyframes = [] if whole is None else np.flatnonzero(np.isfinite(whole[..., 0]).any(axis=-1)).tolist()
    figures, measured = motion_figures(motions, real, given)
    fingerprint = store.attrs("mano").get("fingerprint") or {}
    text = page(
        "generated.html.j2",
        side_by_side(motions, real, models, no_models),
        motion_charts(motions, real),
        name=Path(store.url).name,
        store=store.url,
        samples=len(motions.joints_m),
        frames=motions.frames,
        fps=motions.fps,
        figures=figures,
        keyframes=keyframes,
        reference=None if reference is None else reference[0],
        made_from=json.dumps(fingerprint, indent=1),
        no_pictures=[],
    )
    write_whole(out, text)
    return {"report": str(out), "megabytes": round(len(text.encode()) / 1e6, 2), **measured}


def motion_figures(
    motions: Motions, real: Motions | None, given: ndarray | None
) -> tuple[list[Figure], dict[str, float]]:
    """Headline figures, for a person and by name.

    Args:
        motions: generated.
        real: to compare with.
        given: (frame, hand, 3) wrist positions that were asked for, NaN elsewhere.
    """
    figures, measured = [], {}
    for name, (order, unit) in MEASURES.items():
        value = float(np.mean(derivative(motions.joints_m, motions.fps, order)))
        measured[f"{name}_mean"] = value
        note = "mean over joints and frames"
        if real is not None:
            other = float(np.mean(derivative(real.joints_m, real.fps, order)))
            measured[f"{name}_real"] = other
            note = f"real: {other:.3g} {unit}, so {value / other:.2f} times that" if other else "real: none"
        figures.append(Figure(name, f"{value:.3g} {unit}", "plain", note))
    share = float(touching(motions.joints_m).mean())
    measured["contact_share"] = share
    note = "some joints of both hands are within 2 cm"
    if real is not None:
        measured["contact_share_real"] = float(touching(real.joints_m).mean())
        note += f"; real: {100 * measured['contact_share_real']:.0f} %"
    figures.append(Figure("frames with contact", f"{100 * share:.0f} %", "plain", note))
    if given is not None and np.isfinite(given).any():
        apart = 1e3 * np.linalg.norm(motions.joints_m[..., 0, :] - given, axis=-1)
        measured["control_error_mm"] = float(np.nanmax(apart))
        good = measured["control_error_mm"] < 0.1
        figures.append(
            Figure(
                "largest error at given wrist positions",
                f"{measured['control_error_mm']:.3f} mm",
                "good" if good else "bad",
                "keyframes and paths, all samples; limit 0.1 mm",
            )
        )
    return figures, measured


def motion_charts(motions: Motions, real: Motions | None) -> list[Chart]:
    """Speed, jerk and distance of the hands over the frames: the mean of the samples, and of real motion."""
    charts = []
    for name, reading in (
        ("speed", "A motion that gets faster and faster, or dies away, is a fault of the generator."),
        ("jerk", "Peaks at keyframes are seams. Real motion has a similar level throughout."),
    ):
        order, unit = MEASURES[name]
        series = {"generated": derivative(motions.joints_m, motions.fps, order).mean(axis=(0, 3))}
        if real is not None and real.frames == motions.frames:
            series["real"] = derivative(real.joints_m, real.fps, order).mean(axis=(0, 3))
        title = f"{name.capitalize()}, mean of the samples"
        charts.append(over_frames(name, title, reading, unit, series))
    wrists = motions.joints_m[:, :, :, 0]
    gap = {"generated": 1e3 * np.linalg.norm(wrists[:, :, 0] - wrists[:, :, 1], axis=-1).mean(axis=0)}
    reading = "Distance between the two wrists, mean of the samples."
    charts.append(over_frames("wrists", "Between the wrists", reading, "mm", gap))
    return charts


def side_by_side(
    motions: Motions, real: Motions | None, models: tuple[HandModel, HandModel] | None, no_models: str
) -> dict[str, Any]:
    """What assets/player.js draws: the first samples in a grid, and one real motion at the end."""
    shown = [(f"sample {i}", motions, i) for i in range(min(len(motions.joints_m), MAX_SAMPLES))]
    if real is not None and real.frames == motions.frames:
        shown = [*shown[: MAX_SAMPLES - 1], ("real", real, 0)]
    frames = np.arange(0, motions.frames, max(1, -(-motions.frames * len(shown) // PAIR_FRAMES)))
    middles = [median(each.joints_m[i], axis=(0, 1, 2)) for _, each, i in shown]
    apart = [
        np.linalg.norm(each.joints_m[i] - middle, axis=-1) for (_, each, i), middle in zip(shown, middles, strict=True)
    ]
    reach = float(np.percentile(np.concatenate([part.ravel() for part in apart]), 98))
    places = SPACING * reach * _grid(len(shown))
    extent = reach + float(np.linalg.norm(places, axis=-1).max())
    step = max(1e-5, 4 * extent / 32000)
    joints, meshes = [], []
    for (_, each, i), middle, place in zip(shown, middles, places, strict=True):
        joints.append(each.joints_m[i][frames] - middle + place)
        if models is not None:
            meshes.append(_vertices(models, each, i, frames) - middle + place)
    placed = np.concatenate(joints, axis=1)
    return {
        "frames": frames.tolist(),
        "fps": motions.fps,
        "hands": [f"{hand}, {name}" for name, _, _ in shown for hand in HANDS],
        "bones": BONES.tolist(),
        "origin": [0.0, 0.0, 0.0],
        "step": step,
        "reach": extent,
        "joints": quantised(placed, 0.0, step),
        "residual": quantised(np.full(placed.shape[:-1], np.nan), 0.0, 0.01),
        "top_mm": 1.0,
        "mesh": quantised(np.concatenate(meshes, axis=1), 0.0, step) if models is not None else None,
        "models": [model_data(each) for each in models] * len(shown) if models is not None else None,
        "no_mesh": no_models,
        "views": [],
        "cameras": [],
        "labels": [
            {"name": name, "center": (place + [0, 0, 1.1 * reach]).tolist()}
            for (name, _, _), place in zip(shown, places, strict=True)
        ],
        "up": [0.0, 0.0, 1.0],
    }


def _grid(count: int) -> ndarray:
    """(count, 3) places in rows, around the origin, in the plane y = 0."""
    at = np.arange(count)
    columns = min(count, IN_A_ROW)
    rows = -(-count // columns)
    return np.stack([at % columns - (columns - 1) / 2, np.zeros(count), (rows - 1) / 2 - at // columns], axis=-1)


def _vertices(models: Sequence[HandModel], motions: Motions, sample: int, frames: ndarray) -> ndarray:
    """(frame, hand, vertex, 3) metres."""
    return np.stack(
        [
            model.vertices(
                motions.betas[sample, hand],
                *(motions.pose[name][sample, frames, hand] for name in ("global_orient", "hand_pose", "transl")),
            )
            for hand, model in enumerate(models)
        ],
        axis=1,
    )
