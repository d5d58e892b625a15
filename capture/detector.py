"""2D hand detectors: one small protocol, and MediaPipe behind it."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy import ndarray
from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from ..core.config import STRICT
from ..core.errors import ModelError
from ..core.hands import NUM_JOINTS
from .mediapipe_model import resolve

Confidence = Annotated[float, Field(ge=0, le=1)]


@settings(frozen=True, config=STRICT)
class DetectionSettings:
    """How hands are found in an image."""

    detector: Literal["mediapipe"] = "mediapipe"
    """Which detector finds them."""
    model: str | None = None
    """Path of a .task bundle; None is the standard model."""
    candidates: Annotated[int, Field(ge=1, le=8)] = 2
    """Hands looked for in each image."""
    min_detection: Confidence = 0.3
    """Confidence below which the palm detector's finding is dropped. Low, for geometry sorts out what is no hand."""
    min_presence: Confidence = 0.5
    """Confidence below which the landmark network's finding is dropped."""


@dataclass(frozen=True)
class Candidates:
    """The hands found in one image, best first."""

    points_px: ndarray
    """(candidate, joint, 2) float32 pixels; pixel (0, 0) is the centre of the first pixel."""
    score: ndarray
    """(candidate,) float32 confidence."""
    right: ndarray
    """(candidate,) float32, the detector's own probability that it is a right hand."""


class Detector(Protocol):
    """Anything that finds hands in an image."""

    def detect(self, image_bgr: ndarray) -> Candidates:
        """Find hands in a (height, width, 3) uint8 image."""
        ...


class MediaPipeDetector:
    """MediaPipe's HandLandmarker on single images: no tracking, so that an image's result depends on it alone."""

    def __init__(self, options: DetectionSettings) -> None:
        path = resolve(options.model)
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
                    f"{path}: expected a hand landmark model for MediaPipe, but it refused the file ({error}). "
                    "Correct `model` under `detection`, or leave it out to use the standard one."
                ) from error
            # The first image makes the native library print its greetings: better now than over a progress bar.
            self.detect(np.zeros((64, 64, 3), np.uint8))
        # MediaPipe closes through a thread pool, which is gone when the interpreter comes down: without a handle it
        # does not try, and the process's end frees the memory.
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


@cache
def make_detector(options: DetectionSettings) -> Detector:
    """The detector of these settings; one for each process."""
    return MediaPipeDetector(options)


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
