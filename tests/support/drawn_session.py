"""A fitted session of two drawn hands: coloured bones on grey, clips and a store, without a detector or a fit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from hand_scenes import FPS, detect, dome, interaction
from stored_detections import fill

from handpipe.capture.video import clip_writer
from handpipe.core.cameras import Cameras
from handpipe.core.hands import BONES
from handpipe.core.storage.schema import KEYPOINTS, MANO, SHAPE, group_spec
from handpipe.core.storage.store import Store

COLOURS = ((60, 60, 250), (60, 250, 60), (250, 60, 60), (250, 250, 60), (250, 60, 250))


def draw(hands_px: np.ndarray, size: tuple[int, int] = (640, 480)) -> np.ndarray:
    """An image of (hand, 21, 2) hands; fingers have their colours, the left hand's are darker."""
    image = np.full((size[1], size[0], 3), 120, np.uint8)
    for side, hand in enumerate(hands_px):
        for a, b in BONES:
            colour = tuple(int(c * (0.6 + 0.4 * side)) for c in COLOURS[(b - 1) // 4])
            ends = [tuple(int(x) for x in np.round(hand[joint])) for joint in (a, b)]
            cv2.line(image, ends[0], ends[1], colour, 5)
    return image


def drawn_session(
    root: Path, views: int = 4, frames: int = 24, noise_px: float = 12.0, valid: bool = True
) -> tuple[Cameras, np.ndarray]:
    """Write the session; the detections have this noise. Returns its cameras and (frame, hand, 21, 3) joints."""
    cameras, motion = dome(views), interaction(frames)
    (root / "videos").mkdir(parents=True)
    for name, uv in zip(cameras.names, cameras.project(motion), strict=True):
        with clip_writer(root / "videos" / f"{name}.mp4", FPS, (640, 480)) as writer:
            for hands_px in uv:
                writer.write(draw(hands_px))
    store = Store(str(root / "session.zarr"))
    store.open()
    points, score, right, shown = detect(cameras, motion, noise_px=noise_px)
    fill(store, cameras, points, score, right)
    nothing = {"settings": {}, "inputs": {}, "code": 1}
    names = {"view": (("view",), np.array(cameras.names, object))}
    keypoints = {
        "points": motion,
        "sigma": np.full((frames, 2, 21), 1e-3),
        "assignment": np.argsort(shown, axis=-1),
        "inlier": np.ones((views, frames, 2, 21), bool),
    }
    zeros = {"global_orient": 3, "hand_pose": 45, "transl": 3}
    mano = {
        "betas": np.zeros((2, 10)),
        **{name: np.zeros((frames, 2, width)) for name, width in zeros.items()},
        "joints": motion,
        "residual": np.full((frames, 2), 1e-3),
        "valid": np.full((frames, 2), valid),
    }
    shape = {"betas": np.zeros((2, 10)), "offsets": np.zeros((2, 21, 3))}
    of_shape = {name: SHAPE[name] for name in shape}
    groups = (("keypoints", KEYPOINTS, keypoints), ("shape", of_shape, shape), ("mano", MANO, mano))
    for name, columns, blocks in groups:
        sizes = {"view": views, "frame": frames, "session": 1}
        attrs = {"fps": FPS, "hand_model": ["drawn", "drawn"]}
        coords = names if name == "keypoints" else {}
        store.create(group_spec(name, columns, sizes, {"session": 1}, nothing, attrs, coords))
        dtyped = {array: np.asarray(block, columns[array][1]) for array, block in blocks.items()}
        store.write(name, (0,), dtyped)
        store.finish(name)
    return cameras, motion
