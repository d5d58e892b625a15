"""The quality gate: a rig outside the limits stops the pipeline, unless the settings say to continue."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.errors import CalibrationError
from ..core.units import REACH_M, UNITS_M, unit_of_ratio, wrong_rig_unit
from .calibrate import HeldOut
from .checks import listed, same_pose
from .quality import ByOthers
from .settings import CalibrationSettings, KnownDistance
from .timing.late_views import SURE, InTime

LATE_FRAMES = 0.5
"""A camera that is later than this shows another frame than the others."""
LENS_POINT_M, TAPE = 0.02, 0.01
"""A tape goes from somewhere on one lens to somewhere on the other, and not perfectly: metres, and a share."""


def outside(held_out: HeldOut, names: Sequence[str], options: CalibrationSettings) -> list[str]:
    """One sentence per limit that is exceeded, with what was expected and found; empty for a good rig."""
    complaints = []
    over = np.nan_to_num(held_out.view_px) > options.max_reprojection_px
    if over.any():
        worst = [i for i in np.argsort(-np.nan_to_num(held_out.view_px)) if over[i]]
        found = listed([f"{names[i]} {held_out.view_px[i]:.2f} px" for i in worst])
        complaints.append(
            f"expected held-out corners of the board within {options.max_reprojection_px:g} px RMS in every view "
            f"(calibration.max_reprojection_px), but found {found}"
        )
    if held_out.distance_m * 1e3 > options.max_distance_mm:
        complaints.append(
            f"expected distances between held-out corners within {options.max_distance_mm:g} mm RMSE "
            f"(calibration.max_distance_mm), but found {held_out.distance_m * 1e3:.2f} mm over {held_out.frames} frames"
        )
    return complaints


def contradictions(by_others: ByOthers, names: Sequence[str], limit_m: float) -> list[str]:
    """One sentence per view that does not see the board where the other views put it, beyond a limit in metres."""
    return [
        f"{names[view]} sees the board {by_others.px[view]:.1f} px ({1e3 * by_others.distance_m[view]:.1f} mm) from "
        f"where the other views put it, the median view {by_others.typical_px:.1f} px. It may not be simultaneous with "
        "them, have been moved, or have a lens that the model does not fit"
        for view in np.nonzero(by_others.weak(limit_m))[0].tolist()
    ]


def late_cameras(found: InTime, names: Sequence[str]) -> list[str]:
    """One sentence per view whose images of the board are clearly earlier or later than their times say."""
    sentences = []
    late = found.delays.significant(LATE_FRAMES * found.step_s, SURE)
    for view in np.nonzero(late)[0].tolist():
        delay_s, sigma_s = found.delays.delay_s[view], found.delays.sigma_s[view]
        frames = f"{abs(delay_s) / found.step_s:.2g} frames"
        sentence = (
            f"the images of the board from {names[view]} were taken {1e3 * abs(delay_s):.0f} ± {1e3 * sigma_s:.0f} ms "
            f"({frames}) {'later' if delay_s > 0 else 'earlier'} than those of the median view with the same time. "
        )
        if found.before is None:
            sentence += "This is not corrected, and the calibration suffers. Synchronise the cameras"
        else:
            sentence += (
                f"The calibration is corrected for it (held-out corners {found.calibration.held_out.rms_px:.2f} px, "
                f"{found.before.held_out.rms_px:.2f} px without the correction). Synchronise the cameras if you can"
            )
        sentences.append(sentence)
    return sentences


@dataclass(frozen=True)
class Judge:
    """Whether a rig is good enough to go on with."""

    where: str
    """The clips or the file it comes from."""
    dead_views: float
    """Share of the views that may stay without a calibration."""
    advice: str
    options: CalibrationSettings
    square_m: float | None = None
    """What was printed, where the rig comes from a board."""

    def check(self, cameras: Cameras, reasons: Mapping[str, str] = MappingProxyType({})) -> None:
        """Raise CalibrationError when too many views have no calibration, or the rig cannot be.

        Args:
            cameras: the rig.
            reasons: why views have no calibration, as far as known.
        """
        without = uncalibrated(cameras)
        if len(cameras) < 2:
            raise CalibrationError(
                f"{self.where}: expected at least two views, because one gives no depth, but found {len(cameras)}. "
                "Add the clips of another camera."
            )
        if len(without) > int(self.dead_views * len(cameras)) or len(cameras) - len(without) < 2:
            missing = ", ".join(without[:8]) + (", ..." if len(without) > 8 else "")
            known = [f"{name}: {reasons[name]}" for name in without if name in reasons]
            why = f" ({'; '.join(known[:3])})" if known else f" ({missing})"
            raise CalibrationError(
                f"{self.where}: expected a calibration for every view, but {len(without)} of {len(cameras)} have none"
                f"{why}. {self.advice}, or remove their clips."
            )
        same = same_pose(cameras)
        if same is not None:
            raise CalibrationError(
                f"{self.where}: expected cameras in different positions, but {same[0]} and {same[1]} have the same "
                "pose. Probably the same clip or file entry is present under two names: replace or remove one of them."
            )
        if self.square_m is not None:
            self._check_square(cameras, self.square_m)
        for known_distance in self.options.known_distances:
            self._compare(cameras, known_distance)

    def pass_or_stop(self, held_out: HeldOut, names: Sequence[str]) -> list[str]:
        """Warnings about a rig outside the limits; CalibrationError where the settings say to stop."""
        complaints = outside(held_out, names, self.options)
        if complaints and self.options.outside_limits == "stop":
            raise CalibrationError(
                f"{self.where}: {'; '.join(complaints)}. Check the board's dimensions in session.yaml, move the board "
                "more slowly and through more of the volume, and check that the clips are synchronized. To continue "
                "anyway, raise the limit or set `outside_limits: warn` under `calibration`."
            )
        if held_out.frames == 0:
            complaints.append("too few frames show the board in two views: none were held out, the accuracy is unknown")
        return complaints

    def _check_square(self, cameras: Cameras, square_m: float) -> None:
        """A rig of an impossible size tells that the squares have another one."""
        wrong = wrong_rig_unit(cameras)
        if wrong is not None:
            raise CalibrationError(
                f"{self.where}: expected a rig for hands, {REACH_M[0]:g} to {REACH_M[1]:g} m from what it looks at, "
                f"but with squares of {1e3 * square_m:g} mm found {wrong[0]}. Measure the print and correct "
                "board.square_m and board.marker_m in session.yaml; both are metres."
            )

    def _compare(self, cameras: Cameras, known: KnownDistance) -> None:
        unknown = [name for name in (known.first, known.second) if name not in cameras.names]
        if unknown:
            raise CalibrationError(
                f"calibration.known_distances: expected view names, but there is no {unknown[0]} among "
                f"{listed(cameras.names)}. Correct the name."
            )
        a, b = (cameras.centers_m[cameras.names.index(name)] for name in (known.first, known.second))
        found_m = float(np.linalg.norm(a - b))
        if np.isfinite(found_m) and abs(found_m - known.distance_m) > LENS_POINT_M + TAPE * known.distance_m:
            ratio = known.distance_m / found_m
            unit = unit_of_ratio(ratio)
            advice = "Measure again, or correct the units of the file."
            if unit is not None:
                advice = f"The file seems to be in {unit}: read it with --from FILE --unit-m {UNITS_M[unit]:g}."
            if self.square_m is not None:
                advice = (
                    f"If the measured distance is right, the board's squares are {1e3 * self.square_m * ratio:.1f} mm "
                    f"and not {1e3 * self.square_m:.1f} mm: measure the print and correct `board`."
                )
            raise CalibrationError(
                f"{self.where}: expected {known.first} and {known.second} to be {known.distance_m:g} m apart "
                f"(calibration.known_distances), but the calibration puts them {found_m:.3f} m apart. {advice}"
            )


def uncalibrated(cameras: Cameras) -> list[str]:
    """Names of the views without a calibration."""
    return [name for name, ok in zip(cameras.names, cameras.calibrated, strict=True) if not ok]


def over_views(values: ndarray, seen_by: Sequence[str], views: Sequence[str]) -> ndarray:
    """(view,) values of some views at their place among all; NaN elsewhere."""
    full = np.full(len(views), np.nan)
    full[[list(views).index(view) for view in seen_by]] = values
    return full
