"""One sequence of `handpipe augment`: a clip of the motion, its random scene, and its labels."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.errors import SessionError
from ..core.files import LARGE
from ..core.hands import HANDS, NUM_POSE
from ..core.storage.schema import AUGMENTED_CAMERAS, AUGMENTED_MANO, SCENES
from ..core.storage.store import Store
from ..hand.loading import hand_models
from .scenes import Film, Scene, draw_cameras, draw_film, draw_scene, palm_frames
from .settings import AugmentSettings


@dataclass(frozen=True)
class ShotSource:
    """The motion that is shown."""

    store: Store
    sampled: bool
    """Whether its `mano` group has a leading axis `sample`."""
    clips: tuple[tuple[int, int], ...]
    """Sample and first frame of every sequence."""
    hand_model: str | None
    """Folder of the model; None is the procedural hand."""


def hands_shown(motion: Store) -> ndarray:
    """(..., frame, hand) bool: the hand is valid and all its parameters are finite, so that it can be rendered."""
    valid = motion.read("mano", "valid")
    shapes = {"global_orient": (3,), "hand_pose": (NUM_POSE,), "transl": (3,), "valid": ()}
    for name, shape in shapes.items():
        part = motion.read("mano", name)
        if part.shape != (*valid.shape, *shape) or part.dtype.kind != ("b" if name == "valid" else "f"):
            raise SessionError(
                f"{motion.url}: mano/{name}: expected an array of shape {(*valid.shape, *shape)}, but found "
                f"{part.dtype} of shape {part.shape}. Fit or generate the motion again."
            )
        if shape:
            valid = valid & (np.abs(part) < LARGE).all(axis=-1)
    known = np.asarray((np.abs(motion.read("mano", "betas")) < LARGE).all(axis=-1))
    return np.asarray(valid & known[..., None, :])


@dataclass(frozen=True, eq=False)
class Shot:
    """One clip with its scene."""

    scene: Scene
    cameras: Cameras
    films: tuple[Film, ...]
    betas: ndarray
    """(hand, 10)"""
    global_orient: ndarray
    """(frame, hand, 3)"""
    hand_pose: ndarray
    """(frame, hand, 45)"""
    transl: ndarray
    """(frame, hand, 3)"""
    joints_m: ndarray
    """(frame, hand, 21, 3) world; of both hands, also where one is not shown."""


@lru_cache(4)
def read_shot(source: ShotSource, options: AugmentSettings, number: int) -> Shot:
    rng = np.random.default_rng([options.seed, number])
    scene = draw_scene(rng, options.single_hand, options.occluded, options.shape)
    sample, start = source.clips[number]
    frames = slice(start, start + options.motion_frames, options.every)
    region = (sample, frames) if source.sampled else (frames,)
    orient, pose, transl = (
        source.store.read("mano", name, region) for name in ("global_orient", "hand_pose", "transl")
    )
    stored = source.store.read("mano", "betas", (sample,) if source.sampled else None)
    betas, transl, joints = stored + scene.betas_delta, transl.astype(float), []
    for hand in range(len(HANDS)):
        model = hand_models(source.hand_model)[hand]
        # Another shape has its root joint elsewhere: the wrist stays where it was.
        transl[:, hand] -= model.rest_joint_dirs[0] @ (betas[hand] - stored[hand])
        joints.append(model.joints(betas[hand], orient[:, hand], pose[:, hand], transl[:, hand]))
    joints_m = np.stack(joints, axis=1)
    names = [f"v{view}" for view in range(options.views)]
    palms = np.stack([palm_frames(joints_m[:, hand], hand)[0] for hand in scene.hands], axis=1)
    size_px = (options.width, options.height)
    cameras = draw_cameras(rng, joints_m[:, list(scene.hands)], palms, names, size_px, options.facing)
    films = tuple(draw_film(rng, options.jpeg_quality) for _ in names)
    return Shot(scene, cameras, films, betas, orient, pose, transl, joints_m)


def _scene_blocks(source: ShotSource, options: AugmentSettings, number: int) -> dict[str, ndarray]:
    scene = read_shot(source, options, number).scene
    sample, start = source.clips[number]
    return {
        "sample": np.array([sample]),
        "start": np.array([start]),
        "tone": scene.tone_bgr[None],
        "key_light": scene.lamps.key[None],
        "things": np.array([len(scene.things)]),
    }


def _camera_blocks(source: ShotSource, options: AugmentSettings, number: int) -> dict[str, ndarray]:
    cameras = read_shot(source, options, number).cameras
    return {
        "K": cameras.K[None],
        "distortion": cameras.distortion[None],
        "T_cam_world": cameras.T_cam_world[None],
        "size": cameras.size_px[None],
    }


def _mano_blocks(source: ShotSource, options: AugmentSettings, number: int) -> dict[str, ndarray]:
    one = read_shot(source, options, number)
    shown = np.isin(np.arange(len(HANDS)), one.scene.hands)
    arrays = {
        "global_orient": one.global_orient,
        "hand_pose": one.hand_pose,
        "transl": one.transl,
        "joints": one.joints_m,
    }
    blocks = {
        name: np.where(shown.reshape(1, 2, *[1] * (array.ndim - 2)), array, np.nan)[None]
        for name, array in arrays.items()
    }
    valid = np.broadcast_to(shown, (1, options.frames, 2))
    return {**blocks, "betas": np.where(shown[:, None], one.betas, np.nan)[None], "valid": valid}


PER_SEQUENCE = {
    "scenes": (SCENES, _scene_blocks),
    "cameras": (AUGMENTED_CAMERAS, _camera_blocks),
    "mano": (AUGMENTED_MANO, _mano_blocks),
}
