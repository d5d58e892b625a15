"""The output store of `handpipe generate`: motions and their controls."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import roma
from numpy import ndarray
from torch import Tensor

from ...core.storage.atomic import appearing
from ...core.storage.schema import CONTROLS, GENERATED, group_spec
from ...core.storage.store import Store
from ..model.controls import Controls
from ..model.kinematics import Kinematics
from ..model.motion import Motion


def mano_arrays(kinematics: Kinematics, motion: Motion) -> dict[str, ndarray]:
    """The columns of the group `mano`, of a batch of motions."""
    arrays: Mapping[str, Tensor] = {**kinematics.to_mano(motion), "joints": kinematics.joints(motion)}
    found = {name: value.float().cpu().numpy() for name, value in arrays.items()}
    return {**found, "valid": np.ones(found["transl"].shape[:-1], bool)}


def given_arrays(controls: Controls) -> dict[str, ndarray]:
    """The columns of the group `controls`: what was asked for, the same of every sample."""
    motion = controls.motion
    parts = {
        "wrist": (motion.wrist_m, controls.has_wrist),
        "global_orient": (roma.rotmat_to_rotvec(motion.R_world_wrist), controls.has_orient),
        "hand_pose": (roma.rotmat_to_rotvec(motion.R_pose).flatten(-2), controls.has_pose),
    }
    return {name: value.where(has[..., None], nan)[0].float().cpu().numpy() for name, (value, has) in parts.items()}


def write_motions(
    out: Path,
    arrays: Mapping[str, ndarray],
    conditioning: Mapping[str, ndarray],
    fingerprint: Mapping[str, Any],
    attrs: Mapping[str, Any],
    check: Callable[[], object] | None = None,
) -> None:
    """The store, under another name until it is complete.

    Args:
        out: where it goes; what is there is replaced.
        arrays: of the group `mano`, sample by sample.
        conditioning: of the group `controls`.
        fingerprint: what the motions were made from.
        attrs: of the group `mano`.
        check: called before it gets its name; what it raises prevents it.
    """
    samples, frames = arrays["valid"].shape[:2]
    spec = group_spec("mano", GENERATED, {"sample": samples, "frame": frames}, {"sample": 1}, fingerprint, attrs)
    with appearing(out, check) as place:
        store = Store(str(place))
        store.open()
        store.create(spec)
        for sample in range(samples):
            store.write("mano", (sample,), {name: value[sample : sample + 1] for name, value in arrays.items()})
        store.finish("mano")
        store.create(group_spec("controls", CONTROLS, {"frame": frames}, {"frame": frames}, fingerprint, {}))
        store.write("controls", (0,), conditioning)
        store.finish("controls")
        store.consolidate()
