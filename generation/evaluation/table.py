"""The report of `handpipe evaluate` as lines of a table."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .run import MISSED_MM
from .scores import CONTACTS_MM


def _lines() -> dict[str, tuple[str, str, float]]:
    """Figure: label, displayed unit, factor."""
    lines = {
        "windows": ("windows compared, on each side", "", 1.0),
        "fid": ("FID", "", 1.0),
        "kid": ("KID", "", 1.0),
        "precision": ("precision", "", 1.0),
        "recall": ("recall", "", 1.0),
        "diversity": ("diversity", "", 1.0),
        "multimodality": ("multimodality", "", 1.0),
        "jerk": ("jerk", "m/s³", 1.0),
        "jerk_ratio": ("jerk, relative to the reference", "", 1.0),
    }
    for kind, words in (("keyframe", "error at keyframes"), ("trajectory", "error along trajectories")):
        lines[f"{kind}_wrist_mm"] = (f"{words}: wrist", "mm", 1.0)
        lines[f"{kind}_wrist_worst_mm"] = (f"{words}, maximum", "mm", 1.0)
        lines[f"{kind}_orient_deg"] = (f"{words}: orientation", "°", 1.0)
        lines[f"{kind}_pose_deg"] = (f"{words}: fingers", "°", 1.0)
        for mm in MISSED_MM:
            lines[f"{kind}_missed_{mm:g}mm_share"] = (f"clips with a {kind} error over {mm:g} mm", "%", 100.0)
    lines["seam_ratio"] = ("jerk at keyframes, relative to other frames", "", 1.0)
    for mm in CONTACTS_MM:
        lines[f"contact_{mm:g}mm_share"] = (f"frames with contact within {mm:g} mm", "%", 100.0)
    lines |= {
        "penetration_share": ("frames with penetration", "%", 100.0),
        "penetration_mm": ("penetration, mean depth", "mm", 1.0),
        "penetration_worst_mm": ("penetration, maximum depth", "mm", 1.0),
        "penetration_mm3": ("penetration, mean volume", "mm³", 1.0),
        "mesh_failures": ("frames with a mesh that is not watertight", "frames", 1.0),
        "joint_error_mm": ("joint error", "mm", 1.0),
    }
    for mm in CONTACTS_MM:
        for measure in ("precision", "recall", "f1"):
            lines[f"contact_{mm:g}mm_{measure}"] = (f"contact within {mm:g} mm: {measure}", "", 1.0)
    return lines


REAL = {"jerk": "jerk_real_m_s3"}
OWN = {"jerk": "jerk_m_s3"}
"""Figures whose unit stands last in their name."""


def table(report: Mapping[str, Any]) -> dict[str, str]:
    """Labels and values of the generated motion with those of the reference, or the reason why there is none."""
    figures, left_out = report["figures"], report["left_out"]
    record = report["evaluator"]
    rows = {
        "evaluator": f"{record['digest']}: seed {record['settings']['seed']}, {record['settings']['steps']} steps, "
        f"{record['windows']} windows of {', '.join(record['sources'])}"
    }
    absent: dict[str, list[str]] = {}
    for name, (words, unit, factor) in _lines().items():
        own, real = OWN.get(name, name), REAL.get(name, f"{name}_real")
        if own in figures:
            value = f"{factor * figures[own]:.4g} {unit}".rstrip()
            rows[words] = value + (f"   (reference {factor * figures[real]:.4g})" if real in figures else "")
        elif own in left_out:
            absent.setdefault(left_out[own], []).append(words)
    for reason, words in absent.items():
        rows[f"not measured: {words[0]}" + (f" and {len(words) - 1} more" if len(words) > 1 else "")] = reason
    return rows
