"""The report's charts as Vega-Lite specifications. Colours are CSS variables of assets/report.css, for light and dark.

A chart over frames has the parameter `now`: the frame of the player, drawn as a vertical line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.hands import BONES, HANDS, JOINTS
from .measures import binned

BINS = 400
"""Points of a line over frames: more than the pixels that most screens give it."""

CELLS = 90
"""Columns of a heat map over frames."""

Spec = dict[str, Any]

HAND_COLOR = {
    "field": "hand",
    "type": "nominal",
    "scale": {"domain": list(HANDS), "range": ["var(--left)", "var(--right)"]},
    "legend": {"title": None, "orient": "top"},
}


@dataclass(frozen=True)
class Chart:
    """A chart with what it shows and how to read it."""

    key: str
    """Its name in the page."""
    title: str
    reading: str
    """What it shows, and what is good."""
    spec: Spec
    timed: bool = False
    """Whether its x axis is the frame."""


def _numbers(values: ndarray, digits: int = 3) -> list[float | None]:
    return [round(float(value), digits) if np.isfinite(value) else None for value in np.asarray(values, float).ravel()]


def over_frames(
    key: str, title: str, reading: str, unit: str, series: Mapping[str, ndarray], zero: bool = True
) -> Chart:
    """Lines of both hands over the frames; the second series is dashed.

    Args:
        key, title, reading: as in `Chart`.
        unit: of the y axis.
        series: (frame, hand) or (frame,) values by name.
        zero: whether the y axis begins at 0.
    """
    rows = []
    for name, values in series.items():
        hands = HANDS if values.ndim == 2 else ("both",)
        for i, hand in enumerate(hands):
            starts, worst = binned(values[:, i] if values.ndim == 2 else values, BINS, np.nanmax)
            rows += [
                {"frame": int(f), "value": v, "hand": hand, "series": name}
                for f, v in zip(starts, _numbers(worst), strict=True)
            ]
    color: Spec = HAND_COLOR if any(values.ndim == 2 for values in series.values()) else {"value": "var(--accent)"}
    encoding: Spec = {
        "x": {"field": "frame", "type": "quantitative", "axis": {"title": "frame", "grid": False}},
        "y": {"field": "value", "type": "quantitative", "title": unit, "scale": {"zero": zero}},
        "color": color,
        "tooltip": [{"field": name} for name in ("frame", "hand", "series", "value")],
    }
    if len(series) > 1:
        dash = {"domain": list(series), "range": [[1, 0], [4, 3], [1, 2]][: len(series)]}
        legend = {"title": None, "orient": "top", "symbolStrokeColor": "var(--fg)"}
        encoding["strokeDash"] = {"field": "series", "type": "nominal", "scale": dash, "legend": legend}
    marks = {"mark": {"type": "line", "strokeWidth": 1.6, "clip": True, "invalid": "break-paths-show-domains"}}
    last = max(len(values) for values in series.values()) - 1
    encoding["x"]["scale"] = {"domain": [0, max(last, 1)], "nice": False}
    return Chart(key, title, reading, _timed({"data": {"values": rows}, "encoding": encoding, **marks}, 170), True)


def over_steps(key: str, title: str, reading: str, series: Mapping[str, ndarray]) -> Chart:
    """Curves of a training, with a logarithmic axis; the second series is dashed.

    Args:
        key, title, reading: as in `Chart`.
        series: (point, 2) step and value by name.
    """
    rows = []
    for name, points in series.items():
        _, means = binned(points, BINS, np.nanmean)
        rows += [
            {"step": round(float(step)), "value": value, "series": name}
            for (step, _), value in zip(means, _numbers(means[:, 1], 6), strict=True)
            if value is not None and value > 0
        ]
    dash = {"domain": list(series), "range": [[1, 0], [4, 3]][: len(series)]}
    legend = {"title": None, "orient": "top", "symbolStrokeColor": "var(--fg)"}
    spec = {
        "width": "container",
        "height": 170,
        "data": {"values": rows},
        "mark": {"type": "line", "strokeWidth": 1.6, "color": "var(--accent)"},
        "encoding": {
            "x": {"field": "step", "type": "quantitative", "axis": {"grid": False}},
            "y": {"field": "value", "type": "quantitative", "title": None, "scale": {"type": "log"}},
            "strokeDash": {"field": "series", "type": "nominal", "scale": dash, "legend": legend},
            "tooltip": [{"field": name} for name in ("step", "series", "value")],
        },
    }
    return Chart(key, title, reading, spec)


def _timed(layer: Spec, height: int) -> Spec:
    """A layer, and the line at the player's frame."""
    now = {
        "data": {"values": [{}]},
        "transform": [{"calculate": "now", "as": "now"}],
        "mark": {"type": "rule", "color": "var(--fg)", "strokeWidth": 1, "opacity": 0.7},
        "encoding": {"x": {"field": "now", "type": "quantitative"}},
    }
    return {"width": "container", "height": height, "params": [{"name": "now", "value": 0}], "layer": [layer, now]}


def _height(rows: Sequence[str]) -> int:
    """Pixels of a heat map."""
    return len(rows) * (9 if len(rows) > 20 else 18)


def coverage(views: Sequence[str], used: ndarray) -> Chart:
    """How many hands each view contributes, over the frames.

    Args:
        views: names.
        used: (view, frame) 0, 1 or 2.
    """
    starts, cells = binned(used.T, CELLS, np.nanmean)
    width = int(starts[1]) if len(starts) > 1 else 1
    rows = [
        {"view": name, "frame": int(f), "end": int(f) + width, "hands": v}
        for i, name in enumerate(views)
        for f, v in zip(starts, _numbers(cells[:, i], 2), strict=True)
    ]
    layer = {
        "data": {"values": rows},
        "mark": {"type": "rect", "stroke": None},
        "encoding": {
            "x": {
                "field": "frame",
                "type": "quantitative",
                "scale": {"domain": [0, int(starts[-1]) + width], "nice": False},
                "axis": {"title": "frame", "grid": False},
            },
            "x2": {"field": "end"},
            "y": {
                "field": "view",
                "type": "nominal",
                "sort": list(views),
                "title": None,
                "axis": {"labelFontSize": 9 if len(views) > 20 else 11, "labelOverlap": True, "ticks": False},
            },
            "color": {
                "field": "hands",
                "type": "quantitative",
                "scale": {"domain": [0, 2], "scheme": "cividis"},
                "legend": {"title": "hands used", "orient": "top", "values": [0, 1, 2], "gradientLength": 120},
            },
            "tooltip": [{"field": name} for name in ("view", "frame", "hands")],
        },
    }
    reading = (
        "Brighter is better. A dark row is a view that contributes nothing; a dark column is a moment that few see."
    )
    return Chart("coverage", "Which views see the hands", reading, _timed(layer, _height(views)), True)


def heat(
    key: str, title: str, reading: str, rows: Sequence[str], columns: Sequence[str], values: ndarray, unit: str
) -> Chart:
    """A heat map of (row, column) values."""
    cells = [
        {"row": row, "column": column, "value": value}
        for i, row in enumerate(rows)
        for column, value in zip(columns, _numbers(values[i], 2), strict=True)
    ]
    finite = values[np.isfinite(values)]
    top = float(np.percentile(finite, 98)) if finite.size else 1.0
    small = len(rows) > 20
    spec = {
        "width": "container",
        "height": _height(rows),
        "data": {"values": cells},
        "mark": {"type": "rect", "stroke": None},
        "encoding": {
            "x": {
                "field": "column",
                "type": "nominal",
                "sort": list(columns),
                "title": None,
                "axis": {"labelAngle": -50},
            },
            "y": {
                "field": "row",
                "type": "nominal",
                "sort": list(rows),
                "title": None,
                "axis": {"labelFontSize": 9 if small else 11, "labelOverlap": True, "ticks": False},
            },
            "color": {
                "field": "value",
                "type": "quantitative",
                "scale": {"domain": [0, max(top, 1e-6)], "scheme": "cividis", "clamp": True},
                "legend": {"title": unit, "orient": "top", "gradientLength": 120},
            },
            "tooltip": [{"field": name} for name in ("row", "column", "value")],
        },
    }
    return Chart(key, title, reading, spec)


def joints_by_view(views: Sequence[str], error_px: ndarray) -> Chart:
    """Reprojection by joint and view, (view, joint) pixels."""
    reading = (
        "Median distance between each detection that was assigned to a hand and the triangulated joint in the same "
        "image. A bright row is a view to look at, a bright column a joint that the detector places differently."
    )
    columns = [name.replace("_", " ") for name in JOINTS]
    return heat("reprojection", "Reprojection by joint and view", reading, views, columns, error_px, "px")


def bones(variation: ndarray) -> Chart:
    """How much each bone's length varies, (hand, bone) percent."""
    names = [f"{JOINTS[a]} – {JOINTS[b]}".replace("_", " ") for a, b in BONES.tolist()]
    rows = [
        {"bone": name, "hand": hand, "value": value}
        for i, hand in enumerate(HANDS)
        for name, value in zip(names, _numbers(variation[i], 2), strict=True)
    ]
    spec = {
        "width": "container",
        "height": 15 * len(names),
        "data": {"values": rows},
        "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
        "encoding": {
            "y": {
                "field": "bone",
                "type": "nominal",
                "sort": names,
                "title": None,
                "axis": {"grid": True, "ticks": False},
            },
            "x": {"field": "value", "type": "quantitative", "title": "% of the length"},
            "color": HAND_COLOR,
            "shape": {
                "field": "hand",
                "type": "nominal",
                "scale": {"domain": list(HANDS), "range": ["circle", "triangle-up"]},
            },
            "tooltip": [{"field": name} for name in ("bone", "hand", "value")],
        },
    }
    reading = (
        "Spread of the distance between two triangulated joints over time (1.48 times the median deviation). Bones do "
        "not change: what varies is error. The fitted hands have constant bones."
    )
    return Chart("bones", "How constant the bones are", reading, spec)
