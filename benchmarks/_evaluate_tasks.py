"""The three tasks of benchmarks/evaluate.py. Each function returns values by name; `real ` marks real motion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from _generation_subject import RealSets, Subject, real_motion
from _generation_tasks import HARD_GAP, Gap
from torch import Tensor

from handpipe.generation.evaluation.mesh_overlap import Overlap
from handpipe.generation.evaluation.metrics import joint_error_m, keyframe_errors, missed, multimodality, seam_ratio
from handpipe.generation.evaluation.scores import HandPair, agreement_scores, jerk_scores, overlap_scores, set_scores
from handpipe.generation.model.controls import Controls
from handpipe.generation.model.kinematics import Kinematics
from handpipe.generation.model.motion import Motion
from handpipe.generation.sampling.windows import SamplingOptions
from handpipe.hand.loading import hand_models

DRAWS = 2
"""Motions for the same controls."""

MESH_FRAMES = 400
"""Frames in which the meshes of a set are compared."""

APART = 60
"""Frames from one window of the training split to the next, where its meshes are looked at."""

MEASURES: Mapping[str, str] = {
    "fid": "FID",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "diversity": "diversity",
    "multimodality": "multimodality",
    "error_mm": "joints, mm",
    "wrist_mm": "control error, wrists, mm",
    "angle_deg": "control error, poses, deg",
    "missed_share": "control error over 5 mm",
    "contact_5mm_share": "contact, 5 mm",
    "contact_5mm_f1": "contact F1, 5 mm",
    "contact_20mm_f1": "contact F1, 20 mm",
    "penetration_mm": "penetration, mm",
    "penetration_mm3": "penetration, mm³",
    "jerk_ratio": "jerk",
    "seam_ratio": "seam",
}
"""Columns of the tables and their labels."""


def drawn(subject: Subject) -> SamplingOptions:
    return SamplingOptions(clearance=subject.scene.clearance)


def overlaps(kinematics: Kinematics, motion: Motion) -> list[Overlap | None]:
    """The meshes of both hands in some frames of the motions."""
    numbers = {name: value.cpu().numpy() for name, value in kinematics.to_mano(motion).items()}
    betas, orient, pose, transl = (numbers[name] for name in ("betas", "global_orient", "hand_pose", "transl"))
    return list(HandPair.of(hand_models(None)).overlaps(betas, orient, pose, transl, MESH_FRAMES))


def named_real(figures: Mapping[str, float]) -> dict[str, float]:
    return {f"real {name}": value for name, value in figures.items()}


def of_sets(features: Tensor, real: Tensor, others: Tensor | None = None) -> dict[str, float]:
    """Figures of sets; those of real motion by names that say so."""
    figures = dict(set_scores(features, real, others=others).figures)
    return {f"real {name.removesuffix('_real')}" if name.endswith("_real") else name: v for name, v in figures.items()}


def free(subject: Subject, seed: int) -> dict[str, float]:
    real = RealSets.load(subject.scene.real)
    kinematics = subject.loaded.model.kinematics
    motion = subject.freely(real.betas, drawn(subject), seed)
    joints_m, truth_m = subject.joints(motion), real.joints_m["learnt"]
    features, truth, others = (real.evaluator.features(part) for part in (joints_m, truth_m, real.joints_m["again"]))
    recorded = real_motion(kinematics, subject.scene.learnt, subject.loaded.fps, subject.loaded.window, APART)
    return {
        **named_real(overlap_scores(overlaps(kinematics, recorded)).figures),
        **of_sets(features, truth, others),
        **jerk_scores(joints_m, truth_m, subject.loaded.fps).figures,
        **overlap_scores(overlaps(kinematics, motion)).figures,
    }


def inbetween(subject: Subject, seed: int) -> dict[str, float]:
    gap = Gap(HARD_GAP, 10)
    truth = gap.truth(subject)
    given = gap.controls(subject)
    return steered(subject, truth, given, gap.hole, [gap.context - 1, gap.hole.stop], seed)


def trajectory(subject: Subject, seed: int) -> dict[str, float]:
    truth = subject.truth.window(slice(subject.loaded.window))
    has = torch.ones_like(truth.wrist_m[..., 0], dtype=torch.bool)
    first = torch.zeros_like(has)
    first[:, 0] = True
    given = Controls(truth, has, first, first)
    return steered(subject, truth, given, slice(0, truth.frames), [], seed)


def steered(
    subject: Subject, truth: Motion, given: Controls, judged: slice, seams: Sequence[int], seed: int
) -> dict[str, float]:
    """Motions drawn through controls: whole windows as sets; joints, contact and penetration where `judged` says."""
    real, kinematics = RealSets.load(subject.scene.real), subject.loaded.model.kinematics
    window, fps = subject.loaded.window, subject.loaded.fps
    motions = [subject.draw(given, drawn(subject), seed * DRAWS + number) for number in range(DRAWS)]
    joints_m = torch.stack([subject.joints(motion) for motion in motions])
    true_m = subject.joints(truth)
    codes = torch.stack([real.evaluator.features(each[:, :window]) for each in joints_m])
    found = of_sets(codes[0], real.evaluator.features(true_m[:, :window]))
    found["multimodality"] = multimodality(codes.transpose(0, 1))
    found["error_mm"] = 1000 * joint_error_m(joints_m[:, :, judged], true_m[:, judged])
    found |= jerk_scores(joints_m[:, :, judged], true_m[:, judged], fps).figures
    first, has = motions[0], (given.has_wrist, given.has_orient, given.has_pose)
    errors = keyframe_errors(first, truth, *has)
    angles = [angle for angle in (errors.orient_deg, errors.pose_deg) if np.isfinite(angle)]
    distance_mm = 1000 * (first.wrist_m - truth.wrist_m).norm(dim=-1)
    found |= {"wrist_mm": errors.wrist_mm, "missed_share": missed(distance_mm, given.has_wrist, 5.0)}
    found |= {"angle_deg": max(angles)} if angles else {}
    if seams:
        keys = torch.zeros(truth.frames, dtype=torch.bool, device=true_m.device)
        keys[list(seams)] = True
        clip = slice(max(seams) + 1)  # what comes after the last key is not observed
        ratio = [seam_ratio(each[..., clip, :, :, :], keys[clip], fps) for each in (joints_m[0], true_m)]
        found["seam_ratio"] = ratio[0] / ratio[1]
    skins = [overlaps(kinematics, motion.window(judged)) for motion in (first, truth)]
    found |= agreement_scores(*skins).figures
    return found | dict(overlap_scores(skins[0]).figures) | named_real(overlap_scores(skins[1]).figures)


TASKS: Mapping[str, Callable[[Subject, int], dict[str, float]]] = {
    "free": free,
    "inbetween": inbetween,
    "trajectory": trajectory,
}
