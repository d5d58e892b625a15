"""The judgement of every view of a rig by hands that it did not help to make.

In a rig of few views, a view that is late or zoomed pulls the hands towards itself and then seems to agree with them.
So each view is held against the hands of the other views. The view that agrees least is put aside, and the others are
judged again without it, until all that are left agree. The views put aside are explained by the hands of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...core.cameras import Cameras
from .explanations import Explanation, both_of_a_pair, explain
from .references import Candidates, Reference, grouped
from .rig_hypotheses import explain_rig
from .view_agreement import Agreement, agreement

SMALL_RIG = 6
"""In a rig of few views, one bad view spoils what the others are held against, so each is put aside on trial."""
MENDED = 0.75
"""A view is put aside if without it the median distance of the others is this part of what it is without another."""
POOR = 0.5
"""Where the better views agree in fewer of their candidates, what is wrong may be the rig as a whole."""
FRAMES = 96
"""Frames on which the views are judged, spread over those that were read."""
MAX_ASIDE = 6
"""Views put aside at most."""


@dataclass(frozen=True)
class JudgedViews:
    """Which views agree with the others."""

    agreement: Agreement
    """Of every view with the hands of the others."""
    explained: Mapping[str, Explanation | None]
    """Of the views that were put aside; None without an explanation."""
    whole: Explanation | None
    """What is wrong with the rig as a whole, other than two exchanged views."""


def judge_views(cameras: Cameras, seen: Candidates, fps: float) -> JudgedViews:
    """Hold every view against the hands of the others, and explain those that do not agree.

    Args:
        cameras: the rig.
        seen: in frames that follow each other, at least in runs, so that a delay can be seen.
        fps: frames per second.
    """
    whole, reference = None, Reference(cameras, seen)
    pair: dict[str, Explanation | None] = {}
    found, aside = _put_aside(cameras, Reference(cameras, seen.sample(FRAMES)))
    if found.usual < POOR:
        few = seen.sample(FRAMES // 2)
        rig = explain_rig(cameras, few.points_px, few.score, few.right)
        if rig is not None and rig.what.kind == "exchanged":
            reference = Reference(rig.rig, grouped(rig.rig, few.points_px, few.score, few.right))
            found, aside = _put_aside(cameras, reference)
            one, other = rig.pair
            # Said even where no third view is left to judge the two by.
            pair = {a: replace(rig.what, other=b) for a, b in ((one, other), (other, one))}
        elif rig is not None:
            whole = rig.what
    hands, points_px = reference.hands(aside), reference.seen.points_px
    explained = {cameras.names[v]: explain(cameras, hands, points_px, found, v, fps) for v in aside}
    # That the whole rig agrees with the two exchanged says more than what fits one of them alone.
    settled = {
        view: each for view, each in explained.items() if view not in pair or (each and each.kind == "exchanged")
    }
    return JudgedViews(found, pair | both_of_a_pair(settled), whole)


def _put_aside(cameras: Cameras, reference: Reference) -> tuple[Agreement, list[int]]:
    """The agreement of all views with those that agree with each other, and the views that do not, the worst first."""
    calibrated = np.flatnonzero(cameras.calibrated).tolist()

    def against(aside: Sequence[int]) -> Agreement:
        return agreement(cameras, reference.hands_of_others(aside), reference.seen.points_px)

    aside: list[int] = []
    found = against(aside)
    while len(aside) < min(MAX_ASIDE, len(calibrated) - 2):
        rest = [v for v in calibrated if v not in aside]
        suspects = [v for v in rest if found.suspect[v]]
        trials = {v: against([*aside, v]) for v in rest} if len(rest) <= SMALL_RIG and len(rest) > 3 else {}
        distance = {v: _median([trials[v].error_m[u] for u in rest if u != v]) for v in trials}
        best = min(distance, key=lambda v: distance[v], default=-1)
        if trials and distance[best] < MENDED * _median([distance[v] for v in trials if v != best]):
            worst = best
        elif suspects:
            worst = min(suspects, key=lambda v: (found.share[v], -found.error_m[v]))
        else:
            break
        aside.append(worst)
        again = trials.get(worst) or against(aside)
        # Where too few others are left to judge a view, what was found before stands.
        found = again.where(np.isfinite(again.share), found)
    return found, aside


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else np.inf
