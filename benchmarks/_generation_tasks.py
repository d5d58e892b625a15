"""The measurements of benchmarks/generation.py on one checkpoint; each function returns values by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from _generation_subject import CONTEXT, GAPS, RealSets, Subject
from _generation_ways import constant, hermite, inertialised, nearest
from torch import Tensor

from handpipe.generation.evaluation.metrics import (
    contact_pairs,
    detection,
    diversity,
    frechet_distance,
    keyframe_errors,
    penetration,
    seam_ratio,
)
from handpipe.generation.model.controls import Controls, draw_controls
from handpipe.generation.model.diffusion import SamplerSettings
from handpipe.generation.model.interpolation import interpolate
from handpipe.generation.model.motion import Motion
from handpipe.generation.sampling.run import STEPS
from handpipe.generation.sampling.windows import SamplingOptions

HARD_GAP = 30
"""The gap that is also measured with single keyframes, with sampled motion, and for contact."""
DRAWS = 4
"""Motions drawn for each gap."""
KEYFRAMES_APART = 15

EXPECTED = SamplingOptions.expected()
DRAWN = SamplingOptions()

PATHS = ("path_dense", "path_sparse")
SAMPLERS = {
    "dpm": SamplerSettings(),
    "ddim": SamplerSettings("ddim", STEPS["ddim"]),
    "ddpm": SamplerSettings("ddpm", STEPS["ddpm"]),
}
CALM = 0.8
"""Scale of the noise of the prior's less varied motion."""
DPM_DRAWS = 3
"""Sets drawn with the default sampler: how far their distances are apart is the noise of such a number."""


def whole_frames(motion: Motion, frames: Sequence[int]) -> Controls:
    """All of both hands observed in these frames of every motion, and nothing else."""
    has = torch.zeros(motion.wrist_m.shape[:-1], dtype=torch.bool, device=motion.wrist_m.device)
    has[:, list(frames)] = True
    return Controls(motion, has, has, has)


@dataclass(frozen=True)
class Gap:
    """A hole in the test windows: it begins in the same frame whatever the context."""

    frames: int
    context: int

    @property
    def hole(self) -> slice:
        """The frames to be found, counted from the first frame of `clip`."""
        return slice(self.context, self.context + self.frames)

    def clip(self, subject: Subject) -> slice:
        """Frames of the test windows: context, hole, target, and unobserved ones up to a window of the model."""
        start = CONTEXT - self.context
        return slice(start, start + max(subject.loaded.window, self.context + self.frames + 1))

    def truth(self, subject: Subject) -> Motion:
        return subject.truth.window(self.clip(subject))

    def controls(self, subject: Subject) -> Controls:
        return whole_frames(self.truth(subject), [*range(self.context), self.hole.stop])

    def true_joints_m(self, subject: Subject) -> Tensor:
        """(window, frame, hand, 21, 3) in the hole."""
        return subject.joints_m[:, self.clip(subject)][:, self.hole]

    def errors_mm(self, subject: Subject, motion: Motion) -> Tensor:
        """(window,) mean joint error in the hole."""
        distance = subject.joints(motion.window(self.hole)) - self.true_joints_m(subject)
        return 1000 * distance.norm(dim=-1).flatten(1).mean(1)

    def slerp(self, subject: Subject) -> Motion:
        """The simplest way across: linear interpolation and SLERP from the last frame before to the one after."""
        return interpolate(whole_frames(self.truth(subject), [self.context - 1, self.hole.stop]))


GAP_KINDS = {str(frames): Gap(frames, CONTEXT) for frames in GAPS} | {f"{HARD_GAP} keyframes": Gap(HARD_GAP, 1)}


def inbetween(subject: Subject, seed: int) -> dict[str, Any]:
    """Mean joint error over the gaps, mm, by how the gap was filled without chance: (window,) lists, in order.

    Names are `gap/way`: gaps 15, 30, 60 and `30 keyframes` (no context); slerp, hermite, inertial, constant, nearest,
    prior and expected.
    """
    found: dict[str, Any] = {"windows": float(len(subject.truth.betas))}
    prior = subject.prior_alone()
    for name, gap in GAP_KINDS.items():
        given = gap.controls(subject)
        filled = {"slerp": gap.slerp(subject)}
        if gap.context > 1:
            truth, ends = gap.truth(subject), (gap.context - 1, gap.hole.stop)
            filled |= {"hermite": hermite(truth, *ends), "inertial": inertialised(truth, *ends)}
            filled |= {"constant": constant(subject, given, ends[0]), "nearest": nearest(subject, given)}
        filled |= {"prior": prior.draw(given, EXPECTED, seed), "expected": subject.draw(given, EXPECTED, seed)}
        found |= {f"{name}/{way}": gap.errors_mm(subject, motion).tolist() for way, motion in filled.items()}
    return found


def drawn(subject: Subject, seed: int) -> dict[str, Any]:
    """The same for motion drawn in gaps of 30 frames: the mean over the draws, the best of them, and the distance
    between them; and SLERP. Of the model, of its prior alone, and of the prior with less noise: less varied draws are
    nearer to the truth on average, without knowing more of it."""
    found: dict[str, Any] = {}
    for name, gap in GAP_KINDS.items():
        if gap.frames != HARD_GAP:
            continue
        given = gap.controls(subject)
        found[f"{name}/slerp"] = gap.errors_mm(subject, gap.slerp(subject)).tolist()
        prior, calm = subject.prior_alone(), replace(DRAWN, temperature=CALM)
        ways = {"drawn": (subject, DRAWN), "prior drawn": (prior, DRAWN), "prior drawn calmly": (prior, calm)}
        for way, (by, options) in ways.items():
            draws = [by.draw(given, options, seed * DRAWS + number) for number in range(DRAWS)]
            errors = torch.stack([gap.errors_mm(subject, motion) for motion in draws])
            found[f"{name}/{way}"] = errors.mean(0).tolist()
            found[f"{name}/{way}, best"] = errors.amin(0).tolist()
            found[f"{name}/{way}, spread"] = _spread_mm(subject, gap, draws)
    return found


def _spread_mm(subject: Subject, gap: Gap, draws: Sequence[Motion]) -> list[float]:
    """(window,) mean distance of the joints of two draws in the hole."""
    joints_m = torch.stack([subject.joints(motion.window(gap.hole)) for motion in draws])
    pairs = [(joints_m[a] - joints_m[b]).norm(dim=-1).flatten(1).mean(1) for a in range(len(draws)) for b in range(a)]
    return (1000 * torch.stack(pairs).mean(0)).tolist()


def controls(subject: Subject, seed: int) -> dict[str, float]:
    """Errors at controls and seams, for sampled motion, on every test window.

    Errors are the worst over all windows, of the motion as a store holds it (MANO parameters in float32): `keyframes`
    of whole frames (1 to 20 anywhere, a start, the ends, one of two hands), `paths` of wrist positions. Seams are the
    jerk near keyframes over that elsewhere, divided by the same of the real motion.
    """
    window = subject.loaded.window
    truth, joints_m = subject.truth.window(slice(window)), subject.joints_m[:, :window]
    generator = torch.Generator().manual_seed(seed)
    worst = {"keyframes, wrist mm": 0.0, "keyframes, deg": 0.0, "paths, wrist mm": 0.0}
    for kind in ("keyframes", "ends", "start", "one_hand", *PATHS):
        has = [mask.to(truth.wrist_m.device) for mask in draw_controls({kind: 1}, len(truth.betas), window, generator)]
        stored = _as_stored(subject, subject.draw(Controls(truth, *has), DRAWN, seed))
        errors = keyframe_errors(stored, truth, *has)
        wrist = "paths, wrist mm" if kind in PATHS else "keyframes, wrist mm"
        worst[wrist] = max(worst[wrist], errors.worst_wrist_mm)
        # A path may have a whole first frame; without one there is no angle to compare.
        angles = [angle for angle in (errors.worst_orient_deg, errors.worst_pose_deg) if angle == angle]
        worst["keyframes, deg"] = max(worst["keyframes, deg"], *angles, 0.0)

    frames = [*range(0, window - 1, KEYFRAMES_APART), window - 1]
    motion = subject.draw(whole_frames(truth, frames), DRAWN, seed)
    seams = {f"seam, keyframes {KEYFRAMES_APART} apart": _seam(subject, subject.joints(motion), joints_m, frames)}
    gap = Gap(HARD_GAP, CONTEXT)
    clip = slice(gap.hole.stop + 1)
    motion = subject.draw(gap.controls(subject), DRAWN, seed).window(clip)
    edges = [gap.context - 1, gap.hole.stop]
    seams[f"seam, gap of {HARD_GAP}"] = _seam(subject, subject.joints(motion), joints_m[:, clip], edges)
    return worst | seams


def _as_stored(subject: Subject, motion: Motion) -> Motion:
    kinematics = subject.loaded.model.kinematics
    numbers = kinematics.to_mano(motion)
    return kinematics.from_mano(*(numbers[name] for name in ("betas", "global_orient", "hand_pose", "transl")))


def _seam(subject: Subject, joints_m: Tensor, true_m: Tensor, frames: Sequence[int]) -> float:
    keyframes = torch.zeros(joints_m.shape[1], dtype=torch.bool, device=joints_m.device)
    keyframes[list(frames)] = True
    fps = subject.loaded.fps
    return seam_ratio(joints_m, keyframes, fps) / seam_ratio(true_m, keyframes, fps)


def free(subject: Subject, seed: int) -> dict[str, float]:
    """Motions without controls against real ones: of the training split (learnt) and of the test sequence (test)."""
    real = RealSets.load(subject.scene.real)
    joints_m, seconds = _timed(lambda: subject.joints(subject.freely(real.betas, DRAWN, seed)))
    features = real.evaluator.features(joints_m)
    truth = {name: real.evaluator.features(part) for name, part in real.joints_m.items()}
    found = {
        "samples": float(len(joints_m)),
        "samples of test": float(len(truth["test"])),
        "sequences/s": len(joints_m) / seconds,
        "fid/learnt": frechet_distance(features, truth["learnt"]),
        "fid/test": frechet_distance(features[: len(truth["test"])], truth["test"]),
        "fid/learnt to test": frechet_distance(truth["learnt"][: len(truth["test"])], truth["test"]),
        "memory/generated": _median_distance(features, real.memory),
        "memory/test": _median_distance(truth["test"], real.memory),
        "fid/real": frechet_distance(truth["again"], truth["learnt"]),
        "diversity": diversity(features),
    }
    for name in ("learnt", "test"):
        found[f"diversity/{name}"] = diversity(truth[name])
    prior_m = subject.joints(subject.prior_alone().freely(real.betas, DRAWN, seed))
    prior = real.evaluator.features(prior_m)
    found |= {
        "fid/prior to learnt": frechet_distance(prior, truth["learnt"]),
        "fid/prior to test": frechet_distance(prior[: len(truth["test"])], truth["test"]),
        "diversity/prior": diversity(prior),
    }
    for name, hands_m in {"generated": joints_m, "prior": prior_m, **real.joints_m}.items():
        found[f"wrists/{name}"] = 1000 * float((hands_m[:, :, 0, 0] - hands_m[:, :, 1, 0]).norm(dim=-1).mean())
        found[f"touching/{name}"] = 100 * float(_touching(hands_m).double().mean())
        found[f"depth/{name}"] = penetration(hands_m).mean_mm
    return found


def _median_distance(codes: Tensor, memory: Tensor) -> float:
    """Median distance to the nearest of the training windows: small where they are repeated."""
    return float(torch.cdist(codes, memory).amin(-1).median())


def _timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """The result of the work, and its duration in seconds."""
    start = time.perf_counter()
    found = work()
    found.sum().item()  # a GPU goes on behind our back
    return found, time.perf_counter() - start


def _touching(joints_m: Tensor) -> Tensor:
    """(..., frame) bool: some joints of both hands are within 2 cm."""
    return contact_pairs(joints_m).any(-1).any(-1)


def speed(subject: Subject, seed: int) -> dict[str, float]:
    """Time and Frechet distance of the samplers, all for the same number of samples, from the same noise."""
    real = RealSets.load(subject.scene.real)
    count = subject.scene.chain_samples
    truth = real.evaluator.features(real.joints_m["learnt"][:count])

    def measure(sampler: SamplerSettings, seed: int) -> tuple[float, float]:
        options = SamplingOptions(sampler)
        joints_m, seconds = _timed(lambda: subject.joints(subject.freely(real.betas[:count], options, seed)))
        return seconds, frechet_distance(real.evaluator.features(joints_m), truth)

    measure(SAMPLERS["dpm"], seed)  # the first calls of everything
    found = {"samples": float(count)}
    for name, sampler in SAMPLERS.items():
        tries = [measure(sampler, seed + 100 * number) for number in range(DPM_DRAWS if name == "dpm" else 1)]
        seconds, distances = torch.tensor(tries, dtype=torch.float64).unbind(-1)
        found[f"seconds/{name}"], found[f"fid/{name}"] = float(seconds.mean()), float(distances.mean())
        if name == "dpm":
            found["fid spread"] = float(distances.std())
    return found


def interaction(subject: Subject, seed: int) -> dict[str, float]:
    """Contact in gaps of test windows in which the true hands touch: is it found in the right frames, how deep."""
    gap = Gap(HARD_GAP, CONTEXT)
    subject = subject.only(_touching(gap.true_joints_m(subject)).any(-1))
    truth = _touching(gap.true_joints_m(subject))
    found = {"windows": float(len(truth)), "depth/real": penetration(gap.true_joints_m(subject)).mean_mm}
    ways: Mapping[str, Callable[[], list[Motion]]] = {
        "slerp": lambda: [gap.slerp(subject)],
        "expected": lambda: [subject.draw(gap.controls(subject), EXPECTED, seed)],
        "drawn": lambda: [subject.draw(gap.controls(subject), DRAWN, seed * DRAWS + n) for n in range(DRAWS)],
    }
    for way, motions in ways.items():
        joints_m = torch.stack([subject.joints(motion.window(gap.hole)) for motion in motions()])
        touching = _touching(joints_m)
        score = detection(touching, truth.expand_as(touching))
        found |= {f"precision/{way}": score.precision, f"recall/{way}": score.recall, f"f1/{way}": score.f1}
        found[f"depth/{way}"] = penetration(joints_m).mean_mm
    return found
