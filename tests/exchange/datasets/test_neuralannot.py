"""NeuralAnnot's MANO, written by hand as it is published, must come in as what smplx makes of the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import smplx
import torch

from handpipe.cli import main
from handpipe.core.storage.store import Store
from handpipe.exchange.importing import write_models
from handpipe.hand.procedural import procedural_hand

FRAMES = (12, 15, 18)
"""The dataset's numbers: every third."""

SMPLX = ("wrist", *(f"{finger}{n}" for finger in ("index", "middle", "pinky", "ring", "thumb") for n in (1, 2, 3)))
TIP_VERTEX = {"thumb": 744, "index": 320, "middle": 443, "ring": 554, "pinky": 671}
DATASET = (*(f"{finger}{n}" for finger in ("thumb", "index", "middle", "ring", "pinky") for n in (4, 3, 2, 1)), "wrist")
"""Of one hand, as in its skeleton.txt: 4 is the tip."""

OURS = ("wrist", *(f"{finger}{n}" for finger in ("thumb", "index", "middle", "ring", "pinky") for n in (1, 2, 3, 4)))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Hands whose mean pose is not flat, as the official ones': a pose counts from it."""
    folder = tmp_path_factory.mktemp("models")
    hands = {side: dict(procedural_hand(side)) for side in ("left", "right")}
    curl = np.random.default_rng(5).normal(0, 0.25, 45)
    for side, arrays in hands.items():
        mirror = np.tile([1, 1, 1] if side == "right" else [1, -1, -1], 15)
        arrays["hands_mean"] = (curl * mirror).astype(arrays["hands_mean"].dtype)
    write_models(hands, folder)
    return folder


def annotation(rng: np.random.Generator, side: str) -> dict[str, list[float]]:
    pose = np.concatenate([rng.normal(0, 1, 3), rng.normal(0, 0.15, 45)])
    place = [0.1 if side == "left" else -0.1, 0.05, 0.9]
    return {"pose": pose.tolist(), "shape": [0.5, -0.3, *[0.0] * 8], "trans": place}


def by_smplx(folder: Path, side: str, hand: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """Joints in metres by name."""
    model = smplx.MANO(str(folder), ext="npz", is_rhand=side == "right", use_pca=False, flat_hand_mean=False)
    pose, shape, trans = (torch.tensor([hand[name]], dtype=torch.float32) for name in ("pose", "shape", "trans"))
    with torch.no_grad():
        out = model(betas=shape, global_orient=pose[:, :3], hand_pose=pose[:, 3:], transl=trans)
    joints = dict(zip(SMPLX, out.joints[0, :16].numpy(), strict=True))
    return joints | {f"{finger}4": out.vertices[0, vertex].numpy() for finger, vertex in TIP_VERTEX.items()}


@pytest.fixture(scope="module")
def published(models, tmp_path_factory):
    """Files of capture 7: three frames; the left hand is there in the last two."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("published")
    mano, joint_3d, truth = {}, {}, {}
    for number, frame in enumerate(FRAMES):
        hands = {"right": annotation(rng, "right"), "left": annotation(rng, "left") if number else None}
        truth[frame] = {side: hand and by_smplx(models, side, hand) for side, hand in hands.items()}
        world, valid = [], []
        for side in ("right", "left"):
            joints = truth[frame][side]
            world += [(1000 * joints[name]).tolist() if joints else [1.0, 1.0, 1.0] for name in DATASET]
            valid += [[int(joints is not None)]] * 21
        mano[str(frame)] = hands
        kind = "interacting" if number else "right"
        joint_3d[str(frame)] = {"world_coord": world, "joint_valid": valid, "hand_type": kind, "hand_type_valid": True}
    images = [
        {"id": n, "file_name": f"Capture7/0001_fist/cam400002/image{frame}.jpg", "width": 334, "height": 512}
        | {"capture": 7, "subject": 1, "seq_name": "0001_fist", "camera": "400002", "frame_idx": frame}
        for n, frame in enumerate(FRAMES)
    ]
    camera = {"campos": [0, 0, -200], "camrot": np.eye(3).tolist(), "focal": [900, 900], "princpt": [167, 256]}
    files = {
        "data": {"images": images, "annotations": []},
        "camera": {"7": {kind: {"400002": value} for kind, value in camera.items()}},
        "joint_3d": {"7": joint_3d},
        "MANO_NeuralAnnot": {"7": mano},
    }
    for kind, content in files.items():
        (folder / f"InterHand2.6M_val_{kind}.json").write_text(json.dumps(content))
    return folder, mano, truth


def test_it_means_what_smplx_says(published, models, tmp_path):
    folder, mano, truth = published
    assert main(["import", "interhand26m", str(folder), str(tmp_path), "--hand-model", str(models)]) == 0
    store = Store(str(tmp_path / "Capture7" / "0001_fist" / "session.zarr"))
    np.testing.assert_array_equal(store.read("mano", "valid"), [[False, True], [True, True], [True, True]])
    joints, orient = store.read("mano", "joints"), store.read("mano", "global_orient")
    for number, frame in enumerate(FRAMES):
        for hand, side in enumerate(("left", "right")):
            if truth[frame][side] is None:
                assert np.isnan(joints[number, hand]).all()
                continue
            expected = np.stack([truth[frame][side][name] for name in OURS])
            np.testing.assert_allclose(joints[number, hand], expected, atol=5e-6)
            np.testing.assert_allclose(store.read("keypoints", "points")[number, hand], expected, atol=5e-6)
            np.testing.assert_allclose(orient[number, hand], mano[str(frame)][side]["pose"][:3], atol=1e-6)
    assert np.nanmax(store.read("mano", "residual")) < 5e-6


def test_the_mean_pose_is_not_left_out(published, tmp_path, capsys):
    """With the flat hands the same numbers are other hands, and are not taken."""
    write_models({side: procedural_hand(side) for side in ("left", "right")}, tmp_path / "flat")
    again = ["import", "interhand26m", str(published[0]), str(tmp_path / "out"), "--hand-model", str(tmp_path / "flat")]
    assert main(again) == 2
    assert "its joints are" in capsys.readouterr().err
