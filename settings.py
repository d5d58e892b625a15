"""Every setting: the tree that pipeline.yaml, session.yaml and the flags share, and how a session's are put together.

Each section's class stands in its stage's settings.py. This module imports no stage, so that help is quick.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from .calibration.settings import CalibrationSettings
from .capture.settings import CaptureSettings, DetectionSettings, DetectorTrainingSettings
from .core.config import Layer, build, read_yaml
from .core.settings import STRICT, Board, EngineSettings
from .fitting.settings import FittingSettings
from .generation.settings import EvaluationSettings, EvaluatorSettings, SamplingSettings, TrainingSettings
from .rendering.settings import AugmentSettings, SynthesisSettings
from .triangulation.settings import SecondLookSettings, TimeSyncSettings, TriangulationSettings

Stage = Literal["calibrate", "detect", "triangulate", "fit"]

STAGES: tuple[Stage, ...] = ("calibrate", "detect", "triangulate", "fit")


@settings(frozen=True, config=STRICT)
class NamedSession:
    """A session that commands know by its name."""

    path: str | None = None
    """The session's folder. None: a folder of that name in the current folder."""
    synthesize: SynthesisSettings | None = None
    """If given, the session is synthetic and is rendered on first use; the keys are those of `synthesis`."""


@settings(frozen=True, config=STRICT)
class Config:
    """Every setting. pipeline.yaml, session.yaml and the flags use the same keys."""

    sessions: dict[str, NamedSession] = dataclass_field(default_factory=dict)
    """Sessions by name: {NAME: {path: FOLDER}}."""
    board: Board = Board()
    hand_model: str | None = None
    """Folder with MANO_LEFT.npz and MANO_RIGHT.npz. None: the procedural hand model."""
    fps: Annotated[float | None, Field(gt=0)] = None
    """Frame rate of the clips, frames per second. None: read from the clips."""
    capture: CaptureSettings = CaptureSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    detection: DetectionSettings = DetectionSettings()
    detector_training: DetectorTrainingSettings = DetectorTrainingSettings()
    time_sync: TimeSyncSettings = TimeSyncSettings()
    second_look: SecondLookSettings = SecondLookSettings()
    triangulation: TriangulationSettings = TriangulationSettings()
    fitting: FittingSettings = FittingSettings()
    training: TrainingSettings = TrainingSettings()
    sampling: SamplingSettings = SamplingSettings()
    evaluator: EvaluatorSettings = EvaluatorSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    augmentation: AugmentSettings = AugmentSettings()
    engine: EngineSettings = EngineSettings()


DEFAULT_CONFIG = Path(__file__).with_name("pipeline.yaml")


def load_config(file: Path | None, session: str | None) -> tuple[Config, list[Layer]]:
    """Settings for a session, before any flag: code, then pipeline.yaml, then the file, then session.yaml.

    Raises:
        ConfigError: as `read_yaml` and `build` raise it.
    """
    layers = [read_yaml(DEFAULT_CONFIG)]
    if file is not None:
        layers.append(read_yaml(file))
    config = build(Config, layers)
    if session is not None:
        own = session_folder(config, session) / "session.yaml"
        if own.exists():
            layers.append(read_yaml(own))
            config = build(Config, layers)
    return config, layers


def session_folder(config: Config, session: str) -> Path:
    """The folder that SESSION means: a name from the configuration, or a path."""
    named = config.sessions.get(session)
    return Path(session) if named is None else Path(named.path or session)
