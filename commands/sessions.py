"""Sessions: clips to MANO, stage by stage, and synthetic sessions."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ..core.config import COMMAND_LINE, Layer, build
from ..core.errors import ConfigError
from ..core.flags import UNIT
from ..exchange.cameras.formats import FORMATS
from ..screen import Screen
from ..settings import STAGES, Config, Stage, load_config, session_folder
from . import Configured, OnResults

if TYPE_CHECKING:
    from ..core.cluster.cluster import Cluster
    from ..core.engine import Progress

Figures = dict[str, Any]

_ENGINE = ("engine.workers", "engine.scheduler", "engine.cluster")


@dataclass(frozen=True, kw_only=True)
class _Stages(Configured):
    """What every command takes that runs stages."""

    sections = (
        *("board", "hand_model", "fps", "capture", "calibration", "detection", "time_sync", "second_look"),
        *("triangulation", "fitting", "engine"),
    )
    short = ("engine",)

    store: str | None = None
    """Store for the results: a folder or an fsspec URL. Default: session.zarr in the session folder."""
    force: bool = False
    """Recompute this command's results even if they are up to date."""
    prune: Annotated[int | None, arg(metavar="N")] = None
    """Process only the first N frames; results go to session-prune-N.zarr."""

    def stages(self) -> tuple[Stage, ...]:
        """What the command is for."""
        raise NotImplementedError

    def compute(self, session: str, config: Config, progress: Progress, cluster: Cluster | None = None) -> Figures:
        """Run the stages on one session; returns its figures."""
        from ..pipeline import Job, run
        from ..summary import summarize

        if self.prune is not None and self.prune < 1:
            raise ConfigError(f"--prune {self.prune}: expected 1 or more frames. Omit it to process the whole session.")
        stages = self.stages()
        forced = frozenset(stages) if self.force else frozenset()
        return summarize(run(Job(session, config, stages, forced, self.prune, self.store), progress, cluster))

    def show(self, session: str, figures: Figures, screen: Screen) -> None:
        """The table of one session, and what is wrong with it."""
        from ..summary import rows

        if not figures["computed"]:
            screen.say(f"{session}: up to date")
        screen.table(session, rows(figures))
        for check in figures.get("quality", {}).get("checks", []):
            word = "warning" if check["severity"] == "warning" else "not usable"
            screen.say(f"{word}: {check['reason']} {check['remedy']}")


@dataclass(frozen=True, kw_only=True)
class _OnSession(_Stages):
    """What the commands of single stages take."""

    session: Annotated[Positional[str], arg(metavar="SESSION")]
    """A session folder, or the name of a session in pipeline.yaml (`capture-session` is built in)."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.session or None

    def prepare(self, config: Config, screen: Screen) -> Figures:
        """What has to happen before the stages, and its figures."""
        return {}

    def execute(self, config: Config, screen: Screen) -> Figures:
        found = self.prepare(config, screen)
        root = session_folder(config, self.session)
        if "supplied" in found and not (root / "videos").is_dir():
            screen.say(f"next: `handpipe import keypoints2d {root} PATH... --fps FPS`")
            return found
        figures = self.compute(self.session, config, screen) | found
        self.show(self.session, figures, screen)
        return figures


@dataclass(frozen=True, kw_only=True)
class Run(_Stages):
    """Run every stage that is missing or out of date: calibrate, detect, triangulate, fit.

    Several sessions are one list of jobs on one cluster; a session that fails does not stop the others.
    """

    common = ("fps", "hand_model", *_ENGINE)

    sessions: Annotated[Positional[tuple[str, ...]], arg(metavar="SESSION...")]
    """Session folders, or names of sessions in pipeline.yaml (`capture-session` is built in)."""
    until: Stage = "fit"
    """Last stage to run."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.sessions[0] or None if len(self.sessions) == 1 else None

    def stages(self) -> tuple[Stage, ...]:
        return STAGES[: STAGES.index(self.until) + 1]

    def execute_layers(self, config: Config, layers: Sequence[Layer], screen: Screen) -> Figures:
        from .many_sessions import Jobs, distinct

        if len(self.sessions) == 1:
            return self.execute(config, screen)
        names = distinct(config, self.sessions)
        if not names:
            raise ConfigError("expected a session to run, but none is named. Name a session folder.")
        if self.store is not None:
            raise ConfigError(
                f"--store {self.store}: expected one session, but {len(names)} are named. Leave it out: each session "
                "has its own store in its folder."
            )
        settings = partial(settings_of, self.config, layers)
        jobs = Jobs(names, settings, self.compute, screen)
        return jobs.run(config.engine)

    def execute(self, config: Config, screen: Screen) -> Figures:
        (session,) = self.sessions
        figures = self.compute(session, config, screen)
        self.show(session, figures, screen)
        where = "" if self.store is None else f" --store {self.store}"
        pruned = "" if self.prune is None else f" --prune {self.prune}"
        screen.say(f"next: `handpipe report {session}{where}{pruned}` writes a page to look at the result")
        return figures


def settings_of(file: Path | None, layers: Sequence[Layer], session: str) -> Config:
    """The settings for one session of many: with those of its own folder, below the flags."""
    _, own = load_config(file, session)
    return build(Config, [*own, *(layer for layer in layers if layer[0] == COMMAND_LINE)])


FROM_HELP = (
    "Read the cameras from this file or folder and write them to cameras.toml. "
    f"The format is recognised by the content: {', '.join(FORMATS)} (docs/cameras.md)."
)
_UNITS = ", ".join(f"{format.unit_m:g} for {name}" for name, format in FORMATS.items() if format.unit_m != 1)
UNIT_HELP = f"Unit of that file: `cm`, or its length in metres. Default: {_UNITS}; 1 for the others."


@dataclass(frozen=True)
class Calibrate(_OnSession):
    """Calibrate the cameras from board clips, or read them from cameras.toml or another tool's file."""

    common = ("board.type", "board.columns", "board.rows", "board.square_m", "calibration.lens", "engine.workers")

    source: Annotated[str | None, arg(name="from", metavar="FILE", help=FROM_HELP)] = None
    unit_m: Annotated[float | None, UNIT, arg(metavar="UNIT", help=UNIT_HELP)] = None
    refine_from_hands: bool = False
    """Refine the camera poses from the hands. The result is kept only if held-out frames and the board confirm it."""

    def stages(self) -> tuple[Stage, ...]:
        return ("calibrate",)

    def prepare(self, config: Config, screen: Screen) -> dict[str, Any]:
        """A new cameras.toml, from another tool's file or from the hands, if that is asked for."""
        from ..exchange.cameras.camera_import import supply_cameras
        from ..pipeline import Job, run

        messages: list[str] = []
        found: dict[str, Any] = {}
        root = session_folder(config, self.session)
        if self.source is None and self.unit_m is not None:
            raise ConfigError(
                "--unit-m: expected it together with --from FILE, but there is no --from. Add --from, or leave it out."
            )
        if self.source is not None:
            messages += supply_cameras(root, self.source, self.unit_m, config.capture, config.calibration, config.fps)
            found["supplied"] = self.source
        if self.refine_from_hands:
            from ..calibration.refinement.stage import refine_from_hands

            done = run(Job(self.session, config, ("triangulate",), frozenset(), self.prune, self.store), screen)
            found["refinement"], lines = refine_from_hands(root, done.store, done.rig, self.force)
            messages += lines
        for line in messages:
            screen.say(line)
        return found


@dataclass(frozen=True)
class Detect(_OnSession):
    """Detect 2D hands in every view and frame."""

    common = ("fps", "detection.detector", "detection.model", "detection.min_detection", *_ENGINE)

    def stages(self) -> tuple[Stage, ...]:
        return ("detect",)


@dataclass(frozen=True)
class Triangulate(_OnSession):
    """Assign the detections to the left and right hand and triangulate 3D keypoints."""

    common = ("fps", "time_sync.estimate", "second_look.enabled", "triangulation.max_sigma_m", *_ENGINE)

    def stages(self) -> tuple[Stage, ...]:
        return ("triangulate",)


@dataclass(frozen=True)
class Fit(_OnSession):
    """Fit MANO to the 3D keypoints and 2D detections of both hands."""

    common = ("hand_model", "fitting.reprojection", "fitting.penetration_weight", *_ENGINE)

    def stages(self) -> tuple[Stage, ...]:
        return ("fit",)


@dataclass(frozen=True)
class TrainDetector(OnResults):
    """Train a 2D detector on fitted sessions of a rig: the hands that the views agree on are its labels."""

    common = ("detector_training",)
    sections = ("hand_model", "fps", "capture", "detector_training")
    short = ("detector_training", "engine")

    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="SESSION...")]
    """Fitted sessions: folders, or names of sessions in pipeline.yaml. None: learn from rendered hands only."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("my-rig.safetensors")
    """Output file; an interrupted training of it is continued."""
    start: Annotated[Path | None, arg(metavar="FILE")] = None
    """A detector to start from, such as the one of an earlier session of the rig."""
    force: bool = False
    """Replace the file if it exists, and start from scratch."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..capture.learning.run import Renderer, train_detector
        from ..hand.loading import hand_models
        from ..rendering.hand_crops import render_crops
        from ..triangulation.assignment import agreed_joints_m

        roots = [session_folder(config, name) for name in self.sources]
        self.check_usable([str(root) for root in roots])
        models = [model.model_id for model in hand_models(config.hand_model)]
        record = train_detector(
            roots,
            config.detector_training,
            config.capture,
            config.fps,
            self.out,
            screen,
            agree=agreed_joints_m,
            renderer=Renderer(models, partial(render_crops, config.hand_model)),
            start=self.start,
            force=self.force,
        )
        if self.sources:
            errors = record["judged"]["all"]
            screen.say(
                f"{self.out}: error in held-out images {100 * errors['after']:.2f} % of the hand's size, "
                f"{100 * errors['before']:.2f} % before"
            )
        screen.say(f"next: `handpipe run SESSION --detection.detector {self.out}`")
        return record


@dataclass(frozen=True)
class Synthesize(Configured):
    """Render a synthetic session: clips of two hands and of a calibration board, with ground truth."""

    common = ("synthesis", "engine.workers")
    sections = ("synthesis", "engine")
    short = ("synthesis", "engine")

    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """Session folder; created if missing."""
    force: bool = False
    """Render again even if the session is up to date."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..core.engine import Engine
        from ..rendering.synthesize import synthesize

        with Engine(config.engine, screen) as engine:
            computed = synthesize(self.out, config.synthesis, engine, force=self.force)
        return {"session": str(self.out), "computed": list(computed)}
