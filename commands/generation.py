"""Two-hand motion: training, generating, evaluating, and rendering it as training data."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..screen import Row, Screen
from ..settings import STAGES, Config, session_folder
from . import Configured, OnResults


@dataclass(frozen=True)
class TrainDiffusion(OnResults):
    """Train a diffusion model of two-hand motion on fitted sessions."""

    common = (
        *("hand_model", "training.preset", "training.denoiser", "training.representation", "training.window"),
        *("training.fps", "training.steps", "training.batch", "training.seed", "training.device"),
    )
    sections = ("hand_model", "training", "engine")
    short = ("training", "engine")

    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="SESSION")] = ("capture-session", "procedural")
    """Training motion: sessions, Zarr stores with a `mano` group, `procedural:N`, or `contact:N` (N clips)."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("checkpoint")
    """Checkpoint folder; an interrupted training in it is continued."""
    force: bool = False
    """Start from scratch and replace what is in the folder."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..generation.training.run import train

        for name in self.sources:
            _run_if_named(name, config, screen)
        names = _motion(self.sources, config)
        self.check_usable(names)
        figures = train(names, config.training, config.hand_model, self.out, screen, force=self.force)
        screen.say(f"next: `handpipe generate {self.out} OUT.zarr`")
        return figures


@dataclass(frozen=True)
class Generate(Configured):
    """Generate two-hand motion from a checkpoint, optionally with keyframes or wrist trajectories."""

    common = ("hand_model", "sampling.sampler", "sampling.steps", "sampling.temperature", "sampling.device")
    sections = ("hand_model", "sampling")
    short = ("sampling", "engine")

    checkpoint: Annotated[Positional[Path], arg(metavar="CHECKPOINT")]
    """Checkpoint folder, written by `handpipe train-diffusion`."""
    out: Annotated[Positional[Path], arg(metavar="OUT.zarr")]
    """Output store: a `mano` group with a leading `sample` dimension."""
    count: int = 1
    """Number of samples."""
    seed: int = 0
    """Random seed; the same seed gives the same motion."""
    frames: Annotated[int | None, arg(metavar="N")] = None
    """Frames per sample. Default: the length of the model's training windows."""
    keyframes: Annotated[str | None, arg(metavar="FILE")] = None
    """Poses to reach: an npz, a Zarr store, or frames of a session, as in SESSION:0,30,59."""
    trajectory: Annotated[Path | None, arg(metavar="FILE")] = None
    """Wrist positions to follow: a CSV file with columns frame,hand,x,y,z (metres), or an npz."""
    force: bool = False
    """Replace motion that is already in the store."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..generation.sampling.run import Request, generate

        request = Request(self.count, self.seed, self.frames, self.keyframes, self.trajectory)
        settings, model = config.sampling, config.hand_model
        figures = generate(self.checkpoint, self.out, request, settings, model, screen, force=self.force)
        screen.say(f"{self.out}: {figures['samples']} x {figures['frames']} frames")
        return figures


@dataclass(frozen=True)
class TrainEvaluator(Configured):
    """Train the autoencoder whose features `handpipe evaluate` uses to compare sets of motion."""

    common = ("hand_model", "evaluator")
    sections = ("hand_model", "evaluator")
    short = ("evaluator", "engine")

    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="SESSION...")]
    """Real motion, preferably the training set: sessions, Zarr stores with a `mano` group, or `procedural:N`."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("evaluator.safetensors")
    """Output file."""
    force: bool = False
    """Replace the file if it exists."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..generation.evaluation.evaluator_file import train_to_file

        names = _motion(self.sources, config)
        record = train_to_file(names, config.evaluator, config.hand_model, self.out, screen, force=self.force)
        screen.say(f"{self.out}: evaluator {record['digest']}")
        return record


@dataclass(frozen=True)
class Evaluate(Configured):
    """Compare generated with real motion: quality, diversity, adherence to the controls, hand contact."""

    common = ("hand_model", "evaluation", "evaluator.window", "evaluator.fps")
    sections = ("hand_model", "evaluation", "evaluator")
    short = ("evaluation", "engine")

    generated: Annotated[Positional[str], arg(metavar="GENERATED")]
    """Output of `handpipe generate`, or any session or store with a `mano` group."""
    reference: Annotated[Positional[tuple[str, ...]], arg(metavar="REFERENCE...")]
    """Real motion: sessions, Zarr stores with a `mano` group, or `procedural:N`."""
    evaluator: Annotated[Path | None, arg(metavar="FILE")] = None
    """Output of `handpipe train-evaluator`. Default: an evaluator is trained on the reference and not kept."""
    truth_start: Annotated[int | None, arg(metavar="FRAME")] = None
    """Frame of the first reference at which every sample begins, if all samples reconstruct that motion: their joint
    errors and contact are then measured against it."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..generation.evaluation.run import Question, evaluate
        from ..generation.evaluation.table import table

        generated, *reference = _motion((self.generated, *self.reference), config)
        question = Question(generated, tuple(reference), self.evaluator, self.truth_start, config.evaluator)
        report = evaluate(question, config.evaluation, config.hand_model, screen)
        shown = [Row(name, value) for name, value in table(report).items()]
        screen.table(f"{self.generated} against {', '.join(reference)}", {"": shown})
        screen.say(f"{len(report['figures'])} figures; docs/evaluation.md explains them")
        return report


@dataclass(frozen=True)
class Augment(OnResults):
    """Render motion as training data: images from several cameras with 2D and 3D labels, masks and depth."""

    common = (
        *("hand_model", "augmentation.sequences", "augmentation.frames", "augmentation.every", "augmentation.views"),
        *("augmentation.width", "augmentation.height", "augmentation.seed", "engine.workers"),
    )
    sections = ("hand_model", "augmentation", "sampling", "engine")
    short = ("augmentation", "engine")

    source: Annotated[Positional[str], arg(metavar="CHECKPOINT")]
    """Checkpoint folder, written by `handpipe train-diffusion`; or existing motion: a session or a store."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """Output folder for images and labels; created if missing."""
    force: bool = False
    """Render again even if the folder is up to date; replace other motion that was generated in it."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..core.engine import Engine
        from ..hand.stored_motion import motion_store
        from ..rendering.augment import augment, is_checkpoint

        options, name, model = config.augmentation, self.source, config.hand_model
        if _run_if_named(name, config, screen):
            name = str(session_folder(config, name))
        if is_checkpoint(name):
            from ..generation.sampling.run import Request, generate

            motion = self.out / "motion.zarr"
            request = Request(options.sequences, options.seed, options.motion_frames)
            generate(Path(name).expanduser(), motion, request, config.sampling, model, screen, force=self.force)
            name = str(motion)
        self.check_usable([name])
        with Engine(config.engine, screen) as engine:
            figures = augment(motion_store(name), self.out, options, model, engine, force=self.force)
        screen.say(f"{self.out}: {figures['images']} images, labels in labels.zarr")
        return figures


def _run_if_named(name: str, config: Config, screen: Screen) -> bool:
    """Bring a session up to date that the configuration knows by name; False for anything else."""
    if name not in config.sessions:
        return False
    from ..pipeline import Job, run

    run(Job(name, config, STAGES), screen)
    return True


def _motion(names: Sequence[str], config: Config) -> list[str]:
    """The folder or URL of each source."""
    return [name if "://" in name else str(session_folder(config, name)) for name in names]
