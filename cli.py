"""The commands; thin. `main` turns what is wrong into one sentence and an exit status."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import ValidationError
from tyro.conf import Positional, arg

# Before anything imports these libraries: no chatter of theirs between our lines.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("GLOG_minloglevel", "3")

from .capture.augment import augment, is_checkpoint
from .capture.augment_shot import AugmentSettings
from .capture.import2d import Reading, import_keypoints2d
from .capture.synthesize import SynthesisSettings, synthesize
from .core.config import explain
from .core.engine import Engine, EngineSettings
from .core.errors import ConfigError, HandpipeError
from .core.importing import data_folder, import_bvh, import_keypoints, import_mano
from .core.keypoint_bvh import Mirror
from .core.store import Store
from .generation.settings import SamplingSettings, TrainingSettings
from .pipeline import STAGES, Config, Job, Stage, load_config, run, session_folder
from .screen import Screen
from .summary import rows, summarize

DONE, FAILED, WRONG = 0, 1, 2


@dataclass(frozen=True)
class Common:
    """What every command on a session takes."""

    session: Positional[str]
    """A session folder, or the name of a session in pipeline.yaml (`capture-session` is there by default)."""
    settings: Annotated[Config, arg(name="")]
    config: Path | None = None
    """A YAML file with settings, over handpipe's own pipeline.yaml."""
    store: str | None = None
    """Where results go: a folder or an fsspec URL; by default session.zarr in the session's folder."""
    force: bool = False
    """Compute again what this command is for, even if it is up to date."""
    prune: Annotated[int | None, arg(metavar="N")] = None
    """Only the first N frames; results go to session-prune-N.zarr."""
    json: bool = False
    """Print the summary as JSON on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Run(Common):
    """Clips to MANO: every stage that is missing or stale."""

    until: Stage = "fit"
    """The last stage to run."""

    def stages(self) -> tuple[Stage, ...]:
        return STAGES[: STAGES.index(self.until) + 1]


@dataclass(frozen=True)
class Calibrate(Common):
    """The cameras: from the board in the clips, or from cameras.toml."""

    def stages(self) -> tuple[Stage, ...]:
        return ("calibrate",)


@dataclass(frozen=True)
class Detect(Common):
    """2D hands in every view and frame."""

    def stages(self) -> tuple[Stage, ...]:
        return ("detect",)


@dataclass(frozen=True)
class Triangulate(Common):
    """Which detection is which hand, and 3D keypoints from all views."""

    def stages(self) -> tuple[Stage, ...]:
        return ("triangulate",)


@dataclass(frozen=True)
class Fit(Common):
    """MANO of both hands to the keypoints."""

    def stages(self) -> tuple[Stage, ...]:
        return ("fit",)


@dataclass(frozen=True)
class Synthesize:
    """A session that a computer filmed: rendered views of two hands and of a board, with the truth."""

    out: Positional[Path]
    """The session's folder; made if it is not there."""
    settings: Annotated[SynthesisSettings, arg(name="")]
    engine: Annotated[EngineSettings, arg(name="")]
    force: bool = False
    """Render again, even if it is up to date."""
    json: bool = False
    """Print the summary as JSON on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class ImportMano:
    """The official hand models to npz: no chumpy, and nothing pickled is run."""

    one: Annotated[Positional[Path], arg(metavar="MANO_RIGHT.pkl")]
    """An official file."""
    other: Annotated[Positional[Path | None], arg(metavar="MANO_LEFT.pkl")] = None
    """The other hand's; the order does not matter."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Where MANO_LEFT.npz and MANO_RIGHT.npz go; by default ~/.local/share/handpipe/mano."""
    json: bool = False
    """Print the summary as JSON on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class ImportBvh:
    """Two-hand motion in BVH to a session of keypoints, for `handpipe fit`."""

    left: Annotated[Positional[Path], arg(metavar="LEFT")]
    """The left hand's motion."""
    right: Annotated[Positional[Path], arg(metavar="RIGHT")]
    """The right hand's; the same file again if it has both."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Keep only so many frames per second; by default all."""
    unit_m: Annotated[float | None, arg(metavar="METRES")] = None
    """Metres in one unit of the files; by default found from the length of the bones."""
    mirror: Mirror = "auto"
    """Negate x; `auto` does where both hands have the other's shape: left-handed coordinates, as Unity's."""
    sigma_m: float = 0.001
    """Standard error of the joints, metres."""
    json: bool = False
    """Print the summary as JSON on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class ImportKeypoints:
    """3D keypoints in an npz to a session, for `handpipe fit`."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """Arrays `points` (frame, hand, joint, 3), or `left` and `right`; NaN where missing; also sigma, fps, joints."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, where the file does not say."""
    unit_m: float = 1.0
    """Metres in one unit of the file."""
    swap_hands: bool = False
    """Left is right and right is left."""
    mirror: bool = False
    """Negate x: the coordinates are left-handed."""
    sigma_m: float = 0.001
    """Standard error of the joints where the file has none, metres."""
    json: bool = False
    """Print the summary as JSON on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class ImportKeypoints2d:
    """Another detector's 2D hands to the detections of a session: OpenPose, MMPose, COCO-WholeBody or npz."""

    session: Positional[str]
    """A session folder, with clips or with only cameras.toml, or the name of a session in pipeline.yaml."""
    paths: Annotated[Positional[tuple[Path, ...]], arg(metavar="PATH...")]
    """Files, or folders of files. A folder or the beginning of a file's name says the view."""
    reading: Annotated[Reading, arg(name="")]
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, where there are no clips."""
    config: Path | None = None
    """A YAML file with settings, over handpipe's own pipeline.yaml."""
    store: str | None = None
    """Where results go: a folder or an fsspec URL; by default session.zarr in the session's folder."""
    json: bool = False
    """Print the summary as JSON on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Import:
    """Hand models and keypoints from elsewhere."""

    what: Annotated[
        Annotated[ImportMano, tyro.conf.subcommand("mano")]
        | Annotated[ImportBvh, tyro.conf.subcommand("bvh")]
        | Annotated[ImportKeypoints, tyro.conf.subcommand("keypoints")]
        | Annotated[ImportKeypoints2d, tyro.conf.subcommand("keypoints2d")],
        arg(name=""),
    ]


@dataclass(frozen=True)
class TrainDiffusion:
    """A diffusion model of two-hand motion, from fitted sessions."""

    settings: Annotated[TrainingSettings, arg(name="")]
    sources: Positional[tuple[str, ...]] = ("capture-session", "procedural")
    """Sessions, Zarr stores with a `mano` group, `procedural` or `procedural:N`: so many clips of made-up motion."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("checkpoint")
    """The checkpoint's folder; a training that was stopped goes on there."""
    hand_model: str | None = None
    """Folder with MANO_LEFT.npz and MANO_RIGHT.npz; None is the procedural hand."""
    config: Path | None = None
    """A YAML file with settings, over handpipe's own pipeline.yaml."""
    force: bool = False
    """Start anew, whatever is in the folder."""
    json: bool = False
    """Print the summary as JSON on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Generate:
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
    hand_model: str | None = None
    """Folder with MANO_LEFT.npz and MANO_RIGHT.npz; None is the procedural hand."""
    config: Path | None = None
    """A YAML file with settings, over handpipe's own pipeline.yaml."""
    force: bool = False
    """Replace other motion that is there."""
    json: bool = False
    """Print the summary as JSON on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Augment:
    """Training data from motion: pictures of it, from several cameras, with 2D and 3D labels, masks and depth."""

    source: Annotated[Positional[str], arg(metavar="CHECKPOINT")]
    """A folder that `handpipe train-diffusion` wrote; or motion that is there: a session, or a store of motion."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The folder with pictures and labels; made if it is not there."""
    settings: Annotated[AugmentSettings, arg(name="")]
    sampling: SamplingSettings
    engine: Annotated[EngineSettings, arg(name="")]
    hand_model: str | None = None
    """Folder with MANO_LEFT.npz and MANO_RIGHT.npz; None is the procedural hand."""
    config: Path | None = None
    """A YAML file with settings, over handpipe's own pipeline.yaml."""
    force: bool = False
    """Render again, even if it is up to date; replace other motion that was generated there."""
    json: bool = False
    """Print the summary as JSON on standard output."""
    debug: bool = False
    """Show the traceback of an error."""


SESSION_COMMANDS = {"run": Run, "calibrate": Calibrate, "detect": Detect, "triangulate": Triangulate, "fit": Fit}


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit status: 0 done, 2 wrong usage or input; a failure of ours raises."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(argv)
    except HandpipeError as error:
        if "--debug" in argv:
            raise
        print(f"handpipe: {error}", file=sys.stderr)
        return WRONG
    except OSError as error:
        if "--debug" in argv or error.filename is None:
            raise
        print(
            f"handpipe: {error.filename}: expected to read or write it, but the system refused ({error.strerror}). "
            "Check that it is there, what it is, and who may use it.",
            file=sys.stderr,
        )
        return WRONG
    except KeyboardInterrupt:
        print("handpipe: interrupted; what is done is kept, the same command continues", file=sys.stderr)
        return FAILED


def _dispatch(argv: list[str]) -> int:
    config, _ = load_config(None, None)
    command = _parse(argv, config)
    if isinstance(command, Synthesize):
        return _synthesize(command)
    if isinstance(command, Import):
        return _import(command.what)
    if isinstance(command, TrainDiffusion | Generate | Augment):
        if command.config is not None:
            config, _ = load_config(command.config, None)
            command = _parse(argv, config)
        if isinstance(command, Augment):
            return _augment(command, config)
        return _train(command, config) if isinstance(command, TrainDiffusion) else _generate(command)
    if command.config is not None or command.session:
        # The flags stand over session.yaml: parse again, now with its values as the defaults.
        config, _ = load_config(command.config, command.session)
        command = _parse(argv, config)
    assert isinstance(command, Common)
    return _run(command)


def _parse(argv: list[str], config: Config) -> Any:
    """The command with its options; leaves with status 2 and the usage when they are wrong."""
    commands: Any = Annotated[
        Synthesize,
        tyro.conf.subcommand("synthesize", default=Synthesize(tyro.MISSING, SynthesisSettings(), config.engine)),
    ]
    commands |= Annotated[Import, tyro.conf.subcommand("import")]
    commands |= Annotated[
        TrainDiffusion,
        tyro.conf.subcommand("train-diffusion", default=TrainDiffusion(config.training, hand_model=config.hand_model)),
    ]
    commands |= Annotated[
        Generate,
        tyro.conf.subcommand(
            "generate",
            default=Generate(tyro.MISSING, tyro.MISSING, config.sampling, hand_model=config.hand_model),
        ),
    ]
    commands |= Annotated[
        Augment,
        tyro.conf.subcommand(
            "augment",
            default=Augment(
                tyro.MISSING,
                tyro.MISSING,
                config.augmentation,
                config.sampling,
                config.engine,
                hand_model=config.hand_model,
            ),
        ),
    ]
    for name, cls in SESSION_COMMANDS.items():
        commands |= Annotated[cls, tyro.conf.subcommand(name, default=cls(tyro.MISSING, config))]
    try:
        return tyro.cli(commands, args=argv, prog="handpipe", description="Clips of two hands in, MANO in Zarr out.")
    except ValidationError as error:
        raise ConfigError(explain(Config, "command line", error)) from error


def _run(command: Any) -> int:
    if command.prune is not None and command.prune < 1:
        raise ConfigError(f"--prune {command.prune}: expected 1 or more frames. Leave it out for the whole session.")
    stages = command.stages()
    forced = frozenset(stages) if command.force else frozenset()
    screen = Screen()
    done = run(Job(command.session, command.settings, stages, forced, command.prune, command.store), screen)
    figures = summarize(done)
    screen.table(f"{command.session}", rows(figures))
    if command.json:
        print(json.dumps(figures, indent=1))
    return DONE


def _synthesize(command: Synthesize) -> int:
    screen = Screen()
    with Engine(command.engine, screen) as engine:
        computed = synthesize(command.out, command.settings, engine, force=command.force)
    if command.json:
        print(json.dumps({"session": str(command.out), "computed": list(computed)}, indent=1))
    return DONE


def _train(command: TrainDiffusion, config: Config) -> int:
    # PyTorch, diffusers and their kin take seconds to load: only who trains waits for them.
    from .generation.training import train

    screen = Screen()
    for name in command.sources:
        if name in config.sessions:
            run(Job(name, config, STAGES), screen)
    names = [str(session_folder(config, name)) for name in command.sources]
    figures = train(names, command.settings, command.hand_model, command.out, screen, force=command.force)
    return _said(command, figures, screen, f"next: `handpipe generate {command.out} OUT.zarr`")


def _generate(command: Generate) -> int:
    from .generation.generate import Request, generate

    screen = Screen()
    request = Request(command.count, command.seed, command.frames, command.keyframes, command.trajectory)
    figures = generate(
        command.checkpoint,
        command.out,
        request,
        command.settings,
        command.hand_model,
        screen,
        force=command.force,
    )
    return _said(command, figures, screen, f"{command.out}: {figures['samples']} x {figures['frames']} frames")


def _augment(command: Augment, config: Config) -> int:
    from .generation.stored_motion import motion_store

    screen = Screen()
    options, name = command.settings, command.source
    if name in config.sessions:
        run(Job(name, config, STAGES), screen)
        name = str(session_folder(config, name))
    if is_checkpoint(name):
        from .generation.generate import Request, generate

        motion = command.out / "motion.zarr"
        request = Request(options.sequences, options.seed, options.motion_frames)
        sampling, model = command.sampling, command.hand_model
        generate(Path(name).expanduser(), motion, request, sampling, model, screen, force=command.force)
        name = str(motion)
    with Engine(command.engine, screen) as engine:
        store = motion_store(name)
        figures = augment(store, command.out, options, command.hand_model, engine, force=command.force)
    return _said(command, figures, screen, f"{command.out}: {figures['images']} images, labels in labels.zarr")


def _said(command: TrainDiffusion | Generate | Augment, figures: dict[str, Any], screen: Screen, line: str) -> int:
    screen.say(line)
    if command.json:
        print(json.dumps(figures, indent=1))
    return DONE


def _import(what: ImportMano | ImportBvh | ImportKeypoints | ImportKeypoints2d) -> int:
    screen = Screen()
    match what:
        case ImportMano(one, other):
            files = [path for path in (one, other) if path is not None]
            figures, said = import_mano(files, what.out or data_folder() / "mano")
        case ImportBvh(left, right, out):
            figures, said = import_bvh((left, right), out, what.fps, what.unit_m, what.mirror, what.sigma_m)
        case ImportKeypoints(file, out):
            figures, said = import_keypoints(
                file, out, what.fps, what.unit_m, what.swap_hands, what.mirror, what.sigma_m
            )
        case ImportKeypoints2d(session, paths, reading):
            config, _ = load_config(what.config, session)
            root = session_folder(config, session)
            store = Store((what.store or str(root / "session.zarr")).rstrip("/"))
            fps = what.fps or config.fps
            figures, said = import_keypoints2d(root, paths, reading, config.capture, fps, store)
    for line in said:
        screen.say(line)
    if what.json:
        print(json.dumps(figures, indent=1))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
