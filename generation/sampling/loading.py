"""The models of `generate`: what a checkpoint holds, ready to sample from."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...core.errors import GenerationError
from ...core.hands import HANDS, NUM_BETAS
from ...hand.loading import hand_models
from .. import checkpoint as checkpoints
from ..checkpoint import Checkpoint
from ..model.denoisers import PRESETS, make_denoiser
from ..model.diffusion import Schedule
from ..model.expectation import Expectation
from ..model.kinematics import Kinematics
from ..model.liveliness import Liveliness
from ..model.motion_model import MotionModel
from ..model.normalization import Statistics
from ..model.precision import in_bfloat16
from ..model.representations import REPRESENTATIONS
from ..settings import Precision


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint, ready to sample from."""

    model: MotionModel
    R_home: Tensor
    """(3, 3) the turn from the training data's world to the canonical frame, on the whole."""
    betas: Tensor
    """(source, hand, 10) the hands that it was trained on."""
    checkpoint: Checkpoint

    @property
    def window(self) -> int:
        return self.checkpoint.config["window"]

    @property
    def fps(self) -> float:
        return float(self.checkpoint.config["fps"])


def load_model(
    folder: Path, hand_model: str | None, device: torch.device, precision: Precision = "auto"
) -> LoadedModel:
    """The model in a checkpoint.

    Raises:
        GenerationError: there is none, it is damaged, or it was trained for other hand models.
    """
    checkpoint = checkpoints.load(folder)
    models = hand_models(hand_model)
    checkpoint.expect(hand_model=tuple(model.model_id for model in models))
    config, tensors = checkpoint.config, checkpoint.statistics
    preset, name = config["settings"].get("preset"), config["denoiser"]
    if (
        not isinstance(preset, str)
        or preset not in PRESETS
        or name not in PRESETS[preset]
        or config["representation"] not in REPRESENTATIONS
    ):
        raise GenerationError(
            f"{folder}: expected a preset, a denoiser and a representation that this handpipe knows, but found "
            f"{preset}, {name} and {config['representation']}. Update handpipe, or train again."
        )
    representation = REPRESENTATIONS[config["representation"]]
    sizes = tuple(group.stop - group.start for group in representation.groups)
    size, prior = PRESETS[preset][name], config["settings"].get("prior")
    denoiser = make_denoiser(name, size, representation.channels, len(sizes), prior)
    networks = nn.ModuleDict({"denoiser": denoiser})
    weights = checkpoint.weights
    if not any(key.startswith("denoiser.") for key in weights):  # before version 5 there was only this one
        weights = {f"denoiser.{key}": value for key, value in weights.items()}
    elif denoiser.uses_prior and any(key.startswith("expectation.") for key in weights):
        networks["expectation"] = Expectation(len(sizes))
        untrained = networks.state_dict().items()
        scale = {key: value for key, value in untrained if key.startswith("expectation.scale.")}
        if not scale.keys() & weights.keys():  # before code version 7, nothing was said of the spread
            weights = scale | dict(weights)
    try:
        networks.load_state_dict(weights)
        liveliness = Liveliness(tensors["levels"].double(), tensors["transition"].double())
        statistics = Statistics(tensors["mean"], tensors["std"], tensors["correlation"], sizes, liveliness)
        R_home, betas = tensors["R_home"], tensors["betas"]
        _check_statistics(tensors, representation.channels, len(sizes))
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise GenerationError(
            f"{folder}: expected the weights of a {preset} {name} for {representation.name} motion, but they do not "
            f"fit ({reason}). Train again."
        ) from error
    model = MotionModel(
        denoiser,
        denoiser.uses_prior,
        representation,
        statistics.to(device),
        Kinematics.of_models(models).to(device),
        Schedule(),
        in_bfloat16(precision, device),
    ).with_networks(dict(networks.to(device).eval()))
    return LoadedModel(model, R_home.to(device), betas.to(device), checkpoint)


def _check_statistics(tensors: Mapping[str, Tensor], channels: int, groups: int) -> None:
    """Raise RuntimeError if a tensor has another shape or dtype, which could broadcast to invalid motion."""
    levels = tensors["levels"].shape[1:2]
    shapes = {
        "mean": (channels,),
        "std": (channels,),
        "correlation": (groups, *tensors["correlation"].shape[1:2]),
        "levels": (groups, *levels),
        "transition": (groups, *levels, *levels),
        "R_home": (3, 3),
        "betas": (*tensors["betas"].shape[:1], len(HANDS), NUM_BETAS),
    }
    for name, shape in shapes.items():
        found = tensors[name]
        if found.shape != shape or not found.is_floating_point() or not found.numel():
            raise RuntimeError(f"{name}: {found.dtype} of shape {tuple(found.shape)}")
    for name in ("std", "levels", "transition"):
        if not (tensors[name] > 0).all():
            raise RuntimeError(f"{name}: zero or less")
