"""What images tell without knowing what is in them: sharpness, motion, doubled frames."""

# Ring 2: reads and writes.

from __future__ import annotations

import cv2
import numpy as np
from numpy import ndarray

FINE, COARSE = 1.0, 2.0
"""Standard deviations of the two smoothings whose gradients are compared, pixels."""
EDGES = 98.0
"""Percentile of the gradients above which a pixel lies on an edge."""
SHARPEST = 25.0
"""Percentile of the edges by which an image is judged: most edges may lie outside the depth of field, or be soft."""
STILL_PX = (96, 72)
"""Size to which images are reduced before they are compared for motion."""
SAME, MOVING = 0.1, 0.2
"""A frame repeats the one before if it differs this much less than its neighbours do, and these by so many grey
levels."""


def edge_blur_px(gray: ndarray) -> float:
    """How blurred the sharper edges of an image are: the standard deviation of a Gaussian, pixels.

    Smoothing weakens the gradient of a sharp edge more than that of a blurred one. The ratio of two gradients gives
    the blur, whatever the contrast.

    Args:
        gray: (height, width) uint8.

    Source: Zhuo and Sim, Defocus map estimation from a single image (2011).
    """
    image = gray.astype(np.float32)
    fine, coarse = (_gradient(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (FINE, COARSE))
    edges = coarse >= max(float(np.percentile(coarse, EDGES)), 1e-3)
    if not edges.any():
        return float("nan")
    ratio = np.clip(fine[edges] / coarse[edges], 1.001, 1.999)
    blur = np.sqrt(np.maximum((COARSE**2 - (ratio * FINE) ** 2) / (ratio**2 - 1), 0))
    return float(np.percentile(blur, SHARPEST))


def _gradient(image: ndarray) -> ndarray:
    return cv2.magnitude(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))


def reduced(gray: ndarray) -> ndarray:
    """A small copy to compare, float32."""
    return cv2.resize(gray, STILL_PX, interpolation=cv2.INTER_AREA).astype(np.float32)


def doubled(difference: ndarray) -> ndarray:
    """(step,) bool: which frames repeat the one before.

    Args:
        difference: (step,) mean absolute difference of each frame from the one before, grey levels; NaN if unknown.
    """
    repeats = np.zeros(len(difference), bool)
    if len(difference) > 2:
        around = np.minimum(difference[:-2], difference[2:])
        repeats[1:-1] = (difference[1:-1] < SAME * around) & (around > MOVING)
    return repeats


def lag(signal: ndarray, others: ndarray, most: int) -> tuple[int, float, float]:
    """By how many steps a signal is later than another, the correlation there, and without a shift.

    Args:
        signal, others: (step,).
        most: largest shift looked at.
    """
    shifts = np.arange(-most, most + 1)
    found = np.array([_correlation(signal, others, int(shift)) for shift in shifts])
    best = int(np.nanargmax(found)) if np.isfinite(found).any() else most
    return int(shifts[best]), float(found[best]), float(found[most])


def _correlation(late: ndarray, early: ndarray, shift: int) -> float:
    count = len(late) - abs(shift)
    a, b = late[max(shift, 0) :][:count], early[max(-shift, 0) :][:count]
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 1e-9 else float("nan")
