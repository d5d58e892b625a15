"""Robust triangulation compared with other methods, on a simulated rig with ground truth.

    python benchmarks/triangulation.py [--only accuracy sigma speed growth] [--json FILE]

The rig: cameras on a dome (elevation -20 to 80 degrees) at 0.9 to 1.1 m from two hands that approach, touch, cross and
part; images of 1920x1080, focal length 1500 px, 1.5 px of Gaussian noise per axis. Of the wrong detections a third is
another joint of the same hand, a third the same joint of the other hand, and a third lies anywhere in the image.
The peers get the same numbers in the same run; pycolmap comes with `pip install -e '.[test]'`.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _report import Figure, report
from _triangulation_methods import (
    FEW_POINTS,
    FOCAL_PX,
    NOISE_PX,
    POINTS,
    Result,
    Scene,
    anipose,
    dlt,
    irls,
    lo_ransac,
    oracle,
    ours,
    scene,
)
from numpy import ndarray
from rich.console import Console
from rich.table import Table

from handpipe.core.engine import limit_threads

US, LO_RANSAC, ORACLE = "handpipe, robust", "pycolmap, LO-RANSAC", "oracle: least squares over true inliers"
METHODS: Mapping[str, tuple[Callable[[Scene], Result], str | None, int]] = {
    US: (ours, None, POINTS),
    "handpipe, plain DLT": (dlt, None, POINTS),
    "IRLS alone": (irls, None, POINTS),
    LO_RANSAC: (lo_ransac, "pycolmap", POINTS),
    "aniposelib, DLT": (anipose, "aniposelib", FEW_POINTS),
    ORACLE: (oracle, None, POINTS),
}
"""Name: function, the package it needs, points it is given."""

LEVELS = {
    "50 views, 30 % missing, 0 % wrong": (50, 0.3, 0.0),
    "50 views, 30 % missing, 20 % wrong": (50, 0.3, 0.2),
    "50 views, 30 % missing, 40 % wrong": (50, 0.3, 0.4),
    "10 views, 40 % wrong": (10, 0.0, 0.4),
    "4 views, 10 % wrong": (4, 0.0, 0.1),
    "4 views, 20 % missing, 10 % wrong": (4, 0.2, 0.1),
}
"""Name: views, share missing, share wrong."""

HARD = [
    *((50, 0.3, 0.5), (20, 0.3, 0.4), (10, 0.3, 0.4), (10, 0.3, 0.2), (8, 0.3, 0.3), (6, 0.2, 0.2), (5, 0.0, 0.2)),
    *((4, 0.3, 0.2), (4, 0.0, 0.0), (3, 0.0, 0.1), (2, 0.0, 0.1), (2, 0.0, 0.0)),
]
"""Views, share missing, share wrong, for `sigma`."""
OFF_M, DROPPED_M = 0.01, 0.05
"""An error no noise explains; the pipeline's default for `max_sigma_m`."""


@dataclass(frozen=True)
class Errors:
    """Errors of one method on one scene, over its triangulated points."""

    median_mm: float
    axis_mm: float
    """Median of the error along one axis."""
    p95_mm: float
    none: float
    """Share of the points that it leaves out."""
    beyond: float
    """Share with an error over three of its own standard errors; NaN where it states none."""
    points_s: float

    @classmethod
    def of(cls, result: Result, truth_m: ndarray) -> Errors:
        off_mm: ndarray = 1e3 * (result.points_m - truth_m)
        given: ndarray = np.all(np.isfinite(off_mm), axis=-1)
        off_mm = off_mm[given]
        error = np.linalg.norm(off_mm, axis=-1)
        beyond = np.nan if result.sigma_m is None else float((error > 3e3 * result.sigma_m[given]).mean())
        median, p95 = (float(p) for p in np.percentile(error, [50, 95]))
        speed = len(given) / result.cpu_s
        return cls(median, float(np.median(np.abs(off_mm))), p95, 1 - float(given.mean()), beyond, speed)


def accuracy() -> list[Figure]:
    """Every method on every level; limits on ours."""
    table = Table(title=f"errors in mm; {NOISE_PX} px noise, {FOCAL_PX:.0f} px focal length, 1 m", title_justify="left")
    for column in ("", "median", "per axis", "p95", "no result", "> 3 sigma", "points/s"):
        table.add_column(column, justify="left" if column == "" else "right")
    rows = []
    for level, (views, missing, wrong) in LEVELS.items():
        whole = scene(views, missing, wrong)
        table.add_row(f"[bold]{level}", *[""] * 6)
        results = {}
        for name, (method, _, points) in available().items():
            part = whole.first(points)
            results[name] = method(part)
            e = Errors.of(results[name], part.truth_m)
            cells = [f"{v:.3g}" for v in (e.median_mm, e.axis_mm, e.p95_mm)]
            beyond = "" if np.isnan(e.beyond) else f"{100 * e.beyond:.2f} %"
            table.add_row(f"  {name}", *cells, f"{100 * e.none:.2f} %", beyond, f"{e.points_s:.0f}")
        rows += _held(level, whole.truth_m, results)
    Console(width=110).print(table)
    return rows


def available() -> Mapping[str, tuple[Callable[[Scene], Result], str | None, int]]:
    return {
        name: method
        for name, method in METHODS.items()
        if method[1] is None or importlib.util.find_spec(method[1]) is not None
    }


LIMITS_MM = {
    "50 views, 30 % missing, 0 % wrong": ("median_mm", 0.36),
    "50 views, 30 % missing, 20 % wrong": ("median_mm", 0.40),
    "50 views, 30 % missing, 40 % wrong": ("median_mm", 0.45),
    "10 views, 40 % wrong": ("p95_mm", 5.0),
}


def _held(level: str, truth_m: ndarray, results: Mapping[str, Result]) -> list[Figure]:
    us = Errors.of(results[US], truth_m)
    rows = [Figure(f"{level}: errors over 3 sigma", 100 * us.beyond, "%", 1.0)]
    if level in LIMITS_MM:
        which, limit = LIMITS_MM[level]
        name = {"median_mm": "median error", "p95_mm": "error, p95"}[which]
        rows.append(Figure(f"{level}: {name}", getattr(us, which), "mm", limit))
    for name, said in ((ORACLE, "the oracle's"), (LO_RANSAC, "LO-RANSAC's")):
        if name not in results:
            continue
        # Where both have an answer: each leaves out some of the hard ones.
        both = np.isfinite(results[name].points_m + results[US].points_m).all(-1)
        ours, theirs = (
            Errors.of(replace(results[n], points_m=results[n].points_m[both], sigma_m=None), truth_m[both])
            for n in (US, name)
        )
        limit = 1.0 if name == LO_RANSAC and level.startswith("4 views") else None
        rows.append(Figure(f"{level}: median relative to {said}", ours.median_mm / theirs.median_mm, "times", limit))
        rows.append(Figure(f"{level}: p95 relative to {said}", ours.p95_mm / theirs.p95_mm, "times", limit))
    return rows


def sigma() -> list[Figure]:
    """Calibration of the standard errors, down to two views and up to 50 % wrong detections."""
    table = Table(title="handpipe: calibration of the standard errors", title_justify="left")
    for column in ("", "no result", "error > 10 mm", "> 3 sigma", "sigma, median", "correct, but sigma > 50 mm"):
        table.add_column(column, justify="left" if column == "" else "right")
    worst = 0.0
    for views, missing, wrong in HARD:
        part = scene(views, missing, wrong)
        result = ours(part)
        assert result.sigma_m is not None
        error, sigma_m = np.linalg.norm(result.points_m - part.truth_m, axis=-1), result.sigma_m
        given = np.isfinite(error)
        error, sigma_m = error[given], sigma_m[given]
        off = error > OFF_M
        shares = (~given, off, error > 3 * sigma_m)
        cells = [f"{100 * share.mean():.2f} %" for share in shares]
        row = f"{views} views, {100 * missing:.0f} % missing, {100 * wrong:.0f} % wrong"
        dropped = f"{100 * (sigma_m[~off] > DROPPED_M).mean():.1f} %"
        table.add_row(row, *cells, f"{1e3 * np.median(sigma_m):.2f} mm", dropped)
        worst = max(worst, 100 * float((error > 3 * sigma_m).mean()))
    Console(width=110).print(table)
    return [Figure("errors over 3 sigma, maximum of these rows", worst, "%", 1.0)]


def speed() -> list[Figure]:
    """Points per second of CPU time, the best of three runs; one thread."""
    whole = scene(50, 0.3, 0.2)

    def best(method: Callable[[Scene], Result]) -> float:
        return 1e-3 * len(whole.truth_m) / min(method(whole).cpu_s for _ in range(3))

    return [
        Figure("robust, 50 views", best(ours), "thousand points/s", 30, "higher"),
        Figure("plain weighted DLT, 50 views", best(dlt), "thousand points/s", 100, "higher"),
    ]


def growth() -> list[Figure]:
    """CPU time over the number of views; linear where the time per point and view stays the same."""
    table = Table(title="scaling with the number of views: 30 % missing, 20 % wrong", title_justify="left")
    for column in ("views", "points/s", "µs per point and view"):
        table.add_column(column, justify="right")
    cost = {}
    for views in (4, 8, 16, 25, 50, 100, 200):
        part = scene(views, 0.3, 0.2, points=max(640, POINTS * 8 // views // 64 * 64 if views > 8 else POINTS))
        cpu_s = min(ours(part).cpu_s for _ in range(3))
        cost[views] = 1e6 * cpu_s / len(part.truth_m) / views
        table.add_row(str(views), f"{len(part.truth_m) / cpu_s:.0f}", f"{cost[views]:.3f}")
    Console(width=110).print(table)
    return [Figure("time per point and view, 200 views relative to 25", cost[200] / cost[25], "times", 1.2)]


PARTS: Mapping[str, Callable[[], list[Figure]]] = {
    "accuracy": accuracy,
    "sigma": sigma,
    "speed": speed,
    "growth": growth,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts to run")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    limit_threads()
    for name in METHODS.keys() - available().keys():
        print(f"{name}: not measured, {METHODS[name][1]} is not installed. Run `pip install {METHODS[name][1]}`.")
    report("robust triangulation", [row for part in options.only for row in PARTS[part]()], options.json)


if __name__ == "__main__":
    main()
