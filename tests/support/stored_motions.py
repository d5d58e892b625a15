"""Stores with a finished `mano` group, made without fitting or sampling anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr

from handpipe.core.hands import HANDS
from handpipe.core.storage.schema import GENERATED, KEYPOINTS, MANO, Columns, group_spec
from handpipe.core.storage.store import Store
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion

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


PROCEDURAL_IDS = [HandModel.procedural(side).model_id for side in ("left", "right")]


def ramp(frames, turn=0.01):
    """Motion whose numbers say which frame they are: x of the left wrist is the frame, z of the right one too."""
    orient, pose, transl = np.zeros((frames, 2, 3)), np.zeros((frames, 2, 45)), np.zeros((frames, 2, 3))
    orient[:, 0, 2] = turn * np.arange(frames)
    transl[:, 0, 0] = transl[:, 1, 2] = np.arange(frames)
    return {"global_orient": orient, "hand_pose": pose, "transl": transl, "betas": np.full((2, 10), 0.5)}


def write_mano(path, motion, fps=30.0, valid=None, ids=None, chunk=16, finish=True):
    """A fitted session's store."""
    store, frames = Store(str(path)), len(motion["transl"])
    store.open()
    ids = PROCEDURAL_IDS if ids is None else ids
    spec = group_spec("mano", MANO, {"frame": frames}, {"frame": chunk}, {}, {"fps": fps, "hand_model": ids})
    store.create(spec)
    valid = np.ones((frames, 2), bool) if valid is None else valid
    arrays = {**motion, "valid": valid, "joints": np.zeros((frames, 2, 21, 3)), "residual": np.zeros((frames, 2))}
    for unit, start in enumerate(range(0, frames, chunk)):
        part = slice(start, start + chunk)
        blocks = {name: value if name == "betas" else value[part] for name, value in arrays.items()}
        store.write("mano", (unit,), blocks)
    if finish:
        store.finish("mano")
    return str(path)


def write_samples(path, motion, samples):
    """Generated motion: every array with a leading axis `sample`; sample s is moved s metres up."""
    store = Store(str(path))
    store.open()
    group = zarr.open_group(store.url, use_consolidated=False).create_group("mano")
    for name, value in {**motion, "valid": np.ones((len(motion["transl"]), 2), bool)}.items():
        value = np.stack([value + (s if name == "transl" else 0) for s in range(samples)])
        group.create_array(name, data=value.astype("f4" if value.dtype.kind == "f" else bool))
    store.set_attrs("mano", fps=30.0, hand_model=PROCEDURAL_IDS, complete=True)
    return str(path)
