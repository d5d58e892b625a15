"""Networks through torch.compile, as a GPU trains them; without a code generator, which would need a compiler."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from untrained import BOTH, WINDOW, clips, some, untrained

from handpipe.generation.model.canonical_frame import home_rotation
from handpipe.generation.model.denoisers import DENOISERS
from handpipe.generation.model.expectation import Expectation
from handpipe.generation.training.step import Batch, loss_terms


def gradients(networks: nn.ModuleDict) -> dict[str, torch.Tensor]:
    return {name: each.grad for name, each in networks.named_parameters() if each.grad is not None}


@BOTH
@pytest.mark.parametrize("name", DENOISERS)
def test_compiled_networks_have_the_same_loss_and_gradient(representation, name):
    model = untrained(representation, name)
    torch.manual_seed(0)
    denoiser: Any = deepcopy(model.denoiser)
    networks = nn.ModuleDict({"denoiser": denoiser})
    if model.uses_prior:
        networks["expectation"] = Expectation(len(model.representation.groups))
    motion = some(clips(WINDOW), 0, 7, 14)
    batch = Batch(motion, home_rotation(motion).expand(3, 3, 3), torch.zeros(3, dtype=torch.bool))
    found = []
    torch._dynamo.reset()
    counters.clear()
    for compiled in (False, True):
        used: dict[str, Any] = dict(networks.items())
        if compiled:
            used = {key: torch.compile(network, backend="aot_eager") for key, network in used.items()}
        networks.zero_grad()
        terms = loss_terms(model.with_networks(used), batch, {"x0": 1.0, "joints": 1.0}, seed=3)
        torch.stack(list(terms.values())).sum().backward()
        found.append((torch.stack(list(terms.values())).detach(), gradients(networks)))
    (eager, its_gradients), (traced, their_gradients) = found
    assert counters["stats"]["unique_graphs"] >= len(networks), "nothing was compiled"
    torch.testing.assert_close(traced, eager, rtol=1e-5, atol=1e-7)
    assert its_gradients.keys() == their_gradients.keys()
    for key, gradient in its_gradients.items():
        torch.testing.assert_close(their_gradients[key], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))
