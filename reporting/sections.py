"""The sections of a report: its charts, the table of views, the worst moments, and where the numbers come from."""

# Ring 2: reads and writes.

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..core.hands import HANDS
from ..core.storage.store import digest
from . import charts, headline
from .charts import Chart
from .measures import acceleration_m_s2, bone_lengths_m, gap_m, hands_box, median, project, worst_frames
from .pictures import Wanted, moment
from .player import view_error_px
from .results import Results

MOMENTS = 6
"""Worst moments that are shown."""

MESH_FRAMES = 2000
"""Frames up to which the gap between the hands is computed from the meshes."""


def every_chart(results: Results) -> list[Chart]:
    """The charts of what is there."""
    out = []
    if results.assignment is not None and results.frames:
        out += [charts.coverage(results.views, (results.assignment >= 0).sum(axis=2)), _supporting(results.assignment)]
    if results.votes is not None and np.isfinite(results.votes).any():
        reading = (
            "What the detector's own labels say about each tracked hand, summed over the views: above zero a right "
            "hand, below zero a left hand. The lines should stay apart; where they cross, the hands may be exchanged."
        )
        series = {"labels": results.votes}
        out.append(charts.over_frames("identity", "Identity over time", reading, "log-odds of right", series))
    if results.error_px is not None and np.isfinite(results.error_px).any():
        out.append(charts.joints_by_view(results.views, median(results.error_px, axis=(1, 2))))
    return out + _motion_charts(results)


def _supporting(assignment: np.ndarray) -> Chart:
    reading = "Views whose detection was assigned to the hand. With fewer than two there is no hand in 3D."
    return charts.over_frames("support", "Views per hand", reading, "views", {"used": (assignment >= 0).sum(axis=0)})


def _motion_charts(results: Results) -> list[Chart]:
    points, mano, joints, out = results.points, results.mano, results.joints, []
    if mano is not None and "residual" in mano and np.isfinite(mano["residual"]).any():
        residual = np.where(mano["valid"], 1e3 * mano["residual"], np.nan)
        reading = "RMS distance of the fitted joints from the keypoints. Peaks are moments to look at in the player."
        out.append(charts.over_frames("residual", "Fit residual", reading, "mm", {"residual": residual}))
    if joints is not None and np.isfinite(joints).any():
        series = {} if mano is None else {"fitted": acceleration_m_s2(joints, results.fps)}
        if points is not None:
            series["keypoints"] = acceleration_m_s2(points.astype(float), results.fps)
        reading = (
            "Median acceleration of the joints. A hand that moves smoothly stays below some 50 m/s²; the keypoints "
            "jitter more than the fit."
        )
        out.append(charts.over_frames("jitter", "Jitter", reading, "m/s²", series))
    if points is not None and np.isfinite(points).any():
        lengths = bone_lengths_m(points.astype(float))
        middle = median(lengths, axis=0)
        deviation = 1.4826 * median(np.abs(lengths - middle), axis=0)
        out.append(charts.bones(100 * deviation / middle))
        palm = 1e3 * np.linalg.norm(points[:, :, 9] - points[:, :, 0], axis=-1)
        reading = "Distance from the wrist to the knuckle of the middle finger, triangulated. It should be a flat line."
        out.append(charts.over_frames("palm", "Length of the palm", reading, "mm", {"palm": palm}, zero=False))
    if mano is not None and results.models is not None and mano["valid"].all(axis=1).any():
        frames = np.arange(min(results.frames, MESH_FRAMES))
        meshes = results.vertices(frames)
        assert meshes is not None
        reading = (
            "Smallest distance between a vertex of the left and one of the right mesh. In contact it is a few "
            "millimetres, the spacing of the vertices."
        )
        out.append(charts.over_frames("gap", "Gap between the hands", reading, "mm", {"gap": 1e3 * gap_m(meshes)}))
    return out


def view_table(results: Results) -> list[dict[str, Any]]:
    """One row for each view; values are text."""
    errors, hands = results.view_errors, view_error_px(results)
    explanations = results.store.attrs("quality").get("explanations", [])
    columns = (
        ("held_out", 1, "{:.2f}"),
        ("by_others", 1, "{:.2f}"),
        ("share", 100, "{:.0f} %"),
        ("offset", 1e3, "{:+.1f}"),
    )
    rows = []
    for v, name in enumerate(results.views):
        row: dict[str, Any] = {"name": name, "hands": f"{hands[v]:.1f}" if np.isfinite(hands[v]) else "–"}
        row["seen"] = "–" if results.found is None else headline.share(float((results.found[v] > 0).mean()))
        for key, scale, form in columns:
            value = errors[key][v] * scale if key in errors else np.nan
            row[key] = form.format(value) if np.isfinite(value) else "–"
        kind = int(errors["explanation"][v]) if "explanation" in errors else 0
        row["cause"] = explanations[kind] if 0 < kind < len(explanations) else ""
        row["calibrated"] = results.cameras is None or bool(results.cameras.calibrated[v])
        rows.append(row)
    return rows


def moments(results: Results) -> list[dict[str, Any]]:
    """The worst moments of the fit, each in the view that disagrees most."""
    mano, cameras = results.mano, results.cameras
    if mano is None or cameras is None or results.source_frame is None or "residual" not in mano:
        return []
    out = []
    residual = np.where(mano["valid"], mano["residual"], np.nan)
    worst = worst_frames(residual, MOMENTS, max(1, results.frames // 20))
    detected = results.detected_px(range(len(results.views)), np.array([frame for frame, _ in worst], int))
    for i, (frame, hand) in enumerate(worst):
        seen = detected[:, i, hand]
        fitted = project(cameras, mano["joints"][frame, hand])
        apart = median(np.linalg.norm(fitted - seen, axis=-1), axis=1)
        if not np.isfinite(apart).any():
            continue
        view = int(np.nanargmax(apart))
        box = hands_box(np.concatenate([fitted[view], seen[view]]), cameras.size_px[view])
        source = int(results.source_frame[view, frame])
        picture = moment(results.root, Wanted(results.views[view], [source], box), fitted[view], seen[view], hand)
        if picture is not None:
            about = {"frame": frame, "hand": HANDS[hand], "view": results.views[view]}
            figures = {"mm": f"{1e3 * residual[frame, hand]:.1f}", "px": f"{apart[view]:.1f}"}
            out.append({**about, **figures, "jpeg": base64.b64encode(picture).decode()})
    return out


def provenance(results: Results) -> list[dict[str, Any]]:
    """Every group: whether it is complete, from which code and settings."""
    out = []
    for store in dict.fromkeys((results.rig, results.store)):
        for group in sorted(name for name in store.groups() if not name.startswith("_")):
            attributes = store.attrs(group)
            fingerprint = attributes.get("fingerprint") or {}
            text = json.dumps(fingerprint, indent=1)
            # One hash for each clip of fifty tells a reader nothing.
            text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)
            out.append(
                {
                    "name": group,
                    "store": Path(store.url).name,
                    "complete": bool(attributes.get("complete")),
                    "code_version": fingerprint.get("code", ""),
                    "digest": digest(fingerprint)[:12] if fingerprint else "",
                    "fingerprint": text,
                }
            )
    return out
