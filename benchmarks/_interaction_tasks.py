"""What benchmarks/interaction.py measures on one checkpoint: counts of contact in gaps, and gradients of the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from _generation_subject import CONTEXT, Subject, real_motion, rows
from _generation_tasks import DRAWN, HARD_GAP, Gap
from torch import Tensor

from handpipe.generation.evaluation.metrics import contact_pairs
from handpipe.generation.model.motion import Motion
from handpipe.generation.model.penetration import penetration_depth_m
from handpipe.generation.settings import LossWeights, TrainingSettings
from handpipe.generation.training.run import build_model
from handpipe.generation.training.step import Batch, loss_terms, step_seed

DRAWS = 1
"""Motions drawn for each gap."""

COUNTS = (
    *("frame hits", "frame claims", "frame truths"),
    *("pair hits", "pair claims", "pair truths"),
    *("offset mm", "depth mm"),
)
"""Sums over the frames of a gap and the draws: frames in which the hands touch (some joints within 2 cm), pairs of
joints that touch; the error of the offset between the joints of each pair that truly touches; depth of penetration."""

GRADIENT_BATCHES, BATCH = 4, 32


def contact_counts(joints_m: Tensor, true_m: Tensor) -> Tensor:
    """(window, 6) the first of COUNTS, of (window, frame, hand, 21, 3) joints."""
    found, truth = contact_pairs(joints_m), contact_pairs(true_m)
    columns: list[Tensor] = []
    for a, b in ((found.any(-1).any(-1), truth.any(-1).any(-1)), (found, truth)):
        columns += [part.flatten(1).sum(1).double() for part in (a & b, a, b)]
    return torch.stack(columns, dim=-1)


def counts(joints_m: Tensor, true_m: Tensor) -> Tensor:
    """(window, COUNTS) of (window, frame, hand, 21, 3) joints."""
    left, right = (joints_m - true_m).unbind(-3)
    offset_mm = 1000 * (left[..., :, None, :] - right[..., None, :, :]).norm(dim=-1)
    offset_mm = (offset_mm * contact_pairs(true_m)).flatten(1).sum(1).double()
    depth_mm = 1000 * penetration_depth_m(joints_m).sum(1).double()
    return torch.cat([contact_counts(joints_m, true_m), torch.stack([offset_mm, depth_mm], dim=-1)], dim=-1)


def contact(subject: Subject, seed: int) -> dict[str, Any]:
    """(window, COUNTS) lists in gaps of 30 frames, by way: drawn, truth, slerp, and prior (drawn without network; only
    for a model without Interaction Loss, as it is the same for all)."""
    gap = Gap(HARD_GAP, CONTEXT)
    truth, given, prior = gap.true_joints_m(subject), gap.controls(subject), subject.prior_alone()
    ways: Mapping[str, Callable[[], list[Motion]]] = {
        "slerp": lambda: [gap.slerp(subject)],
        "prior": lambda: [prior.draw(given, DRAWN, seed * DRAWS + n) for n in range(DRAWS)],
        "drawn": lambda: [subject.draw(given, DRAWN, seed * DRAWS + n) for n in range(DRAWS)],
    }
    loss = subject.loaded.checkpoint.config["settings"]["loss"]
    if loss["contact"] or loss["shape"]:
        ways = {way: motions for way, motions in ways.items() if way != "prior"}
    found: dict[str, Any] = {"truth": counts(truth, truth).tolist()}
    for way, motions in ways.items():
        drawn = [counts(subject.joints(motion.window(gap.hole)), truth) for motion in motions()]
        found[way] = torch.stack(drawn).sum(0).tolist()
    return found


def gradients(subject: Subject, seed: int) -> dict[str, float]:
    """The share of each weighted term in the gradient of the loss: the projection of its gradient on the whole one,
    in per cent of that one's norm; for the trained network and for an untrained one. With the weights of before the
    shares were measured (`LossWeights` of REFERENCE)."""
    loaded = subject.loaded
    weights = asdict(LossWeights(**REFERENCE))
    kinematics, device = loaded.model.kinematics, loaded.R_home.device
    settings = TrainingSettings(seed=seed)
    untrained, _ = build_model(settings, loaded.model.statistics, kinematics, device)
    learnt = real_motion(kinematics, subject.scene.learnt, loaded.fps, loaded.window, 15)
    order = torch.randperm(len(learnt.betas), generator=torch.Generator().manual_seed(seed))
    found: dict[str, float] = {}
    for name, model in {"untrained": untrained, "trained": loaded.model}.items():
        network: Any = model.denoiser
        parameters = list(network.parameters())
        sums: dict[str, float] = {}
        for n in range(GRADIENT_BATCHES):
            motion = rows(learnt, order[torch.arange(n * BATCH, (n + 1) * BATCH) % len(order)])
            mirror = torch.zeros(BATCH, dtype=torch.bool, device=device)
            batch = Batch(motion, loaded.R_home.expand(BATCH, 3, 3), mirror)
            terms = loss_terms(model, batch, weights, step_seed(seed, n))
            parts = {}
            for key, term in terms.items():
                grads = torch.autograd.grad(weights[key] * term, parameters, retain_graph=True, allow_unused=True)
                grads = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, parameters, strict=True)]
                parts[key] = torch.cat([grad.flatten() for grad in grads]).double()
            whole = torch.stack(list(parts.values())).sum(0)
            norm = float(whole.norm())
            sums["norm"] = sums.get("norm", 0.0) + norm
            for key, part in parts.items():
                sums[key] = sums.get(key, 0.0) + 100 * float(part @ whole) / norm**2
        found |= {f"{name}/{key}": value / GRADIENT_BATCHES for key, value in sums.items()}
    return found


REFERENCE: Mapping[str, float] = {"contact": 10.0, "shape": 5.0}
"""The weights of the Interaction Loss that the variants are multiples of."""
