"""`handpipe train-detector`: learn a detector from fitted sessions of a rig, judge it, and write its file."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...core.engine import Progress, torch_device
from ...core.errors import ModelError, SessionError
from ...core.hands import JOINTS
from ...core.storage.lock import claimed
from ..settings import CaptureSettings, DetectorTrainingSettings
from .agreement import Agree, as_detected, judge, relabelled
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
from .sources import Source, open_source, training_crops
from .training import Trainer, train

STATE_KEY = "handpipe_detector_training"
"""Key of the JSON record of an unfinished training."""
CODE = 6
"""Raised when the same sessions and settings would give another detector."""
NOT_RESULTS = ("device", "save_every")
"""Settings that may change between two runs of the same training."""
FIRST_SHARE = 0.6
"""Of the steps, those in which the detector that labels the sessions again learns from rendered crops alone."""
AFTERWARDS_RATE = 0.5
"""Peak learning rate of the other steps after these, relative to that of the settings."""
TAUGHT = "taught."
"""Prefix of the names of its weights in the state of an unfinished training."""
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
    agree: Agree,
    renderer: Renderer | None = None,
    start: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Train a detector on sessions and write it to a file, if it is better than the one they were computed with.

    Without a session, it learns from rendered crops alone, and there is nothing to compare it with.

    A session that was detected by MediaPipe has MediaPipe's landmarks in its labels, which are not the model's joints.
    Beside rendered crops, such a session is labelled again, by what its views agree on with a detector that has learnt
    from rendered crops alone: in the first part of the training, or from `start`. If the
    bones of what they agree on vary much more than MediaPipe's, the session is learnt with MediaPipe's joints, and
    without rendered crops: two kinds of joints would contradict.

    An interrupted training goes on from the state beside the file. The same sessions and settings give the same
    detector on the same machine.

    Args:
        roots: folders of fitted sessions.
        options: of the training.
        capture, fps: how the sessions are read.
        out: the file.
        progress: where to show it.
        agree: triangulates hands that were seen.
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
        rendered = rendered_crops(renderer, options, progress) if renderer else []
        trainer = Trainer.start(options.seed, device, weights)
        saved = _Saved.open(out, _identity(options, sources, models, start), trainer, progress, force=force)
        first, labelled = 0, [as_detected(source) if source.foreign else source for source in sources]
        if renderer and any(source.foreign for source in sources):
            if weights is None:
                first = round(FIRST_SHARE * options.steps)
                _train(trainer, rendered, options, range(first), saved, progress)
            teacher = saved.teacher(trainer, first)
            again = [relabelled(s, teacher, agree, progress) if s.foreign else s for s in sources]
            if all(again):
                labelled = [source for source in again if source]
            else:
                progress.say("renders are not used any further: their joints are not those of the session's labels")
                rendered = []
        sources = labelled
        crops = training_crops(sources, options, progress) if sources else []
        # About as many of one kind as of the other.
        crops = crops * max(1, round(len(rendered) / max(1, len(crops)))) + rendered
        losses = _train(trainer, crops, options, range(first, options.steps), saved, progress)
        known = KnownDetector(trainer.average, {})
        judged = judge(sources, known, agree, progress) if sources else None
        if judged:
            _refuse_if_worse(out, judged)
        record = {
            "sessions": [source.record() for source in sources],
            "settings": asdict(options),
            "hand_model": models,
            "crops": len(crops),
            "loss": losses,
            "judged": figures(judged) if judged else {},
        }
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


def _identity(
    options: DetectorTrainingSettings, sources: Sequence[Source], models: list[str], start: Path | None
) -> dict[str, Any]:
    """What a training is identified by: an unfinished one goes on only where all of it is the same."""
    known = {k: v for k, v in asdict(options).items() if k not in NOT_RESULTS}
    begun = None if start is None else hashlib.sha256(start.read_bytes()).hexdigest()
    identities = [source.identity for source in sources]
    identity = {"code": CODE, "settings": known, "sources": identities, "hand_model": models, "start": begun}
    return json.loads(json.dumps(identity))


@dataclass
class _Saved:
    """The state beside the file, from which an interrupted training goes on."""

    path: Path
    identity: dict[str, Any]
    done: int
    """Steps that were done before."""
    taught: dict[str, Tensor]
    """Weights of the detector that labelled the sessions; none before it is trained."""

    @classmethod
    def open(cls, out: Path, identity: dict[str, Any], trainer: Trainer, progress: Progress, *, force: bool) -> _Saved:
        """Restore an unfinished training of the same sessions and settings, if there is one."""
        saved = cls(state_file(out), identity, 0, {})
        if force:
            return saved
        try:
            record, tensors = read_tensors(saved.path, "an unfinished training", STATE_KEY)
        except FileNotFoundError:
            return saved
        step = record.pop("step", None)
        if record != identity or type(step) is not int:
            raise ModelError(
                f"{saved.path}: expected the state of this training to go on from, but it is of other sessions or "
                "settings. Start over with --force, or choose another --out."
            )
        taught = {k.removeprefix(TAUGHT): tensors.pop(k) for k in list(tensors) if k.startswith(TAUGHT)}
        wanted = {name: value for name, value in trainer.tensors().items()}
        check_weights(saved.path, {k: v for k, v in tensors.items() if not k.startswith("optimizer.")}, wanted)
        if taught:
            check_weights(saved.path, taught, trainer.average.state_dict())
        try:
            trainer.restore(tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"{saved.path}: expected a training to go on from, but it cannot be restored. {ADVICE}"
            ) from error
        progress.say(f"{saved.path}: goes on after step {step}")
        return cls(saved.path, identity, step, taught)

    def teacher(self, trainer: Trainer, first: int) -> KnownDetector:
        """The detector as it is after the first steps, now or in the run that was interrupted."""
        if not self.taught or self.done <= first:
            self.taught = {name: value.clone() for name, value in trainer.average.state_dict().items()}
        network = deepcopy(trainer.average)
        network.load_state_dict(self.taught)
        return KnownDetector(network, {})

    def write(self, step: int, trainer: Trainer) -> None:
        taught = {TAUGHT + name: value for name, value in self.taught.items()}
        write_tensors(self.path, STATE_KEY, {**self.identity, "step": step}, trainer.tensors() | taught)


def _train(
    trainer: Trainer,
    crops: Sequence[Crop],
    options: DetectorTrainingSettings,
    steps: range,
    saved: _Saved,
    progress: Progress,
) -> dict[str, float]:
    """Those of the steps that are left; returns the means of the last losses."""
    recent: list[dict[str, float]] = []
    first = steps.stop < options.steps
    peak = options.learning_rate * (AFTERWARDS_RATE if steps.start else 1.0)
    progress.start("train on renders" if first else "train", len(steps), max(saved.done - steps.start, 0), "steps")

    def after(step: int, terms: dict[str, float]) -> None:
        recent.append(terms)
        if not all(np.isfinite(value) for value in terms.values()):
            raise ModelError(
                f"training: expected finite losses, but one is not finite at step {step}. Reduce --learning-rate."
            )
        progress.advance(1)
        if step % options.save_every == 0 or step == steps.stop:
            saved.write(step, trainer)

    batch_of: Callable[[int], Any] = partial(_batch, list(crops), options)
    train(trainer, batch_of, steps, peak, saved.done, after)
    progress.stop()
    last = recent[-100:]
    return {name: float(np.mean([terms[name] for terms in last])) for name in (last[0] if last else {})}


def _batch(crops: list[Crop], options: DetectorTrainingSettings, step: int) -> Any:
    return batch(crops, options.seed, step, options.batch)


def figures(judged: Judged) -> dict[str, Any]:
    """What the held-out hands say: errors as shares of the hand's size, per joint bias and spread apart."""
    found: dict[str, Any] = {"hands": len(judged.right), "all": judged.errors()}
    for name, chosen in (("known_views", ~judged.new_view), ("new_views", judged.new_view)):
        if chosen.any():
            found[name] = judged.take(chosen).errors()
    for name, points in (("before", judged.before_px), ("after", judged.after_px)):
        bias, spread = bias_and_spread(points, judged.after_agreed_px, judged.right)
        found[f"joints_{name}"] = {
            joint: {"bias": _rounded(b), "spread": _rounded(s)}
            for joint, b, s in zip(JOINTS, bias, spread, strict=True)
        }
    return found


def _rounded(share: float) -> float | None:
    """None for a joint that the views agree on nowhere."""
    return round(float(share), 5) if np.isfinite(share) else None


def _refuse_if_worse(out: Path, judged: Judged) -> None:
    errors = judged.errors()
    if not errors["after"] <= BETTER * errors["before"]:
        raise ModelError(
            f"{out}: expected a detector that agrees better with the other views than the present one in held-out "
            f"images, but its error is {100 * errors['after']:.2f} % of the hand's size and the present one's "
            f"{100 * errors['before']:.2f} %. No file was written: train longer (--steps, with --force to start "
            "over) or on more sessions."
        )
