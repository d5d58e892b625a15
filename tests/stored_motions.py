"""Stores with a finished `mano` group, made without fitting or sampling anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from handpipe.core.hand_model import HandModel
from handpipe.core.hands import HANDS
from handpipe.core.motion import two_hand_motion
from handpipe.core.schema import GENERATED, KEYPOINTS, MANO, Columns, group_spec
from handpipe.core.store import Store

MODELS = tuple(HandModel.procedural(hand) for hand in HANDS)
IDS = [model.model_id for model in MODELS]


def clip(frames: int = 24, seed: int = 3, fps: float = 30.0) -> dict[str, np.ndarray]:
    """The arrays of the group: hands that move as people's do, and turn over, so that their rotation vectors wrap."""
    motion = two_hand_motion(frames, fps, seed)
    orient = motion.global_orient.copy()
    orient[:, 1] *= 1 + 2 * np.pi / np.linalg.norm(orient[:, 1], axis=-1, keepdims=True)  # once around: the same pose
    arrays = {
        "betas": motion.betas,
        "global_orient": orient,
        "hand_pose": motion.hand_pose,
        "transl": motion.transl,
    }
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    joints = [
        model.joints(arrays["betas"][h], *(arrays[name][:, h] for name in ("global_orient", "hand_pose", "transl")))
        for h, model in enumerate(MODELS)
    ]
    return {**arrays, "joints": np.stack(joints, axis=1).astype(np.float32), "valid": np.ones((frames, 2), bool)}


def without(arrays: dict[str, np.ndarray], hand: int, frames: slice) -> dict[str, np.ndarray]:
    """The same with a hand that was not seen in some frames."""
    out = {name: value.copy() for name, value in arrays.items()}
    for name in ("global_orient", "hand_pose", "transl", "joints"):
        out[name][frames, hand] = np.nan
    out["valid"][frames, hand] = False
    return out


def fitted(root: Path, arrays: dict[str, np.ndarray], fps: float = 30.0, ids: list[str] = IDS) -> Path:
    """A session folder whose store has `keypoints` and `mano`."""
    store = Store(str(root / "session.zarr"))
    root.mkdir(parents=True)
    store.open()
    frames = len(arrays["valid"])
    _group(store, "mano", MANO, {"frame": frames}, {"fps": fps, "hand_model": ids}, arrays)
    noise = np.random.default_rng(0).normal(0, 1e-3, arrays["joints"].shape)
    points = (arrays["joints"] + noise).astype(np.float32)
    sigma = np.where(np.isfinite(points[..., 0]), 0.001, np.nan)
    views = {"view": (("view",), np.array([], object))}
    values = {"points": points, "sigma": sigma}
    _group(store, "keypoints", KEYPOINTS, {"frame": frames, "view": 0}, {"fps": fps}, values, views)
    return root


def generated(path: Path, samples: list[dict[str, np.ndarray]], fps: float = 30.0) -> Path:
    """A store of generated motion."""
    store = Store(str(path))
    store.open()
    arrays = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    sizes = {"sample": len(samples), "frame": arrays["valid"].shape[1]}
    _group(store, "mano", GENERATED, sizes, {"fps": fps, "hand_model": IDS}, arrays)
    return path


def _group(store: Store, name: str, columns: Columns, sizes, attrs, arrays, coords=None) -> None:
    axis = next(iter(sizes))
    store.create(group_spec(name, columns, sizes, {axis: sizes[axis]}, {"code": 1}, attrs, coords))
    store.write(name, (0,), arrays)
    store.finish(name)
