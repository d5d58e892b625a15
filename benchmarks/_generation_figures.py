"""The figures of benchmarks/generation.py, computed from the values of every checkpoint as means over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import _generation_runs as runs
import numpy as np
from _generation_runs import BASELINES, OURS
from _generation_subject import GAPS
from _generation_tasks import HARD_GAP, KEYFRAMES_APART, SAMPLERS
from _report import Figure
from numpy import ndarray

Better = Literal["lower", "higher"]

WITHOUT = OURS + runs.WITHOUT


@dataclass(frozen=True)
class Results:
    """All numbers of all checkpoints."""

    rows: Sequence[tuple[str, Mapping[str, float]]]
    """The model's name and its numbers by `part/name`, one pair for each seed and part."""

    @property
    def models(self) -> list[str]:
        return [model for model in runs.VARIANTS if any(row[0] == model for row in self.rows)]

    @property
    def baselines(self) -> list[str]:
        return [model for model in self.models if model in BASELINES]

    def of(self, model: str, name: str) -> ndarray:
        """(seed,) in the order of the seeds; empty where it was not measured."""
        return np.array([found[name] for of, found in self.rows if of == model and name in found])

    def mean(self, model: str, name: str) -> float:
        return float(self.of(model, name).mean())

    def that_have(self, name: str) -> list[str]:
        """Models for which it was measured."""
        return [model for model in self.models if len(self.of(model, name))]

    def real(self, name: str) -> float:
        """A value that does not depend on the model."""
        return self.mean(self.that_have(name)[0], name)


def below(value: float, other: float) -> float:
    """Difference of a value below another, in per cent."""
    return 100 * (1 - value / other)


def training(results: Results) -> list[Figure]:
    sizes = {model: results.mean(model, "training/parameters") for model in results.models}
    found = [Figure(f"parameters: {model}", size / 1e6, "million") for model, size in sizes.items()]
    spread = 100 * (max(sizes.values()) / min(sizes.values()) - 1)
    found.append(Figure("parameters: largest relative to smallest model", spread, "%", 10))
    for model in results.models:
        seconds = results.of(model, "training/seconds")
        if len(seconds):
            found.append(Figure(f"training: {model}", float(seconds.mean()), "s on one thread"))
    return found


def inbetween(results: Results) -> list[Figure]:
    found = [Figure("test windows", results.real("inbetween/windows"), "")]
    for gap in (*map(str, GAPS), f"{HARD_GAP} keyframes"):
        title, limited = f"gap {gap}", gap.isdigit()
        slerp = results.real(f"inbetween/{gap}/slerp")
        found.append(Figure(f"{title}: SLERP and linear", slerp, "mm"))
        found.append(Figure(f"{title}: prior only", results.real(f"inbetween/{gap}/prior"), "mm"))
        for way, words in (("expected", ""), ("drawn", ", drawn")):
            name = f"inbetween/{gap}/{way}"
            measured = results.that_have(name)
            found += [Figure(f"{title}: {model}{words}", results.mean(model, name), "mm") for model in measured]
        if OURS not in results.models:
            continue
        name = f"inbetween/{gap}/expected"
        ours, worst = results.mean(OURS, name), float(results.of(OURS, name).max())
        limit = 15.0 if gap == str(HARD_GAP) else None
        found.append(Figure(f"{title}: {OURS} below SLERP", below(ours, slerp), "%", limit, "higher"))
        found.append(Figure(f"{title}: the same, worst seed", below(worst, slerp), "%"))
        for model in results.baselines:
            share = below(ours, results.mean(model, name))
            found.append(Figure(f"{title}: {OURS} below {model}", share, "%", 0.0 if limited else None, "higher"))
    return found


def controls(results: Results) -> list[Figure]:
    """Errors and seams, the worst of all seeds; the baselines' to inform."""
    found = []
    limits = {
        "keyframes, wrist mm": (0.1, "mm"),
        "keyframes, deg": (0.1, "deg"),
        "paths, wrist mm": (0.1, "mm"),
        f"seam, keyframes {KEYFRAMES_APART} apart": (1.2, "x real"),
        f"seam, gap of {HARD_GAP}": (1.2, "x real"),
    }
    for name, (limit, unit) in limits.items():
        for model in results.that_have(f"controls/{name}"):
            worst = float(results.of(model, f"controls/{name}").max())
            words = name.removesuffix(" mm").removesuffix(", deg")
            found.append(Figure(f"{words}, worst: {model}", worst, unit, limit if model == OURS else None))
    return found


def free(results: Results) -> list[Figure]:
    found = [
        Figure("windows per set", results.real("free/samples"), ""),
        Figure("windows per set, test sequence", results.real("free/samples of test"), ""),
        Figure("FID of other real windows to the training split", results.real("free/fid/real"), ""),
    ]
    for name, words in (("learnt", "to the training split"), ("test", "to the test sequence")):
        for model in results.models:
            values = results.of(model, f"free/fid/{name}")
            found.append(Figure(f"FID {words}: {model}", float(values.mean()), ""))
            found.append(Figure("  standard deviation over the seeds", float(values.std()), ""))
        if OURS in results.models:
            ours = results.mean(OURS, f"free/fid/{name}")
            for model in results.baselines:
                share = below(ours, results.mean(model, f"free/fid/{name}"))
                found.append(Figure(f"FID {words}: {OURS} below {model}", share, "%", 0.0, "higher"))
    for model in results.models:
        for name, words in (("learnt", "the training split's"), ("test", "the test sequence's")):
            apart = abs(results.mean(model, "free/diversity") / results.real(f"free/diversity/{name}") - 1)
            limit = 10.0 if model == OURS and name == "learnt" else None
            found.append(Figure(f"difference of diversity from {words}: {model}", 100 * apart, "%", limit))
    for name in ("learnt", "test"):
        words = "training split" if name == "learnt" else "test sequence"
        found.append(Figure(f"frames with contact: real, {words}", results.real(f"free/touching/{name}"), "%"))
        found.append(Figure(f"penetration: real, {words}", results.real(f"free/depth/{name}"), "mm mean"))
    for model in results.models:
        share, depth = (results.mean(model, f"free/{name}/generated") for name in ("touching", "depth"))
        found.append(Figure(f"frames with contact: {model}", share, "%"))
        found.append(Figure(f"penetration: {model}", depth, "mm mean"))
    for model in results.models:
        found.append(Figure(f"drawn: {model}", results.mean(model, "free/sequences/s"), "sequences/s"))
    return found


def speed(results: Results) -> list[Figure]:
    """The samplers of HandDiffuse; the default is dpm."""
    count = results.mean(OURS, "speed/samples")
    seconds = {name: results.mean(OURS, f"speed/seconds/{name}") for name in SAMPLERS}
    distance = {name: results.mean(OURS, f"speed/fid/{name}") for name in SAMPLERS}
    found = [Figure("samples per sampler", count, "")]
    for name, sampler in SAMPLERS.items():
        found.append(Figure(f"{name}, {sampler.steps} steps: speed", count / seconds[name], "sequences/s"))
        found.append(Figure(f"{name}, {sampler.steps} steps: FID", distance[name], ""))
    spread = results.mean(OURS, "speed/fid spread")
    return [
        *found,
        Figure("dpm: standard deviation of FID over draws", spread, ""),
        Figure("dpm: standard deviation of FID, relative to ddpm's FID", 100 * spread / distance["ddpm"], "%"),
        Figure("dpm: speed-up over ddpm", seconds["ddpm"] / seconds["dpm"], "x", 20, "higher"),
        Figure("dpm: increase of FID over ddpm", 100 * (distance["dpm"] / distance["ddpm"] - 1), "%", 5),
        Figure("ddim: speed-up over ddpm", seconds["ddpm"] / seconds["ddim"], "x"),
        Figure("ddim: increase of FID over ddpm", 100 * (distance["ddim"] / distance["ddpm"] - 1), "%"),
    ]


def interaction(results: Results) -> list[Figure]:
    found = [Figure("test windows with contact in the gap", results.real("interaction/windows"), "")]
    depth = results.real("interaction/depth/real")
    found.append(Figure("penetration: real", depth, "mm mean"))
    score = results.real("interaction/f1/slerp")
    found.append(Figure("contact F1: SLERP and linear", score, ""))
    measures: Mapping[str, tuple[str, Better]] = {
        "precision": ("", "higher"),
        "recall": ("", "higher"),
        "f1": ("", "higher"),
        "depth": ("mm mean", "lower"),
    }
    models = [model for model in (OURS, WITHOUT) if model in results.models]
    for way, words in (("expected", ""), ("drawn", ", drawn")):
        for measure, (unit, better) in measures.items():
            name = f"interaction/{measure}/{way}"
            title = f"{'penetration' if measure == 'depth' else f'contact {measure}'}{words}"
            found += [Figure(f"{title}: {model}", results.mean(model, name), unit) for model in models]
            if len(models) == 2:
                gain = results.of(OURS, name) - results.of(WITHOUT, name)
                limit = 0.0 if way == "drawn" else None
                found.append(Figure(f"{title}: effect of the loss", float(gain.mean()), unit, limit, better))
                worst = float(gain.min() if better == "higher" else gain.max())
                found.append(Figure("  worst seed", worst, unit))
    return found


FIGURES: Mapping[str, Callable[[Results], list[Figure]]] = {
    "inbetween": inbetween,
    "controls": controls,
    "free": free,
    "speed": speed,
    "interaction": interaction,
}
