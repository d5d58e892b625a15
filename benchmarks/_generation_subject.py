"""A checkpoint under test and the real motion that benchmarks/generation.py compares it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from handpipe.generation.evaluation.evaluator import Evaluator, mirrored, train_evaluator
from handpipe.generation.model.controls import Controls
from handpipe.generation.model.kinematics import Kinematics
from handpipe.generation.model.motion import Motion
from handpipe.generation.sampling.loading import LoadedModel, load_model
from handpipe.generation.sampling.windows import SamplingOptions, sample_motion
from handpipe.generation.settings import TrainingSettings
from handpipe.generation.training.windows import Windows, open_sources
from handpipe.hand.loading import hand_models

CONTEXT = 10
"""Frames before a gap, as in LaFAN1's protocol (Harvey et al. 2020); after it there is one."""
GAPS = (15, 30, 60)

AT_ONCE = 64
"""Motions denoised together."""


@dataclass(frozen=True)
class Scene:
    """The real motion that all checkpoints are compared with."""

    learnt: tuple[str, ...]
    """Sessions that they were trained on."""
    test: str
    """The session that they were not."""
    real: Path
    """The result of `prepare`."""
    stride: int = 15
    """Frames from one test window to the next."""
    samples: int = 400
    """Windows in every set that is compared as a set."""
    clearance: float = 0.0
    """Strength of the guidance against penetration, in what benchmarks/evaluate.py draws."""
    long_frames: int = 1200
    """Frames of long free motion."""
    long_samples: int = 64
    """Such motions."""
    chain_samples: int = 128
    """The same for the samplers: the full chain takes some six seconds for each."""


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class RealSets:
    """Sets of real windows, as many in each as will be generated, and the evaluator that compares sets."""

    evaluator: Evaluator
    betas: Tensor
    """(sample, hand, 10) of the windows of `learnt`: the hands that are given to the generated motions."""
    joints_m: dict[str, Tensor]
    """learnt: of the training split; again: others of it; test: of the test sequence. (sample, frame, hand, 21, 3)"""
    memory: Tensor
    """(window, code) the evaluator's codes of all training windows, and of their mirror images."""

    @classmethod
    def load(cls, path: Path) -> RealSets:
        saved = torch.load(path, map_location=device())
        return cls(Evaluator.of_state(saved["evaluator"]), saved["betas"], saved["joints_m"], saved["memory"])


def prepare(scene: Scene, steps: int) -> None:
    """Train the evaluator on the training split, choose sets of real windows, and leave them in `scene.real`."""
    kinematics = Kinematics.of_models(hand_models(None)).to(device())
    settings = TrainingSettings()
    learnt = real_motion(kinematics, scene.learnt, settings.fps, settings.window, 3)
    test = real_motion(kinematics, [scene.test], settings.fps, settings.window, 0)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(learnt.betas), generator=generator)
    chosen = {
        "learnt": rows(learnt, order[: scene.samples]),
        "again": rows(learnt, order[scene.samples : 2 * scene.samples]),
        "test": rows(test, torch.randperm(len(test.betas), generator=generator)[: scene.samples]),
    }
    everything = kinematics.joints(learnt)
    evaluator = train_evaluator(everything, steps=steps)
    joints_m = {name: kinematics.joints(motion) for name, motion in chosen.items()}
    memory = torch.cat([evaluator.features(part) for part in (everything, mirrored(everything))])
    betas = chosen["learnt"].betas
    torch.save({"evaluator": evaluator.state, "betas": betas, "joints_m": joints_m, "memory": memory}, scene.real)


@dataclass(frozen=True)
class Subject:
    """A checkpoint under test."""

    loaded: LoadedModel
    truth: Motion
    """(window, frame, hand, ...) of the test sequence, as long as the longest gap and its context need."""
    joints_m: Tensor
    """(window, frame, hand, 21, 3) of the same."""
    scene: Scene

    @classmethod
    def of(cls, checkpoint: Path, scene: Scene) -> Subject:
        loaded = load_model(checkpoint, None, device())
        frames = max(loaded.window + CONTEXT, CONTEXT + max(GAPS) + 1)
        truth = real_motion(loaded.model.kinematics, [scene.test], loaded.fps, frames, scene.stride)
        return cls(loaded, truth, loaded.model.kinematics.joints(truth), scene)

    def only(self, which: Tensor) -> Subject:
        """Tested on some of the windows."""
        return replace(self, truth=rows(self.truth, which), joints_m=self.joints_m[which])

    def prior_alone(self) -> Subject:
        """The same with networks that add nothing to the Gaussian process, as before the first training step."""
        networks = {"denoiser": lambda x_t, t, given, posterior: posterior[0]}
        model = replace(self.loaded.model.with_networks(networks), uses_prior=True)
        return replace(self, loaded=replace(self.loaded, model=model))

    def joints(self, motion: Motion) -> Tensor:
        return self.loaded.model.kinematics.joints(motion)

    def draw(self, controls: Controls, options: SamplingOptions, seed: int) -> Motion:
        """One motion for each of the controls."""
        parts = []
        for first in range(0, len(controls.has_wrist), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            has = (mask[part] for mask in (controls.has_wrist, controls.has_orient, controls.has_pose))
            chosen = Controls(rows(controls.motion, part), *has)
            samples = range(first, first + len(chosen.has_wrist))
            home, window = self.loaded.R_home, self.loaded.window
            parts.append(sample_motion(self.loaded.model, chosen, home, window, options, seed, samples))
        return joined(parts)

    def freely(self, betas: Tensor, options: SamplingOptions, seed: int) -> Motion:
        """A window of motion without controls for each pair of hands (sample, hand, 10)."""
        kinematics = self.loaded.model.kinematics
        rest = betas.new_zeros(len(betas), self.loaded.window, 2, 3)
        motion = kinematics.from_mano(betas, rest, rest.new_zeros(*rest.shape[:-1], 45), rest)
        return self.draw(Controls.none(motion), options, seed)


def real_motion(kinematics: Kinematics, sessions: Sequence[str], fps: float, frames: int, stride: int) -> Motion:
    """Every `stride`-th window of sessions; 0 takes all."""
    windows = Windows(open_sources(sessions, fps, frames, None), frames, fps)
    parts = []
    for read in windows.every(stride):
        numbers = (read.betas, read.global_orient, read.hand_pose, read.transl)
        parts.append(kinematics.from_mano(*(torch.tensor(part, device=kinematics.device) for part in numbers)))
    return joined(parts)


def joined(parts: Sequence[Motion]) -> Motion:
    """Batches of motions as one."""
    names = ("wrist_m", "R_world_wrist", "R_pose", "betas")
    return Motion(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def rows(motion: Motion, which: slice | Tensor) -> Motion:
    """Some motions of a batch."""
    return Motion(motion.wrist_m[which], motion.R_world_wrist[which], motion.R_pose[which], motion.betas[which])
