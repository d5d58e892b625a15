"""The checks of a triangulation: values, limits, and sentences that name the reason and the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ...core.quality import Check
from .explanations import Explanation
from .view_agreement import Agreement

FEW_FRAMES, NO_FRAMES = 0.5, 0.05
"""Share of the frames in which two views see hands and a hand is found in space: fewer is a warning, or an error."""
JUMP_M_S, JUMPS = 8.0, 0.02
"""A wrist is not faster than this; share of the steps that may be."""
TOGETHER_M, TOGETHER = 0.02, 0.25
"""Mean distance of the joints below which two hands are one; share of the frames in which they may be."""
MIN_SEEN = 0.02
"""Share of the frames that must show a hand in two views."""


@dataclass(frozen=True)
class Evidence:
    """What the checks are made of."""

    seen: float
    """Share of the frames in which two calibrated views or more see a hand."""
    found: float
    """Share of those frames in which a hand is found in space."""
    agreement: Agreement
    views: Sequence[str]
    explained: Mapping[str, Explanation | None]
    """Of the views that were examined."""
    whole: Explanation | None
    """For the rig as a whole, where its views do not agree."""
    fast: float
    """Share of the steps from frame to frame in which a wrist is faster than a wrist can be."""
    together: float
    """Share of the frames with two hands in which both are in the same place."""


def checks_of(evidence: Evidence, root: str) -> tuple[Check, ...]:
    """Every check, good ones too; `root` is the session's folder, for the remedies."""
    return (
        _seen(evidence),
        _found(evidence, root),
        *_views(evidence, root),
        _limited(
            "wrist speed",
            evidence.fast,
            JUMPS,
            f"expected wrists slower than {JUMP_M_S:g} m/s, but {{:.0%}} of the steps between frames are faster.",
            "Check fps and timestamps.csv, and look at the frames in which the hands jump.",
        ),
        _limited(
            "hands apart",
            evidence.together,
            TOGETHER,
            "expected two hands in different places, but in {:.0%} of the frames both are in the same place.",
            "The recording probably shows one hand: export that hand only, or improve the detection of the other.",
        ),
    )


def _limited(name: str, value: float, limit: float, reason: str, remedy: str) -> Check:
    if not value > limit:
        return Check(name, "ok", value, limit)
    return Check(name, "warning", value, limit, "", reason.format(value), remedy)


def _seen(evidence: Evidence) -> Check:
    name, value = "hands in the images", evidence.seen
    if value >= MIN_SEEN:
        return Check(name, "ok", value, MIN_SEEN)
    reason = (
        f"expected hands in two calibrated views or more, but the detector found them in {value:.1%} of the frames."
    )
    return Check(name, "error", value, MIN_SEEN, "", reason, "Check that the clips show hands, in focus and well lit.")


def _found(evidence: Evidence, root: str) -> Check:
    name, value = "hands in space", evidence.found
    few = value < FEW_FRAMES
    if evidence.seen < MIN_SEEN or not (few or evidence.whole):
        return Check(name, "ok", value, FEW_FRAMES)
    severity = "error" if value < NO_FRAMES or evidence.whole else "warning"
    reason = (
        f"expected a 3D hand wherever two views see one, but found one in {value:.1%} of these frames: "
        "the views do not agree with each other."
        if few
        else f"expected the views to agree with each other, but {evidence.agreement.usual:.0%} of the detections of "
        "the better ones do."
    )
    if any(evidence.explained.values()):
        why, remedy = "", "Mend the views that are named below."
    else:
        why, remedy = _whole_rig(evidence.whole, root)
    return Check(name, severity, value, FEW_FRAMES, "", f"{reason} {why}".rstrip(), remedy)


def _whole_rig(whole: Explanation | None, root: str) -> tuple[str, str]:
    if whole is None:
        return (
            "",
            "Check that cameras.toml belongs to these clips and that the clips are synchronised; calibrate again.",
        )
    match whole.kind:
        case "unit":
            return (
                f"They agree if the calibration is in {whole.other if whole.value < 1 else 'another unit'} "
                "instead of metres.",
                "Read it in its unit: "
                f"`handpipe calibrate {root} --from {root}/cameras.toml --unit-m {whole.value:g}`.",
            )
        case "size":
            return (
                f"They agree if the detections were made on images of {whole.value:.3g} times the calibrated size.",
                "Detect on images of the calibrated size, or calibrate for the size of the clips.",
            )
        case "mirrored" | "upside down":
            return f"They agree if all images are {whole.kind}.", "Use the images as the cameras recorded them."
        case "sorted as text":
            return (
                "They agree if the cameras are assigned in another order: c10 before c2, as names sort as text.",
                "Give every camera in cameras.toml the name of its own clip.",
            )
        case kind:
            raise AssertionError(f"{kind}: of a view, not of a rig")


def _views(evidence: Evidence, root: str) -> list[Check]:
    agreement, usual = evidence.agreement, evidence.agreement.usual
    checks, bad = [], 0
    for i, view in enumerate(evidence.views):
        share = float(agreement.share[i])
        explanation = evidence.explained.get(view)
        if not (explanation or agreement.hopeless[i]):
            checks.append(Check("view agrees", "ok", None if np.isnan(share) else share, None, view))
            continue
        bad += 1
        reason = (
            f"view {view}: expected its detections to agree with the hands in space, as {usual:.0%} of those of the "
            f"better views do, but {np.nan_to_num(share):.0%} do."
        )
        why, remedy = _one_view(view, explanation, root)
        checks.append(Check("view agrees", "warning", share, None, view, f"{reason} {why}".rstrip(), remedy))
    judged = int(np.isfinite(agreement.share).sum())
    if judged and bad >= judged / 2:
        reason = f"expected most views to agree, but {bad} of {judged} do not."
        checks.append(Check("most views agree", "error", bad / judged, 0.5, "", reason, "Mend these views first."))
    return checks


def _one_view(view: str, explanation: Explanation | None, root: str) -> tuple[str, str]:
    if explanation is None:
        return "No single cause explains it.", f"Look at its clip, or calibrate {view} again."
    value, share = explanation.value, f"{explanation.share:.0%}"
    match explanation.kind:
        case "exchanged":
            return (
                f"With the calibration of {explanation.other}, {share} agree: the two are exchanged.",
                f"Exchange the names {view} and {explanation.other} in cameras.toml, or of their clips.",
            )
        case "delay":
            when = "late" if value > 0 else "early"
            return (
                f"With its images {abs(value):.3f} s {when}, {share} agree: it is not synchronised.",
                "Supply timestamps.csv, trim its clip, or allow larger offsets with time_sync.max_offset_s.",
            )
        case "size":
            return (
                f"Scaled by {1 / value:.3g}, {share} agree: its images have {value:.3g} times the calibrated size.",
                f"Use the clip of the calibrated size, or calibrate {view} for this one.",
            )
        case "focal length":
            return (
                f"With {value:.3g} times the focal length, {share} agree: the lens was changed or zoomed.",
                f"Calibrate {view} again with this lens.",
            )
        case "cut out":
            return (
                f"Scaled by {1 / value:.3g} and shifted, {share} agree: its images are cut out of larger ones.",
                f"Use the whole images, or calibrate {view} for the cut.",
            )
        case "moved":
            return (
                f"From a pose {100 * value:.1f} cm away, {share} agree: the camera was moved after the calibration.",
                f"Calibrate again, or `handpipe calibrate {root} --refine-from-hands`.",
            )
        case kind:
            return (
                f"With its images {kind}, {share} agree.",
                "Use the images as the camera recorded them, without flipping or turning them.",
            )


def fast_steps(hands_m: ndarray, fps: float) -> float:
    """Share of the steps between known frames in which a wrist is faster than `JUMP_M_S`.

    Args:
        hands_m: (frame, hand, 21, 3), NaN where unknown.
        fps: frames per second.
    """
    speed = np.linalg.norm(np.diff(hands_m[:, :, 0], axis=0), axis=-1) * fps
    known = np.isfinite(speed)
    return float((speed[known] > JUMP_M_S).mean()) if known.any() else 0.0


def frames_together(hands_m: ndarray) -> float:
    """Share of the frames with two hands in which both are in the same place; (frame, 2, 21, 3)."""
    apart = np.linalg.norm(hands_m[:, 0] - hands_m[:, 1], axis=-1)
    known = np.isfinite(apart).any(-1)
    return float((np.nanmean(apart[known], axis=-1) < TOGETHER_M).mean()) if known.any() else 0.0
