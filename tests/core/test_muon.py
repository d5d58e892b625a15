"""Muon: its steps are orthogonal, and what is no hidden weight gets PyTorch's AdamW."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers
from torch import nn

from handpipe.core.muon import Muon, orthogonalized


@settings(max_examples=40, deadline=None)
@given(integers(1, 40), integers(1, 40), integers(0, 1000))
def test_singular_values_become_about_one_and_singular_vectors_stay(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    matrix = U @ torch.diag(0.2 + S / S.max()) @ Vh  # No singular value is tiny.
    found = U.mT @ orthogonalized(7.0 * matrix) @ Vh.mT
    values = found.diagonal()
    assert ((values > 0.6) & (values < 1.3)).all()
    assert (found - torch.diag(values)).abs().max() < 1e-9


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 3, 3)])
def test_other_weights_get_adamw(shape):
    generator = torch.Generator().manual_seed(0)
    ours = nn.Parameter(torch.randn(shape, generator=generator))
    theirs = copy.deepcopy(ours)
    decay = 0.02 if len(shape) > 1 else 0.0
    peer = torch.optim.AdamW([theirs], lr=1e-3, betas=(0.9, 0.99), weight_decay=decay)
    muon = Muon([], [ours], 0.02)
    for _ in range(5):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        muon.step()
        peer.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_step_moves_a_hidden_weight_by_its_rate_whatever_the_gradient():
    """Of an orthogonal gradient: exactly along it, and as far for a gradient a thousand times as large."""
    direction = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]
    moved = []
    for size in (1e-3, 1.0, 1e3):
        weight = nn.Parameter(torch.zeros(6, 6))
        weight.grad = size * direction
        muon = Muon([weight], [], 0.0)
        muon.step()
        moved.append(weight.detach() / -(10 * 1e-3))
        shares = (moved[-1] * direction).sum(1)
        torch.testing.assert_close(moved[-1], shares[:, None] * direction, rtol=0, atol=1e-4)
        assert 0.6 < float(shares.mean()) < 1.3
    torch.testing.assert_close(moved[0], moved[2], rtol=0, atol=1e-3)


def test_it_goes_on_from_its_state():
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3, 3, 3), (7,))]
    twins = copy.deepcopy(weights)
    first, second = (Muon([pair[0]], [pair[1]], 0.01) for pair in (weights, twins))
    for step in range(4):
        for weight, twin in zip(weights, twins, strict=True):
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
            twin.grad = weight.grad.clone()
        first.step()
        second.step()
        fresh = Muon([twins[0]], [twins[1]], 0.01)
        fresh.load_state_dict(copy.deepcopy(second.state_dict()))
        second = fresh
    for weight, twin in zip(weights, twins, strict=True):
        assert torch.equal(weight, twin)
