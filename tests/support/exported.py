"""A fitted session without clips, made in a moment: what exports are tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from handpipe.core.hands import HANDS
from handpipe.core.storage.schema import MANO, read_cameras
from handpipe.core.storage.store import Store
from handpipe.exchange.imported_session import ImportedSession, write_imported
from handpipe.hand.keypoints import Keypoints
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion
from handpipe.rendering.rig import dome_rig


def fitted_session(root: Path, frames: int, views: int = 3, keypoints: bool = False, seed: int = 3) -> Path:
    """Two procedural hands under a dome of cameras; the left one is lost in the last two frames.

    Args:
        root: the session's folder.
        keypoints: with triangulated keypoints a millimetre off, and one joint missing.
    """
    motion, rng = two_hand_motion(frames, 30.0, seed), np.random.default_rng(seed)
    models = [HandModel.procedural(hand) for hand in HANDS]
    arrays = {
        "betas": motion.betas.astype(np.float32),
        "global_orient": motion.global_orient.astype(np.float32),
        "hand_pose": motion.hand_pose.astype(np.float32),
        "transl": motion.transl.astype(np.float32),
        "valid": np.ones((frames, 2), bool),
        "residual": rng.uniform(0, 0.004, (frames, 2)).astype(np.float32),
    }
    joints = [
        model.joints(
            arrays["betas"][i].astype(float),
            *(arrays[name][:, i].astype(float) for name in ("global_orient", "hand_pose", "transl")),
        )
        for i, model in enumerate(models)
    ]
    arrays["joints"] = np.stack(joints, axis=1).astype(np.float32)
    arrays["valid"][-2:, 0] = False
    arrays["global_orient"][-1, 0] = np.nan
    found = None
    if keypoints:
        points = arrays["joints"] + rng.normal(0, 0.001, arrays["joints"].shape).astype(np.float32)
        sigma = rng.uniform(0.0005, 0.002, points.shape[:-1]).astype(np.float32)
        points[3, 1, 8], sigma[3, 1, 8] = np.nan, np.nan
        found = Keypoints(points, sigma, 30.0)
    session = ImportedSession(
        fps=30.0,
        keypoints=found,
        mano=arrays,
        hand_model=(models[0].model_id, models[1].model_id),
        cameras=dome_rig(views, (480, 384)),
    )
    write_imported(root, session, {"settings": {}, "inputs": {}, "code": 0}, {})
    return root


def fit_by_truth(filmed: Path, tmp_path: Path) -> Path:
    """A drawn session whose results are the truth it was drawn from: `filmed` gets a session.zarr in no time."""
    truth = Store(str(filmed / "truth.zarr"))
    mano = {name: truth.read("mano", name) for name in MANO if name != "residual"}
    cameras, frames = read_cameras(truth), len(mano["valid"])
    session = ImportedSession(
        fps=float(truth.attrs("mano")["fps"]),
        mano={**mano, "residual": np.zeros((frames, 2), np.float32)},
        hand_model=tuple(truth.attrs("mano")["hand_model"]),
        cameras=cameras,
        imaged=np.ones((len(cameras), frames), bool),
    )
    write_imported(tmp_path / "made", session, {"settings": {}, "inputs": {}, "code": 0}, {})
    (tmp_path / "made" / "session.zarr").rename(filmed / "session.zarr")
    return filmed
