"""The baseline for fitting: smplx's MANO with a PyTorch optimiser, all frames of a batch at once."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy import ndarray

from handpipe.core.geometry import axis_angle_from_rotation
from handpipe.core.hands import MANO_JOINT, MANO_TIP_VERTEX, TIPS
from handpipe.fitting.initial import PALM, align_palm
from handpipe.fitting.kinematics import Landmarks, anatomical_frames
from handpipe.hand.model import HandModel

SMOOTH_RAD = 0.03
SMOOTH_M = 0.002
"""Step between neighbouring frames that counts as one standard deviation."""
POSE_SD_RAD = 1.0
ADAM_STEP = 0.02


def fit_with_torch(
    model: HandModel, points_m: ndarray, sigma_m: float, method: Literal["lbfgs", "adam"], evaluations: int
) -> ndarray:
    """Fit one hand: joints, smoothness and pose prior; one shape. Starts from the palm's alignment, as ours does.

    Args:
        model: the hand.
        points_m: (frame, 21, 3) keypoints, NaN where missing.
        sigma_m: their standard error.
        method: the optimiser.
        evaluations: of cost and gradient.

    Returns:
        (frame, 21, 3) fitted joints, metres.
    """
    frames = len(points_m)
    hand = model.to_smplx(frames)
    flat = Landmarks(model, anatomical_frames(model), np.zeros(10), np.zeros((21, 3)))
    R, transl, _ = align_palm(flat.rest_landmarks[PALM], points_m[:, PALM], flat.rest_joints[0])
    seen = torch.tensor(np.isfinite(points_m).all(axis=-1), dtype=torch.float32)[..., None] / sigma_m
    target = torch.tensor(np.nan_to_num(points_m), dtype=torch.float32)
    # Translations in decimetres, so that every unknown is of order one.
    unknowns = [
        torch.tensor(value, dtype=torch.float32, requires_grad=True)
        for value in (np.zeros(10), continuous(axis_angle_from_rotation(R)), np.full((frames, 45), 0.05), 10 * transl)
    ]

    def joints() -> torch.Tensor:
        betas, orient, pose, shift = unknowns
        out = hand(
            betas=betas.expand(frames, 10), global_orient=orient, hand_pose=pose, transl=0.1 * shift, return_verts=True
        )
        inner = np.flatnonzero(MANO_JOINT >= 0).tolist()
        every = torch.empty(frames, 21, 3)
        every[:, inner] = out.joints[:, MANO_JOINT[inner].tolist()]
        every[:, TIPS.tolist()] = out.vertices[:, MANO_TIP_VERTEX.tolist()]
        return every

    def cost() -> torch.Tensor:
        betas, orient, pose, shift = unknowns
        return (
            ((joints() - target) * seen).square().sum()
            + betas.square().sum()
            + (pose / POSE_SD_RAD).square().sum()
            + (pose.diff(dim=0) / SMOOTH_RAD).square().sum()
            + (orient.diff(dim=0) / SMOOTH_RAD).square().sum()
            + (shift.diff(dim=0) / (10 * SMOOTH_M)).square().sum()
        )

    if method == "lbfgs":
        optimiser = torch.optim.LBFGS(
            unknowns, max_iter=evaluations, max_eval=evaluations, history_size=20, line_search_fn="strong_wolfe"
        )
        rounds = 1
    else:
        optimiser, rounds = torch.optim.Adam(unknowns, lr=ADAM_STEP), evaluations

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = cost()
        loss.backward()
        return loss

    for _ in range(rounds):
        optimiser.step(closure)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        return joints().double().numpy()


def continuous(axis_angle: ndarray) -> ndarray:
    """The same rotations (frame, 3), each with the angle nearest to the frame before: no jump where it passes pi."""
    out = axis_angle.copy()
    for frame in range(1, len(out)):
        angle = np.linalg.norm(out[frame])
        axis = out[frame] / max(angle, 1e-9)
        turns = axis * (angle + 2 * np.pi * np.array([[-1], [0], [1]]))
        out[frame] = turns[np.linalg.norm(turns - out[frame - 1], axis=1).argmin()]
    return out
