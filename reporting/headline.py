"""The first screen: the verdict in words, and the headline figures with what is good, what is not and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from ..core.hands import HANDS
from ..core.quality import Check, Severity

Mark = Literal["good", "warning", "bad", "plain"]

MARKS: Mapping[Severity, Mark] = {"ok": "good", "warning": "warning", "error": "bad"}


@dataclass(frozen=True)
class Figure:
    """One headline figure."""

    label: str
    value: str
    mark: Mark = "plain"
    """`plain`: there is no limit for it."""
    note: str = ""
    """What it is measured by, or what to do."""


def by_check(label: str, value: str, checks: Sequence[Check], names: Sequence[str], note: str = "") -> Figure:
    """A figure that the checks of some names judge: the worst of them says what to do. Its reason is in the verdict."""
    order: list[Severity] = ["ok", "warning", "error"]
    judged = [check for check in checks if check.name in names]
    if not judged:
        return Figure(label, value, "plain", note)
    worst = max(judged, key=lambda check: order.index(check.severity))
    advice = f"{worst.view}: {worst.remedy}" if worst.view else worst.remedy
    return Figure(label, value, MARKS[worst.severity], note if worst.severity == "ok" else advice)


def calibration_figures(attributes: Mapping[str, Any], calibrated: ndarray, views: Sequence[str]) -> list[Figure]:
    """Of the group `cameras`.

    Args:
        attributes: of the group.
        calibrated: (view,) bool.
        views: names.
    """
    missing = [name for name, known in zip(views, calibrated, strict=True) if not known]
    note = "every view" if not missing else f"without calibration: {', '.join(missing)}. Look at their board clips."
    figures = [
        Figure("views calibrated", f"{int(calibrated.sum())} of {len(views)}", "warning" if missing else "good", note)
    ]
    if attributes.get("board_px") is None:
        return [
            *figures,
            Figure("calibration", f"from {attributes.get('source', 'a file')}", "plain", "not measured here"),
        ]
    held_out = attributes.get("held_out_mm") is not None
    px, mm = (
        attributes["held_out_px" if held_out else "board_px"],
        attributes["held_out_mm" if held_out else "board_mm"],
    )
    limits = attributes.get("fingerprint", {}).get("settings", {})
    most_px, most_mm = limits.get("max_reprojection_px"), limits.get("max_distance_mm")
    what = "corners held out of the calibration" if held_out else "the board's corners"
    if most_px is None or most_mm is None:
        return [*figures, Figure("calibration error", f"{mm:.2f} mm", "plain", f"{px:.2f} px; {what}")]
    good = px <= most_px and mm <= most_mm
    advice = "" if good else " Film the board closer, slower and in more places, and calibrate again."
    note = f"{px:.2f} px; {what}. Limits: {most_mm:g} mm, {most_px:g} px.{advice}"
    return [*figures, Figure("calibration error", f"{mm:.2f} mm", "good" if good else "bad", note)]


def share(value: float) -> str:
    """A share as percent."""
    return f"{100 * value:.0f} %"


def per_hand(values: ndarray) -> str:
    """(hand,) shares for a person."""
    return " / ".join(f"{100 * value:.0f}" for value in values) + " %"


def detection_figures(found: ndarray, checks: Sequence[Check]) -> list[Figure]:
    """Of (view, frame) detections."""
    some, both = float((found > 0).mean()), float((found > 1).mean())
    note = f"two hands in {share(both)}"
    return [by_check("images with a hand", share(some), checks, ["hands in the images"], note)]


def keypoint_figures(points: ndarray, attributes: Mapping[str, Any], checks: Sequence[Check]) -> list[Figure]:
    """Of (frame, hand, joint, 3) keypoints."""
    seen = np.isfinite(points[..., 0]).any(axis=-1).mean(axis=0)
    label = f"frames with the {HANDS[0]} / {HANDS[1]} hand in 3D"
    names = ["hands in space", "hands in the images", "hands apart"]
    figures = [by_check(label, per_hand(seen), checks, names, "hands found in two views or more")]
    views = [check for check in checks if check.name == "view agrees"]
    if views:
        agree = sum(check.severity == "ok" for check in views)
        note = "their detections, used or not, are where the result is"
        figures.append(by_check("views that agree", f"{agree} of {len(views)}", views, ["view agrees"], note))
    px = attributes.get("reprojection_px")
    if px is not None:
        note = "median of the joints that were used; rejected views do not count"
        figures.append(Figure("reprojection error", f"{px:.1f} px", "plain", note))
    return figures


def fit_figures(mano: Mapping[str, ndarray], checks: Sequence[Check]) -> list[Figure]:
    """Of the group `mano`."""
    valid = mano["valid"]
    label = f"frames with the {HANDS[0]} / {HANDS[1]} hand fitted"
    shares = np.asarray(valid.mean(axis=0)) if len(valid) else np.zeros(len(HANDS))
    figures = [by_check(label, per_hand(shares), checks, ["fitted hands", "frames valid"], "supported by observations")]
    residual = mano["residual"][valid] if "residual" in mano else np.zeros(0)
    if np.isfinite(residual).any():
        note = "median distance of the fitted joints from the keypoints"
        value = f"{1e3 * float(np.nanmedian(residual)):.1f} mm"
        figures.append(by_check("fit residual", value, checks, ["fit residual"], note))
    return figures


def truth_figures(truth: Mapping[str, Any]) -> list[Figure]:
    """Errors against the ground truth of a synthetic session, as the summary has them."""
    error = truth.get("fitted_joint_mm") or truth.get("triangulated_joint_mm") or {}
    if error.get("mean") is None:
        return []
    note = f"95 % are below {error['p95']:.1f} mm; known because the session is synthetic"
    return [Figure("error against the truth", f"{error['mean']:.1f} mm", "plain", note)]
