"""Muon: momentum whose steps are orthogonal matrices (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

The momentum of a weight matrix is often nearly of low rank, so that a few directions get most of a step. Muon replaces
its singular values by about one each, with five Newton-Schulz iterations. Everything that is no hidden weight (first
and last layers, biases, normalisations) gets AdamW. PyTorch's own Muon is in recent versions only, and for matrices
only, which leaves out convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
BETAS = (0.9, 0.99)
"""Of AdamW."""
RATE = 10.0
"""Of hidden weights, relative to that of the other weights."""
_ITERATIONS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's: singular values end between 0.7 and 1.2.
_TINY = 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for hidden weights, AdamW for all others. Both have the learning rate of their group, in AdamW's scale."""

    def __init__(self, hidden: Iterable[nn.Parameter], others: Iterable[nn.Parameter], weight_decay: float) -> None:
        """With a learning rate of 1e-3.

        Args:
            hidden: weights with two or more dimensions, the first of which is that of the outputs.
            others: any weights. Those with fewer than two dimensions do not decay.
            weight_decay: as in AdamW, times the learning rate and step.
        """
        groups = [
            {"params": list(hidden), "orthogonal": True},
            {"params": list(others), "orthogonal": False},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": 1e-3, "weight_decay": weight_decay})

    def slots(self) -> dict[int, dict[str, torch.Size]]:
        """Names and shapes of what is kept for each weight after a step, by the weight's number in `state_dict`."""
        found: list[dict[str, torch.Size]] = []
        for group in self.param_groups:
            for weight in group["params"]:
                kept = {"momentum": weight.shape}
                others = {"step": torch.Size(), "exp_avg": weight.shape, "exp_avg_sq": weight.shape}
                found.append(kept if group["orthogonal"] else others)
        return dict(enumerate(found))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert closure is None
        for group in self.param_groups:
            move = self._orthogonal if group["orthogonal"] else self._adam
            rate = group["lr"] * (RATE if group["orthogonal"] else 1.0)
            for weight in group["params"]:
                if weight.grad is not None:
                    if weight.ndim >= 2:
                        weight.mul_(1 - rate * group["weight_decay"])
                    move(weight, weight.grad, rate)

    def _orthogonal(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(MOMENTUM).add_(gradient)
        step = gradient.add(state["momentum"], alpha=MOMENTUM)  # Nesterov's.
        rows = orthogonalized(step.reshape(len(step), -1))
        # Outputs change as much whatever the shape: a tall matrix is spread over more of them.
        size = max(1.0, rows.shape[0] / rows.shape[1]) ** 0.5
        weight.add_(rows.reshape(weight.shape), alpha=-rate * size)

    def _adam(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float64)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        count = float(state["step"])
        state["exp_avg"].lerp_(gradient, 1 - BETAS[0])
        state["exp_avg_sq"].lerp_(gradient.square(), 1 - BETAS[1])
        scale = (state["exp_avg_sq"] / (1 - BETAS[1] ** count)).sqrt_().add_(_TINY)
        weight.addcdiv_(state["exp_avg"], scale, value=-rate / (1 - BETAS[0] ** count))


def orthogonalized(matrix: Tensor) -> Tensor:
    """(row, column) the same singular vectors with singular values between 0.7 and 1.2, if they were not tiny."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + _TINY)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
