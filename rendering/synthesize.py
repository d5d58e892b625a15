"""Synthetic sessions: rendered clips of two hands and of a board, and ground truth in `truth.zarr` (same schema)."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy import ndarray

from ..capture.video import clip_writer, find_clips
from ..core.cameras import Cameras
from ..core.engine import Engine, Plan, Unit
from ..core.errors import SessionError, disk_errors
from ..core.hands import HANDS
from ..core.settings import Board, described
from ..core.storage.schema import CAMERAS, MANO, Columns, camera_blocks, group_spec
from ..core.storage.store import Store
from ..hand.model import HandModel
from ..hand.procedural import procedural_hand
from ..hand.procedural_motion import TwoHandMotion, two_hand_motion
from .render import LitHands, board_texture, light_hands, pixel_rays, render_board, render_hands, room
from .rig import board_motion, dome_rig
from .settings import SynthesisSettings
from .skin import HandSkin, hand_skin

CODE = 2
"""Version of this code. Increase it when the same settings give different images."""

CLIPS: Columns = {"bytes": ("view kind", "int64", -1, "byte", "size of the clip that was written")}

KINDS = ("calibration", "videos")


BOARD = Board()
"""The default board, so that a synthetic session needs no session.yaml."""


def synthesize(root: Path, options: SynthesisSettings, engine: Engine, *, force: bool = False) -> tuple[str, ...]:
    """Render a synthetic session; complete units are skipped.

    Args:
        root: the session's folder.
        options: settings of synthetic sessions.
        engine: where to render.
        force: render existing clips again.

    Returns:
        The groups of truth.zarr that had to be computed.
    """
    with disk_errors(str(root)):
        root.mkdir(parents=True, exist_ok=True)
    truth = Store(str(root / "truth.zarr"))
    if not truth.attrs("clips") and any(find_clips(root / kind) for kind in KINDS if (root / kind).is_dir()):
        raise SessionError(
            f"{root}: expected an empty folder or a synthetic session, but found clips that handpipe did not render. "
            "Choose another folder for the synthetic session."
        )
    truth.open()
    plans = {
        "cameras": rig_plan(options),
        "mano": motion_plan(options),
        "clips": clips_plan(root, options),
    }
    with truth.lock(engine.progress.say):
        truth.clean()
        _remove_others(root, truth, set(_rig(options).names))
        force = force or not _clips_whole(root, truth)
        computed = tuple(name for name, p in plans.items() if engine.execute(truth, lambda _, p=p: p, force=force))
        truth.consolidate()
    return computed


def _remove_others(root: Path, truth: Store, names: set[str]) -> None:
    """Remove clips of earlier settings whose cameras do not exist any more."""
    before = truth.labels("cameras", "view") if truth.fingerprint("cameras") else ()
    for name in set(before) - names:
        for kind in KINDS:
            (root / kind / f"{name}.mp4").unlink(missing_ok=True)


def _clips_whole(root: Path, truth: Store) -> bool:
    """Whether every clip in the journal still exists unchanged."""
    if not truth.fingerprint("clips"):
        return True
    written, names = truth.read("clips", "bytes"), truth.labels("cameras", "view")
    for view, kind in np.argwhere(written >= 0):
        path = root / KINDS[kind] / f"{names[view]}.mp4"
        if not path.is_file() or path.stat().st_size != written[view, kind]:
            return False
    return True


@dataclass(frozen=True)
class TrueRig:
    """The true cameras."""

    options: SynthesisSettings
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        rig = _rig(self.options)
        yield todo[0], camera_blocks(rig, np.zeros(len(rig)))


def rig_plan(options: SynthesisSettings) -> Plan:
    """The plan of the ground truth's `cameras` group."""
    group = group_spec(
        "cameras",
        CAMERAS,
        sizes={"view": options.views, "rig": 1},
        unit={"rig": 1},
        fingerprint=_fingerprint(options),
        attrs={"source": "synthetic"},
        coords={"view": (("view",), np.array(_rig(options).names, object))},
    )
    return Plan(group, [TrueRig(options)], {(0,): 1}, "rig")


@dataclass(frozen=True)
class TrueMotion:
    """The true motion of one hand."""

    options: SynthesisSettings
    hand: int

    @property
    def units(self) -> Sequence[Unit]:
        return [(self.hand,)]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        motion, hand = _motion(self.options), self.hand
        joints = HandModel.procedural(HANDS[hand]).joints(
            motion.betas[hand], motion.global_orient[:, hand], motion.hand_pose[:, hand], motion.transl[:, hand]
        )
        frames = len(joints)
        yield (
            todo[0],
            {
                "betas": motion.betas[[hand]],
                "global_orient": motion.global_orient[:, [hand]],
                "hand_pose": motion.hand_pose[:, [hand]],
                "transl": motion.transl[:, [hand]],
                "joints": joints[:, None],
                "residual": np.zeros((frames, 1)),
                "valid": np.ones((frames, 1), bool),
            },
        )


def motion_plan(options: SynthesisSettings) -> Plan:
    """The plan of the ground truth's `mano` group."""
    group = group_spec(
        "mano",
        MANO,
        sizes={"frame": options.frames},
        unit={"hand": 1},
        fingerprint=_fingerprint(options),
        attrs={"fps": options.fps, "hand_model": [HandModel.procedural(side).model_id for side in HANDS]},
    )
    return Plan(group, [TrueMotion(options, hand) for hand in range(2)], {(0,): 1, (1,): 1}, "hands")


@dataclass(frozen=True)
class FilmView:
    """One camera's clips: of the board, and of the hands."""

    root: Path
    options: SynthesisSettings
    view: int

    @property
    def units(self) -> Sequence[Unit]:
        return [(self.view, kind) for kind in range(len(KINDS))]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        camera = _rig(self.options).subset([self.view])
        for unit in todo:
            kind = KINDS[unit[1]]
            path = self.root / kind / f"{camera.names[0]}.mp4"
            pictures = self._board(camera) if kind == "calibration" else self._hands(camera)
            with clip_writer(path, self.options.fps, (self.options.width, self.options.height)) as writer:
                for picture in pictures:
                    writer.write(picture)
            yield unit, {"bytes": np.array([[path.stat().st_size]])}

    def _hands(self, camera: Cameras) -> Iterator[ndarray]:
        background = self._room()
        for frame in range(self.options.frames):
            yield render_hands(camera, _lit_hands(self.options, frame), background, self._noise(1 + frame))

    def _board(self, camera: Cameras) -> Iterator[ndarray]:
        background = self._room()
        texture = board_texture(BOARD.columns, BOARD.rows, BOARD.square_m, BOARD.marker_m, BOARD.dictionary)
        rays = pixel_rays(camera)
        poses = board_motion(self.options.board_frames, texture.size_m, self.options.seed)
        for frame, T_world_board in enumerate(poses):
            yield render_board(camera, rays, T_world_board, texture, background, self._noise(-1 - frame))

    def _room(self) -> ndarray:
        return room((self.options.width, self.options.height), self._seed(self.options.seed_of_rig, 0))

    def _noise(self, picture: int) -> int:
        """One seed for each picture of each view, hands from 1 on, the board from -1 down."""
        return self._seed(self.options.seed, picture)

    def _seed(self, seed: int, picture: int) -> int:
        return int(np.random.SeedSequence([seed, self.view, picture + 2**31]).generate_state(1)[0])


def clips_plan(root: Path, options: SynthesisSettings) -> Plan:
    """The plan of the clips, with a journal in the ground truth."""
    group = group_spec(
        "clips",
        CLIPS,
        sizes={"view": options.views, "kind": len(KINDS)},
        unit={"view": 1, "kind": 1},
        fingerprint=_fingerprint(options),
        attrs={},
        coords={"kind": (("kind",), np.array(KINDS, object))},
    )
    tasks = [FilmView(root, options, view) for view in range(options.views)]
    count = {"calibration": options.board_frames, "videos": options.frames}
    return Plan(group, tasks, {unit: count[KINDS[unit[1]]] for task in tasks for unit in task.units}, "images")


def _fingerprint(options: SynthesisSettings) -> dict[str, object]:
    hands = [HandModel.procedural(side).model_id for side in HANDS]
    settings = asdict(options)
    if options.rig_seed is None:  # As before there was this setting.
        del settings["rig_seed"]
    return {"settings": settings, "inputs": {"hand_model": hands, "board": described(BOARD)}, "code": CODE}


@lru_cache(1)
def _rig(options: SynthesisSettings) -> Cameras:
    return dome_rig(options.views, (options.width, options.height), options.seed_of_rig)


@lru_cache(1)
def _motion(options: SynthesisSettings) -> TwoHandMotion:
    return two_hand_motion(options.frames, options.fps, options.seed)


@lru_cache(512)
def _lit_hands(options: SynthesisSettings, frame: int) -> LitHands:
    """The hands of one frame, the same for every view; a process keeps them from view to view."""
    motion = _motion(options)
    vertices = [
        HandModel.procedural(side).vertices(
            motion.betas[i], motion.global_orient[frame, i], motion.hand_pose[frame, i], motion.transl[frame, i]
        )
        for i, side in enumerate(HANDS)
    ]
    return light_hands(_skins(), np.stack(vertices))


@lru_cache(1)
def _skins() -> tuple[HandSkin, ...]:
    return tuple(hand_skin(procedural_hand(side), side) for side in HANDS)
