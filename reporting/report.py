"""Write a session's report: one HTML file that needs nothing else."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SessionError
from ..core.quality import verdict
from ..core.storage.atomic import write_whole
from . import headline
from .measures import hands_box, project, spread_views
from .page import page
from .pictures import Strip, Wanted, strips
from .player import player_data, player_frames
from .results import STAGES, Results
from .sections import every_chart, moments, provenance, view_table

MAX_VIEWS = 6
"""Views in the player."""

PICTURE_BYTES = 5_500_000
"""Of all pictures in the player, before base64 makes four bytes of three."""


def write_report(results: Results, out: Path, views: Sequence[str], truth: Mapping[str, Any]) -> dict[str, Any]:
    """Write the report of a session.

    Args:
        results: of the session.
        out: the HTML file.
        views: views in the player, at most six; none: those that see the hands often and from different sides.
        truth: errors against the ground truth, as in the summary of a run; empty without one.

    Returns:
        Figures for the command's summary.

    Raises:
        SessionError: a view does not exist.
        DiskError: the file cannot be written.
    """
    text = render(results, _chosen(results, views), truth)
    write_whole(out, text)
    return {
        "report": str(out),
        "megabytes": round(len(text.encode()) / 1e6, 2),
        "verdict": _verdict(results),
        "missing": [name for name in STAGES if not _complete(results, name)],
    }


def render(results: Results, chosen: Sequence[int], truth: Mapping[str, Any]) -> str:
    """The page.

    Args:
        results: of the session.
        chosen: views in the player.
        truth: errors against the ground truth.
    """
    made = strips_of(results, chosen) if chosen and results.frames else []
    player = player_data(results, player_frames(results.frames), made) if results.joints is not None else None
    shown = every_chart(results)
    checks = results.checks
    return page(
        "report.html.j2",
        player,
        shown,
        name=results.root.resolve().name,
        session=str(results.root),
        verdict=_verdict(results),
        problems=[check for check in checks if check.severity != "ok"],
        passed=[check for check in checks if check.severity == "ok"],
        figures=_figures(results, truth),
        groups=provenance(results),
        missing=[(name, *STAGES[name]) for name in STAGES if not _complete(results, name)],
        no_pictures=[strip.problem for strip in made if strip.problem],
        views=view_table(results),
        moments=moments(results),
        frames=results.frames,
        fps=results.fps,
    )


def _complete(results: Results, group: str) -> bool:
    return (results.rig if group == "cameras" else results.store).complete(group)


def _verdict(results: Results) -> str:
    checks = results.checks
    return verdict(checks) if checks else "no verdict yet"


def _chosen(results: Results, names: Sequence[str]) -> list[int]:
    """Views of the player by their names, or a choice of them."""
    if results.cameras is None:
        return []
    known = [name for name, ok in zip(results.views, results.cameras.calibrated, strict=True) if ok]
    wrong = [name for name in names if name not in known]
    if wrong or len(names) > MAX_VIEWS:
        found = f"{', '.join(wrong)} is none of them" if wrong else f"{len(names)} are named"
        raise SessionError(
            f"--views: expected up to {MAX_VIEWS} of the session's calibrated views ({', '.join(known)}), but {found}. "
            "Correct the names."
        )
    if names:
        return [results.views.index(name) for name in names]
    used = np.zeros(len(results.views)) if results.assignment is None else (results.assignment >= 0).sum(axis=(1, 2))
    return spread_views(results.cameras, used, MAX_VIEWS)


def strips_of(results: Results, chosen: Sequence[int]) -> list[Strip]:
    """The pictures of the chosen views, cut to where the hands are."""
    frames, wanted = player_frames(results.frames), []
    if results.source_frame is None or results.cameras is None:
        return []
    for view in chosen:
        size = results.cameras.size_px[view]
        joints = results.joints
        one = results.cameras.subset([view])
        uv = np.zeros((0, 2)) if joints is None else project(one, joints[frames])[0]
        wanted.append(Wanted(results.views[view], results.source_frame[view, frames].tolist(), hands_box(uv, size)))
    return strips(results.root, wanted, PICTURE_BYTES)


def _figures(results: Results, truth: Mapping[str, Any]) -> list[headline.Figure]:
    checks, figures = results.checks, []
    if results.cameras is not None:
        figures += headline.calibration_figures(results.rig.attrs("cameras"), results.cameras.calibrated, results.views)
    if results.found is not None:
        figures += headline.detection_figures(results.found, checks)
    if results.points is not None:
        figures += headline.keypoint_figures(results.points, results.store.attrs("keypoints"), checks)
    if results.mano is not None:
        figures += headline.fit_figures(results.mano, checks)
    return figures + headline.truth_figures(truth)
