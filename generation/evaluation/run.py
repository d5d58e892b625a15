"""`handpipe evaluate`: figures of generated motion compared with real motion."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from ...core.engine import Progress
from ...core.errors import GenerationError
from ...hand.loading import hand_models
from ...hand.stored_motion import COLUMNS, StoredMotion, motion_store, stored_motion
from ..model.kinematics import Kinematics
from ..model.motion import Motion
from ..settings import EvaluationSettings, EvaluatorSettings
from ..training.windows import SAME_RATE, WindowBatch, Windows, open_sources
from .evaluator_file import KnownEvaluator, check_rates, joints_of, load_evaluator, trained
from .mesh_overlap import Overlap
from .metrics import joint_error_m, keyframe_errors, missed, multimodality, seam_ratio
from .scores import HandPair, Scores, agreement_scores, jerk_scores, overlap_scores, set_scores

MISSED_MM = (5.0, 10.0)


@dataclass(frozen=True)
class Question:
    """The inputs of an evaluation."""

    generated: str
    """A store of generated motion, or any other source."""
    reference: tuple[str, ...]
    """Sources of real motion."""
    evaluator: Path | None = None
    """A file of `handpipe train-evaluator`; None trains one on the reference."""
    truth_start: int | None = None
    """The frame of the first reference at which every sample begins, if the samples reproduce that motion."""
    evaluator_settings: EvaluatorSettings = field(default_factory=EvaluatorSettings)
    """How the evaluator is trained if `evaluator` is None."""


def evaluate(
    question: Question, settings: EvaluationSettings, hand_model: str | None, progress: Progress
) -> dict[str, Any]:
    """Evaluate generated motion.

    Args:
        question: the inputs.
        settings: settings of the evaluation.
        hand_model: folder of the model in use; None for the procedural hand.
        progress: where to show it.

    Returns:
        Values for JSON: `figures` by name, `left_out` with the reason for each missing figure, the settings, and the
        evaluator's record.

    Raises:
        GenerationError: a source has no motion, another hand model or a lower frame rate than the evaluator, or the
            evaluator file is invalid.
    """
    generated = _generated(question.generated)
    if question.evaluator is None:
        known = trained(question.reference, question.evaluator_settings, hand_model, progress)
        progress.say(f"evaluator {known.record['digest']}: trained on the reference for this report; not saved")
    else:
        known = load_evaluator(question.evaluator, hand_model)
    sides = {
        side: _Side.read(names, known, stride, hand_model, progress)
        for side, names, stride in (
            ("generated", (question.generated,), known.window),
            ("reference", question.reference, settings.stride),
        )
    }
    made, real = sides["generated"], sides["reference"]
    scores = _sets(made, real, known, settings) | jerk_scores(made.joints_m, real.joints_m, known.fps)
    scores |= _variety(made, generated, known)
    hands = HandPair.of(hand_models(hand_model))
    progress.start("meshes", sum(side.mesh_frames(settings) for side in sides.values()), 0, "frames")
    for name, side in sides.items():
        found = overlap_scores(_overlaps(hands, side.read_windows, side.mesh_frames(settings), progress))
        scores |= found if name == "generated" else _renamed(found, "{}_real")
    progress.stop()
    kinematics = Kinematics.of_models(hand_models(hand_model))
    scores |= _obedience(generated, kinematics)
    scores |= _truth(question, generated, kinematics, hands, settings, hand_model, progress)
    return {
        "generated": question.generated,
        "reference": list(question.reference),
        "settings": asdict(settings),
        "evaluator": known.record,
        "figures": dict(scores.figures),
        "left_out": dict(scores.left_out),
    }


def _generated(name: str) -> StoredMotion:
    motion = stored_motion(name, motion_store(name))
    if not motion.valid.shape[0] or not motion.valid.shape[1]:
        raise GenerationError(
            f"{name}: expected samples of motion, but the store holds {motion.valid.shape[0]} of "
            f"{motion.valid.shape[1]} frames. Generate some with `handpipe generate CHECKPOINT {name} --count 64`."
        )
    return motion


def _renamed(scores: Scores, pattern: str) -> Scores:
    return Scores(
        {pattern.format(name): value for name, value in scores.figures.items()},
        {pattern.format(name): reason for name, reason in scores.left_out.items()},
    )


# ---- windows -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Side:
    """Windows of one side of the comparison, at the evaluator's rate."""

    read_windows: WindowBatch
    joints_m: Tensor
    """(window, frame, hand, 21, 3)"""

    @classmethod
    def read(
        cls, names: Sequence[str], known: KnownEvaluator, stride: int, hand_model: str | None, progress: Progress
    ) -> _Side:
        shorten = "Use an evaluator trained with --evaluator.window {} or less"
        sources = open_sources(names, known.fps, known.window, hand_model, shorten=shorten)
        check_rates(sources, known.fps)
        for name, fps in {source.origin: source.fps for source in sources}.items():
            if abs(fps / known.fps - 1) > SAME_RATE:
                progress.say(f"{name}: resampled from {fps:g} to {known.fps:g} frames per second, as in the evaluator")
        parts = list(Windows(sources, known.window, known.fps).every(stride))
        joined = WindowBatch(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))
        kinematics = Kinematics.of_models(hand_models(hand_model))
        return cls(joined, torch.cat([joints_of(kinematics, part) for part in parts]))

    def mesh_frames(self, settings: EvaluationSettings) -> int:
        return min(settings.mesh_frames, self.joints_m.shape[0] * self.joints_m.shape[1])


def _sets(made: _Side, real: _Side, known: KnownEvaluator, settings: EvaluationSettings) -> Scores:
    """Select the same number of windows from both sides, at random."""
    generator = torch.Generator().manual_seed(settings.seed)
    count = min(len(made.joints_m), len(real.joints_m), settings.windows)
    ours = torch.randperm(len(made.joints_m), generator=generator)[:count]
    theirs = torch.randperm(len(real.joints_m), generator=generator)
    features = known.evaluator.features(made.joints_m[ours])
    enough = len(theirs) >= 2 * count
    truth = known.evaluator.features(real.joints_m[theirs[: 2 * count if enough else count]])
    return set_scores(features, truth[:count], settings.neighbours, truth[count:] if enough else None)


def _variety(made: _Side, generated: StoredMotion, known: KnownEvaluator) -> Scores:
    """Multimodality: the distance between samples with the same controls, window by window."""
    starts = made.read_windows.start
    alike = [np.flatnonzero(starts == start) for start in np.unique(starts)]
    groups = [group for group in alike if len(group) == len(alike[0]) > 1]
    reason = ""
    if not generated.store.complete("controls"):
        reason = "the store has no record of controls; generate the motion again with --force"
    elif not _is_steered(generated):
        reason = "the samples have no controls in common"
    elif not groups:
        reason = "needs at least 2 samples, but there is 1"
    return Scores.unless(
        reason,
        ["multimodality"],
        lambda: {
            "multimodality": multimodality(
                torch.stack([known.evaluator.features(made.joints_m[group]) for group in groups])
            )
        },
    )


# ---- skins ---------------------------------------------------------------------------------------------------------


def _overlaps(hands: HandPair, read: WindowBatch, count: int, progress: Progress) -> list[Overlap | None]:
    found = []
    for each in hands.overlaps(read.betas, read.global_orient, read.hand_pose, read.transl, count):
        found.append(each)
        progress.advance(1)
    return found


# ---- controls ------------------------------------------------------------------------------------------------------


def _is_steered(generated: StoredMotion) -> bool:
    return any(np.isfinite(generated.store.read("controls", name)).any() for name in ("wrist", "global_orient"))


OBEDIENCE = ("wrist_mm", "wrist_worst_mm", "orient_deg", "pose_deg", *(f"missed_{mm:g}mm_share" for mm in MISSED_MM))


def _obedience(generated: StoredMotion, kinematics: Kinematics) -> Scores:
    """Errors at the controls, separately for keyframes (frames with a pose) and trajectories (wrists only), and the
    seam ratio of keyframes."""
    kinds = ("keyframe", "trajectory")
    names = [f"{kind}_{name}" for kind in kinds for name in OBEDIENCE] + ["seam_ratio"]
    if not generated.store.complete("controls"):
        return Scores.unless("the store has no record of controls; generate the motion again with --force", names, dict)
    given = {name: generated.store.read("controls", name) for name in ("wrist", "global_orient", "hand_pose")}
    has = {name: torch.from_numpy(np.isfinite(value).all(axis=-1)) for name, value in given.items()}
    motion = _stored(generated, kinematics)
    samples = len(motion.betas)
    filled = [torch.from_numpy(np.nan_to_num(value)).expand(samples, *value.shape) for value in given.values()]
    posed = kinematics.from_mano(motion.betas, filled[1], filled[2], filled[0])
    wanted = Motion(filled[0], posed.R_world_wrist, posed.R_pose, motion.betas)
    scores = Scores()
    for kind, here in zip(kinds, (has["hand_pose"], has["wrist"] & ~has["hand_pose"]), strict=True):
        masks = [(has[name] & here).expand(samples, *here.shape) for name in ("wrist", "global_orient", "hand_pose")]
        scores |= _of_kind(kind, motion, wanted, masks)
    keys = has["hand_pose"].any(dim=-1)
    ratio = seam_ratio(kinematics.joints(motion), keys, generated.fps) if motion.frames > 3 else float("nan")
    reason = (
        "" if np.isfinite(ratio) else "there are no keyframes" if not keys.any() else "all frames are near a keyframe"
    )
    return scores | Scores.unless(reason, ["seam_ratio"], lambda: {"seam_ratio": ratio})


def _of_kind(kind: str, motion: Motion, wanted: Motion, masks: Sequence[Tensor]) -> Scores:
    has_wrist, has_orient, has_pose = masks
    errors = keyframe_errors(motion, wanted, has_wrist, has_orient, has_pose)
    distance_mm = 1000 * (motion.wrist_m.double() - wanted.wrist_m.double()).norm(dim=-1)
    values = {
        "wrist_mm": errors.wrist_mm,
        "wrist_worst_mm": errors.worst_wrist_mm,
        "orient_deg": errors.orient_deg,
        "pose_deg": errors.pose_deg,
        **{f"missed_{mm:g}mm_share": missed(distance_mm, has_wrist, mm) for mm in MISSED_MM},
    }
    there = {name: value for name, value in values.items() if np.isfinite(value) and has_wrist.any()}
    reason = f"there is no {kind}" if not there else f"no {kind} contains it"
    return Scores(
        {f"{kind}_{name}": value for name, value in there.items()},
        {f"{kind}_{name}": reason for name in values if name not in there},
    )


def _stored(generated: StoredMotion, kinematics: Kinematics) -> Motion:
    """All samples, as the store has them."""
    arrays = _numbers(generated)
    parts = (torch.from_numpy(arrays[name]) for name in COLUMNS)
    return kinematics.from_mano(torch.from_numpy(generated.betas.astype(np.float32)), *parts)


def _numbers(generated: StoredMotion) -> dict[str, ndarray]:
    """(sample, frame, hand, ...) float32 of all samples at once: reading them one by one takes many times as long."""
    arrays = {name: generated.store.read("mano", name).astype(np.float32) for name in COLUMNS}
    return arrays if generated.sampled else {name: array[None] for name, array in arrays.items()}


# ---- ground truth --------------------------------------------------------------------------------------------------


def _truth(
    question: Question,
    generated: StoredMotion,
    kinematics: Kinematics,
    hands: HandPair,
    settings: EvaluationSettings,
    hand_model: str | None,
    progress: Progress,
) -> Scores:
    """Comparison with the ground truth, if samples reproduce it: joint error, and contact frame by frame."""
    if question.truth_start is None:
        names = ["joint_error_mm", *agreement_scores([], []).left_out]
        return Scores.unless("needs --truth-start, the frame of the reference where the motion begins", names, dict)
    samples, frames = generated.valid.shape[:2]
    shorten = "Generate the motion with `handpipe generate --frames {}` or less"
    sources = open_sources(question.reference[:1], generated.fps, frames, hand_model, shorten=shorten)
    check_rates(sources, generated.fps)
    truth = Windows(sources, frames, generated.fps).at(question.truth_start)
    nowhere = np.zeros(samples, int)
    batch = WindowBatch(generated.betas, **_numbers(generated), source=nowhere, start=nowhere, mirror=nowhere)
    count = min(settings.mesh_frames, samples * frames)
    progress.start("truth", 2 * count, 0, "frames")
    copies = [np.repeat(getattr(truth, name), samples, axis=0) for name in vars(truth)]
    found, real = (_overlaps(hands, each, count, progress) for each in (batch, WindowBatch(*copies)))
    progress.stop()
    error = 1000 * joint_error_m(kinematics.joints(_stored(generated, kinematics)), joints_of(kinematics, truth))
    return Scores({"joint_error_mm": error}) | agreement_scores(found, real)
