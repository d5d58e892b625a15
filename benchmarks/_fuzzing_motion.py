"""Motion and keypoints from other tools, and datasets: all that `handpipe import` reads, up to what it would write."""

from __future__ import annotations

import pickle
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from _fuzzing_containers import in_a_parquet, npz
from _fuzzing_format import BYTES, SEVERAL, TEXT, Format, only_file
from _fuzzing_mutations import Files, in_a_file, json_tree

from handpipe.core.files import LARGE
from handpipe.core.hands import HANDS
from handpipe.exchange import importing
from handpipe.exchange.datasets.hub import importer as hub
from handpipe.exchange.datasets.interhand26m import importer as interhand
from handpipe.exchange.export_format import export_formats
from handpipe.exchange.exporting import export
from handpipe.exchange.imported_session import ImportedSession, write_imported
from handpipe.exchange.motion.mano import motion_import
from handpipe.exchange.motion.mano.models import read_mano_hands
from handpipe.hand.keypoints import Keypoints
from handpipe.hand.loading import load_hand, model_file
from handpipe.hand.model import HandModel
from handpipe.hand.procedural import procedural_hand
from handpipe.hand.procedural_motion import two_hand_motion
from handpipe.rendering.rig import dome_rig

NPZ = (*BYTES, *[in_a_file(npz)] * 3)
JSON = (*TEXT, *[in_a_file(json_tree)] * 3)


class Quiet:
    """Progress that nobody sees."""

    def start(self, stage: str, total: int, done: int, noun: str) -> None: ...
    def advance(self, amount: int) -> None: ...
    def stop(self) -> None: ...
    def say(self, text: str) -> None: ...


def formats() -> list[Format]:
    motion, mano = "exchange.motion.", "exchange.motion.mano."
    hub_modules = ("exchange.datasets.hub.reader",)
    interhand_modules = ("exchange.datasets.interhand26m.reader", "exchange.datasets.common.json_files")
    hub_make, interhand_make = partial(_exported, "hub", ""), partial(_exported, "interhand26m", "")
    return [
        Format("motion: csv", partial(_exported, "csv", ".csv"), _keypoints, TEXT, (motion + "csv",)),
        Format("motion: trc", partial(_exported, "trc", ".trc"), _keypoints, TEXT, (motion + "trc",)),
        Format("motion: npz", _npz_keypoints, _keypoints, NPZ, (motion + "keypoints3d",)),
        Format("motion: glb", _glb, _keypoints, (*BYTES, _glb_json, _glb_json), (motion + "gltf.reader",)),
        Format("motion: bvh", partial(_exported, "bvh", ".bvh"), _bvh, TEXT, (motion + "bvh.parser",)),
        Format("motion: mano npz", _mano_motion, _mano, NPZ, (mano + "npz",)),
        Format("hand model: MANO pickle", _pickles, _pickle, BYTES, (mano + "pickle",)),
        Format("hand model: npz", _hand_npz, _hand, NPZ, ("hand.loading",)),
        Format("dataset: interhand26m", interhand_make, _interhand, (*JSON, *SEVERAL), interhand_modules),
        Format("dataset: hub", hub_make, _hub, (*SEVERAL[:1], *SEVERAL[-1:], in_a_parquet, in_a_parquet), hub_modules),
    ]  # fmt: skip


# ---- valid files -------------------------------------------------------------------------------------------------


_motion = cache(lambda frames, seed: two_hand_motion(frames, 30.0, seed))


def session_of(root: Path, frames: int = 6, seed: int = 3) -> Path:
    """A fitted session without clips: two procedural hands, two cameras, keypoints; one hand and one joint are lost."""
    motion, rng = _motion(frames, seed), np.random.default_rng(seed)
    names = ("betas", "global_orient", "hand_pose", "transl")
    arrays = {name: getattr(motion, name).astype(np.float32) for name in names}
    models = [HandModel.procedural(hand) for hand in HANDS]
    joints = [
        model.joints(arrays["betas"][i].astype(float), *(arrays[name][:, i].astype(float) for name in names[1:]))
        for i, model in enumerate(models)
    ]
    arrays["joints"] = np.stack(joints, axis=1).astype(np.float32)
    arrays |= {"valid": np.ones((frames, 2), bool), "residual": np.full((frames, 2), 0.001, np.float32)}
    arrays["valid"][-1, 0] = False
    sigma = rng.uniform(0.0005, 0.002, arrays["joints"].shape[:-1]).astype(np.float32)
    points = arrays["joints"].copy()
    points[1, 1, 8], sigma[1, 1, 8] = np.nan, np.nan
    session = ImportedSession(
        fps=30.0,
        keypoints=Keypoints(points, sigma, 30.0),
        mano=arrays,
        hand_model=(models[0].model_id, models[1].model_id),
        cameras=dome_rig(2, (480, 384)),
    )
    write_imported(root, session, {"settings": {}, "inputs": {}, "code": 0}, {})
    return root


def files_in(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _exported(name: str, suffix: str, folder: Path) -> list[Files]:
    """What `handpipe export` writes of two sessions."""
    found = []
    for seed, frames in ((3, 6), (5, 4)):
        out = folder / f"{name}{seed}" / f"it{suffix}"
        out.parent.mkdir()
        export(export_formats()[name], [str(session_of(folder / f"s{seed}", frames, seed))], out, None, Quiet())
        files = files_in(out.parent)
        found.append({path: content for path, content in files.items() if not path.endswith("export.json")})
    return found


def _npz_keypoints(folder: Path) -> list[Files]:
    (folder / "plain").mkdir()
    np.savez(folder / "plain/it.npz", points=points_of_hands().astype(np.float32), fps=30.0)
    return [*_exported("keypoints3d", ".npz", folder), files_in(folder / "plain")]


def points_of_hands() -> np.ndarray:
    """(5, 2, 21, 3) metres."""
    hands = [HandModel.procedural(hand) for hand in HANDS]
    motion = _motion(5, 4)
    parts = [
        hand.joints(motion.betas[i], motion.global_orient[:, i], motion.hand_pose[:, i], motion.transl[:, i])
        for i, hand in enumerate(hands)
    ]
    return np.stack(parts, axis=1)


def _mano_motion(folder: Path) -> list[Files]:
    """Without the hand model that the exporter adds, which is not read: a hundredth of the size."""
    found = []
    for files in _exported("mano", ".npz", folder):
        (folder / "big.npz").write_bytes(files["it.npz"])
        arrays = {name: values for name, values in np.load(folder / "big.npz").items() if "_model_" not in name}
        np.savez(folder / "it.npz", **arrays)
        found.append({"it.npz": (folder / "it.npz").read_bytes()})
    return found


def _glb(folder: Path) -> list[Files]:
    return _exported("gltf", ".glb", folder)


def _glb_json(rng: Any, files: Files, other: Files) -> Files:
    """The JSON part of a GLB changed, its lengths right."""
    data = files["it.glb"]
    length = int.from_bytes(data[12:16], "little")
    text = json_tree(rng, data[20 : 20 + length])
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    head = data[:8] + (20 + len(text) + len(rest)).to_bytes(4, "little") + len(text).to_bytes(4, "little") + data[16:20]
    return {"it.glb": head + text + rest}


def _pickles(folder: Path) -> list[Files]:
    """Small arrays too: most of an official file is numbers, in which nothing can go wrong."""
    hand = procedural_hand("right")
    small = {**hand, "posedirs": np.zeros((2, 3, 4)), "shapedirs": np.zeros((2, 3, 10)), "weights": np.zeros((2, 16))}
    return [{"MANO_RIGHT.pkl": pickle.dumps(hand, 2).replace(b"numpy._core", b"numpy.core")}] + [
        {"MANO_RIGHT.pkl": pickle.dumps(value, protocol).replace(b"numpy._core", b"numpy.core")}
        for value in (small, {**small, "v_template": np.zeros((2, 3)), "J_regressor": np.zeros((16, 2))})
        for protocol in (0, 2)
    ]


def _hand_npz(folder: Path) -> list[Files]:
    path = model_file(folder, "right")
    arrays = procedural_hand("right")
    small = {name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in arrays.items()}
    np.savez(path, **small)  # pyright: ignore[reportArgumentType]
    return [{path.name: path.read_bytes()}]


# ---- readers -----------------------------------------------------------------------------------------------------


def _checked(root: Path, keypoints: Keypoints, settings: object, files: object) -> bool:
    """In place of writing a session: what `KeypointReader` promises of what would be written."""
    points, sigma = keypoints.points_m, keypoints.sigma_m
    assert (points.ndim, points.shape[1:], points.shape[:-1]) == (4, (2, 21, 3), sigma.shape), points.shape
    assert len(points)
    assert not np.isinf(points).any()
    assert not np.isinf(sigma).any()
    seen = np.isfinite(points).all(axis=-1)
    assert (np.isfinite(sigma) == seen).all()
    assert (sigma[seen] > 0).all()
    assert (np.isnan(points).all(-1) | seen).all()
    assert np.isfinite(keypoints.fps)
    assert keypoints.fps > 0
    return True


def _written(root: Path, session: ImportedSession, *rest: object) -> bool:
    """The same of a session with MANO."""
    if session.keypoints is not None:
        _checked(root, session.keypoints, None, None)
    if session.mano is not None:
        valid = session.mano["valid"]
        assert valid.dtype == bool
        assert valid.ndim == 2
        assert valid.shape[1] == 2
        assert len(valid)
        for name, width in (("global_orient", 3), ("hand_pose", 45), ("transl", 3)):
            values = session.mano[name]
            assert values.shape == (*valid.shape, width), name
            assert np.isfinite(values[valid]).all(), name
            assert not (np.abs(values) > LARGE).any(), name
    assert 0 < session.fps < np.inf
    return True


def _keypoints(folder: Path) -> None:
    with patch.object(importing, "write_session", _checked):
        importing.import_keypoints(Path(only_file(folder)), folder / "out", None, None, False, False, 0.001)


def _bvh(folder: Path) -> None:
    path = Path(only_file(folder))
    with patch.object(importing, "write_session", _checked):
        importing.import_bvh([path, path], folder / "out", None, None, "auto", 0.001)


def _mano(folder: Path) -> None:
    with patch.object(motion_import, "write_imported", _written):
        motion_import.import_mano_motion(Path(only_file(folder)), folder / "out", None, None)


def _pickle(folder: Path) -> None:
    for arrays in read_mano_hands([Path(only_file(folder))])[0].values():
        assert all(np.isfinite(array).all() for array in arrays.values())


def _hand(folder: Path) -> None:
    hand = load_hand(Path(only_file(folder)), "right")
    assert hand.v_template.shape == (778, 3)
    assert np.isfinite(hand.rest_joints).all()


def _interhand(folder: Path) -> None:
    with patch.object(interhand, "write_imported", _written):
        interhand.import_interhand26m(folder / "it", folder / "out", (), 30.0, 0.001, 0.001, None, Quiet())


def _hub(folder: Path) -> None:
    with patch.object(hub, "write_imported", _written):
        hub.import_hub(folder / "it", folder / "out", (), Quiet())
