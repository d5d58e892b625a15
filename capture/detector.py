"""2D hand detectors: the protocol, what is checked of their results, and the MediaPipe detector."""

# Ring 2: reads and writes.

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from ..core.errors import ModelError
from ..core.hands import NUM_JOINTS
from .mediapipe.bundle import resolve
from .mediapipe.landmarks import LandmarkNetwork
from .mediapipe.landmarks import version as runtime_version
from .settings import DetectionSettings


@dataclass(frozen=True)
class Candidates:
    """The hands found in one image, best first."""

    points_px: ndarray
    """(candidate, joint, 2) float32 pixels; pixel (0, 0) is the centre of the first pixel; NaN for a missing joint."""
    score: ndarray
    """(candidate,) float32 confidence."""
    right: ndarray
    """(candidate,) float32, the detector's own probability that it is a right hand."""
    sigma_px: ndarray | None = None
    """(candidate, joint) float32, the detector's own standard error of each joint, pixels; NaN for a missing joint.
    Only of detectors with `gives_sigma`."""
    found_by: ndarray | None = None
    """(candidate,) float32 index of the detector that found it, where several vote; a detector leaves it out."""

    def take(self, index: Sequence[int] | ndarray) -> Candidates:
        """Some of the candidates."""
        rows = np.asarray(index, int)
        sigma = None if self.sigma_px is None else self.sigma_px[rows]
        by = None if self.found_by is None else self.found_by[rows]
        return Candidates(self.points_px[rows], self.score[rows], self.right[rows], sigma, by)

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Those of all, in order; what some of them do not say is NaN there."""

        def of_all(name: str, axes: tuple[int, ...]) -> ndarray | None:
            each = [getattr(part, name) for part in parts]
            if all(values is None for values in each):
                return None
            lengths = [(len(part.score), *axes) for part in parts]
            filled = [np.full(n, np.nan, np.float32) if v is None else v for v, n in zip(each, lengths, strict=True)]
            return np.concatenate(filled)

        points, score, right = (
            np.concatenate([getattr(part, k) for part in parts]) for k in ("points_px", "score", "right")
        )
        return cls(points, score, right, of_all("sigma_px", (NUM_JOINTS,)), of_all("found_by", ()))


class Detector(Protocol):
    """Anything that finds hands in an image.

    Its class is called with `DetectionSettings`, once in each worker process. An image's result must depend on the
    image alone: chunks may be computed in any order. One with the method of `NearDetector` is also used where a hand is
    expected; without it, the second look uses `detect` on crops, and all images are searched as a whole. Static methods
    may say what else the results depend on: `version() -> str` where the version of the package that registers it does
    not, `near_version() -> str` the same of `detect_near`, and `model(options) -> Path` where the detector has a model
    file even if `detection.model` names none. The class attribute `gives_sigma = True` says that all its candidates
    have `sigma_px`, which weighs their joints in the triangulation and says how large an error is that all views share.
    """

    def detect(self, image_bgr: ndarray) -> Candidates:
        """Find hands in a (height, width, 3) uint8 image."""
        ...


@runtime_checkable
class NearDetector(Detector, Protocol):
    """A detector that can be told where hands are expected."""

    def detect_near(self, image_bgr: ndarray, hands_px: ndarray, right: ndarray) -> Sequence[Candidates]:
        """What is found of each of the hands that are expected at (hand, 21, 2) pixels of the image, NaN where unknown.

        `right` (hand,) bool says which of them are right hands.
        """
        ...


class MediaPipeDetector:
    """MediaPipe's HandLandmarker on single images, without tracking: each result depends on its image only."""

    @staticmethod
    def version() -> str:
        """MediaPipe's version, because it determines the results."""
        return f"mediapipe {version_of('mediapipe')}"

    @staticmethod
    def model(options: DetectionSettings) -> Path:
        """Path of the model bundle; it is built if it does not exist. Raises ModelError."""
        return resolve(options.model)

    @staticmethod
    def near_version() -> str:
        """What `detect_near` depends on besides the model."""
        return runtime_version()

    def __init__(self, options: DetectionSettings) -> None:
        path = self.model(options)
        self._path, self._min_presence = path, options.min_presence
        with _quiet():
            from mediapipe.tasks.python import BaseOptions, vision

            try:
                self._landmarker = vision.HandLandmarker.create_from_options(
                    vision.HandLandmarkerOptions(
                        base_options=BaseOptions(model_asset_path=str(path)),
                        running_mode=vision.RunningMode.IMAGE,
                        num_hands=options.candidates,
                        min_hand_detection_confidence=options.min_detection,
                        min_hand_presence_confidence=options.min_presence,
                    )
                )
            except (RuntimeError, ValueError) as error:
                raise ModelError(
                    f"{path}: expected a MediaPipe hand landmark model, but MediaPipe cannot load the file ({error}). "
                    "Correct `detection.model`, or remove it to use the standard model."
                ) from error
            # The first image makes the native library print messages. Do it now, not during a progress bar.
            self.detect(np.zeros((64, 64, 3), np.uint8))
        # MediaPipe closes through a thread pool that no longer exists at interpreter shutdown. Without a handle it does
        # not try to close, and the end of the process frees the memory.
        atexit.register(setattr, self._landmarker, "_handle", None)

    def detect(self, image_bgr: ndarray) -> Candidates:
        """Find hands in a (height, width, 3) uint8 image."""
        from mediapipe import Image, ImageFormat

        height, width = image_bgr.shape[:2]
        rgb = np.ascontiguousarray(image_bgr[:, :, ::-1])
        found = self._landmarker.detect(Image(image_format=ImageFormat.SRGB, data=rgb))
        points = np.array([[(p.x, p.y) for p in hand] for hand in found.hand_landmarks], np.float64)
        points = points.reshape(-1, NUM_JOINTS, 2) * (width, height) - 0.5
        labels = [category[0] for category in found.handedness]
        score = np.array([label.score for label in labels], np.float32)
        is_right = np.array([label.category_name == "Right" for label in labels], bool)
        return Candidates(points.astype(np.float32), score, np.where(is_right, score, 1 - score))

    def detect_near(self, image_bgr: ndarray, hands_px: ndarray, right: ndarray) -> list[Candidates]:
        """Find hands that are expected at (hand, 21, 2) pixels, NaN where unknown, with the landmark network alone."""
        del right  # The network recognises both.
        return [self._near(image_bgr, hand_px) for hand_px in hands_px]

    def _near(self, image_bgr: ndarray, hand_px: ndarray) -> Candidates:
        points, present, is_right = self._network.find(image_bgr, hand_px)
        found = slice(0, int(present >= self._min_presence))
        score = np.array([max(is_right, 1 - is_right)], np.float32)  # As MediaPipe's.
        return Candidates(points[None].astype(np.float32)[found], score[found], np.array([is_right], np.float32)[found])

    @cached_property
    def _network(self) -> LandmarkNetwork:
        with _quiet():
            return LandmarkNetwork(self._path)


def complaint_about(found: Any, size_px: ndarray) -> str | None:
    """Describe what is wrong with a detector's result, as `expected ..., but got ...`; None if it is valid.

    Args:
        found: what should be `Candidates`.
        size_px: width and height of the image.
    """
    if not isinstance(found, Candidates):
        return f"expected handpipe's Candidates, but got {type(found).__name__}"
    arrays = {name: np.asarray(getattr(found, name)) for name in ("points_px", "score", "right")}
    points, score = arrays["points_px"], arrays["score"]
    if found.sigma_px is not None and (complaint := _complaint_about_sigma(found.sigma_px, len(score))):
        return complaint
    for name, array in arrays.items():
        shape = (len(score) if score.ndim else 0, *((NUM_JOINTS, 2) if name == "points_px" else ()))
        if array.dtype.kind != "f" or array.shape != shape:
            return f"expected floats of shape {shape} in {name}, but got {array.dtype} of shape {array.shape}"
        if name != "points_px" and not ((array >= 0) & (array <= 1)).all():
            return f"expected {name} between 0 and 1, but got {array[~((array >= 0) & (array <= 1))][0]:g}"
    seen = np.asarray(np.isfinite(points).all(axis=-1))
    if (np.isnan(points).all(axis=-1) == seen).any() or not seen.any(axis=-1).all():
        return "expected candidates with joints in pixels, NaN in x and y where one is missing, but got other NaN"
    for hand in (hand[known] for hand, known in zip(points, seen, strict=True)):
        if np.abs(hand).max() <= 2 < size_px.min() / 8 and len(hand) > 1:
            return "expected joints in pixels, but got a hand within two pixels of the corner, as if normalised to 0..1"
        middle = np.median(hand, axis=0)
        if (np.abs(middle - size_px / 2) > 1.5 * size_px).any():
            return f"expected joints in pixels, but got a hand about ({middle[0]:.0f}, {middle[1]:.0f}), far outside,"
    return None


def _complaint_about_sigma(sigma_px: ndarray, count: int) -> str | None:
    if sigma_px.dtype.kind != "f" or sigma_px.shape != (count, NUM_JOINTS):
        got = f"{sigma_px.dtype} of shape {sigma_px.shape}"
        return f"expected floats of shape {(count, NUM_JOINTS)} in sigma_px, but got {got}"
    wrong = (sigma_px <= 0) | np.isinf(sigma_px)
    return f"expected sigma_px above 0 and finite, but got {sigma_px[wrong][0]:g}" if wrong.any() else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep native libraries from writing to standard error."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
