"""Training of the landmark network: the loss, the steps, and a state from which an interrupted training goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.muon import Muon
from .network import CELLS, HandNetwork, Prediction

if TYPE_CHECKING:
    from .crops import Batch

HEAT_WEIGHT = 0.3
"""Of the heatmaps' cross-entropy, without which they take long to form from nothing."""
HEAT_SIGMA = 1.0
"""Of the heatmap that a joint should have, cells."""
LABEL_WEIGHT = 1.0
"""Of handedness and presence."""
WARMUP_STEPS = 50
AVERAGE_DECAY = 0.995
WEIGHT_DECAY = 0.02
CLIP_NORM = 5.0


@dataclass(frozen=True)
class Truth:
    """What the network should say, as in `crops.Batch`."""

    xy: Tensor
    right: Tensor
    present: Tensor


def loss_of(said: Prediction, true: Truth) -> dict[str, Tensor]:
    """The terms of the loss, weighted: means over joints that are in the crop, and over crops."""
    known = true.xy.isfinite().all(-1)
    xy = torch.where(known[..., None], true.xy, 0.0)
    count = known.sum().clamp(min=1)
    # A Laplace distribution of the distance: mistaken labels pull less than with a Gaussian.
    distance = torch.sqrt(((said.xy - xy) ** 2).sum(-1) + 1e-8)
    likelihood = distance * torch.exp(-said.log_scale) + 2 * said.log_scale
    heat = -(_heatmaps(xy) * said.log_heat).sum(-1)
    hand = true.present
    right = F.binary_cross_entropy_with_logits(said.right, true.right, reduction="none")
    return {
        "joints": (likelihood * known).sum() / count,
        "heat": HEAT_WEIGHT * (heat * known).sum() / count,
        "right": LABEL_WEIGHT * (right * hand).sum() / hand.sum().clamp(min=1),
        "present": LABEL_WEIGHT * F.binary_cross_entropy_with_logits(said.present, hand),
    }


def _heatmaps(xy: Tensor) -> Tensor:
    """(crop, joint, cell) Gaussians about joints, sum one."""
    at = (torch.arange(CELLS, device=xy.device) + 0.5) / CELLS - 0.5
    away = (xy[..., None] - at) * (CELLS / HEAT_SIGMA)
    x, y = torch.softmax(-0.5 * away**2, dim=-1).unbind(dim=-2)
    return (y[..., :, None] * x[..., None, :]).flatten(-2)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """A short warm-up, then half a cosine down to a hundredth."""
    done = step / max(steps, 1)
    return peak * min(1.0, (step + 1) / WARMUP_STEPS) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True)
class Trainer:
    """A network under training, and the moving average of its weights that is used in the end."""

    network: HandNetwork
    average: HandNetwork
    optimizer: Muon

    @classmethod
    def start(cls, seed: int, device: torch.device, weights: dict[str, Tensor] | None = None) -> Trainer:
        """From random weights, or from those of another detector."""
        torch.manual_seed(seed)
        network, average = HandNetwork(), HandNetwork()
        if weights is not None:
            network.load_state_dict(weights)
        average.load_state_dict(network.state_dict())
        for each in (network, average):
            each.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        hidden = list(network.hidden())
        known = {id(weight) for weight in hidden}
        others = [weight for weight in network.parameters() if id(weight) not in known]
        return cls(network, average.eval(), Muon(hidden, others, WEIGHT_DECAY))

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes from step to step, by name."""
        state = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for i, slots in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{i}.{k}": v for k, v in slots.items()}
        return state

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go back to a state of `tensors`. Raises KeyError or RuntimeError for another network's."""
        for prefix, network in (("network.", self.network), ("average.", self.average)):
            network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = value
        shapes = {int(index): {slot: value.shape for slot, value in kept.items()} for index, kept in slots.items()}
        if shapes != self.optimizer.slots():
            raise KeyError("optimizer")
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})

    def step(self, batch: Batch, rate: float, step: int) -> dict[str, float]:
        """One step on a batch; returns the terms of the loss."""
        device = next(self.network.parameters()).device
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images = (batch.images.to(device).float() / 255).contiguous(memory_format=torch.channels_last)
        truth = Truth(*(part.to(device) for part in (batch.xy, batch.right, batch.present)))
        terms = loss_of(self.network(images), truth)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self.optimizer.step()
        decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
        with torch.no_grad():
            new = self.network.state_dict()
            for name, value in self.average.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(new[name], 1 - decay)
                else:
                    value.copy_(new[name])
        return {name: term.item() for name, term in terms.items()}


def train(
    trainer: Trainer,
    batch_of: Callable[[int], Batch],
    steps: range,
    peak: float,
    done: int,
    after: Callable[[int, dict[str, float]], None],
) -> None:
    """Those of the steps that are left; `after` is called with the number done and the terms of the loss.

    The learning rate rises and falls once over `steps`.
    """
    for step in range(max(done, steps.start), steps.stop):
        rate = learning_rate(step - steps.start, len(steps), peak)
        after(step + 1, trainer.step(batch_of(step), rate, step))
