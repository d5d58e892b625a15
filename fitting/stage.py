"""The `fit` stage: keypoints to MANO, one hand at a time, the whole session at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from numpy import ndarray

from ..core.engine import Plan, Unit
from ..core.hand_model import HandModel
from ..core.hands import HANDS
from ..core.schema import MANO, group_spec
from ..core.store import Store
from .solver import FittingSettings, fit_hand

CODE = 1
"""Raised when the same input would give other numbers."""


@cache
def hand_model(folder: str | None, hand: int) -> HandModel:
    """The left (0) or right (1) hand: MANO_LEFT.npz or MANO_RIGHT.npz of a folder, or the procedural one."""
    side = HANDS[hand]
    return HandModel.procedural(side) if folder is None else HandModel.load(_file(folder, side), side)


def _file(folder: str, side: str) -> Path:
    return Path(folder).expanduser() / f"MANO_{side.upper()}.npz"


@dataclass(frozen=True)
class FitHand:
    """One hand of a session: one shape, and frames that lean on each other."""

    store: Store
    options: FittingSettings
    model_folder: str | None
    hand: int
    fps: float

    @property
    def units(self) -> Sequence[Unit]:
        return [(self.hand,)]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        points = self.store.read("keypoints", "points", (slice(None), self.hand)).astype(float)
        sigma = self.store.read("keypoints", "sigma", (slice(None), self.hand)).astype(float)
        fit = fit_hand(hand_model(self.model_folder, self.hand), points, sigma, self.fps, self.options)
        yield (
            todo[0],
            {
                "betas": fit.betas[None],
                "global_orient": fit.global_orient[:, None],
                "hand_pose": fit.hand_pose[:, None],
                "transl": fit.transl[:, None],
                "joints": fit.joints_m[:, None],
                "residual": fit.residual_m[:, None],
                "valid": fit.valid[:, None],
            },
        )


def plan(store: Store, options: FittingSettings, model_folder: str | None, chunk_frames: int) -> Plan:
    """Fit both hands.

    Args:
        store: where `keypoints` is.
        options: the solver's settings.
        model_folder: with MANO_LEFT.npz and MANO_RIGHT.npz; None for the procedural hand.
        chunk_frames: unused: a hand is one unit.
    """
    del chunk_frames
    fps = store.attrs("keypoints")["fps"]
    frames = store.read("keypoints", "sigma").shape[0]
    models = [hand_model(model_folder, hand).model_id for hand in range(len(HANDS))]
    group = group_spec(
        "mano",
        MANO,
        sizes={"frame": frames},
        unit={"hand": 1},
        fingerprint={
            "settings": {**asdict(options), "fps": fps},
            "inputs": {"keypoints": store.digest_of("keypoints"), "hand_model": models},
            "code": CODE,
        },
        attrs={"fps": fps, "hand_model": models},
    )
    tasks = [FitHand(store, options, model_folder, hand, fps) for hand in range(len(HANDS))]
    return Plan(group, tasks, {(hand,): frames for hand in range(len(HANDS))}, "frames")
