"""MANO (Romero, Tzionas and Black 2017): the official hand models in, motion in npz in and out."""

# Ring 2: reads and writes.

from __future__ import annotations

from pathlib import Path

from ...recording import Recording
from ..format import MotionFormat


def _write(recording: Recording, out: Path) -> list[str]:
    from .npz import write

    return write(recording, out)


FORMAT = MotionFormat(
    name="mano",
    title="MANO parameters in npz, for training and research code",
    suffixes=(".npz",),
    reads="betas, global_orient, hand_pose and transl of one or both hands",
    writes="betas, global_orient, hand_pose, transl, joints and valid of both hands, for `smplx.MANO`",
    loses="the observations: keypoints, cameras, detections",
    write=_write,
    read_back="mano-motion FILE OUT",
    group="mano",
)
