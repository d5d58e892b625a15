"""Sessions: clips to MANO, stage by stage, and sessions that a computer films."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import tyro
from tyro.conf import Positional, arg

from ..core.engine import Engine
from ..core.errors import ConfigError
from ..core.settings import EngineSettings
from ..exchange.cameras.camera_import import supply_cameras
from ..exchange.cameras.formats import FORMATS
from ..pipeline import STAGES, Config, Job, Stage, run, session_folder
from ..rendering.settings import SynthesisSettings
from ..rendering.synthesize import synthesize
from ..screen import Screen
from ..summary import rows, summarize
from . import AsJson, Command, ConfigFile, Debug


@dataclass(frozen=True)
class _Common(Command):
    """What every command on a session takes."""

    session: Positional[str]
    """A session folder, or the name of a session in pipeline.yaml (`capture-session` is there by default)."""
    settings: Annotated[Config, arg(name="")]
    config: ConfigFile = None
    store: str | None = None
    """Where results go: a folder or an fsspec URL; by default session.zarr in the session's folder."""
    force: bool = False
    """Compute again what this command is for, even if it is up to date."""
    prune: Annotated[int | None, arg(metavar="N")] = None
    """Only the first N frames; results go to session-prune-N.zarr."""
    json: AsJson = False
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        return cls(tyro.MISSING, config)

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.session or None

    def stages(self) -> tuple[Stage, ...]:
        """What the command is for."""
        raise NotImplementedError

    def prepare(self, screen: Screen) -> dict[str, Any]:
        """What has to happen before the stages, and its figures."""
        return {}

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        if self.prune is not None and self.prune < 1:
            raise ConfigError(f"--prune {self.prune}: expected 1 or more frames. Leave it out for the whole session.")
        stages = self.stages()
        forced = frozenset(stages) if self.force else frozenset()
        found = self.prepare(screen)
        root = session_folder(self.settings, self.session)
        if "supplied" in found and not (root / "videos").is_dir():
            screen.say(f"next: `handpipe import keypoints2d {root} PATH... --fps FPS`")
            return found
        done = run(Job(self.session, self.settings, stages, forced, self.prune, self.store), screen)
        figures = summarize(done) | found
        screen.table(f"{self.session}", rows(figures))
        return figures


@dataclass(frozen=True)
class Run(_Common):
    """Clips to MANO: every stage that is missing or stale."""

    until: Stage = "fit"
    """The last stage to run."""

    def stages(self) -> tuple[Stage, ...]:
        return STAGES[: STAGES.index(self.until) + 1]


FROM_HELP = (
    "Take the cameras from this file or folder and write them to cameras.toml. "
    f"The format is found from the content: {', '.join(FORMATS)} (docs/cameras.md)."
)
_UNITS = ", ".join(f"{format.unit_m:g} for {name}" for name, format in FORMATS.items() if format.unit_m != 1)
UNIT_HELP = f"Metres in one unit of that file; by default {_UNITS}, and 1 for the others."


@dataclass(frozen=True)
class Calibrate(_Common):
    """The cameras: from the board in the clips, from cameras.toml, or from another tool's file."""

    source: Annotated[str | None, arg(name="from", metavar="FILE", help=FROM_HELP)] = None
    unit_m: Annotated[float | None, arg(metavar="METRES", help=UNIT_HELP)] = None
    refine_from_hands: bool = False
    """Adjust where the cameras stand to the hands, and keep that if held-out frames and the board agree."""

    def stages(self) -> tuple[Stage, ...]:
        return ("calibrate",)

    def prepare(self, screen: Screen) -> dict[str, Any]:
        """A new cameras.toml, from another tool's file or from the hands, if that is asked for."""
        settings, messages = self.settings, []
        found: dict[str, Any] = {}
        root = session_folder(settings, self.session)
        if self.source is None and self.unit_m is not None:
            raise ConfigError(
                "--unit-m: expected it together with --from FILE, but there is no --from. Add --from, or leave it out."
            )
        if self.source is not None:
            capture, calibration = settings.capture, settings.calibration
            messages += supply_cameras(root, self.source, self.unit_m, capture, calibration, settings.fps)
            found["supplied"] = self.source
        if self.refine_from_hands:
            from ..calibration.refine_stage import refine_from_hands

            done = run(Job(self.session, settings, ("triangulate",), frozenset(), self.prune, self.store), screen)
            found["refinement"], lines = refine_from_hands(root, done.store, done.rig, self.force)
            messages += lines
        for line in messages:
            screen.say(line)
        return found


@dataclass(frozen=True)
class Detect(_Common):
    """2D hands in every view and frame."""

    def stages(self) -> tuple[Stage, ...]:
        return ("detect",)


@dataclass(frozen=True)
class Triangulate(_Common):
    """Which detection is which hand, and 3D keypoints from all views."""

    def stages(self) -> tuple[Stage, ...]:
        return ("triangulate",)


@dataclass(frozen=True)
class Fit(_Common):
    """MANO of both hands to the keypoints."""

    def stages(self) -> tuple[Stage, ...]:
        return ("fit",)


@dataclass(frozen=True)
class Synthesize(Command):
    """A session that a computer filmed: rendered views of two hands and of a board, with the truth."""

    out: Positional[Path]
    """The session's folder; made if it is not there."""
    settings: Annotated[SynthesisSettings, arg(name="")]
    engine: Annotated[EngineSettings, arg(name="")]
    force: bool = False
    """Render again, even if it is up to date."""
    json: AsJson = False
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        return cls(tyro.MISSING, SynthesisSettings(), config.engine)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        with Engine(self.engine, screen) as engine:
            computed = synthesize(self.out, self.settings, engine, force=self.force)
        return {"session": str(self.out), "computed": list(computed)}
