"""The figures of a set of motions for `handpipe evaluate` and the benchmarks, computed with the metrics in metrics.py.

A figure that cannot be computed is left out; `Scores.left_out` contains the reason. Names end in their unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from ...hand.model import HandModel
from .evaluator import LATENT
from .mesh_overlap import Overlap, Skin, overlap
from .metrics import detection, diversity, frechet_distance, jerk, kernel_distance, precision_recall

CONTACTS_MM = (5.0, 20.0)
"""Skins that are nearer than this touch: as strict as a fit is exact, and as lenient as noise of a finger's breadth
asks for."""


@dataclass(frozen=True)
class Scores:
    """Figures by name, and the reason for each missing figure."""

    figures: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: Scores) -> Scores:
        return Scores({**self.figures, **other.figures}, {**self.left_out, **other.left_out})

    @classmethod
    def unless(cls, reason: str, names: Sequence[str], measure: Callable[[], Mapping[str, float]]) -> Scores:
        """The result of `measure`; or these names left out, if there is a reason."""
        return cls(left_out=dict.fromkeys(names, reason)) if reason else cls(measure())


# ---- sets ----------------------------------------------------------------------------------------------------------


def set_scores(features: Tensor, real: Tensor, neighbours: int = 5, others: Tensor | None = None) -> Scores:
    """Compare codes of generated windows with those of as many real ones.

    Args:
        features: (sample, LATENT) of generated windows.
        real: (sample, LATENT) of real ones.
        neighbours: k of precision and recall.
        others: (sample, LATENT) as many other real windows, which say how low the distances can be.
    """
    count = len(features)
    assert len(real) == count
    assert others is None or len(others) == count

    def few(least: int) -> str:
        return "" if count >= least else f"needs {least} windows on both sides, but there are {count}"

    def support() -> dict[str, float]:
        found = precision_recall(features, real, neighbours)
        return {"precision": found.precision, "recall": found.recall}

    scores = Scores({"windows": float(count)})
    for name, least, distance in (("fid", LATENT + 1, frechet_distance), ("kid", 2, kernel_distance)):
        scores |= Scores.unless(few(least), [name], lambda n=name, d=distance: {n: d(features, real)})
        missing = few(least) or ("" if others is not None else "the reference does not have twice as many windows")
        of_real = f"{name}_real"
        scores |= Scores.unless(missing, [of_real], lambda n=of_real, d=distance: {n: d(_known(others), real)})
    scores |= Scores.unless(few(neighbours + 1), ["precision", "recall"], support)
    both = {"diversity": features, "diversity_real": real}
    return scores | Scores.unless(few(2), [*both], lambda: {name: diversity(part) for name, part in both.items()})


def _known(features: Tensor | None) -> Tensor:
    assert features is not None, "left out otherwise"
    return features


def jerk_scores(joints_m: Tensor, real_m: Tensor, fps: float) -> Scores:
    """Mean jerk of (window, frame, hand, 21, 3) joints, and what share it is of real motion's: 1 is as smooth."""
    made, real = (float(jerk(each, fps).mean()) for each in (joints_m, real_m))
    return Scores({"jerk_m_s3": made, "jerk_real_m_s3": real, "jerk_ratio": made / real if real else math.nan})


# ---- skins ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class HandPair:
    """A left and a right hand's models and skins."""

    models: tuple[HandModel, HandModel]
    skins: tuple[Skin, Skin]

    @classmethod
    def of(cls, models: tuple[HandModel, HandModel]) -> HandPair:
        left, right = (Skin.of(model.faces, model.v_template) for model in models)
        return cls(models, (left, right))

    def overlaps(
        self, betas: ndarray, global_orient: ndarray, hand_pose: ndarray, transl: ndarray, count: int
    ) -> Iterator[Overlap | None]:
        """The two hands against each other in so many frames, spread evenly; None where a mesh bounds no body.

        Args:
            betas: (window, hand, 10)
            global_orient: (window, frame, hand, 3)
            hand_pose: (window, frame, hand, 45)
            transl: (window, frame, hand, 3) as in the group `mano`.
            count: frames to compare, of all windows together; all of them if there are fewer.
        """
        windows, frames = transl.shape[:2]
        chosen = np.linspace(0, windows * frames - 1, min(count, windows * frames)).round().astype(np.int64)
        for window, frame in zip(*np.divmod(chosen, frames), strict=True):
            posed = (global_orient[window, frame], hand_pose[window, frame], transl[window, frame])
            numbers = [part.astype(np.float64) for part in (betas[window], *posed)]
            bodies = [
                skin.body(model.vertices(*(part[hand] for part in numbers)))
                for hand, (model, skin) in enumerate(zip(self.models, self.skins, strict=True))
            ]
            left, right = bodies
            yield None if left is None or right is None else overlap(left, right)


def overlap_scores(overlaps: Sequence[Overlap | None]) -> Scores:
    """Contact and penetration over frames. Frames that failed are counted, and are in no mean."""
    there = [each for each in overlaps if each is not None]
    figures = {"mesh_frames": float(len(overlaps)), "mesh_failures": float(len(overlaps) - len(there))}
    depth_mm, volume_mm3, gap_mm = np.array(
        [(1e3 * each.depth_m, 1e9 * each.volume_m3, 1e3 * each.gap_m) for each in there]
    ).T.reshape(3, -1)

    def measure() -> dict[str, float]:
        touching = {f"contact_{mm:g}mm_share": float((gap_mm <= mm).mean()) for mm in CONTACTS_MM}
        return {
            **touching,
            "penetration_share": float((volume_mm3 > 0).mean()),
            "penetration_mm": float(depth_mm.mean()),
            "penetration_worst_mm": float(depth_mm.max()),
            "penetration_mm3": float(volume_mm3.mean()),
        }

    names = [f"contact_{mm:g}mm_share" for mm in CONTACTS_MM]
    names += ["penetration_share", "penetration_mm", "penetration_worst_mm", "penetration_mm3"]
    reason = "" if there else f"none of {len(overlaps)} frames has two watertight meshes"
    return Scores(figures) | Scores.unless(reason, names, measure)


def agreement_scores(overlaps: Sequence[Overlap | None], truth: Sequence[Overlap | None]) -> Scores:
    """Agreement of contact with the ground truth, frame by frame. Frames with mesh failures are excluded."""
    pairs = [pair for pair in zip(overlaps, truth, strict=True) if None not in pair]
    gap_mm = torch.tensor([[1e3 * each.gap_m for each in pair if each is not None] for pair in pairs])
    scores = Scores()
    for mm in CONTACTS_MM:
        names = [f"contact_{mm:g}mm_{measure}" for measure in ("precision", "recall", "f1")]

        def measure(mm: float = mm, names: Sequence[str] = names) -> dict[str, float]:
            found = detection(*(gap_mm <= mm).unbind(-1))
            return dict(zip(names, (found.precision, found.recall, found.f1), strict=True))

        scores |= Scores.unless("" if pairs else "no frame has watertight meshes on both sides", names, measure)
    return scores
