"""`handpipe generate`: sample motions from a checkpoint with controls, and write them to a store."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from ...core.engine import Progress, torch_device
from ...core.errors import ConfigError, GenerationError
from ...core.hands import HANDS
from ...core.storage.lock import claimed
from ...core.storage.store import Store
from ..model.controls import Controls
from ..model.diffusion import SamplerSettings
from ..model.motion import Motion
from ..settings import SamplingSettings
from .control_files import Keyframes, Trajectory, contradictions, read_keyframes, read_trajectory
from .loading import LoadedModel, load_model
from .output import given_arrays, mano_arrays, write_motions
from .windows import SamplingOptions, noise_for, sample_motion, window_starts

STEPS = {"dpm": 15, "ddim": 50, "ddpm": 1000}
"""Default number of denoising steps of each sampler."""

SHAPE_DRAW = -1
"""Key of the random numbers for a sample's hands, different from those for the noise of its windows."""

MAX_FRAMES = 1_000_000
"""Maximum number of frames of all samples of a store: nine hours at 30 frames per second."""

CODE = 7
"""Version of this code. Increase it when the same request gives different motion."""


@dataclass(frozen=True)
class Request:
    """A request of `handpipe generate`."""

    count: int = 1
    seed: int = 0
    frames: int | None = None
    """Length; None is the model's window."""
    keyframes: str | None = None
    trajectory: Path | None = None


def generate(
    folder: Path,
    out: Path,
    request: Request,
    settings: SamplingSettings,
    hand_model: str | None,
    progress: Progress,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Generate motions and write them to a store: group `mano` with a leading axis `sample`.

    Args:
        folder: the checkpoint.
        out: the store; it appears when it is complete.
        request: what is asked for.
        settings: settings of sampling.
        hand_model: folder of the model in use; None for the procedural hand.
        progress: where to show it.
        force: replace existing motion.

    Returns:
        Figures of the run.

    Raises:
        GenerationError: checkpoint, keyframes or trajectory are invalid, or the store contains other motion.
        StoreError: another handpipe is writing it.
    """
    device = torch_device(settings.device)
    loaded = load_model(folder, hand_model, device, settings.precision)
    length = loaded.window if request.frames is None else request.frames
    if length < 2 or request.count < 1:
        raise ConfigError(
            f"expected 2 or more frames and 1 or more samples, but got {length} and {request.count}. Correct --frames "
            "or --count."
        )
    if request.count * length > MAX_FRAMES:
        raise ConfigError(
            f"expected at most {MAX_FRAMES} frames in all samples together, but got {request.count} of {length}. "
            "Generate several stores, each with a different --seed."
        )
    keyframes = trajectory = None
    if request.keyframes is not None:
        keyframes = read_keyframes(request.keyframes, length, loaded.fps, loaded.checkpoint.config["hand_model"])
    if request.trajectory is not None:
        trajectory = read_trajectory(request.trajectory, length)
    fingerprint = _fingerprint(folder, request, settings, length, keyframes, trajectory)
    figures = {"out": str(out), "samples": request.count, "frames": length}
    with claimed(out):
        if _there(out, fingerprint, force):
            progress.say(f"{out}: up to date")
            return {**figures, "computed": False}
        controls = _controls(loaded, request, length, keyframes, trajectory)
        arrays = _draw(loaded, controls, request, settings, length, progress)
        config = loaded.checkpoint.config
        attrs = {"fps": loaded.fps, "hand_model": config["hand_model"], "checkpoint": str(loaded.checkpoint.where)}
        attrs["keyframes"] = [] if keyframes is None else keyframes.frame.tolist()
        check = partial(_there, out, fingerprint, force)
        write_motions(out, arrays, given_arrays(controls), fingerprint, attrs, check)
    return {**figures, "computed": True}


def _there(out: Path, fingerprint: Mapping[str, Any], force: bool) -> bool:
    """Whether the same motion is there already.

    Raises:
        GenerationError: something else is there, which may not be replaced.
    """
    store = Store(str(out))
    if not store.exists():
        return False
    others = store.groups() - {"mano", "controls"}
    if others:
        raise GenerationError(
            f"{out}: expected a new path or generated motion, but found a session's store with "
            f"{', '.join(sorted(others))}, which is never replaced. Choose another path."
        )
    if force:
        return False
    if store.complete("mano") and store.fingerprint("mano") == fingerprint:
        return True
    raise GenerationError(f"{out}: expected a new path, but found other motion. Use --force to replace it.")


def _draw(
    loaded: LoadedModel,
    controls: Controls,
    request: Request,
    settings: SamplingSettings,
    length: int,
    progress: Progress,
) -> dict[str, ndarray]:
    """(sample, ...) the arrays of the group `mano`, batch by batch."""
    options = _options(settings)
    windows = len(window_starts(length, loaded.window, options.context))
    batches = -(-request.count // settings.batch)
    progress.start("generate", windows * options.sampler.steps * batches, 0, "steps")
    parts = []
    for first in range(0, request.count, settings.batch):
        samples = range(first, min(first + settings.batch, request.count))
        part = _rows(controls, slice(samples.start, samples.stop))
        motion = sample_motion(
            loaded.model,
            part,
            loaded.R_home,
            loaded.window,
            options,
            request.seed,
            samples,
            on_step=lambda: progress.advance(1),
        )
        parts.append(mano_arrays(loaded.model.kinematics, motion))
    progress.stop()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _options(settings: SamplingSettings) -> SamplingOptions:
    if settings.expected:
        return SamplingOptions.expected(settings.context, settings.clearance)
    sampler = SamplerSettings(settings.sampler, settings.steps or STEPS[settings.sampler])
    return SamplingOptions(sampler, settings.temperature, settings.context, settings.clearance)


def _fingerprint(
    folder: Path,
    request: Request,
    settings: SamplingSettings,
    length: int,
    keyframes: Keyframes | None,
    trajectory: Trajectory | None,
) -> dict[str, Any]:
    sampling = {name: value for name, value in asdict(settings).items() if name not in ("device", "batch")}
    return {
        "settings": {**sampling, "count": request.count, "seed": request.seed, "frames": length},
        "inputs": {
            "checkpoint": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
            "keyframes": _digest(keyframes),
            "trajectory": _digest(trajectory),
        },
        "code": CODE,
    }


def _digest(record: Any) -> str | None:
    """SHA-256 of a record's arrays."""
    if record is None:
        return None
    sha = hashlib.sha256()
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, ndarray):
            sha.update(field.name.encode() + np.ascontiguousarray(value).tobytes())
    return sha.hexdigest()


def _controls(
    loaded: LoadedModel, request: Request, length: int, keyframes: Keyframes | None, trajectory: Trajectory | None
) -> Controls:
    """(sample, frame, hand) what every motion has to go through, and whose hands it has."""
    kinematics = loaded.model.kinematics
    device = kinematics.device
    if keyframes is None:
        draw = noise_for(request.seed, range(request.count), SHAPE_DRAW, (len(loaded.betas),)).argmax(dim=-1)
        betas = loaded.betas[draw.to(device)]
    else:
        betas = torch.tensor(keyframes.betas, dtype=torch.float32, device=device).expand(request.count, -1, -1)
    shape = (request.count, length, len(HANDS))
    rest = torch.zeros(*shape, 3, device=device)
    motion = kinematics.from_mano(betas, rest, torch.zeros(*shape, 45, device=device), rest)
    controls = Controls.none(motion)
    if keyframes is not None:
        parts = (keyframes.betas, keyframes.global_orient, keyframes.hand_pose, keyframes.transl)
        posed = kinematics.from_mano(*(torch.tensor(part, dtype=torch.float32, device=device) for part in parts))
        if trajectory is not None:
            contradictions(keyframes, posed.wrist_m.double().cpu().numpy(), trajectory)
        controls = controls.merged(_at_frames(motion, posed, keyframes))
    if trajectory is not None:
        frame, hand = torch.from_numpy(trajectory.frame), torch.from_numpy(trajectory.hand)
        wrist, has_wrist = motion.wrist_m.clone(), controls.has_wrist & False
        wrist[:, frame, hand] = torch.tensor(trajectory.wrist_m, dtype=wrist.dtype, device=device)
        has_wrist[:, frame, hand] = True
        path = Motion(wrist, motion.R_world_wrist, motion.R_pose, betas)
        # Where both speak they agree to a millimetre: then the keyframe counts.
        controls = Controls(path, has_wrist, has_wrist & False, has_wrist & False).merged(controls)
    return controls


def _at_frames(motion: Motion, posed: Motion, keyframes: Keyframes) -> Controls:
    """Keyframes as controls of a whole clip."""
    frame = torch.from_numpy(keyframes.frame)

    def put(whole: Tensor, poses: Tensor) -> Tensor:
        whole = whole.clone()
        whole[:, frame] = poses
        return whole

    has = torch.zeros(motion.wrist_m.shape[:-1], dtype=torch.bool, device=motion.wrist_m.device)
    has[:, frame] = torch.from_numpy(keyframes.has_hand).to(has.device)
    placed = Motion(
        put(motion.wrist_m, posed.wrist_m),
        put(motion.R_world_wrist, posed.R_world_wrist),
        put(motion.R_pose, posed.R_pose),
        motion.betas,
    )
    return Controls(placed, has, has, has)


def _rows(controls: Controls, rows: slice) -> Controls:
    motion = controls.motion
    part = Motion(motion.wrist_m[rows], motion.R_world_wrist[rows], motion.R_pose[rows], motion.betas[rows])
    return Controls(part, controls.has_wrist[rows], controls.has_orient[rows], controls.has_pose[rows])
