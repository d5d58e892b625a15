"""Two-hand motion: training, generating, judging it, and pictures of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import tyro
from tyro.conf import Positional, arg

from ..core.engine import Engine
from ..core.settings import EngineSettings
from ..generation.settings import EvaluationSettings, EvaluatorSettings, SamplingSettings, TrainingSettings
from ..pipeline import STAGES, Config, Job, run, session_folder
from ..rendering.settings import AugmentSettings
from ..screen import Screen
from . import AsJson, Command, ConfigFile, Debug, HandModelFolder


@dataclass(frozen=True)
class TrainDiffusion(Command):
    """A diffusion model of two-hand motion, from fitted sessions."""

    settings: Annotated[TrainingSettings, arg(name="")]
    sources: Positional[tuple[str, ...]] = ("capture-session", "procedural")
    """Sessions, Zarr stores with a `mano` group, `procedural` or `procedural:N`: so many clips of made-up motion."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("checkpoint")
    """The checkpoint's folder; a training that was stopped goes on there."""
    hand_model: HandModelFolder = None
    config: ConfigFile = None
    force: bool = False
    """Start anew, whatever is in the folder."""
    json: AsJson = False
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        return cls(config.training, hand_model=config.hand_model)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..generation.training.run import train

        for name in self.sources:
            if name in config.sessions:
                run(Job(name, config, STAGES), screen)
        names = _motion(self.sources, config)
        figures = train(names, self.settings, self.hand_model, self.out, screen, force=self.force)
        screen.say(f"next: `handpipe generate {self.out} OUT.zarr`")
        return figures


@dataclass(frozen=True)
class Generate(Command):
    """Two-hand motion from a checkpoint: free, between keyframes, along wrist trajectories."""

    checkpoint: Annotated[Positional[Path], arg(metavar="CHECKPOINT")]
    """A folder that `handpipe train-diffusion` wrote."""
    out: Annotated[Positional[Path], arg(metavar="OUT.zarr")]
    """The store that is made: group `mano`, with an axis `sample` in front."""
    settings: Annotated[SamplingSettings, arg(name="")]
    count: int = 1
    """Motions to draw."""
    seed: int = 0
    """The same seed gives the same motions."""
    frames: Annotated[int | None, arg(metavar="N")] = None
    """Length; by default what the model was trained on."""
    keyframes: Annotated[str | None, arg(metavar="FILE")] = None
    """Poses to go through: an npz or a Zarr store, or frames of a session, as in SESSION:0,30,59."""
    trajectory: Annotated[Path | None, arg(metavar="FILE")] = None
    """Wrist positions to go through: a CSV file with frame,hand,x,y,z, or an npz."""
    hand_model: HandModelFolder = None
    config: ConfigFile = None
    force: bool = False
    """Replace other motion that is there."""
    json: AsJson = False
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        return cls(tyro.MISSING, tyro.MISSING, config.sampling, hand_model=config.hand_model)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..generation.sampling.run import Request, generate

        request = Request(self.count, self.seed, self.frames, self.keyframes, self.trajectory)
        settings, model = self.settings, self.hand_model
        figures = generate(self.checkpoint, self.out, request, settings, model, screen, force=self.force)
        screen.say(f"{self.out}: {figures['samples']} x {figures['frames']} frames")
        return figures


@dataclass(frozen=True)
class TrainEvaluator(Command):
    """The autoencoder in whose code `handpipe evaluate` compares sets of motion."""

    settings: Annotated[EvaluatorSettings, arg(name="")]
    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="SESSION...")]
    """Real motion: sessions, Zarr stores with a `mano` group, `procedural:N`; best what the model learnt from."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("evaluator.safetensors")
    """The file that is made."""
    hand_model: HandModelFolder = None
    config: ConfigFile = None
    force: bool = False
    """Replace a file that is there."""
    json: bool = False
    """Print the evaluator's record as JSON on standard output."""
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        return cls(EvaluatorSettings(), tyro.MISSING, hand_model=config.hand_model)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..generation.evaluation.evaluator_file import train_to_file

        names = _motion(self.sources, config)
        record = train_to_file(names, self.settings, self.hand_model, self.out, screen, force=self.force)
        screen.say(f"{self.out}: evaluator {record['digest']}")
        return record


@dataclass(frozen=True)
class Evaluate(Command):
    """Generated motion against real motion: how good, how true to its controls, how the hands touch."""

    generated: Annotated[Positional[str], arg(metavar="GENERATED")]
    """What `handpipe generate` wrote, or any store or session with a `mano` group."""
    reference: Annotated[Positional[tuple[str, ...]], arg(metavar="REFERENCE...")]
    """Real motion: sessions, Zarr stores with a `mano` group, `procedural:N`."""
    settings: Annotated[EvaluationSettings, arg(name="")]
    evaluator: Annotated[Path | None, arg(metavar="FILE")] = None
    """What `handpipe train-evaluator` wrote; without it one is trained on the reference, and not kept."""
    truth_start: Annotated[int | None, arg(metavar="FRAME")] = None
    """Every sample retells the first reference from this frame on: measure how near, and how well contact is found."""
    hand_model: HandModelFolder = None
    config: ConfigFile = None
    json: bool = False
    """Print all figures as JSON on standard output."""
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        return cls(tyro.MISSING, tyro.MISSING, EvaluationSettings(), hand_model=config.hand_model)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..generation.evaluation.run import Question, evaluate
        from ..generation.evaluation.table import table

        generated, *reference = _motion((self.generated, *self.reference), config)
        question = Question(generated, tuple(reference), self.evaluator, self.truth_start)
        report = evaluate(question, self.settings, self.hand_model, screen)
        screen.table(f"{self.generated} against {', '.join(reference)}", table(report))
        screen.say(f"{len(report['figures'])} figures; docs/evaluation.md says what they mean")
        return report


@dataclass(frozen=True)
class Augment(Command):
    """Training data from motion: pictures of it, from several cameras, with 2D and 3D labels, masks and depth."""

    source: Annotated[Positional[str], arg(metavar="CHECKPOINT")]
    """A folder that `handpipe train-diffusion` wrote; or motion that is there: a session, or a store of motion."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The folder with pictures and labels; made if it is not there."""
    settings: Annotated[AugmentSettings, arg(name="")]
    sampling: SamplingSettings
    engine: Annotated[EngineSettings, arg(name="")]
    hand_model: HandModelFolder = None
    config: ConfigFile = None
    force: bool = False
    """Render again, even if it is up to date; replace other motion that was generated there."""
    json: AsJson = False
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        settings = config.augmentation, config.sampling, config.engine
        return cls(tyro.MISSING, tyro.MISSING, *settings, hand_model=config.hand_model)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..hand.stored_motion import motion_store
        from ..rendering.augment import augment, is_checkpoint

        options, name = self.settings, self.source
        if name in config.sessions:
            run(Job(name, config, STAGES), screen)
            name = str(session_folder(config, name))
        if is_checkpoint(name):
            from ..generation.sampling.run import Request, generate

            motion = self.out / "motion.zarr"
            request = Request(options.sequences, options.seed, options.motion_frames)
            generate(Path(name).expanduser(), motion, request, self.sampling, self.hand_model, screen, force=self.force)
            name = str(motion)
        with Engine(self.engine, screen) as engine:
            figures = augment(motion_store(name), self.out, options, self.hand_model, engine, force=self.force)
        screen.say(f"{self.out}: {figures['images']} images, labels in labels.zarr")
        return figures


def _motion(names: Sequence[str], config: Config) -> list[str]:
    """Where the motion is that the user named; a URL is no path."""
    return [name if "://" in name else str(session_folder(config, name)) for name in names]
