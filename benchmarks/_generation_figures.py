"""The figures of benchmarks/generation.py, computed from the values of every checkpoint as means over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import _generation_runs as runs
import numpy as np
from _generation_runs import BASELINES, OURS
from _generation_subject import GAPS
from _generation_tasks import HARD_GAP, KEYFRAMES_APART, SAMPLERS
from _report import Figure
from numpy import ndarray

Better = Literal["lower", "higher"]

WITHOUT = OURS + runs.WITHOUT

BLOCK, RESAMPLES = 8, 2000
"""Consecutive windows that are drawn together, four seconds; draws of the bootstrap."""

WAY_WORDS: Mapping[str, str] = {
    "slerp": "SLERP and linear",
    "hermite": "Hermite",
    "inertial": "inertialisation",
    "constant": "constant pose with kriging",
    "nearest": "nearest training window with kriging",
    "prior": "the mean of the prior alone",
}


@dataclass(frozen=True)
class Results:
    """All numbers of all checkpoints."""

    rows: Sequence[tuple[str, Mapping[str, Any]]]
    """The model's name and its numbers by `part/name`, one pair for each fold, seed and part; lists are of windows."""

    @property
    def models(self) -> list[str]:
        return [model for model in runs.VARIANTS if any(row[0] == model for row in self.rows)]

    @property
    def baselines(self) -> list[str]:
        return [model for model in self.models if model in BASELINES]

    def of(self, model: str, name: str) -> ndarray:
        """(run,) in the order of folds and seeds; empty where it was not measured."""
        return np.array([np.mean(found[name]) for of, found in self.rows if of == model and name in found])

    def windows(self, model: str, name: str) -> list[ndarray]:
        """(window,) for each run."""
        return [np.array(found[name]) for of, found in self.rows if of == model and name in found]

    def mean(self, model: str, name: str) -> float:
        return float(self.of(model, name).mean())

    def that_have(self, name: str) -> list[str]:
        """Models for which it was measured."""
        return [model for model in self.models if len(self.of(model, name))]

    def real(self, name: str) -> float:
        """A value that does not depend on the model."""
        return self.mean(self.that_have(name)[0], name)


def below(value: Any, other: Any) -> Any:
    """Difference of a value below another, in per cent."""
    return 100 * (1 - value / other)


def interval(ours: Sequence[ndarray], others: Sequence[ndarray]) -> tuple[float, float]:
    """95 % interval of how far errors (window,) are below others', in per cent, by bootstrap of blocks of consecutive
    windows in each run (Kuensch 1989): neighbouring windows overlap."""
    rng, sums = np.random.default_rng(0), np.zeros((2, RESAMPLES))
    for a, b in zip(ours, others, strict=True):
        starts = rng.integers(0, len(a), (RESAMPLES, -(-len(a) // BLOCK)))
        chosen = ((starts[..., None] + np.arange(BLOCK)) % len(a)).reshape(RESAMPLES, -1)
        sums += np.stack([a[chosen].mean(1), b[chosen].mean(1)])
    low, high = np.percentile(below(sums[0], sums[1]), [2.5, 97.5])
    return float(low), float(high)


def gain(
    results: Results, title: str, ours: tuple[str, str], others: tuple[str, str], limit: float | None
) -> list[Figure]:
    """How far one model's errors are below another's: on the whole, its interval, and in how many runs; each is a name
    of a model and one of a number."""
    a, b = results.windows(*ours), results.windows(*others)
    if not a or len(a) != len(b):
        return []
    low, high = interval(a, b)
    ahead = sum(float(x.mean() < y.mean()) for x, y in zip(a, b, strict=True))
    value = below(float(results.of(*ours).mean()), float(results.of(*others).mean()))
    return [
        Figure(title, value, "%", limit, "higher"),
        Figure("  95 % interval, from", low, "%"),
        Figure("  to", high, "%"),
        Figure("  runs in which it is below", ahead, f"of {len(a)}"),
    ]


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
    """Errors by way, and gains with intervals: of the prior's mean and of the network that moves it."""
    found = [Figure("test windows", float(results.of(results.models[0], "inbetween/windows").sum()), "")]
    simple = ("slerp", "hermite", "inertial")
    for gap in (*map(str, GAPS), f"{HARD_GAP} keyframes"):
        first = results.models[0]
        ways = {way: results.of(first, f"inbetween/{gap}/{way}") for way in (*simple, "constant", "nearest", "prior")}
        errors = {way: float(values.mean()) for way, values in ways.items() if len(values)}
        found += [Figure(f"gap {gap}: {WAY_WORDS[way]}", error, "mm") for way, error in errors.items()]
        name = f"inbetween/{gap}/"
        for model in results.that_have(name + "expected"):
            error = results.mean(model, name + "expected")
            found.append(Figure(f"gap {gap}: expected, {model}", error, "mm"))
        limit = 8.0 if gap == str(HARD_GAP) else 0.0 if gap.isdigit() else None
        best = min((way for way in simple if way in errors), key=errors.__getitem__)
        for way in ("prior", best):
            title = f"gap {gap}: expected, {first}, below {WAY_WORDS[way]}"
            found += gain(results, title, (first, name + "expected"), (first, name + way), limit)
    return found


def drawn(results: Results) -> list[Figure]:
    """What the networks draw in gaps of 30 frames."""
    return [figure for gap in (str(HARD_GAP), f"{HARD_GAP} keyframes") for figure in _draws(results, gap)]


def _draws(results: Results, gap: str) -> list[Figure]:
    name, found = f"drawn/{gap}/drawn", []
    for model in results.that_have(name):
        error = results.mean(model, name)
        found.append(Figure(f"gap {gap}: drawn, {model}", error, "mm"))
        found.append(Figure("  best of 4", results.mean(model, name + ", best"), "mm"))
        found.append(Figure("  spread over error", results.mean(model, name + ", spread") / error, "", 0.8, "higher"))
    if OURS in results.that_have(name):
        for way in ("prior drawn", "prior drawn calmly"):
            error = results.mean(OURS, f"drawn/{gap}/{way}")
            found.append(Figure(f"gap {gap}: {way}", error, "mm"))
            found.append(Figure("  best of 4", results.mean(OURS, f"drawn/{gap}/{way}, best"), "mm"))
            found.append(Figure("  spread over error", results.mean(OURS, f"drawn/{gap}/{way}, spread") / error, ""))
        ours, prior, slerp = (OURS, name), (OURS, f"drawn/{gap}/prior drawn"), (OURS, f"drawn/{gap}/slerp")
        found += gain(results, f"gap {gap}: {OURS}, drawn, below its prior, drawn", ours, prior, 0.0)
        best = (OURS, name + ", best")
        found += gain(results, f"gap {gap}: {OURS}, best of 4, below SLERP", best, slerp, 0.0)
        for model in results.baselines:
            found += gain(results, f"gap {gap}: {OURS}, drawn, below {model}", ours, (model, name), 0.0)
    return found


def long(results: Results) -> list[Figure]:
    """Long free motion of the model and of its prior; relative to real motion."""
    found = []
    for model in results.that_have("long/model/power"):
        for who in ("model", "prior"):
            of = model if who == "model" else f"the prior of {model}"
            for name, most in (("speed", 1.4), ("jerk", 1.6)):
                mean, drift = (results.mean(model, f"long/{who}/{name}/{which}") for which in ("mean", "drift"))
                limits = (most, 20.0) if model == OURS and who == "model" else (None, None)
                found.append(Figure(f"{name}: {of}", mean, "x real", limits[0]))
                found.append(Figure("  largest change from the first window", 100 * drift, "%", limits[1]))
            found.append(Figure(f"power above 8 Hz: {of}", results.mean(model, f"long/{who}/power"), "x real"))
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
        Figure("FID of the training split to the test sequence", results.real("free/fid/learnt to test"), ""),
    ]
    for name, words in (("learnt", "to the training split"), ("test", "to the test sequence")):
        for model in results.that_have(f"free/fid/{name}"):
            values = results.of(model, f"free/fid/{name}")
            found.append(Figure(f"FID {words}: {model}", float(values.mean()), ""))
            found.append(Figure("  standard deviation over the seeds", float(values.std()), ""))
        if OURS in results.models:
            ours = results.mean(OURS, f"free/fid/{name}")
            for model in results.baselines:
                share = below(ours, results.mean(model, f"free/fid/{name}"))
                found.append(Figure(f"FID {words}: {OURS} below {model}", share, "%", 0.0, "higher"))
    for model in results.that_have("free/fid/test"):
        ratio = results.mean(model, "free/fid/test") / results.real("free/fid/learnt to test")
        limit = 2.0 if model == OURS else None
        found.append(Figure(f"FID to the test sequence over that of the training split: {model}", ratio, "", limit))
        nearest = results.mean(model, "free/memory/generated") / results.real("free/memory/test")
        words = "distance to the nearest training window over that of test windows"
        found.append(Figure(f"{words}: {model}", nearest, "", 0.9 if model == OURS else None, "higher"))
    for model in results.models:
        for name, words in (("learnt", "the training split's"), ("test", "the test sequence's")):
            apart = abs(results.mean(model, "free/diversity") / results.real(f"free/diversity/{name}") - 1)
            limit = 10.0 if model == OURS and name == "learnt" else None
            found.append(Figure(f"difference of diversity from {words}: {model}", 100 * apart, "%", limit))
    for name in ("learnt", "test"):
        words = "training split" if name == "learnt" else "test sequence"
        found.append(Figure(f"frames with contact: real, {words}", results.real(f"free/touching/{name}"), "%"))
        found.append(Figure(f"penetration: real, {words}", results.real(f"free/depth/{name}"), "mm mean"))
    for name, words in (
        ("learnt", "real, training split"),
        ("test", "real, test sequence"),
        ("prior", "the prior alone"),
    ):
        found.append(Figure(f"diversity: {words}", results.real(f"free/diversity/{name}"), ""))
        found.append(Figure(f"distance of the wrists: {words}", results.real(f"free/wrists/{name}"), "mm mean"))
    found.append(Figure("FID to the training split: the prior alone", results.real("free/fid/prior to learnt"), ""))
    found.append(Figure("FID to the test sequence: the prior alone", results.real("free/fid/prior to test"), ""))
    found.append(Figure("frames with contact: the prior alone", results.real("free/touching/prior"), "%"))
    for model in results.models:
        wrists_mm = results.mean(model, "free/wrists/generated")
        found.append(Figure(f"diversity: {model}", results.mean(model, "free/diversity"), ""))
        found.append(Figure(f"distance of the wrists: {model}", wrists_mm, "mm mean"))
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
    "drawn": drawn,
    "long": long,
    "controls": controls,
    "free": free,
    "speed": speed,
    "interaction": interaction,
}
