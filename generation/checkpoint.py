"""Checkpoints: folders with a trained model. They are written atomically, and loading never executes their content.

```
config.json                           settings, and which files belong to it, with their SHA-256
model-<step>-<hash>.safetensors       the weights to use (the moving average)
statistics-<step>-<hash>.safetensors  of the normalisation and the prior
training-<step>-<hash>.safetensors    the state for resuming: raw weights, averages, the optimizer's moments
values-<step>-<hash>.json             the remaining state for resuming
```
New files have unique names. Replacing config.json activates all of them at once; afterwards, files that it no longer
names are removed. A checkpoint without training files can still generate.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from .. import __version__
from ..core.errors import GenerationError, disk_errors
from ..core.storage.atomic import sweep, write_whole
from ..core.storage.lock import locked
from ..hand.keypoints import RATES

SCHEMA_VERSION = 5
"""Version of the format. Increase it when a reader of the previous version would misread a checkpoint."""

EARLIEST_VERSION = 4
"""Oldest version that can be read. Version 1 had six numbers for a rotation and no liveliness, version 2 other
inputs of the networks, version 3 joints in the motion's frame and one liveliness for all of a hand. Version 4 has no
network of the expected motion: there it is the mean of the prior."""

CONFIG_BYTES = 1 << 24
"""Largest accepted size of config.json."""

KINDS = {"model": ".safetensors", "statistics": ".safetensors", "training": ".safetensors", "values": ".json"}

_OURS = re.compile(r"(model|statistics|training|values)-\d+-[0-9a-f]{12}(\.safetensors|\.json)")

CONFIG: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "settings": (dict, "a mapping"),
    "hand_model": (list, "a list of two ids"),
    "fps": ((int, float), "a number"),
    "window": (int, "a whole number"),
    "representation": (str, "a name"),
    "denoiser": (str, "a name"),
}
"""Required keys of every config; others are allowed."""

RANGES: Mapping[str, tuple[float, float]] = {"fps": RATES, "window": (1, 512)}
"""Ranges of numeric keys; the limit of the window is that of `handpipe train-diffusion`."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The parts of a checkpoint that generation needs."""

    config: dict[str, Any]
    """JSON: settings, hand_model, fps, window, representation, denoiser, and anything else."""
    weights: dict[str, Tensor]
    statistics: dict[str, Tensor]
    where: str = "checkpoint"
    """For messages: the folder it was read from."""

    def expect(self, **wanted: Any) -> None:
        """Raise GenerationError if the config has other values: `expect(representation="local")`."""
        for name, value in wanted.items():
            value = list(value) if isinstance(value, tuple) else value
            found = self.config.get(name)
            if found != value:
                raise GenerationError(
                    f"{self.where}: expected a checkpoint with {name} {_word(value)}, but it was trained with "
                    f"{_word(found)}. Use the value it was trained with, or train another checkpoint."
                )


@dataclass(frozen=True, eq=False)
class Training:
    """The state that resuming a training needs."""

    step: int
    """Steps done."""
    tensors: dict[str, Tensor]
    """Raw weights, averages, moments: by any names."""
    values: dict[str, Any] = field(default_factory=dict)
    """JSON."""


def save(folder: Path, checkpoint: Checkpoint, training: Training | None) -> None:
    """Write a checkpoint, replacing the one in the folder. The write is atomic, also with kill -9 or a power cut:
    readers find either the old or the new checkpoint.

    Args:
        folder: created if it does not exist; unrelated files in it are kept.
        checkpoint: its config as CONFIG says, in JSON's types; tensors on any device.
        training: None leaves a checkpoint that cannot be resumed.

    Raises:
        GenerationError: there is a file with the name of the folder.
        DiskError: it cannot be written; the old checkpoint is kept.
        StoreError: the file system has no locks.
    """
    config = json.loads(_json(checkpoint.config))
    _check_config("config", config)
    if folder.exists() and not folder.is_dir():
        raise GenerationError(f"{folder}: expected a folder for a checkpoint, but found a file. Choose another folder.")
    parts = {"model": checkpoint.weights, "statistics": checkpoint.statistics}
    step = training.step if training else 0
    with disk_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait=True):
            sweep(folder)
            if training:
                parts = {**parts, "training": training.tensors}
            files = {kind: _write(folder, kind, step, _packed(tensors)) for kind, tensors in parts.items()}
            if training:
                files["values"] = _write(folder, "values", step, _json({"step": step, "values": training.values}))
            versions = {"schema_version": SCHEMA_VERSION, "handpipe_version": __version__}
            write_whole(folder / "config.json", _json({**config, **versions, "files": files}))
            keep = {entry["name"] for entry in files.values()}
            for path in sorted(folder.iterdir()):
                if _OURS.fullmatch(path.name) and path.name not in keep:
                    path.unlink()


def load(folder: Path) -> Checkpoint:
    """Load the checkpoint in a folder; nothing in it is executed.

    Raises:
        GenerationError: there is no checkpoint, it is damaged, or it was written by a newer handpipe.
    """
    config, contents = _read(folder, ("model", "statistics"))
    tensors = {kind: _unpacked(folder, kind, content) for kind, content in contents.items()}
    for kind, each in tensors.items():
        bad = [name for name, tensor in each.items() if not tensor.float().isfinite().all()]
        if bad:
            raise GenerationError(
                f"{folder}: expected finite numbers in the {kind}, but `{bad[0]}` holds NaN or infinity. "
                "Train again with a lower learning rate."
            )
    return Checkpoint(config, tensors["model"], tensors["statistics"], str(folder))


def load_training(folder: Path) -> Training | None:
    """Load the state for resuming; None if the checkpoint was saved without it.

    Raises:
        GenerationError: as `load`, or the training files were removed.
    """
    _, contents = _read(folder, ("training", "values"))
    if not contents:
        return None
    values = _parsed(f"{folder}: the training state", contents["values"])
    step, rest = values.get("step"), values.get("values")
    if type(step) is not int or step < 0 or not isinstance(rest, dict):
        raise GenerationError(
            f"{folder}: expected a step number in the training state, but found {step!r}. Start over with --force."
        )
    return Training(step, _unpacked(folder, "training", contents["training"]), rest)


# ---- writing -----------------------------------------------------------------------------------------------------


def _write(folder: Path, kind: str, step: int, content: bytes) -> dict[str, Any]:
    """One file under a name that no other content has; how config.json names it."""
    sha = hashlib.sha256(content).hexdigest()
    name = f"{kind}-{step:06d}-{sha[:12]}{KINDS[kind]}"
    write_whole(folder / name, content)
    return {"name": name, "bytes": len(content), "sha256": sha}


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    # Copies, because safetensors refuses tensors that share memory.
    return safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()


# ---- reading -----------------------------------------------------------------------------------------------------


def _read(folder: Path, kinds: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The config without its list of files, and the content of those of these kinds that it names."""
    config = _read_config(folder)
    while True:
        files = config["files"]
        try:
            contents = {kind: _content(folder, kind, files[kind]) for kind in kinds if kind in files}
            break
        except FileNotFoundError as error:
            # A writer may have replaced the files since the config was read.
            before, config = config, _read_config(folder)
            if config == before:
                raise GenerationError(
                    f"{folder}: expected the file {Path(error.filename).name} named in config.json, but there is no "
                    "such file. Copy the whole folder, or train again."
                ) from error
    return {name: value for name, value in config.items() if name != "files"}, contents


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    where = str(path)
    try:
        with _opened(path) as file:
            plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(CONFIG_BYTES + 1) if plain else b""
    except (FileNotFoundError, NotADirectoryError) as error:
        found = "no such folder" if not folder.exists() else "no config.json" if folder.is_dir() else "a file"
        raise GenerationError(
            f"{folder}: expected the folder of a checkpoint, but found {found}. "
            "Give a folder that `handpipe train-diffusion` wrote."
        ) from error
    except OSError as error:
        raise GenerationError(
            f"{where}: expected a readable file, but it cannot be read ({error.strerror}). Check its permissions."
        ) from error
    if len(content) > CONFIG_BYTES:
        raise GenerationError(f"{where}: expected no more than {CONFIG_BYTES} bytes, but it is longer. Train again.")
    config = _parsed(where, content)
    version = config.get("schema_version")
    if type(version) is not int:
        raise GenerationError(
            f"{where}: expected a checkpoint written by handpipe (schema_version), but found {version!r}. "
            "Give another folder."
        )
    if version > SCHEMA_VERSION:
        raise GenerationError(
            f"{where}: expected schema version {SCHEMA_VERSION} or older, but it was written with version {version} "
            f"by a newer handpipe ({config.get('handpipe_version')}). Update handpipe to read it."
        )
    if version < EARLIEST_VERSION:
        raise GenerationError(
            f"{where}: expected schema version {EARLIEST_VERSION} or newer, but handpipe "
            f"{config.get('handpipe_version')} wrote it with version {version}: its model is built differently. "
            "Train it again, or use it with the handpipe that wrote it."
        )
    _check_config(where, config)
    _check_files(where, config.get("files"))
    return config


def _parsed(where: str, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise GenerationError(f"{where}: expected JSON, but it cannot be read ({error}). Train again.") from error
    if not isinstance(value, dict):
        raise GenerationError(f"{where}: expected a JSON object, but found a {type(value).__name__}. Train again.")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _check_config(where: str, config: Mapping[str, Any]) -> None:
    for name, (kind, words) in CONFIG.items():
        value = config.get(name)
        pair = name != "hand_model" or (isinstance(value, list) and [type(each) for each in value] == [str, str])
        low, high = RANGES.get(name, (-inf, inf))
        fits = name not in RANGES or (isinstance(value, int | float) and low <= value <= high)
        if not isinstance(value, kind) or isinstance(value, bool) or not pair or not fits:
            raise GenerationError(f"{where}: '{name}': expected {words}, but found {_word(value)}. Train again.")


def _check_files(where: str, files: Any) -> None:
    """The file entries are ours: plain names in the folder, sizes and hashes."""
    kinds = set(files) if isinstance(files, dict) else set()
    if not {"model", "statistics"} <= kinds <= set(KINDS) or ("training" in kinds) != ("values" in kinds):
        raise GenerationError(
            f"{where}: 'files': expected model and statistics, but found {_word(files)}. Train again."
        )
    for kind, entry in files.items():
        entry = entry if isinstance(entry, dict) else {}
        name = entry.get("name")
        named = isinstance(name, str) and _OURS.fullmatch(name) and name.startswith(kind) and name.endswith(KINDS[kind])
        if not named or type(entry.get("bytes")) is not int or not isinstance(entry.get("sha256"), str):
            raise GenerationError(
                f"{where}: 'files': expected the name of a {kind} file in the same folder, its bytes and its SHA-256, "
                f"but found {_word(files[kind])}. Train again."
            )


def _opened(path: Path) -> BinaryIO:
    """A file; a pipe would keep us waiting."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))


def _content(folder: Path, kind: str, entry: Mapping[str, Any]) -> bytes:
    """A file as it was written. Raises FileNotFoundError if it is not there."""
    path = folder / entry["name"]
    try:
        with _opened(path) as file:
            status = os.fstat(file.fileno())
            found = status.st_size if stat.S_ISREG(status.st_mode) else 0
            content = file.read() if found == entry["bytes"] else b""
    except FileNotFoundError:
        raise
    except OSError as error:
        raise GenerationError(
            f"{path}: expected a readable file, but it cannot be read ({error.strerror}). Check its permissions."
        ) from error
    if found != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        got = f"{found} bytes" if found != entry["bytes"] else "others"
        raise GenerationError(
            f"{path}: expected the {entry['bytes']} bytes that were written, but found {got}: it is truncated or "
            "damaged. Copy it again, or train again."
        )
    return content


def _unpacked(folder: Path, kind: str, content: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise GenerationError(
            f"{folder}: expected the {kind} as safetensors, but they cannot be read ({error}). Train again."
        ) from error


def _word(value: Any) -> str:
    text = ", ".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
