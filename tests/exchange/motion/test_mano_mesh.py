"""Exported MANO motion of the procedural hands is meshed by smplx with what is in the file, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import smplx
import torch
from smplx.utils import Struct
from stored_motions import MODELS, clip, fitted

from handpipe.cli import main
from handpipe.core.hands import HANDS


@pytest.mark.parametrize("hand", HANDS)
def test_smplx_meshes_an_export(tmp_path, hand):
    arrays = clip(4)
    session = fitted(tmp_path / "session", arrays)
    assert main(["export", "mano", str(session), "--out", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").glob("*.npz")
    with np.load(path) as file:
        prefix = f"{hand}_model_"
        model = {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
        motion = {name: torch.tensor(file[f"{hand}_{name}"]) for name in ("global_orient", "hand_pose", "transl")}
        betas = torch.tensor(file[f"{hand}_betas"]).expand(4, -1)
    layer = smplx.MANO(
        model_path="",
        data_struct=Struct(**model),
        is_rhand=hand == "right",
        use_pca=False,
        flat_hand_mean=True,
        batch_size=4,
    )
    vertices = layer(betas=betas, **motion).vertices.detach().numpy()
    index = HANDS.index(hand)
    poses = (arrays[name][:, index] for name in ("global_orient", "hand_pose", "transl"))
    np.testing.assert_allclose(vertices, MODELS[index].vertices(arrays["betas"][index], *poses), atol=1e-5)
