"""The figures of a run, read from the stores and compared with ground truth if there is any."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy import ndarray

from .core.geometry import align_rigid, transform
from .core.hands import HANDS
from .core.quality import from_attributes, verdict
from .core.storage.schema import read_cameras
from .core.storage.store import Store
from .pipeline import Done
from .screen import Row


def summarize(done: Done) -> dict[str, Any]:
    """Collect the figures of all completed stages as plain values for JSON.

    Lengths are in millimetres here; stores use metres.
    """
    session = done.session
    figures: dict[str, Any] = {
        "session": str(session.root),
        "store": done.store.url,
        "views": len(session.clips),
        "frames": session.timeline.frames,
        "fps": session.fps,
        "left_out": dict(session.left_out),
        "ignored": list(session.ignored),
        "input_warnings": list(session.warnings),
        "computed": list(done.computed),
    }
    if done.session.clips and done.rig.complete("cameras"):
        figures |= _cameras(done)
    if done.store.complete("detections"):
        figures["hands_found"] = done.store.attrs("detections")["hands_found"]
    if done.store.complete("clock"):
        figures["clock"] = _clock(done.store)
    if done.store.complete("keypoints"):
        figures |= _keypoints(done.store)
    if done.store.complete("mano"):
        figures |= _mano(done.store)
    if done.store.complete("quality"):
        figures["quality"] = _quality(done.store)
    truth = Store(str(session.root / "truth.zarr"))
    if truth.exists() and done.rig.complete("cameras"):
        figures["truth"] = against_truth(done.store, done.rig, truth)
    return figures


def _cameras(done: Done) -> dict[str, Any]:
    attrs = done.rig.attrs("cameras")
    return {
        "views_calibrated": len(done.session.clips) - len(attrs["without_calibration"]),
        "calibration_source": attrs["source"],
        "board_px": attrs.get("board_px"),
        "board_mm": attrs.get("board_mm"),
        "held_out_px": attrs.get("held_out_px"),
        "held_out_mm": attrs.get("held_out_mm"),
        "weak_views": attrs.get("weak_views", []),
        "by_others_px": attrs.get("by_others", {}),
        "by_others_mm": attrs.get("by_others_mm", {}),
    }


def _clock(store: Store) -> dict[str, Any]:
    """Each view's offset and drift with their standard errors, where there is an estimate."""
    names = store.labels("clock", "view")
    values = {name: store.read("clock", name) for name in ("offset", "sigma", "drift", "drift_sigma", "used")}
    known = np.flatnonzero(np.isfinite(values["offset"]))
    views = {
        names[v]: {
            "offset_ms": 1e3 * float(values["offset"][v]),
            "sigma_ms": 1e3 * float(values["sigma"][v]),
            "drift_ppm": 1e6 * float(values["drift"][v]),
            "drift_sigma_ppm": 1e6 * float(values["drift_sigma"][v]),
            "corrected": bool(values["used"][v]),
        }
        for v in known.tolist()
    }
    return {"interpolated": store.attrs("clock")["moves"], "views": views}


def _keypoints(store: Store) -> dict[str, Any]:
    points = store.read("keypoints", "points")
    seen = np.asarray(np.isfinite(points[..., 0]).any(axis=-1))
    return {
        "frames_with_hand": {hand: float(seen[:, i].mean()) for i, hand in enumerate(HANDS)},
        "reprojection_px": store.attrs("keypoints")["reprojection_px"],
    }


def _quality(store: Store) -> dict[str, Any]:
    """The verdict, and the checks that are not good."""
    attributes = store.attrs("quality")
    checks = from_attributes(attributes)
    return {"verdict": verdict(checks), "checks": [asdict(check) for check in checks if check.severity != "ok"]}


def _mano(store: Store) -> dict[str, Any]:
    residual, valid = store.read("mano", "residual"), store.read("mano", "valid")
    return {
        "hand_model": store.attrs("mano")["hand_model"],
        "frames_valid": {hand: float(valid[:, i].mean()) for i, hand in enumerate(HANDS)},
        "residual_mm": _mean(residual[valid] * 1e3),
    }


def against_truth(store: Store, rig: Store, truth: Store) -> dict[str, Any]:
    """Errors after rigid alignment of the world to that of the ground truth, by the best fit of the cameras."""
    found, true = read_cameras(rig), read_cameras(truth)
    names = [name for name, ok in zip(found.names, found.calibrated, strict=True) if ok and name in true.names]
    if len(names) < 3:
        return {}
    found = found.subset([found.names.index(name) for name in names])
    true = true.subset([true.names.index(name) for name in names])
    T_truth_world = align_rigid(found.centers_m, true.centers_m)
    center_mm = 1e3 * np.linalg.norm(transform(T_truth_world, found.centers_m) - true.centers_m, axis=-1)
    figures: dict[str, Any] = {"camera_center_mm": {"mean": _mean(center_mm), "max": float(center_mm.max())}}
    for name, group, array, usable in (
        ("triangulated_joint_mm", "keypoints", "points", None),
        ("fitted_joint_mm", "mano", "joints", "valid"),
    ):
        if store.complete(group):
            joints = store.read(group, array).astype(float)
            if usable is not None:
                joints[~store.read(group, usable)] = np.nan
            # An imported dataset may contain joints only.
            where = ("mano", "joints") if truth.complete("mano") else ("keypoints", "points")
            reference = truth.read(*where, slice(0, len(joints)))
            error_mm = 1e3 * np.linalg.norm(transform(T_truth_world, joints) - reference, axis=-1)
            figures[name] = {
                "mean": _mean(error_mm),
                "p95": float(np.nanpercentile(error_mm, 95)) if np.isfinite(error_mm).any() else None,
                **{hand: _mean(error_mm[:, i]) for i, hand in enumerate(HANDS)},
            }
    return figures


def _mean(values: ndarray) -> float | None:
    """Mean of the finite values; None (null in JSON) if there are none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def rows(figures: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Format the figures as the table at the end of a run: rows by stage."""
    parts = {
        "recording": _recording_rows(figures),
        "cameras": _camera_rows(figures),
        "hands in the images": _image_rows(figures),
        "hands in space": _hand_rows(figures),
        "compared with ground truth": _truth_rows(figures.get("truth", {})),
        "result": _result_rows(figures),
    }
    return {name: found for name, found in parts.items() if found}


def _recording_rows(figures: Mapping[str, Any]) -> list[Row]:
    source = f"{figures['views']} views" if figures["views"] else "imported keypoints"
    found = [Row("frames", f"{figures['frames']} at {figures['fps']:.4g} fps, {source}")]
    if figures["left_out"]:
        found.append(Row("left out", ", ".join(figures["left_out"]), "warning"))
    return found


def _camera_rows(figures: Mapping[str, Any]) -> list[Row]:
    if "views_calibrated" not in figures:
        return []
    calibrated, views = figures["views_calibrated"], figures["views"]
    found = [Row("calibrated", f"{calibrated} of {views}", "ok" if calibrated == views else "warning")]
    if figures["board_px"] is None:
        return [*found, Row("source", str(figures["calibration_source"]))]
    found.append(Row("board error", f"{figures['board_px']:.3f} px RMS, {figures['board_mm']:.3f} mm RMSE"))
    if figures["held_out_mm"] is not None:
        value = f"{figures['held_out_px']:.3f} px RMS, {figures['held_out_mm']:.3f} mm RMSE"
        found.append(Row("error at held-out corners", value))
    if figures["by_others_px"]:
        worst = max(figures["by_others_px"], key=figures["by_others_px"].get)
        median = float(np.median(list(figures["by_others_px"].values())))
        value = (
            f"{median:.2f} px median; worst {worst}, {figures['by_others_px'][worst]:.2f} px, "
            f"{figures['by_others_mm'][worst]:.2f} mm"
        )
        found.append(Row("views against the others", value))
    if figures["weak_views"]:
        found.append(Row("large standard errors", ", ".join(figures["weak_views"]), "warning"))
    return found


def _image_rows(figures: Mapping[str, Any]) -> list[Row]:
    found = []
    if "hands_found" in figures:
        shares = " / ".join(f"{100 * share:.1f} %" for share in figures["hands_found"])
        found.append(Row("images with 0 / 1 / 2 hands", shares))
    if "clock" in figures:
        found.append(Row("time synchronisation", _clock_row(figures["clock"], figures["fps"])))
    return found


def _hand_rows(figures: Mapping[str, Any]) -> list[Row]:
    """Triangulation and fit. A hand may be out of sight: fewer frames than all are no fault by themselves."""
    found = []
    if "frames_with_hand" in figures:
        found.append(Row("frames with a triangulated hand", _per_hand(figures["frames_with_hand"])))
        if figures["reprojection_px"] is not None:
            found.append(Row("reprojection error", f"{figures['reprojection_px']:.2f} px median of inlier joints"))
    if "residual_mm" in figures:
        value = _per_hand(figures["frames_valid"])
        if "frames_with_hand" in figures:
            value += " (with the short gaps that the fit bridges)"
        found.append(Row("frames with a valid fit", value))
        found.append(Row("fit residual", _number(figures["residual_mm"], "mm mean")))
        found.append(Row("hand model", ", ".join(dict.fromkeys(figures["hand_model"]))))
    return found


def _truth_rows(truth: Mapping[str, Any]) -> list[Row]:
    found = []
    for name, label in (
        ("camera_center_mm", "error of camera centres"),
        ("triangulated_joint_mm", "error of triangulated joints"),
        ("fitted_joint_mm", "error of fitted joints"),
    ):
        if name in truth:
            parts = [f"{key} {value:.2f}" for key, value in truth[name].items() if value is not None]
            found.append(Row(label, ", ".join(parts) + " mm" if parts else "none"))
    return found


def _result_rows(figures: Mapping[str, Any]) -> list[Row]:
    found = []
    if "quality" in figures:
        concluded = figures["quality"]["verdict"]
        found.append(Row("verdict", concluded, concluded))
    return [*found, Row("store", figures["store"])]


def _clock_row(clock: Mapping[str, Any], fps: float) -> str:
    """The views with the largest time offsets."""
    views = clock["views"]
    if not views:
        return "as recorded" + (", interpolated to common time steps" if clock["interpolated"] else "")
    corrected = [name for name, view in views.items() if view["corrected"]]
    furthest = sorted(corrected or views, key=lambda name: -abs(views[name]["offset_ms"]))[:3]
    if not corrected:
        worst = views[furthest[0]]
        return (
            f"as recorded: no significant offset (at most {abs(worst['offset_ms']) * fps / 1e3:.2f} "
            f"± {worst['sigma_ms'] * fps / 1e3:.2f} frames, {furthest[0]})"
        )
    parts = [f"{name} {views[name]['offset_ms']:+.1f} ± {views[name]['sigma_ms']:.1f} ms" for name in furthest]
    drifting = [
        f"{name} drifts by {views[name]['drift_ppm']:+.0f} ppm" for name in corrected if views[name]["drift_ppm"]
    ]
    unsure = [name for name in views if name not in corrected]
    if unsure:
        drifting.append(f"unknown: {', '.join(unsure[:3])}{', ...' if len(unsure) > 3 else ''}")
    return f"corrected in {len(corrected)} views: {', '.join([*parts, *drifting[:4]])}"


def _number(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:.2f} {unit}"


def _per_hand(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{hand} {100 * share:.1f} %" for hand, share in shares.items())
