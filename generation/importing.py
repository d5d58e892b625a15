"""`handpipe import mano-motion`: MANO from elsewhere becomes a session that is already fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from ..core.hands import HANDS
from ..core.importing import CHUNK_FRAMES, Imported, content_hash, place_session
from ..core.keypoints import check_fps
from ..core.schema import MANO, group_spec
from ..core.store import Store
from .exporting import HandsMotion
from .formats import mano
from .sources import hand_models

CODE = 1
"""Raised when the same file would give other numbers."""


def import_mano_motion(file: Path, root: Path, fps: float | None, hand_model: str | None) -> Imported:
    """An npz of MANO motion to a session with the group `mano`; arguments as for `mano.read`.

    Args:
        hand_model: folder of the hand model that the numbers are for; None is the procedural hand.

    Raises:
        SessionError, ConfigError, ModelError, DiskError: the file, an option or the place is not what it should be.
    """
    if fps is not None and not 0 < fps < np.inf:
        raise ConfigError(f"--fps: expected a number above zero, but got {fps:g}. Correct it.")
    models = hand_models(hand_model)
    motion, rate = mano.read(file, models, fps)
    check_fps(rate, str(file))
    ids = [model.model_id for model in models]
    fingerprint = {
        "settings": {"fps": fps, "hand_model": ids},
        "inputs": {"motion": content_hash(file)},
        "code": CODE,
    }
    attrs = {"fps": rate, "hand_model": ids, "imported": {"motion": file.name}}
    written = place_session(root, "mano", fingerprint, lambda store: _write(store, motion, fingerprint, attrs))
    frames = len(motion.valid)
    shares = dict(zip(HANDS, motion.valid.mean(axis=0).tolist(), strict=True))
    figures = {"session": str(root), "frames": frames, "fps": rate, "frames_with_hand": shares}
    there = ", ".join(f"{hand} hand in {100 * share:.1f} %" for hand, share in shares.items())
    state = "imported" if written else "up to date"
    said = f"{root}: {state}: {frames} frames at {rate:g} fps, {there}; next: `handpipe train-diffusion {root}`"
    return {**figures, "computed": ["mano"] if written else []}, [said]


def _write(store: Store, motion: HandsMotion, fingerprint: dict[str, Any], attrs: dict[str, Any]) -> None:
    frames = len(motion.valid)
    spec = group_spec("mano", MANO, {"frame": frames}, {"frame": min(CHUNK_FRAMES, frames)}, fingerprint, attrs)
    store.open()
    store.create(spec)
    for unit, start in enumerate(range(0, frames, CHUNK_FRAMES)):
        part = slice(start, start + CHUNK_FRAMES)
        blocks = {name: getattr(motion, name)[part] for name in (*mano.WIDTHS, "joints", "valid")}
        # Nothing was observed here: how far the fit is from keypoints is not known.
        residual = np.full(blocks["valid"].shape, np.nan, np.float32)
        store.write("mano", (unit,), {**blocks, "residual": residual, "betas": motion.betas})
    store.finish("mano")
    store.consolidate()
