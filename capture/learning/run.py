"""`handpipe train-detector`: learn a detector from fitted sessions of a rig, judge it, and write its file."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...core.engine import Progress, torch_device
from ...core.errors import ModelError, SessionError
from ...core.hands import JOINTS
from ...core.storage.lock import claimed
from ..settings import CaptureSettings, DetectorTrainingSettings
from .crops import Crop, batch
from .detector_file import (
    ADVICE,
    KnownDetector,
    check_weights,
    load_detector,
    read_tensors,
    save_detector,
    write_tensors,
)
from .judge import Judged, bias_and_spread
from .sources import Source, judge, open_source, training_crops
from .training import Trainer, train

STATE_KEY = "handpipe_detector_training"
"""Key of the JSON record of an unfinished training."""
CODE = 1
"""Raised when the same sessions and settings would give another detector."""
NOT_RESULTS = ("device", "save_every")
"""Settings that may change between two runs of the same training."""
BETTER = 0.98
"""Largest error of the new detector relative to the present one's."""


@dataclass(frozen=True)
class Renderer:
    """What makes rendered crops. It is handed in, because rendering builds on this package."""

    hand_model: Sequence[str]
    """Identities of the left and right model, whose joints are the labels."""
    render: Callable[[int, int], list[Crop]]
    """Crops of a seed and a number."""


def train_detector(
    roots: Sequence[Path],
    options: DetectorTrainingSettings,
    capture: CaptureSettings,
    fps: float | None,
    out: Path,
    progress: Progress,
    *,
    renderer: Renderer | None = None,
    start: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Train a detector on sessions and write it to a file, if it is better than the one they were computed with.

    Without a session, it learns from rendered crops alone, and there is nothing to compare it with.

    An interrupted training goes on from the state beside the file. The same sessions and settings give the same
    detector on the same machine.

    Args:
        roots: folders of fitted sessions.
        options: of the training.
        capture, fps: how the sessions are read.
        out: the file.
        progress: where to show it.
        renderer: of the rendered crops, if the settings ask for any; None: there are none.
        start: a detector to start from, in place of random weights.
        force: replace a file that is there, and start over.

    Returns:
        The record that the file holds.

    Raises:
        ModelError: the file exists, is none of ours, or the detector did not become better.
        SessionError: a session has nothing to learn from.
    """
    renderer = renderer if options.renders else None
    if not roots and renderer is None:
        raise SessionError(
            "train-detector: expected a fitted session or rendered crops to learn from, but got neither. Name a "
            "session, or set --renders."
        )
    if out.suffix != ".safetensors" or out.is_dir():
        raise ModelError(f"{out}: expected a file name that ends in .safetensors. Correct --out.")
    if out.exists() and not force:
        raise ModelError(f"{out}: expected a new file, but it exists. Use --force to replace it.")
    device = torch_device(options.device)
    weights = None if start is None else load_detector(start).network.state_dict()
    with claimed(out):
        sources = [open_source(root, capture, fps, options) for root in roots]
        for source in sources:
            progress.say(f"{source.name}: {int(source.labels.trusted.sum())} labels, {_shares(source)}")
        models = _hand_model(sources, renderer)
        crops = training_crops(sources, options, progress) if sources else []
        crops += rendered_crops(renderer, options, progress) if renderer else []
        trainer = Trainer.start(options.seed, device, weights)
        losses = _train(trainer, crops, options, sources, out, start, progress, force=force)
        known = KnownDetector(trainer.average, {})
        judged = judge(sources, known, renderer is not None, progress) if sources else None
        record = {
            "sessions": [source.record() for source in sources],
            "settings": asdict(options),
            "hand_model": models,
            "crops": len(crops),
            "loss": losses,
            "judged": figures(judged) if judged else {},
        }
        if judged:
            _refuse_if_worse(out, judged)
        save_detector(out, trainer.average.state_dict(), record)
        state_file(out).unlink(missing_ok=True)
    return record


def _hand_model(sources: Sequence[Source], renderer: Renderer | None) -> list[str]:
    """The model whose joints are learnt: one for all sessions and renders."""
    known = [(source.name, list(source.store.attrs("mano")["hand_model"])) for source in sources]
    known += [("the rendered hands", list(renderer.hand_model))] if renderer else []
    for name, models in known[1:]:
        if models != known[0][1]:
            raise SessionError(
                f"{name}: expected the hand model of {known[0][0]}, because its joints are learnt, but found another "
                "one. Fit all sessions with the same hand model, and give it as --hand-model."
            )
    return known[0][1]


def rendered_crops(renderer: Renderer, options: DetectorTrainingSettings, progress: Progress) -> list[Crop]:
    """As many rendered crops as the settings ask for."""
    found: list[Crop] = []
    progress.start("renders", options.renders, 0, "hands")
    for moment in itertools.count():
        if len(found) >= options.renders:
            break
        more = renderer.render(options.seed, moment)[: options.renders - len(found)]
        progress.advance(len(more))
        found += more
    progress.stop()
    return found


def _shares(source: Source) -> str:
    held = source.labels.trusted & source.held_out[..., None]
    return f"{int(held.sum())} of them held out ({int(source.new_view.sum())} views, and frames of the others)"


def state_file(out: Path) -> Path:
    """Where an unfinished training is kept."""
    return out.with_name(f"{out.stem}.training.safetensors")


def _train(
    trainer: Trainer,
    crops: Sequence[Crop],
    options: DetectorTrainingSettings,
    sources: Sequence[Source],
    out: Path,
    start: Path | None,
    progress: Progress,
    *,
    force: bool,
) -> dict[str, float]:
    """The steps that are left; returns the means of the last losses."""
    known = {k: v for k, v in asdict(options).items() if k not in NOT_RESULTS}
    begun = None if start is None else hashlib.sha256(start.read_bytes()).hexdigest()
    identity = json.loads(
        json.dumps({"code": CODE, "settings": known, "sources": [s.identity for s in sources], "start": begun})
    )
    done = 0 if force else _resume(trainer, state_file(out), identity, progress)
    recent: list[dict[str, float]] = []
    progress.start("train", options.steps, done, "steps")

    def after(step: int, terms: dict[str, float]) -> None:
        recent.append(terms)
        if not all(np.isfinite(value) for value in terms.values()):
            raise ModelError(
                f"training: expected finite losses, but one is not finite at step {step}. Reduce --learning-rate."
            )
        progress.advance(1)
        if step % options.save_every == 0 or step == options.steps:
            write_tensors(state_file(out), STATE_KEY, {**identity, "step": step}, trainer.tensors())

    batch_of: Callable[[int], Any] = partial(_batch, list(crops), options)
    train(trainer, batch_of, options.steps, options.learning_rate, done, after)
    progress.stop()
    last = recent[-100:]
    return {name: float(np.mean([terms[name] for terms in last])) for name in (last[0] if last else {})}


def _batch(crops: list[Crop], options: DetectorTrainingSettings, step: int) -> Any:
    return batch(crops, options.seed, step, options.batch)


def _resume(trainer: Trainer, path: Path, identity: dict[str, Any], progress: Progress) -> int:
    """Restore an unfinished training of the same sessions and settings; returns the steps it has done."""
    try:
        record, tensors = read_tensors(path, "an unfinished training", STATE_KEY)
    except FileNotFoundError:
        return 0
    step = record.pop("step", None)
    if record != identity or type(step) is not int:
        raise ModelError(
            f"{path}: expected the state of this training to go on from, but it is of other sessions or settings. "
            "Start over with --force, or choose another --out."
        )
    wanted = {name: value for name, value in trainer.tensors().items()}
    check_weights(path, {k: v for k, v in tensors.items() if not k.startswith("optimizer.")}, wanted)
    try:
        trainer.restore(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: expected a training to go on from, but it cannot be restored. {ADVICE}") from error
    progress.say(f"{path}: goes on after step {step}")
    return step


def figures(judged: Judged) -> dict[str, Any]:
    """What the held-out hands say: errors as shares of the hand's size, per joint bias and spread apart."""
    found: dict[str, Any] = {"hands": len(judged.right), "all": judged.errors()}
    for name, chosen in (("known_views", ~judged.new_view), ("new_views", judged.new_view)):
        if chosen.any():
            found[name] = judged.take(chosen).errors()
    for name, points in (("before", judged.before_px), ("after", judged.after_px)):
        bias, spread = bias_and_spread(points, judged.label_px, judged.right)
        found[f"joints_{name}"] = {
            joint: {"bias": round(float(b), 5), "spread": round(float(s), 5)}
            for joint, b, s in zip(JOINTS, bias, spread, strict=True)
        }
    return found


def _refuse_if_worse(out: Path, judged: Judged) -> None:
    errors = judged.errors()
    if errors["after"] > BETTER * errors["before"]:
        raise ModelError(
            f"{out}: expected a detector that agrees better with the other views than the present one in held-out "
            f"images, but its error is {100 * errors['after']:.2f} % of the hand's size and the present one's "
            f"{100 * errors['before']:.2f} %. No file was written: train longer (--steps) or on more sessions."
        )
