"""The views of a session in the Rerun viewer: cameras, their images, the detections and the fitted hands in them."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.errors import VideoError
from ..core.hands import BONES
from ..core.storage.candidates import read_candidates
from ..rendering.moving_hands import HAND_BGR, MovingHands
from ..rendering.over_image import through
from .measures import project
from .pictures import clip_paths, images_of
from .shown_motion import ShownMotion

WIDTH_PX = 480
"""Of an image, at most."""

QUALITY = 75
"""Of JPEG."""

CHUNK = 64
"""Frames whose detections are in the memory at once."""

CAMERA_M = 0.08
"""Distance from a camera to its image in space, for cameras that are a metre from each other."""

HAND_RGB = HAND_BGR[:, ::-1]

FREE_RGB = (190, 190, 190)
"""Candidates that are no hand's."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that is being written, and what belongs to every entry."""

    rr: Any
    stream: Any
    fps: float

    def at(self, number: int) -> None:
        self.stream.set_time("frame", sequence=number)
        self.stream.set_time("time", duration=number / self.fps)

    def log(self, path: str, *what: Any, static: bool = False) -> None:
        self.stream.log(path, *what, static=static)


def log_cameras(recording: Recording, cameras: Cameras, with_images: set[int]) -> dict[int, Cameras]:
    """Log the rig; returns the cameras of the smaller images."""
    rr, known = recording.rr, np.flatnonzero(cameras.calibrated).tolist()
    centers, out = cameras.centers_m, {}
    spread = float(np.median(np.linalg.norm(centers[known] - centers[known].mean(axis=0), axis=1))) if known else 1.0
    for view in known:
        w, h = cameras.size_px[view].tolist()
        width = min(w, WIDTH_PX)
        small = through(cameras.subset([view]), (0, 0, w, h), (width, round(h * width / w)))
        out[view] = small
        path = f"world/cameras/{cameras.names[view]}"
        T = np.linalg.inv(cameras.T_cam_world[view])
        recording.log(path, rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3]), static=True)
        K = small.K[0] + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]  # Rerun counts from the corner of the first pixel.
        size, shown_m = small.size_px[0].tolist(), CAMERA_M * max(spread, 0.1) * (2 if view in with_images else 1)
        pinhole = rr.Pinhole(
            image_from_camera=K,
            resolution=size,
            camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=shown_m,
        )
        recording.log(f"{path}/image" if view in with_images else path, pinhole, static=True)
    return out


def log_images(recording: Recording, shown: ShownMotion, cameras: Mapping[int, Cameras], number: ndarray) -> list[str]:
    """Smaller images of the chosen views; returns why there are none."""
    assert shown.root is not None
    paths, warnings = clip_paths(shown.root), []
    for view, camera in cameras.items():
        assert shown.source_frame is not None
        name = camera.names[0]
        if name not in paths:
            warnings.append(f"there is no clip of {name}: its images are left out")
            continue
        try:
            images = images_of(paths[name], shown.source_frame[view, number].tolist())
            for row, image in zip(number.tolist(), images, strict=True):
                if image is None:
                    continue
                small = cv2.resize(image, camera.size_px[0].tolist(), interpolation=cv2.INTER_AREA)
                jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
                recording.at(row)
                path = f"world/cameras/{name}/image"
                recording.log(path, recording.rr.EncodedImage(contents=jpeg, media_type="image/jpeg"))
        except VideoError as error:
            warnings.append(str(error))
    return warnings


def log_candidates(recording: Recording, shown: ShownMotion, cameras: Mapping[int, Cameras], number: ndarray) -> None:
    """Detections in the images: coloured as the hand that they were taken for, grey if for none."""
    store = shown.store
    if not (store.complete("keypoints") and store.complete("detections") and store.has("keypoints", "assignment")):
        return
    assignment = store.read("keypoints", "assignment").astype(int)
    second, start, block = store.complete("second_look"), 0, np.zeros((0, 0))
    for row in number.tolist():
        if not start <= row < start + block.shape[1]:
            start = row
            block = read_candidates(store, slice(row, row + CHUNK), second_look=second)["points"]
        found = block[:, row - start]
        recording.at(row)
        for view, camera in cameras.items():
            scale = camera.size_px[0] / shown.calibrated().size_px[view]
            points, colors = [np.zeros((0, 2))], [np.zeros((0, 3))]
            for candidate, uv in enumerate(found[view]):
                known = uv[np.isfinite(uv).all(axis=1)]
                taken = np.flatnonzero(assignment[view, row] == candidate)
                rgb = HAND_RGB[taken[0]] if len(taken) else np.array(FREE_RGB)
                points.append((known + 0.5) * scale)
                colors.append(np.tile(rgb, (len(known), 1)))
            recording.log(
                f"world/cameras/{camera.names[0]}/image/candidates",
                recording.rr.Points2D(
                    np.concatenate(points), colors=np.concatenate(colors).astype(np.uint8), radii=[2.5]
                ),
            )


def log_fitted(recording: Recording, cameras: Mapping[int, Cameras], hands: MovingHands) -> None:
    """The fitted hands' bones in the images."""
    for camera in cameras.values():
        uv = project(camera, hands.joints_m)[0] + 0.5
        for frame, number in enumerate(hands.number.tolist()):
            recording.at(number)
            bones = uv[frame][:, BONES]
            color = np.repeat(HAND_RGB, len(BONES), axis=0)
            shown = np.isfinite(bones).all(axis=(2, 3))
            recording.log(
                f"world/cameras/{camera.names[0]}/image/fitted",
                recording.rr.LineStrips2D(bones[shown], colors=color[shown.ravel()], radii=[0.8]),
            )
