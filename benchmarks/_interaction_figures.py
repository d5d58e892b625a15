"""Figures of benchmarks/interaction.py: scores with intervals by episodes, and the power of the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from _interaction_tasks import COUNTS, DRAWS, contact_counts
from _report import Figure
from numpy import ndarray
from torch import Tensor

RESAMPLES = 2000
POWER = 0.8
NOISES_MM = (5.0, 5.5, 6.0, 6.5, 7.0, 8.0, 9.0, 10.0)
"""Standard deviations of the oracle's error: the first against each of the others."""
NOISE_DRAWS, TRIALS, TRIAL_RESAMPLES = 5, 100, 300
EXTRA = 1 + 0.84 / 1.96
"""A difference is seen with power 0.8 if it is this times the half width of its 95 % interval."""

SCORES: Mapping[str, str] = {"frames": "", "pairs": "", "offset": "mm", "depth": "mm"}
WORDS: Mapping[str, str] = {
    "frames": "contact F1 (frames)",
    "pairs": "contact F1 (pairs of joints)",
    "offset": "offset error in contact",
    "depth": "penetration",
}


def score(sums: ndarray, name: str, frames: int) -> ndarray:
    """A score of (..., COUNTS) sums over `frames` frames."""
    at = {key: sums[..., i] for i, key in enumerate(COUNTS)}
    if name == "offset":
        return at["offset mm"] / np.maximum(at["pair truths"], 1)
    if name == "depth":
        return at["depth mm"] / frames
    part = name.removesuffix("s")
    return 2 * at[f"{part} hits"] / np.maximum(at[f"{part} claims"] + at[f"{part} truths"], 1)


def by_episode(windows: Sequence[Sequence[float]], each: int) -> ndarray:
    """(episode, COUNTS) of (window, COUNTS), `each` windows of an episode one after another."""
    return np.array(windows).reshape(-1, each, len(COUNTS)).sum(1)


def resampled(episodes: int, count: int = RESAMPLES, seed: int = 0) -> ndarray:
    """(resample, episode) how often each episode is drawn."""
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(0, episodes, episodes), minlength=episodes) for _ in range(count)])


def difference(
    ours: Sequence[ndarray], others: Sequence[ndarray], name: str, frames: int
) -> tuple[float, float, float, float]:
    """How much a score (mean over runs of (episode, COUNTS)) is above others', its 95 % interval by bootstrap of
    episodes, paired, and the smallest difference that such an interval shows with power 0.8."""
    assert len(ours) == len(others), "a run of one for each of the other, of the same seed"
    draws = resampled(len(ours[0]))

    def mean(runs: Sequence[ndarray], weights: ndarray) -> ndarray:
        return np.mean([score(weights @ run, name, frames) for run in runs], axis=0)

    whole = np.ones((1, len(ours[0])))
    value = float((mean(ours, whole) - mean(others, whole))[0])
    low, high = np.percentile(mean(ours, draws) - mean(others, draws), [2.5, 97.5])
    return value, float(low), float(high), EXTRA * float(high - low) / 2


def power(true_m: Tensor, each: int) -> list[Figure]:
    """The smallest difference in F1 that the test sees with power 0.8, by an oracle: the true motion with one hand
    shifted at random in every window, by more or less. Both arms have noise of their own; episodes are drawn anew."""
    frames = true_m.shape[0] * true_m.shape[1]
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    arms = {noise: [_blurred(true_m, noise, each, generator) for _ in range(NOISE_DRAWS)] for noise in NOISES_MM}
    found = []
    for name in ("frames", "pairs"):
        level = {noise: float(np.mean([score(arm.sum(0), name, frames) for arm in arms[noise]])) for noise in NOISES_MM}
        seen = []
        for noise in NOISES_MM[1:]:
            hits = [_seen(arms[NOISES_MM[0]], arms[noise], name, frames, rng) for _ in range(TRIALS)]
            seen.append((level[NOISES_MM[0]] - level[noise], float(np.mean(hits))))
        found.append(Figure(f"oracle, {NOISES_MM[0]:g} mm: {WORDS[name]}", level[NOISES_MM[0]], ""))
        gaps, shares = np.array(sorted(seen)).T
        smallest = float(np.interp(POWER, np.maximum.accumulate(shares), gaps, right=np.nan))
        found.append(Figure(f"oracle: difference seen with power {POWER:g}: {WORDS[name]}", smallest, "", 0.05))
    return found


def _blurred(true_m: Tensor, noise_mm: float, each: int, generator: torch.Generator) -> ndarray:
    """(episode, COUNTS) of as many draws as a model makes."""
    sums = []
    for _ in range(DRAWS):
        shift = 1e-3 * noise_mm * torch.randn(len(true_m), 1, 1, 3, generator=generator)
        moved = torch.stack([true_m[:, :, 0], true_m[:, :, 1] + shift], dim=2)
        sums.append(contact_counts(moved, true_m))
    told = torch.stack(sums).sum(0)
    rest = torch.zeros(len(told), len(COUNTS) - told.shape[1], dtype=told.dtype)
    return by_episode(torch.cat([told, rest], dim=-1).tolist(), each)


def _seen(ours: Sequence[ndarray], others: Sequence[ndarray], name: str, frames: int, rng: np.random.Generator) -> bool:
    """Whether an experiment's interval excludes 0: one draw of each arm, on episodes drawn anew."""
    a, b = ours[int(rng.integers(len(ours)))], others[int(rng.integers(len(others)))]
    chosen = rng.integers(0, len(a), len(a))
    draws = resampled(len(a), TRIAL_RESAMPLES, int(rng.integers(2**31)))
    gap = score(draws @ a[chosen], name, frames) - score(draws @ b[chosen], name, frames)
    return float(np.percentile(gap, 2.5)) > 0
