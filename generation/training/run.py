"""`handpipe train-diffusion`: train a model on motion sources, resumable, and write a checkpoint."""

# Ring 2: reads and writes.

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.tensorboard.writer import SummaryWriter

from ...core.engine import Progress, torch_device
from ...core.errors import GenerationError
from ...core.storage.lock import claimed
from ...hand.loading import hand_models
from .. import checkpoint as checkpoints
from ..checkpoint import Checkpoint, Training
from ..model.canonical_frame import home_rotation
from ..model.denoisers import PRESETS, make_denoiser
from ..model.diffusion import Schedule
from ..model.expectation import Expectation
from ..model.kinematics import Kinematics
from ..model.motion import Motion
from ..model.motion_model import MotionModel
from ..model.normalization import Statistics, statistics
from ..model.precision import in_bfloat16
from ..model.representations import REPRESENTATIONS, Representation
from ..settings import TrainingSettings
from .identity import to_resume, training_config
from .motion_sources import COLUMNS, MotionSource
from .step import (
    Batch,
    TrainingState,
    canonical_windows,
    ema_decay,
    learning_rate,
    loss_terms,
    mean_of,
    set_learning_rate,
    step_seed,
    train_step,
)
from .windows import WindowBatch, Windows, open_sources, split

SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "small": {"steps": 1200, "batch": 32, "learning_rate": 1e-3},
    "base": {"steps": 100_000, "batch": 256, "learning_rate": 2e-4},
}
"""Defaults of the presets, for settings that are not given."""

STATISTICS_WINDOWS = 2048
"""Windows that the statistics are taken from, at most."""

HOME_FRAMES = 256
"""Frames of a source that its home rotation is taken from, at most."""

VALIDATION_BATCHES = 4

DIVERGED = 100.0
"""The x0 term of a training that diverges: motion is off by ten standard deviations; the untrained model is at one."""


def train(
    names: Sequence[str],
    settings: TrainingSettings,
    hand_model: str | None,
    folder: Path,
    progress: Progress,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Train a model, or resume a training, and write the checkpoint to a folder.

    Args:
        names: sources of motion, see `windows.open_sources`.
        settings: of the training.
        hand_model: folder of the model in use; None for the procedural hand.
        folder: of the checkpoint; `logs` in it is for TensorBoard.
        progress: where to show it.
        force: start over, whatever is in the folder.

    Returns:
        Figures of the run.

    Raises:
        GenerationError: no motion to train on, or the folder contains another training.
        StoreError: another handpipe is training into it.
    """
    settings = replace(
        settings, **{k: v for k, v in SCHEDULES[settings.preset].items() if getattr(settings, k) is None}
    )
    accelerator = Accelerator(cpu=torch_device(settings.device).type == "cpu")
    sources = open_sources(names, settings.fps, settings.window, hand_model)
    config = training_config(names, settings, sources)
    # Of several processes of one training the first one writes.
    with claimed(folder) if accelerator.is_main_process else nullcontext():
        training = None if force else to_resume(folder, config)
        if training is not None and training.step >= _known(settings.steps):
            progress.say(f"{folder}: up to date: {training.step} steps")
            return {"checkpoint": str(folder), "steps": training.step, "computed": False, **training.values}
        run = _Run.prepare(sources, settings, hand_model, accelerator)
        if training is not None:
            run.state.restore(training.tensors)
            progress.say(f"{folder}: resumes after step {training.step}")
        figures = run.train(training.step if training else 0, folder, config, progress)
    return {"checkpoint": str(folder), "steps": settings.steps, "computed": True, **figures}


def _known(value: int | float | None) -> Any:
    assert value is not None, "filled in from the preset"
    return value


def build_model(
    settings: TrainingSettings, stats: Statistics, kinematics: Kinematics, device: torch.device
) -> tuple[MotionModel, nn.ModuleDict]:
    """An untrained model and its networks, by the settings' seed."""
    representation = REPRESENTATIONS[settings.representation]
    torch.manual_seed(settings.seed)
    size = PRESETS[settings.preset][settings.denoiser]
    sizes = representation.channels, len(representation.groups)
    denoiser = make_denoiser(settings.denoiser, size, *sizes, settings.prior)
    networks: dict[str, nn.Module] = {"denoiser": denoiser}
    if denoiser.uses_prior and denoiser.moves_mean:
        networks["expectation"] = Expectation(sizes[1])
    found = nn.ModuleDict(networks).to(device)
    bfloat16 = in_bfloat16(settings.precision, device)
    model = MotionModel(
        denoiser, denoiser.uses_prior, representation, stats.to(device), kinematics, Schedule(), bfloat16
    )
    return model.with_networks(dict(found)), found


@dataclass(frozen=True)
class _Data:
    """Windows as the network takes them."""

    windows: Windows
    R_home: Tensor
    """(source, 3, 3)"""
    kinematics: Kinematics
    device: torch.device
    mirror: bool
    perturb: bool

    @classmethod
    def of(
        cls, sources: Sequence[MotionSource], settings: TrainingSettings, kinematics: Kinematics, device: Any
    ) -> _Data:
        R_home = torch.stack([_home(source, kinematics) for source in sources])
        windows = Windows(sources, settings.window, settings.fps)
        return cls(windows, R_home.to(device), kinematics, device, settings.mirror, settings.perturb)

    def batch(self, read: WindowBatch) -> Batch:
        motion = _motion(self.kinematics, read.betas, read.global_orient, read.hand_pose, read.transl)
        mirror = torch.from_numpy(read.mirror & self.mirror)
        return Batch(motion, self.R_home[torch.from_numpy(read.source)], mirror.to(self.device), self.perturb)

    def batches(self, seed: int, steps: Sequence[int], size: int) -> Generator[Batch, None, None]:
        """The batches of these steps; the next one is read while the last one is used."""
        with ThreadPoolExecutor(1) as reader:
            coming = [reader.submit(self.windows.batch, seed, step, size) for step in steps[:1]]
            for step in [*steps[1:], None]:
                read = coming.pop().result()
                if step is not None:
                    coming.append(reader.submit(self.windows.batch, seed, step, size))
                yield self.batch(read)


def _motion(kinematics: Kinematics, *numbers: Any) -> Motion:
    device = kinematics.device
    return kinematics.from_mano(*(torch.tensor(part, device=device) for part in numbers))


def _home(source: MotionSource, kinematics: Kinematics) -> Tensor:
    frames = source.valid.nonzero()[0]
    if not len(frames):
        return torch.eye(3)
    numbers = source.take(frames[:: max(1, len(frames) // HOME_FRAMES)])
    parts = (np.ascontiguousarray(numbers[..., columns]) for columns in COLUMNS.values())
    return home_rotation(_motion(kinematics, source.betas, *parts)).cpu()


def _statistics(data: _Data, representation: Representation) -> Statistics:
    """Statistics of windows spread over all sources, in the canonical frame of motion without controls."""
    stride = max(1, len(data.windows) // STATISTICS_WINDOWS)

    def packed() -> Iterator[Tensor]:
        for read in data.windows.every(stride):
            motion = canonical_windows(data.batch(read))
            yield representation.pack(motion, data.kinematics.joints(motion)).cpu()

    return statistics(packed(), representation.groups, lags=2 * data.windows.frames)


@dataclass(frozen=True)
class _Run:
    """A training under way."""

    settings: TrainingSettings
    accelerator: Accelerator
    data: _Data
    held_out: _Data | None
    model: MotionModel
    """With the networks as they are trained."""
    networks: nn.ModuleDict
    """The networks themselves, as they are saved."""
    state: TrainingState

    @classmethod
    def prepare(
        cls,
        sources: Sequence[MotionSource],
        settings: TrainingSettings,
        hand_model: str | None,
        accelerator: Accelerator,
    ) -> _Run:
        device = accelerator.device
        learnt, judged = split(sources, settings.held_out)
        kinematics = Kinematics.of_models(hand_models(hand_model)).to(device)
        data = _Data.of(learnt, settings, kinematics, device)
        stats = _statistics(data, REPRESENTATIONS[settings.representation])
        model, networks = build_model(settings, stats, kinematics, device)
        state = TrainingState.start(networks, _known(settings.learning_rate))
        compiled = torch.compile if device.type == "cuda" else lambda network: network
        trained: Any = {name: accelerator.prepare(compiled(network)) for name, network in networks.items()}
        as_recorded = replace(settings, perturb=False)
        held_out = _Data.of(judged, as_recorded, kinematics, device) if judged else None
        return cls(settings, accelerator, data, held_out, model.with_networks(trained), networks, state)

    def train(self, done: int, folder: Path, config: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """The steps that are left. Returns the figures of the last ones."""
        settings, accelerator = self.settings, self.accelerator
        steps, batch = _known(settings.steps), _known(settings.batch)
        weights = asdict(settings.loss)
        world, rank = accelerator.num_processes, accelerator.process_index
        draws = range(done * world + rank, steps * world, world)
        batches = self.data.batches(settings.seed, draws, batch)
        recent: list[dict[str, Tensor]] = []
        figures: dict[str, Any] = {}
        progress.start("train", steps, done, "steps")
        with closing(SummaryWriter(folder / "logs", purge_step=done)) as curves, closing(batches):
            for step, draw, windows in zip(range(done, steps), draws, batches, strict=True):
                set_learning_rate(self.state.optimizer, learning_rate(step, steps, _known(settings.learning_rate)))
                seed = step_seed(settings.seed, draw)
                terms = train_step(self.model, self.state, windows, weights, seed, accelerator.backward)
                self.state.average(ema_decay(step, settings.ema_decay))
                recent.append({name: term.detach() for name, term in terms.items()})
                progress.advance(1)
                last = step + 1 == steps
                saves = accelerator.is_main_process and (last or (step + 1) % settings.save_every == 0)
                if saves or (accelerator.is_main_process and (step + 1) % settings.log_every == 0):
                    figures = self._log(curves, step + 1, recent)
                    recent = []
                if saves:
                    figures |= self._validate(curves, step + 1, weights)
                    self._save(folder, config, step + 1, figures)
        progress.stop()
        return figures

    def _log(self, curves: SummaryWriter, step: int, recent: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
        means = mean_of(recent)
        broken = [name for name, value in means.items() if not isfinite(value)]
        found = f"`{broken[0]}` is not finite" if broken else f"`x0` is {means.get('x0', 0.0):.3g}"
        if broken or means.get("x0", 0.0) > DIVERGED:
            raise GenerationError(
                f"training: expected losses that are finite and `x0` of at most {DIVERGED:g}, but {found} at step "
                f"{step}: the training diverges. Reduce --learning-rate; the last checkpoint is kept."
            )
        for name, value in means.items():
            curves.add_scalar(f"train/{name}", value, step)
        return {"loss": means}

    def _validate(self, curves: SummaryWriter, step: int, weights: Mapping[str, float]) -> dict[str, Any]:
        """The loss of the averaged weights on what is held out, always the same windows and noise."""
        if self.held_out is None:
            return {}
        networks = copy.deepcopy(self.networks)
        networks.load_state_dict(self.state.ema)
        model = self.model.with_networks(dict(networks))
        batches = self.held_out.batches(0, range(VALIDATION_BATCHES), _known(self.settings.batch))
        with torch.no_grad():
            terms = [loss_terms(model, batch, weights, step_seed(1, i)) for i, batch in enumerate(batches)]
        means = mean_of(terms)
        for name, value in means.items():
            curves.add_scalar(f"held out/{name}", value, step)
        return {"held_out_loss": means}

    def _save(self, folder: Path, config: Mapping[str, Any], step: int, figures: Mapping[str, Any]) -> None:
        stats = self.model.statistics
        tensors = {
            "mean": stats.mean,
            "std": stats.std,
            "correlation": stats.correlation,
            "levels": stats.liveliness.levels,
            "transition": stats.liveliness.transition,
            "R_home": roma.special_procrustes(self.data.R_home.mean(dim=0)),
            "betas": torch.from_numpy(np.stack([source.betas for source in self.data.windows.sources])),
        }
        saved = Checkpoint(dict(config), self.state.ema, tensors)
        checkpoints.save(folder, saved, Training(step, self.state.tensors(), dict(figures)))
