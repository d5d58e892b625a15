"""`handpipe train-evaluator` and the file that it writes: the autoencoder and the record of its training."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ... import __version__
from ...core.engine import Progress
from ...core.errors import GenerationError
from ...core.files import check_file
from ...core.storage.atomic import write_whole
from ...hand.keypoints import RATES
from ...hand.loading import hand_models
from ..model.kinematics import Kinematics
from ..settings import EvaluatorSettings
from ..training.motion_sources import MotionSource
from ..training.windows import SAME_RATE, WindowBatch, Windows, open_sources
from .evaluator import Evaluator, train_evaluator

KEY = "handpipe_evaluator"
"""Key of the JSON record in the file's header."""

_NO_EVALUATOR = (
    *(SafetensorError, ValueError, KeyError, TypeError, RuntimeError),
    *(AttributeError, OverflowError, RecursionError),
)
"""What safetensors, json and PyTorch raise for a file that is not an evaluator."""

MAX_WINDOW = 512
"""Frames; the limit of `handpipe train-evaluator`."""

MAX_BYTES = 64 << 20
"""Of the file; that of the longest window has a tenth of it."""

TRAINING_STRIDE = 3
"""Frames from one window of the training to the next."""


@dataclass(frozen=True, eq=False)
class KnownEvaluator:
    """An evaluator and its record for reports."""

    evaluator: Evaluator
    record: dict[str, Any]
    """JSON: digest, settings, sources, windows, hand_model, handpipe_version."""

    @property
    def window(self) -> int:
        return self.record["settings"]["window"]

    @property
    def fps(self) -> float:
        return float(self.record["settings"]["fps"])


def train_to_file(
    names: Sequence[str],
    settings: EvaluatorSettings,
    hand_model: str | None,
    out: Path,
    progress: Progress,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Train an evaluator on sessions and write it to a file. The same sessions and settings give the same evaluator on
    the same machine.

    Args:
        names: sources of motion, see `windows.open_sources`.
        settings: of the training.
        hand_model: folder of the model in use; None for the procedural hand.
        out: the file.
        progress: where to show it.
        force: replace a file that is there.

    Returns:
        The record that the file holds.

    Raises:
        GenerationError: no motion to train on, motion at a lower frame rate, or the file exists.
    """
    if out.exists() and not force:
        raise GenerationError(f"{out}: expected a new file, but it exists. Use --force to replace it.")
    if out.is_dir():
        raise GenerationError(f"{out}: expected a file name for the evaluator, but found a folder. Give a file name.")
    known = trained(names, settings, hand_model, progress)
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in known.evaluator.state.items()}
    write_whole(out, safetensors.torch.save(tensors, {KEY: json.dumps(known.record)}))
    return known.record


def trained(
    names: Sequence[str], settings: EvaluatorSettings, hand_model: str | None, progress: Progress
) -> KnownEvaluator:
    """An evaluator of sessions; arguments and errors as for `train_to_file`."""
    shorten = "Use --evaluator.window {} or less"
    sources = open_sources(names, settings.fps, settings.window, hand_model, shorten=shorten)
    check_rates(sources, settings.fps)
    windows = Windows(sources, settings.window, settings.fps)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kinematics = Kinematics.of_models(hand_models(hand_model)).to(device)
    joints_m = torch.cat([joints_of(kinematics, read) for read in windows.every(TRAINING_STRIDE)])
    progress.start("evaluator", settings.steps, 0, "steps")
    evaluator = train_evaluator(
        joints_m, settings.seed, settings.steps, settings.batch, on_step=lambda: progress.advance(1)
    )
    progress.stop()
    record = {
        "digest": evaluator.digest,
        "settings": asdict(settings),
        "sources": list(names),
        "windows": len(joints_m),
        "hand_model": list(sources[0].hand_model),
        "handpipe_version": __version__,
    }
    return KnownEvaluator(evaluator, record)


def load_evaluator(path: Path, hand_model: str | None) -> KnownEvaluator:
    """The evaluator in a file of `train_to_file`; nothing in it is executed.

    Raises:
        GenerationError: not there, not such a file, damaged, or for other hand models.
    """
    todo = "Give a file that `handpipe train-evaluator` wrote."
    if not path.is_file():
        raise GenerationError(f"{path}: expected an evaluator, but there is no such file. {todo}")
    check_file(path, "an evaluator", MAX_BYTES, GenerationError)
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(KEY)
            if header is None:
                raise GenerationError(f"{path}: expected an evaluator, but the file holds other tensors. {todo}")
            record = json.loads(header)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        frames = int(tensors["frames"])
        if not 1 <= frames <= MAX_WINDOW:  # Before weights for so many are made.
            raise ValueError(f"windows of {frames} frames")
        known = KnownEvaluator(Evaluator.of_state(tensors), record)
        complete = known.evaluator.model.frames == known.window and RATES[0] <= known.fps <= RATES[1]
        named = isinstance(record["sources"], list) and all(isinstance(each, str) for each in record["sources"])
        finite = all(bool(tensor.isfinite().all()) for tensor in tensors.values())
        if not named or not finite or type(record["windows"]) is not int:
            raise ValueError("no sources in its record" if finite else "values that are NaN or infinite")
        digest, trained_with = record["digest"], record["hand_model"]
    except _NO_EVALUATOR as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise GenerationError(f"{path}: expected an evaluator, but it cannot be read ({reason}). {todo}") from error
    if not complete or digest != known.evaluator.digest:
        raise GenerationError(
            f"{path}: expected the evaluator {digest}, but its numbers are of "
            f"{known.evaluator.digest}: it is damaged. Copy it again, or train it again."
        )
    wanted = [model.model_id for model in hand_models(hand_model)]
    if trained_with != wanted:
        raise GenerationError(
            f"{path}: expected an evaluator trained with the hand model in use ({', '.join(wanted)}), but it was "
            f"trained with {trained_with}. Select that model with --hand-model, or train another."
        )
    return known


def check_rates(sources: Sequence[MotionSource], fps: float) -> None:
    """Raise GenerationError for motion at a lower frame rate: interpolated frames would be too smooth."""
    for source in sources:
        if source.fps < fps * (1 - SAME_RATE):
            raise GenerationError(
                f"{source.name}: expected motion at {fps:g} frames per second or more, but it has {source.fps:g}. "
                f"Train an evaluator for it with `handpipe train-evaluator --fps {source.fps:g}`."
            )


def joints_of(kinematics: Kinematics, read: WindowBatch) -> Tensor:
    """(window, frame, hand, 21, 3) metres."""
    parts = (read.betas, read.global_orient, read.hand_pose, read.transl)
    return kinematics.joints(kinematics.from_mano(*(torch.tensor(part, device=kinematics.device) for part in parts)))
