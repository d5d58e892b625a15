"""One training in two processes, with gloo in place of a GPU's collectives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handpipe.cli import main
from handpipe.generation import checkpoint as checkpoints
from handpipe.generation.training.step import clip_gradients, loss_terms

BATCH, WINDOW, LIMIT_S = 4, 24, 240


def command(steps: int, folder: Path) -> list[str]:
    words = ["train-diffusion", "procedural:1", "--out", str(folder), "--device", "cpu"]
    return [*words, *f"--steps {steps} --batch {BATCH} --window {WINDOW} --save-every 2 --log-every 1".split()]


def started(steps: int, folder: Path) -> list[subprocess.Popen[bytes]]:
    """The two processes of a training, each as `accelerate launch` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    argv = [sys.executable, "-m", "handpipe.cli", *command(steps, folder)]
    return [
        subprocess.Popen(argv, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.DEVNULL)
        for rank in range(2)
    ]


def trained(steps: int, folder: Path) -> dict[str, Tensor]:
    processes = started(steps, folder)
    assert [process.wait(timeout=LIMIT_S) for process in processes] == [0, 0]
    return everything(folder)


def everything(folder: Path) -> dict[str, Tensor]:
    training = checkpoints.load_training(folder)
    assert training is not None
    return {**checkpoints.load(folder).weights, **training.tensors}


def gradients(folder: Path) -> Tensor:
    """All gradients of the first step, which are a tenth of the first moments after it."""
    found = {name: moment for name, moment in everything(folder).items() if name.startswith("optimizer.exp_avg.")}
    return 10 * torch.cat([found[name].flatten() for name in sorted(found)])


def test_the_gradient_of_two_processes_is_the_mean_of_their_batches(tmp_path, monkeypatch):
    """They take the draws 0 and 1, as one process does in its first two steps."""
    trained(1, tmp_path / "two")
    seen: list[tuple[Any, int]] = []

    def one_step_on_two_batches(model, state, batch, weights, seed, backward):
        seen.append((batch, seed))
        terms = [loss_terms(model, batch, weights, seed) for batch, seed in seen]
        if len(seen) == 2:
            backward(
                torch.stack([weights.get(name, 1.0) * term for each in terms for name, term in each.items()]).sum() / 2
            )
            clip_gradients(state.networks)
            state.optimizer.step()
        return terms[-1]

    with monkeypatch.context() as patched:
        patched.setattr("handpipe.generation.training.run.train_step", one_step_on_two_batches)
        assert main(command(2, tmp_path / "one")) == 0
    assert main(command(1, tmp_path / "first")) == 0
    expected, found, first = (gradients(tmp_path / name) for name in ("one", "two", "first"))
    assert (found - expected).norm() < 1e-5 * expected.norm()
    assert (first - expected).norm() > 0.1 * expected.norm(), "one batch alone is not enough"


def test_two_processes_that_were_killed_go_on_to_the_same_bits(tmp_path):
    expected = trained(6, tmp_path / "whole")
    processes = started(6, tmp_path / "killed")
    deadline = time.monotonic() + LIMIT_S
    while not (tmp_path / "killed" / "config.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        process.wait(timeout=LIMIT_S)
    left = checkpoints.load_training(tmp_path / "killed")
    assert left is not None
    assert left.step < 6, "killed before the end"
    found = trained(6, tmp_path / "killed")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
