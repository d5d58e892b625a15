"""A recording as a set of labelled images: where the hands are in each view and frame, and the images themselves."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy import ndarray

from ....capture.damage import decoded_rows
from ....capture.video import probe, read_frames
from ....core.cameras import Cameras
from ....core.engine import Progress
from ....core.errors import DiskError, ExportError
from ....core.storage.schema import imported
from ...recording import Recording, safe_name

CHUNK_FRAMES = 2048
"""Frames projected at once."""

JPEG_QUALITY = 95

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Labelled:
    """One recording, its joints and what filmed them."""

    recording: Recording
    joints_m: ndarray
    """(frame, hand, 21, 3) metres, world; NaN where a hand is not known."""
    cameras: Cameras | None
    """The calibrated views; None where there is none."""
    source_frame: ndarray
    """(view, frame) of those views: which frame of the clip shows the instant, -1 none. Without clips, the instant."""
    clips: tuple[Path | None, ...]
    """Of those views."""

    @property
    def view_names(self) -> tuple[str, ...]:
        return () if self.cameras is None else self.cameras.names

    @property
    def there(self) -> ndarray:
        """(frame, hand) bool: any joint is known."""
        return np.asarray(np.isfinite(self.joints_m).all(axis=-1).any(axis=-1))

    def labelled(self, view: int) -> ndarray:
        """Instants of a view that have an image and a hand."""
        return np.flatnonzero((self.source_frame[view] >= 0) & self.there.any(axis=-1))

    def projected(self, view: int, lens: bool) -> Iterator[tuple[int, ndarray]]:
        """Instants of a view with their joints (hand, 21, 2) in pixels, NaN where not known or not before the lens.

        Args:
            view: index among the calibrated ones.
            lens: with the distortion of the lens, as in the clip, or without, as in a rectified image.
        """
        assert self.cameras is not None
        camera = real = self.cameras.subset([view])
        if not lens:
            camera = Cameras(camera.names, camera.K, np.zeros((1, 5)), camera.T_cam_world, camera.size_px)
        instants = self.labelled(view)
        for start in range(0, len(instants), CHUNK_FRAMES):
            part = instants[start : start + CHUNK_FRAMES]
            with np.errstate(invalid="ignore"):
                joints_m = self.joints_m[part].astype(np.float64)
                points_px = camera.project(joints_m)[0]
                if not lens:  # what the lens does not show, a rectified image does not show either
                    points_px = np.where(np.isfinite(real.project(joints_m)[0]), points_px, np.nan)
            yield from zip(part.tolist(), points_px, strict=True)


def labelled(recording: Recording) -> Labelled:
    """The joints are the fitted hands' where they are valid; those of keypoints from elsewhere, or not fitted, as they
    are."""
    cameras = recording.cameras()
    keep = np.flatnonzero(cameras.calibrated) if cameras is not None else np.array([], int)
    cameras = None if cameras is None or not len(keep) else cameras.subset(keep)
    source, clips = np.zeros((0, recording.frames), np.int64), ()
    if cameras is not None:
        source = np.broadcast_to(np.arange(recording.frames), (len(cameras), recording.frames))
        paths = recording.clips()
        clips = tuple(paths.get(name) for name in cameras.names)
        if recording.sample is None and recording.store.complete("timeline"):
            views = recording.store.labels("timeline", "view")
            rows = recording.store.read("timeline", "source_frame")[:, : recording.frames]
            if rows.shape[1] < recording.frames:
                raise ExportError(
                    f"{recording.source}: expected clips with {recording.frames} frames, as they were when the hands "
                    f"were fitted, but now there are {rows.shape[1]}. Run `handpipe run` again."
                )
            source = decoded_rows(recording.store, clips, np.stack([rows[views.index(name)] for name in cameras.names]))
    return Labelled(recording, joints_of(recording), cameras, source, clips)


def joints_of(recording: Recording) -> ndarray:
    """(frame, hand, 21, 3) metres, NaN where a hand is not known."""
    keypoints = recording.keypoints()
    if keypoints is not None and (imported(recording.store) or not recording.fitted):
        return keypoints.points_m
    return recording.motion().seen_joints


def folder_names(names: Sequence[str]) -> list[str]:
    """For each of some names one that is fit for a folder, and no other's."""
    taken: list[str] = []
    for name in names:
        safe, number = safe_name(name), 1
        unique = safe
        while unique.lower() in (each.lower() for each in taken):
            number += 1
            unique = f"{safe}-{number}"
        taken.append(unique)
    return taken


def with_progress(items: Iterable[Item], progress: Progress) -> Iterator[Item]:
    """The same items, each of them shown as done when the next is asked for."""
    for item in items:
        yield item
        progress.advance(1)


def count_labelled(recordings: Sequence[Labelled]) -> int:
    """Images that have labels, whether they can be written or not."""
    return sum(len(each.labelled(view)) for each in recordings for view in range(len(each.view_names)))


def count_images(recordings: Sequence[Labelled]) -> int:
    """Images that `write_images` would write."""
    return sum(
        len(each.labelled(view)) for each in recordings for view, clip in enumerate(each.clips) if clip is not None
    )


def write_images(
    recordings: Sequence[Labelled],
    place: Callable[[int, int, int], Path],
    rectified: bool,
    progress: Progress,
) -> int:
    """Write the image of every labelled view and instant as JPEG; each clip is decoded once.

    Args:
        recordings: whose clips are read.
        place: (recording, view, instant) to the file.
        rectified: take out the distortion of the lens.
        progress: where to show it.

    Returns:
        How many were written.

    Raises:
        VideoError: a clip cannot be decoded.
        DiskError: an image cannot be written.
    """
    total = count_images(recordings)
    if not total:
        return 0
    progress.start("images", total, 0, "images")
    try:
        for number, each in enumerate(recordings):
            for view, clip in enumerate(each.clips):
                if clip is not None:
                    for instant, image in _images(each, view, clip, rectified):
                        _write(place(number, view, instant), image)
                        progress.advance(1)
    finally:
        progress.stop()
    return total


def _images(each: Labelled, view: int, clip: Path, rectified: bool) -> Iterator[tuple[int, ndarray]]:
    """Labelled instants of a view and their images; one frame may stand for several instants."""
    assert each.cameras is not None
    camera = each.cameras.subset([view])
    instants = each.labelled(view)
    wanted, which = np.unique(each.source_frame[view, instants], return_inverse=True)
    images = read_frames(probe(clip), wanted.tolist())
    for index, image in enumerate(images):
        shown = _rectified(image, camera) if rectified else image
        for instant in instants[which == index].tolist():
            yield instant, shown


def _rectified(image: ndarray, camera: Cameras) -> ndarray:
    K, distortion = camera.K[0], camera.distortion[0]
    if camera.fisheye[0]:
        return cv2.fisheye.undistortImage(image, K, distortion[:4], Knew=K)
    return cv2.undistort(image, K, distortion) if distortion.any() else image


def _write(path: Path, image: ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "an image can be encoded"
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise DiskError(
            f"{path}: expected to write an image, but {error.strerror}. Free space, and run again."
        ) from error
