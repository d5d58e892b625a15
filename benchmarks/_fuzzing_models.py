"""Files of `generate`, `evaluate` and `detect`: checkpoints, evaluators, detectors, keyframes, trajectories."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from _fuzzing_containers import npz, safetensors
from _fuzzing_format import BYTES, SEVERAL, TEXT, Format, only_file
from _fuzzing_motion import files_in
from _fuzzing_mutations import Files, havoc, in_a_file, in_front, json_tree, words
from safetensors.torch import save

from handpipe import __version__
from handpipe.capture.learning.detector_file import load_detector, save_detector
from handpipe.capture.learning.network import HandNetwork
from handpipe.core.hands import HANDS
from handpipe.generation import checkpoint
from handpipe.generation.evaluation.evaluator import Evaluator, MotionAutoencoder
from handpipe.generation.evaluation.evaluator_file import KEY, load_evaluator
from handpipe.generation.sampling.control_files import read_keyframes, read_trajectory
from handpipe.hand.model import HandModel

HEADER_BYTES = 8192
"""Of a safetensors file."""

LENGTH, FPS = 60, 30.0
"""Of the motion that keyframes and trajectories are for."""

IDS = tuple(HandModel.procedural(hand).model_id for hand in HANDS)


def formats() -> list[Format]:
    weights = (in_a_file(havoc), *[in_a_file(in_front(havoc, HEADER_BYTES))] * 2, *[in_a_file(safetensors)] * 3)
    arrays = (*BYTES, *[in_a_file(npz)] * 3)
    control = ("generation.sampling.control_files", "generation.sampling.control_arrays")
    detector = ("capture.learning.detector_file",)
    evaluator = ("generation.evaluation.evaluator_file",)
    nodes = (*SEVERAL, *[in_a_file(json_tree, "*zarr.json")] * 3)
    return [
        Format("checkpoint", _checkpoint, _load, (*SEVERAL, *[_signed] * 4), ("generation.checkpoint",)),
        Format("evaluator: safetensors", _evaluator, _load_evaluator, weights, evaluator),
        Format("detector: safetensors", _detector, _load_detector, weights, detector),
        Format("keyframes: npz", _keyframes, _read_keyframes, arrays, control),
        Format("keyframes: zarr", _keyframes_zarr, _read_keyframes_zarr, nodes, control),
        Format("trajectory: csv", _trajectory, partial(_read_trajectory, "t.csv"), TEXT, control),
        Format("trajectory: npz", _trajectory_npz, partial(_read_trajectory, "t.npz"), arrays, control),
    ]


# ---- checkpoints -------------------------------------------------------------------------------------------------


def _checkpoint(folder: Path) -> list[Files]:
    config = {"settings": {"preset": "small"}, "hand_model": list(IDS), "fps": FPS, "window": 60,
              "representation": "local", "denoiser": "handdiffuse"}  # fmt: skip
    tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(2, dtype=torch.float16)}
    found = []
    for training in (None, checkpoint.Training(7, {"x": torch.ones(3)}, {"loss": [1.0, 0.5]})):
        root = folder / f"c{len(found)}"
        checkpoint.save(root, checkpoint.Checkpoint(config, tensors, {"mean": torch.zeros(4)}), training)
        found.append({name: content for name, content in files_in(root).items() if not name.startswith(".")})
    return found


def _signed(rng: Random, files: Files, other: Files) -> Files:
    """A checkpoint that its config describes rightly: the config is changed, or a file with its size and hash."""
    config, name = json.loads(files["config.json"]), rng.choice(sorted(files))
    if name == "config.json":
        return {**files, name: json_tree(rng, files[name])}
    change = words if name.endswith(".json") else rng.choice((safetensors, havoc))
    content = change(rng, files[name], b"")
    entries = config.get("files")
    for entry in entries.values() if isinstance(entries, dict) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {**files, name: content, "config.json": json.dumps(config).encode()}


def _load(folder: Path) -> None:
    found = checkpoint.load(folder)
    assert set(checkpoint.CONFIG) <= set(found.config)
    for tensors in (found.weights, found.statistics):
        assert all(tensor.float().isfinite().all() for tensor in tensors.values())
    training = checkpoint.load_training(folder)
    assert training is None or training.step >= 0


# ---- safetensors with a record -------------------------------------------------------------------------------------


def _evaluator(folder: Path) -> list[Files]:
    torch.manual_seed(0)
    known = Evaluator(MotionAutoencoder(LENGTH).eval())
    record = {"digest": known.digest, "settings": {"window": LENGTH, "fps": FPS}, "sources": ["a"], "windows": 3,
              "hand_model": list(IDS), "handpipe_version": __version__}  # fmt: skip
    tensors = {name: value.contiguous().clone() for name, value in known.state.items()}
    return [{"e.safetensors": save(tensors, {KEY: json.dumps(record)})}]


def _load_evaluator(folder: Path) -> None:
    known = load_evaluator(Path(only_file(folder)), None)
    assert known.window == known.evaluator.model.frames
    assert known.fps > 0
    assert isinstance(known.record["windows"], int)
    assert known.record["digest"] == known.evaluator.digest


def _detector(folder: Path) -> list[Files]:
    torch.manual_seed(0)
    save_detector(folder / "d.safetensors", HandNetwork().state_dict(), {"sessions": ["a"], "judged": {"median": 0.1}})
    return [{"d.safetensors": (folder / "d.safetensors").read_bytes()}]


def _load_detector(folder: Path) -> None:
    known = load_detector(Path(only_file(folder)))
    assert all(tensor.isfinite().all() for tensor in known.network.state_dict().values())


# ---- keyframes and trajectories ------------------------------------------------------------------------------------


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"frame": np.array([0, 30, 59]), "betas": np.zeros((2, 10)),
            "has_hand": np.array([[1, 1], [1, 0], [1, 1]], bool),
            "global_orient": rng.normal(0, 0.3, (3, 2, 3)), "hand_pose": rng.normal(0, 0.2, (3, 2, 45)),
            "transl": rng.normal(0, 0.1, (3, 2, 3))}  # fmt: skip


def _keyframes(folder: Path) -> list[Files]:
    np.savez(folder / "k.npz", **_arrays())  # pyright: ignore[reportArgumentType]
    return [{"k.npz": (folder / "k.npz").read_bytes()}]


def _keyframes_zarr(folder: Path) -> list[Files]:
    import zarr

    group = zarr.create_group(str(folder / "k.zarr"))
    for name, values in _arrays().items():
        group.create_array(name, data=values)
    return [files_in(folder)]


def _read_keyframes(folder: Path) -> None:
    _check_keyframes(only_file(folder))


def _read_keyframes_zarr(folder: Path) -> None:
    _check_keyframes(str(folder / "k.zarr"))


def _check_keyframes(named: str) -> None:
    found = read_keyframes(named, LENGTH, FPS, IDS)
    assert len(found.frame)
    assert (np.diff(found.frame) > 0).all()
    assert 0 <= found.frame[0] <= found.frame[-1] < LENGTH
    for name in ("betas", "global_orient", "hand_pose", "transl"):
        assert np.isfinite(getattr(found, name)).all(), name


def _trajectory(folder: Path) -> list[Files]:
    rows = [
        f"{frame},{hand},{0.1 * frame / 60},{0.2 * side},0.3"
        for frame in (0, 20, 59)
        for side, hand in enumerate(HANDS)
    ]
    return [{"t.csv": ("\n".join([head, *rows]) + "\n").encode()} for head in ("frame,hand,x,y,z",)]


def _trajectory_npz(folder: Path) -> list[Files]:
    wrist, found = np.random.default_rng(0).normal(0, 0.1, (4, 3)), []
    for hand in (np.array([0, 1, 0, 1]), np.array(["left", "right", "left", "right"])):
        np.savez(folder / "t.npz", frame=np.array([0, 0, 59, 59]), hand=hand, wrist_m=wrist)
        found.append({"t.npz": (folder / "t.npz").read_bytes()})
    return found


def _read_trajectory(name: str, folder: Path) -> None:
    found = read_trajectory(folder / name, LENGTH)
    assert len(found.frame)
    assert ((found.frame >= 0) & (found.frame < LENGTH)).all()
    assert np.isfinite(found.wrist_m).all()
    assert found.wrist_m.shape == (len(found.frame), 3)
    assert np.isin(found.hand, (0, 1)).all()
