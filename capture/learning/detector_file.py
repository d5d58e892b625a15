"""The file of a rig's detector: the network's weights, and a record of what they were learnt from."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ... import __version__
from ...core.errors import ModelError
from ...core.files import check_file
from ...core.hands import JOINTS
from ...core.storage.atomic import write_whole
from .crops import SCALE
from .network import CROP_PX, HandNetwork

KEY = "handpipe_detector"
"""Key of the JSON record in the file's header."""
VERSION = 2
"""Version of the format, of the layers, and of what inputs and outputs mean. Increase it when one changes."""
MAX_BYTES = 64 << 20
MAX_HEADER_BYTES = 1 << 20
ADVICE = "Give a file that `handpipe train-detector` wrote."

CONVENTIONS: Mapping[str, Any] = {
    "version": VERSION,
    "image": "BGR, 0 to 1; pixel (0, 0) is the centre of the first pixel",
    "crop": {"px": CROP_PX, "hand_sizes": SCALE, "up": "wrist to middle_mcp", "left_hands": "mirrored"},
    "joints": list(JOINTS),
}
"""What a reader has to know of the network; a file with other conventions is refused."""


@dataclass(frozen=True, eq=False)
class KnownDetector:
    """A network that is ready for use, and its record."""

    network: HandNetwork
    record: dict[str, Any]
    """JSON: the conventions, sessions, settings, hand_model, judged, handpipe_version."""


def save_detector(path: Path, weights: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write a detector's file, atomically."""
    header = json.dumps({**CONVENTIONS, **record, "handpipe_version": __version__})
    write_whole(path, safetensors.torch.save(_plain(weights), {KEY: header}))


def load_detector(path: Path) -> KnownDetector:
    """Read a detector's file; nothing in it is executed.

    Raises:
        ModelError: not there, too large, not such a file, damaged, or of another version.
    """
    try:
        header, tensors = read_tensors(path, "a detector", KEY)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: expected a detector, but there is no such file. {ADVICE}") from error
    for name, value in CONVENTIONS.items():
        if header.get(name) != value:
            raise ModelError(
                f"{path}: expected a detector with {name} {_word(value)}, but found {_word(header.get(name))}: another "
                "version of handpipe wrote it. Train it again."
            )
    network = HandNetwork()
    check_weights(path, tensors, network.state_dict())
    network.load_state_dict(tensors)
    return KnownDetector(network.eval().to(memory_format=torch.channels_last), header)  # pyright: ignore[reportCallIssue]


def read_tensors(path: Path, what: str, key: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A JSON record and the tensors of a safetensors file.

    Raises:
        FileNotFoundError: there is no such file.
        ModelError: too large, or not such a file.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    check_file(path, what, MAX_BYTES, ModelError)
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(key)
            if text is None or len(text) > MAX_HEADER_BYTES:
                raise ModelError(f"{path}: expected {what}, but the file holds other tensors. {ADVICE}")
            record = json.loads(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        if not isinstance(record, dict):
            raise ValueError("its record is no JSON object")
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, RecursionError, OSError) as error:
        if isinstance(error, ModelError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path}: expected {what}, but it cannot be read ({reason}). {ADVICE}") from error
    return record, tensors


def write_tensors(path: Path, key: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """What `read_tensors` reads, atomically."""
    write_whole(path, safetensors.torch.save(_plain(tensors), {key: json.dumps(record)}))


def check_weights(path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ModelError unless the tensors are this network's, and finite."""
    wrong = sorted(tensors.keys() ^ wanted.keys())
    both = tensors.keys() & wanted.keys()
    wrong += sorted(n for n in both if (tensors[n].shape, tensors[n].dtype) != (wanted[n].shape, wanted[n].dtype))
    if wrong:
        raise ModelError(f"{path}: expected the weights of a detector, but '{wrong[0][:60]}' does not fit. {ADVICE}")
    broken = [name for name in wanted if not bool(tensors[name].isfinite().all())]
    if broken:
        raise ModelError(f"{path}: expected finite weights, but '{broken[0]}' holds NaN or infinity. Train it again.")


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Copies, because safetensors refuses tensors that share memory.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _word(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
