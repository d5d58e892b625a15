"""Speed of the fit compared with smplx and PyTorch's optimisers."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Literal

import numpy as np
from _fitting_points import NOISE_M, error_mm, fit, noisy, truth_motion
from _peers import fit_with_torch
from _report import Figure
from numpy import ndarray

from handpipe.core.engine import limit_threads
from handpipe.core.hands import HANDS
from handpipe.hand.model import HandModel

PEERS: tuple[tuple[str, Literal["lbfgs", "adam"], int, int], ...] = (
    ("L-BFGS, 60 evaluations", "lbfgs", 60, 2),
    ("Adam, 300 steps", "adam", 300, 1),
)
"""Name, optimiser, evaluations, runs to take the best of."""


def fit_joints(side: int, points_m: ndarray, fps: float) -> ndarray:
    """The work of one process in the speed test."""
    limit_threads()
    return fit(side, points_m, fps).joints_m


def fit_peer(side: int, points_m: ndarray, method: Literal["lbfgs", "adam"], evaluations: int) -> ndarray:
    """The work of one process in the speed test of the baselines."""
    limit_threads()
    return fit_with_torch(HandModel.procedural(HANDS[side]), points_m, NOISE_M, method, evaluations)


def speed() -> list[Figure]:
    """Ours and the peers on the same points: two hands, one process of one thread each; the best of a few runs."""
    frames, peer_frames, fps = 1024, 256, 30.0
    truth = truth_motion(frames, fps)
    points = noisy(truth)
    # Spawned: PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:

        def ours() -> ndarray:
            return np.stack(list(pool.map(fit_joints, (0, 1), points, (fps, fps))))

        ours()  # processes started, modules imported
        seconds, joints = best_of(3, ours)
        rate = frames / seconds
        rows = [
            Figure("handpipe", rate, "two-hand frames/s", 500, "higher"),
            Figure("handpipe, joint error", float(error_mm(joints, truth).mean()), "mm"),
        ]
        for name, method, evaluations, runs in PEERS:

            def peer(method=method, evaluations=evaluations) -> ndarray:
                part = points[:, :peer_frames]
                return np.stack(list(pool.map(fit_peer, (0, 1), part, (method,) * 2, (evaluations,) * 2)))

            seconds, joints = best_of(runs, peer)
            peer_rate = peer_frames / seconds
            rows += [
                Figure(f"smplx + {name}", peer_rate, "two-hand frames/s"),
                Figure(f"smplx + {name}, joint error", float(error_mm(joints, truth[:, :peer_frames]).mean()), "mm"),
                Figure(f"speed-up of handpipe over smplx + {name}", rate / peer_rate, "x", 10, "higher"),
            ]
    return rows


def best_of(runs: int, call: Callable[[], ndarray]) -> tuple[float, ndarray]:
    """Least wall time in seconds, and the result."""
    seconds, result = np.inf, np.empty(0)
    for _ in range(runs):
        start = time.perf_counter()
        result = call()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, result
