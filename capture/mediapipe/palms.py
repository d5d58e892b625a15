"""From the outputs of MediaPipe's palm network to the regions that its landmark network looks at.

As in MediaPipe Hands (Zhang et al., 2020): boxes about fixed anchors (as in SSD), boxes of one palm averaged, and a
turned square about the whole hand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

SIDE_PX = 192
"""Side of the palm network's input, pixels."""
OUTPUTS = {"Identity": 2016 * 18, "Identity_1": 2016}
"""Of the network, and how many values each has: boxes and points about each anchor, and log-odds of a palm."""
_LAYERS = ((8, 2), (16, 6))
"""Stride of each grid of anchors, pixels of the input, and how many anchors each of its cells has."""
_CORNERS, _POINTS = 4, 7
_WRIST, _MIDDLE = 0, 2
"""Of a palm's seven points, the two that lie along the hand: wrist and root of the middle finger."""
_SAME_PALM = 0.3
"""Intersection over union of two boxes above which they are of one palm."""
_SCALE, _SHIFT = 2.6, 0.5
"""Side of the region in sizes of the palm's box, and how far it is moved towards the fingers, in heights of that."""


def anchors() -> ndarray:
    """(2016, 2) middles of the anchors, 0 to 1, in the order of the network's outputs."""
    found = []
    for stride, each in _LAYERS:
        cells = SIDE_PX // stride
        middles = (np.arange(cells) + 0.5) / cells
        x, y = np.meshgrid(middles, middles)
        found.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=-1), each, axis=0))
    return np.concatenate(found)


def palms(raw: ndarray, odds: ndarray, min_score: float, most: int) -> ndarray:
    """The palms in an image, the surest first.

    Args:
        raw: (2016, 18) of the network: middle and size of the box, and seven points, about each anchor.
        odds: (2016,) log-odds of a palm.
        min_score: least probability.
        most: how many at most.

    Returns:
        (palm, 9, 2) lower and upper corner of the box, and the seven points, 0 to 1 of the network's input.
    """
    score = 1 / (1 + np.exp(-np.clip(odds.astype(float), -100, 100)))
    kept = np.flatnonzero(score >= min_score)
    kept = kept[np.argsort(-score[kept], kind="stable")]
    values, score = raw[kept].astype(float) / SIDE_PX, score[kept]
    about = anchors()[kept][:, None]
    middle, half = values[:, None, :2] + about, values[:, None, 2:_CORNERS] / 2
    points = values[:, _CORNERS:].reshape(-1, _POINTS, 2) + about
    boxes = np.concatenate([middle - half, middle + half, points], axis=1)
    found = []
    free = np.ones(len(boxes), bool)
    while free.any() and len(found) < most:
        first = np.flatnonzero(free)[0]
        same = free & (_overlap(boxes[first], boxes) > _SAME_PALM)
        same[first] = True
        found.append(np.average(boxes[same], axis=0, weights=score[same]))
        free &= ~same
    return np.stack(found) if found else np.zeros((0, 2 + _POINTS, 2))


def _overlap(box: ndarray, boxes: ndarray) -> ndarray:
    """(box,) intersection over union of one box (.., 2) with others; the first two rows are their corners."""
    common = np.prod(np.maximum(np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0]), 0), axis=-1)
    areas = [np.prod(np.maximum(each[..., 1, :] - each[..., 0, :], 0), axis=-1) for each in (box, boxes)]
    return common / np.maximum(areas[0] + areas[1] - common, 1e-12)


def input_matrix(size_px: Sequence[int]) -> ndarray:
    """(2, 3) from pixels of an image of a width and height to those of the palm network's input, which shows all of it.

    As MediaPipe does it: the first pixels of both lie on each other, as if they had no extent.
    """
    width, height = size_px
    zoom = SIDE_PX / max(width, height)
    shift = 0.5 * (SIDE_PX - zoom * np.array([width, height]))
    return np.array([[zoom, 0.0, shift[0]], [0.0, zoom, shift[1]]])


def hand_region(palm_px: ndarray, side_px: int) -> ndarray:
    """(2, 3) from pixels of the image to those of the landmark network's input of a side.

    Args:
        palm_px: (9, 2) corners of the box and points of a palm, pixels of the image.
        side_px: side of the input.
    """
    low, high = palm_px[:2]
    up = palm_px[2 + _MIDDLE] - palm_px[2 + _WRIST]
    length = np.hypot(*up)
    up = up / length if length > 1e-6 else np.array([0.0, -1.0])
    R = np.array([[-up[1], up[0]], [-up[0], -up[1]]])
    middle = 0.5 * (low + high) + _SHIFT * (high - low)[1] * up
    zoom = side_px / (_SCALE * max(float((high - low).max()), 1.0))
    return np.concatenate([zoom * R, (side_px / 2 - zoom * R @ middle)[:, None]], axis=1)
