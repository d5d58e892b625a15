"""The report of a training of the diffusion model: the curves of its losses."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.storage.atomic import write_whole
from .charts import Chart, over_steps
from .headline import Figure
from .page import page

TRAIN, HELD_OUT = "train", "held out"
"""First parts of the names of the curves that a training writes for TensorBoard."""

MEANING: Mapping[str, str] = {
    "x0": "Error of the predicted motion in the model's representation, with unit variance per channel.",
    "joints": "Error of the joint positions by forward kinematics.",
    "velocity": "Error of the joints' velocities.",
    "bone": "Error of the bone lengths of the represented joints.",
    "contact": "Interaction Loss: error of the contact potential between the hands.",
    "shape": "Interaction Loss: error of the offsets between the hands where they are in contact.",
}


def read_curves(folder: Path) -> dict[str, ndarray]:
    """(point, 2) step and value of every curve in the `logs` of a checkpoint, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "logs"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: np.array([(each.step, each.value) for each in events.Scalars(name)], float)
        for name in events.Tags()["scalars"]
    }


def write_training_report(folder: Path, config: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write the report of a training.

    Args:
        folder: of the checkpoint.
        config: of the checkpoint.
        out: the HTML file.

    Returns:
        Figures for the command's summary.

    Raises:
        DiskError: the file cannot be written.
    """
    curves = read_curves(folder) if (folder / "logs").is_dir() else {}
    terms = [name.removeprefix(f"{TRAIN}/") for name in curves if name.startswith(f"{TRAIN}/")]
    charts, figures = [], []
    for term in terms:
        series = {kind: curves[f"{kind}/{term}"] for kind in (TRAIN, HELD_OUT) if f"{kind}/{term}" in curves}
        charts.append(_chart(term, series))
        last = series[TRAIN][-1, 1]
        note = f"held out: {series[HELD_OUT][-1, 1]:.3g}" if HELD_OUT in series else "last value, on training data"
        figures.append(Figure(term, f"{last:.3g}", "plain", note))
    step = int(max((values[-1, 0] for values in curves.values()), default=0))
    text = page(
        "training.html.j2",
        None,
        charts,
        name=folder.resolve().name,
        folder=str(folder),
        step=step,
        steps=config["settings"].get("steps") or step,
        figures=figures,
        keys=[chart.key for chart in charts],
        held_out=any(name.startswith(HELD_OUT) for name in curves),
        config=json.dumps(config, indent=1),
    )
    write_whole(out, text)
    return {"report": str(out), "megabytes": round(len(text.encode()) / 1e6, 2), "step": step}


def _chart(term: str, series: Mapping[str, ndarray]) -> Chart:
    return over_steps(f"loss-{term}", term, MEANING.get(term, "A term of the loss."), series)
