"""What `handpipe import` writes: sessions of keypoints without clips, and hand models as npz. Whole, or not at all."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.errors import ConfigError
from ..core.files import UNCHECKED
from ..core.hands import HANDS
from ..core.storage.atomic import appearing
from ..hand.keypoints import Keypoints, Mirror, check_fps, check_hands, check_sigma, mirrored, swapped
from ..hand.loading import model_file
from ..hand.plausibility import plausible_keypoints
from .imported_session import ImportedSession, must_be_folder, write_imported
from .motion.bvh.keypoints import read_bvh
from .motion.format import reader_of
from .motion.mano.models import read_mano_hands

Imported = tuple[dict[str, Any], list[str]]
"""Figures for a program, and lines for a person."""

CODE = 2
"""Raised when the same files would give other numbers."""


def data_folder() -> Path:
    """Where a user's own data for handpipe lies: $XDG_DATA_HOME/handpipe, or ~/.local/share/handpipe."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "handpipe"


def import_mano(files: Sequence[Path], folder: Path) -> Imported:
    """The official pickles to MANO_LEFT.npz and MANO_RIGHT.npz.

    Args:
        files: one or both, in any order.
        folder: where they go.

    Raises:
        ModelError: as `read_mano_hands` raises it; nothing is written then.
    """
    hands, messages = read_mano_hands(files)
    written = write_models(hands, folder)
    messages += [f"{path}: written" for path in written]
    missing = [hand for hand in HANDS if hand not in hands and not model_file(folder, hand).exists()]
    if missing:
        messages.append(
            f"warning: {folder} has no {missing[0]} hand yet; a fit needs both: import MANO_{missing[0].upper()}.pkl"
        )
    else:
        messages.append(
            f"to use them: `hand_model: {folder}` in session.yaml or pipeline.yaml, or --hand-model {folder}"
        )
    return {"hand_model": str(folder), "written": [str(path) for path in written]}, messages


@UNCHECKED
def import_bvh(
    files: Sequence[Path],
    root: Path,
    fps: float | None,
    unit_m: float | None,
    mirror: Mirror,
    sigma_m: float,
    thin_to: float | None = None,
) -> Imported:
    """Left and right BVH motion to a session; arguments as for `read_bvh`, raises SessionError."""
    _check_numbers(fps=fps, unit_m=unit_m, sigma_m=sigma_m, thin_to=thin_to)
    keypoints, messages = read_bvh(files, sigma_m, fps, unit_m, mirror, thin_to)
    where = ", ".join(dict.fromkeys(str(path) for path in files))
    keypoints = plausible_keypoints(where, keypoints)
    check_hands(keypoints, where, swap="give the files in the other order", mirror="use --mirror yes")
    check_sigma(keypoints.sigma_m, where)
    check_fps(keypoints.fps, where)
    settings = {"fps": fps, "thin_to": thin_to, "unit_m": unit_m, "mirror": mirror, "sigma_m": sigma_m}
    return _report(root, keypoints, settings, dict(zip(HANDS, files, strict=True)), [*messages, *keypoints.messages])


@UNCHECKED
def import_keypoints(
    file: Path,
    root: Path,
    fps: float | None,
    unit_m: float | None,
    swap_hands: bool,
    mirror: bool,
    sigma_m: float,
) -> Imported:
    """A file of keypoints, in a format that its suffix tells, to a session; raises SessionError.

    Args:
        file, fps, unit_m, sigma_m: as for `KeypointReader`.
        root: the session's folder.
        swap_hands: exchange left and right.
        mirror: negate x.
    """
    _check_numbers(fps=fps, unit_m=unit_m, sigma_m=sigma_m)
    keypoints = plausible_keypoints(str(file), reader_of(file)(file, sigma_m, fps, unit_m))
    if swap_hands:
        keypoints = swapped(keypoints)
    if mirror:
        keypoints = mirrored(keypoints)
    check_hands(keypoints, str(file), swap="use --swap-hands", mirror="use --mirror")
    check_sigma(keypoints.sigma_m, str(file))
    check_fps(keypoints.fps, str(file))
    settings = {"fps": fps, "unit_m": unit_m, "swap_hands": swap_hands, "mirror": mirror, "sigma_m": sigma_m}
    return _report(root, keypoints, settings, {"keypoints": file}, list(keypoints.messages))


def _check_numbers(**options: float | None) -> None:
    for name, value in options.items():
        if value is not None and not 0 < value < np.inf:
            raise ConfigError(
                f"--{name.replace('_', '-')}: expected a number above zero, but got {value:g}. Correct it."
            )


def _report(
    root: Path, keypoints: Keypoints, settings: Mapping[str, Any], files: Mapping[str, Path], messages: list[str]
) -> Imported:
    written = write_session(root, keypoints, settings, files)
    figures, line = imported_motion(root, "keypoints", written, keypoints.there, keypoints.fps, f"handpipe fit {root}")
    return figures, [*messages, line]


def imported_motion(
    root: Path, group: str, written: bool, there: ndarray, fps: float, then: str
) -> tuple[dict[str, Any], str]:
    """Figures and a line on a session of one motion.

    Args:
        root: the session's folder.
        group: what was imported.
        written: whether it was not there yet.
        there: (frame, hand) bool, where there is a hand.
        fps: frames per second.
        then: the command that comes next.
    """
    shares = dict(zip(HANDS, there.mean(axis=0).tolist(), strict=True))
    figures = {"session": str(root), "frames": len(there), "fps": fps, "frames_with_hand": shares}
    hands = ", ".join(f"{hand} hand in {100 * share:.1f} %" for hand, share in shares.items())
    state = "imported" if written else "up to date"
    line = f"{root}: {state}: {len(there)} frames at {fps:g} fps, {hands}; next: `{then}`"
    return {**figures, "computed": [group] if written else []}, line


def content_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_models(hands: Mapping[str, Mapping[str, ndarray]], folder: Path) -> list[Path]:
    """MANO_LEFT.npz and MANO_RIGHT.npz, as far as they are given. Returns their paths."""
    written = []
    must_be_folder(folder)
    for side, arrays in sorted(hands.items()):
        path = model_file(folder, side)
        with appearing(path) as place:
            np.savez(place, **arrays)  # pyright: ignore[reportArgumentType]
        written.append(path)
    return written


def write_session(root: Path, keypoints: Keypoints, settings: Mapping[str, Any], files: Mapping[str, Path]) -> bool:
    """A session folder with `session.zarr`, which holds `keypoints` and nothing else. Returns False if it is there.

    Args:
        root: the session's folder.
        keypoints: checked.
        settings: how the files were read; with their content, what the numbers are computed from.
        files: what the keypoints came from, by role.

    Raises:
        SessionError: the folder holds a session with clips, or a store that was not imported.
        DiskError: it cannot be written.
    """
    fingerprint = {
        "settings": dict(settings),
        "inputs": {role: content_hash(path) for role, path in files.items()},
        "code": CODE,
    }
    names = {role: path.name for role, path in files.items()}
    return write_imported(root, ImportedSession(keypoints.fps, keypoints), fingerprint, names)
