"""`handpipe import mano-motion`: MANO from elsewhere becomes a session that is already fitted."""

# Ring 2: reads and writes.

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....core.errors import ConfigError
from ....core.files import UNCHECKED
from ....hand.keypoints import check_fps
from ....hand.loading import hand_models
from ...imported_session import ImportedSession, write_imported
from ...importing import Imported, content_hash, imported_motion
from .npz import read

CODE = 2
"""Raised when the same file would give other numbers."""


@UNCHECKED
def import_mano_motion(file: Path, root: Path, fps: float | None, hand_model: str | None) -> Imported:
    """An npz of MANO motion to a session with the group `mano`; arguments as for `npz.read`.

    Args:
        hand_model: folder of the hand model that the numbers are for; None is the procedural hand.

    Raises:
        SessionError, ConfigError, ModelError, DiskError: the file, an option or the place is not what it should be.
    """
    if fps is not None and not 0 < fps < np.inf:
        raise ConfigError(f"--fps: expected a number above zero, but got {fps:g}. Correct it.")
    models = hand_models(hand_model)
    motion, rate, messages = read(file, models, fps)
    check_fps(rate, str(file))
    ids = [model.model_id for model in models]
    fingerprint = {
        "settings": {"fps": fps, "hand_model": ids},
        "inputs": {"motion": content_hash(file)},
        "code": CODE,
    }
    # Nothing was observed here: how far the fit is from keypoints is not known.
    residual = np.full(motion.valid.shape, np.nan, np.float32)
    session = ImportedSession(rate, mano={**vars(motion), "residual": residual}, hand_model=(ids[0], ids[1]))
    written = write_imported(root, session, fingerprint, {"motion": file.name})
    figures, line = imported_motion(root, "mano", written, motion.valid, rate, f"handpipe train-diffusion {root}")
    return figures, [*messages, line]
