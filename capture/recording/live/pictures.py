"""Small pictures of all views, and how well each is exposed."""

# Ring 2: reads and writes.

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy import ndarray

from ..clip_file import MOSAICS

WIDTH_PX = 240
"""Of a small picture."""

QUALITY = 70
"""Of its JPEG."""

WHITE = 254
"""Pixels this bright are clipped."""


def gray_or_bgr(image: ndarray, pixels: str) -> ndarray:
    """An image of a camera as (height, width) or (height, width, 3) BGR.

    Args:
        image: as the camera gives it.
        pixels: FFmpeg's name of its layout.
    """
    if (mosaic := MOSAICS.get(pixels)) is not None:
        return cv2.cvtColor(image, mosaic)
    match pixels:
        case "rgb24":
            return image[..., ::-1]
        case "rgba":
            return image[..., 2::-1]
        case "bgra":
            return image[..., :3]
        case _:
            return image


class Pictures:
    """Makes small pictures, and remembers how sharp each view was at its best."""

    def __init__(self, pixels: Mapping[str, str]) -> None:
        """Args: `pixels` is the layout of each view's images."""
        self._pixels = dict(pixels)
        self._sharpest: dict[str, float] = {}

    def __call__(self, images: Mapping[str, ndarray]) -> dict[str, dict[str, Any]]:
        """By view: `jpeg` (base64), `clipped` (share of white pixels), `sharp` (of the sharpest so far, 0 to 1)."""
        return {name: self._one(name, gray_or_bgr(image, self._pixels[name])) for name, image in images.items()}

    def _one(self, name: str, image: ndarray) -> dict[str, Any]:
        height, width = image.shape[:2]
        size = WIDTH_PX, max(round(height * WIDTH_PX / width), 1)
        small = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        contrast = max(float(gray.std()), 1.0)
        sharpness = float(cv2.Laplacian(gray, cv2.CV_32F).std()) / contrast
        best = self._sharpest[name] = max(self._sharpest.get(name, 1e-6), sharpness)
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        return {
            "jpeg": base64.b64encode(jpeg.tobytes()).decode(),
            "clipped": round(float((gray >= WHITE).mean()), 4),
            "sharp": round(sharpness / best, 3),
        }
