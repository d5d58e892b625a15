"""The checks of a fit: whether its hands are there, and near the keypoints."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..core.quality import Check

FEW_VALID = 0.5
"""Share of the frames with keypoints in which the fit is valid: fewer is a warning."""
FAR_M, LOST_M = 0.015, 0.03
"""Median distance of the fitted joints from the keypoints: farther is a warning, or an error."""


def fit_checks(valid: ndarray, residual_m: ndarray) -> tuple[Check, ...]:
    """Checks of the group `mano`.

    Args:
        valid: (frame, hand) bool.
        residual_m: (frame, hand) RMS distance of the fitted joints from the keypoints, NaN where there are none.
    """
    any_valid = valid.any()
    if not any_valid:
        reason = "expected fitted hands, but no frame has one that is supported by observations."
        return (Check("fitted hands", "error", 0.0, 0.0, "", reason, "See the checks of the keypoints above."),)
    checks = [Check("fitted hands", "ok", float(valid.any(1).mean()))]
    observed = np.isfinite(residual_m)
    share = float(valid[observed].mean()) if observed.any() else 1.0
    if share < FEW_VALID:
        reason = f"expected most frames with keypoints to be valid, but {share:.0%} are."
        checks.append(
            Check("frames valid", "warning", share, FEW_VALID, "", reason, "Look at `mano/valid` and `sigma`.")
        )
    residuals = residual_m[valid & observed]
    if len(residuals):
        middle = float(np.median(residuals))
        reason = f"expected fitted joints near the keypoints, but their median distance is {1e3 * middle:.1f} mm."
        remedy = "Check hand_model and the unit of the calibration."
        severity = "error" if middle > LOST_M else "warning" if middle > FAR_M else "ok"
        spoken = ("", "") if severity == "ok" else (reason, remedy)
        checks.append(Check("fit residual", severity, middle, FAR_M, "", *spoken))
    return tuple(checks)
