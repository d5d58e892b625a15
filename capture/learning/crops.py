"""Crops around hands, as the network sees them, and their random variation during training."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from ..crop_images import crop_matrix, paint_over
from .network import CROP_PX

SCALE = 1.6
"""Side of the network's crop, in sizes of the hand."""
STORED_SCALE = 2.4
"""Side of a crop that is kept for training, in sizes of the hand."""
STORED_PX = 192
"""Side of a crop that is kept for training, pixels: the resolution of the network's crop."""

MIRRORED = 0.15
"""Share of crops that are shown as the other hand, for the network to notice."""
PAINTED = 0.3
"""Share of crops in which the other hand is painted over, as the second look does."""
_TURN_RAD = np.deg2rad(20.0)
_ZOOM = 0.13  # Standard deviation of the logarithm.
_SHIFT = 0.06  # Standard deviation, in sizes of the crop.
_FILL = (127, 127, 127)


@dataclass(frozen=True, eq=False)
class Crop:
    """A hand of a session, cut out to learn from."""

    image: ndarray
    """(STORED_PX, STORED_PX, 3) uint8 BGR, the hand upright in the middle."""
    own_px: ndarray
    """(21, 2) joints in this crop; NaN throughout for a crop without a hand in its middle."""
    other_px: ndarray
    """(21, 2) joints of the other hand in this crop, NaN where unknown."""
    right: bool


@dataclass(frozen=True)
class Batch:
    """Crops and what is true of them."""

    images: Tensor
    """(crop, 3, CROP_PX, CROP_PX) uint8"""
    xy: Tensor
    """(crop, 21, 2) in sides of the crop from its middle; NaN without a hand, or outside the crop."""
    right: Tensor
    """(crop,) 1 where it is shown as a right hand, else 0."""
    present: Tensor
    """(crop,) 1 where there is a hand, else 0."""


def cut(image_bgr: ndarray, M: ndarray, size_px: int) -> ndarray:
    """(size, size, 3) uint8 crop of an image by a matrix of `crop_matrix`."""
    flags = cv2.INTER_AREA if abs(np.linalg.det(M[:, :2])) < 0.5 else cv2.INTER_LINEAR
    return cv2.warpAffine(image_bgr, M, (size_px, size_px), flags=flags, borderValue=_FILL)


def region(hand_px: ndarray, mirror: bool) -> ndarray:
    """(2, 3) from pixels of an image to the network's crop, mirrored or not."""
    M = crop_matrix(hand_px, SCALE, CROP_PX)
    return np.diag([-1.0, 1.0]) @ M + [[0, 0, CROP_PX - 1], [0, 0, 0]] if mirror else M


def store(image_bgr: ndarray, hand_px: ndarray, other_px: ndarray, right: bool) -> Crop:
    """Cut a labelled hand out of an image."""
    M = crop_matrix(hand_px, STORED_SCALE, STORED_PX)
    own, other = (points @ M[:, :2].T + M[:, 2] for points in (hand_px, other_px))
    return Crop(cut(image_bgr, M, STORED_PX), own.astype(np.float32), other.astype(np.float32), right)


def store_empty(image_bgr: ndarray, size_px: float, rng: np.random.Generator, hands_px: ndarray) -> Crop | None:
    """A crop of an image with no hand in its middle; None if there is no room for one.

    Args:
        image_bgr: in which the joints of all hands are known.
        size_px: of a hand there.
        rng: decides where.
        hands_px: (hand, 21, 2)
    """
    height, width = image_bgr.shape[:2]
    middles = 0.5 * (hands_px.min(1) + hands_px.max(1))
    for _ in range(8):
        place = rng.uniform([0, 0], [width, height])
        if np.linalg.norm(middles - place, axis=-1).min() > 0.8 * size_px:
            turn = rng.uniform(0, 2 * np.pi)
            zoom = STORED_PX / (STORED_SCALE * size_px)
            R = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            M = np.concatenate([R, ((STORED_PX - 1) / 2 - R @ place)[:, None]], axis=1)
            nothing = np.full((21, 2), np.nan, np.float32)
            return Crop(cut(image_bgr, M, STORED_PX), nothing, nothing, True)
    return None


def batch(crops: list[Crop], seed: int, step: int, size: int) -> Batch:
    """The crops of a training step, each varied at random. The same arguments give the same batch."""
    rng = np.random.default_rng([seed, step])
    # Every crop once before any comes again.
    order = np.concatenate([
        np.random.default_rng([seed, 1 << 20, epoch]).permutation(len(crops))
        for epoch in range(step * size // len(crops), (step * size + size - 1) // len(crops) + 1)
    ])  # fmt: skip
    start = step * size % len(crops)
    chosen = [crops[i] for i in order[start : start + size]]
    shown = [vary(crop, rng) for crop in chosen]
    images, xy, right, present = zip(*shown, strict=True)
    stacked = np.stack(images).transpose(0, 3, 1, 2)
    return Batch(
        torch.from_numpy(np.ascontiguousarray(stacked)),
        torch.from_numpy(np.stack(xy).astype(np.float32)),
        torch.tensor(right, dtype=torch.float32),
        torch.tensor(present, dtype=torch.float32),
    )


def vary(crop: Crop, rng: np.random.Generator) -> tuple[ndarray, ndarray, bool, bool]:
    """Turn, scale, shift and recolour a stored crop: (image, xy as in `Batch`, shown as a right hand, hand present)."""
    image = crop.image
    if rng.random() < PAINTED and np.isfinite(crop.other_px).all():
        image = image.copy()
        paint_over(image, crop.own_px, crop.other_px)
    mirror = crop.right == (rng.random() < MIRRORED)
    turn, zoom = rng.normal(0, _TURN_RAD / 1.5), np.exp(rng.normal(0, _ZOOM))
    zoom *= CROP_PX / SCALE / (STORED_PX / STORED_SCALE)
    R = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = rng.normal(0, _SHIFT * CROP_PX, 2)
    if mirror:
        R = np.diag([-1.0, 1.0]) @ R
    M = np.concatenate([R, ((CROP_PX - 1) / 2 + shift - R @ np.full(2, (STORED_PX - 1) / 2))[:, None]], axis=1)
    shown = recolour(cut(image, M, CROP_PX), rng)
    xy = to_sides(crop.own_px @ M[:, :2].T + M[:, 2])
    inside = (np.abs(xy) < 0.5).all(-1, keepdims=True)
    return shown, np.where(inside, xy, np.nan), crop.right != mirror, bool(np.isfinite(crop.own_px).all())


def recolour(image: ndarray, rng: np.random.Generator) -> ndarray:
    """Other exposure, contrast and white balance, a little noise, at times a blur."""
    gain = np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.06, 3))
    table = np.arange(256)[:, None] / 255.0
    table = np.clip(255 * (table ** np.exp(rng.normal(0, 0.15))) * gain + rng.normal(0, 6), 0, 255)
    shown = cv2.LUT(image, table[None].astype(np.uint8))
    if rng.random() < 0.15:
        shown = cv2.GaussianBlur(shown, (0, 0), rng.uniform(0.5, 1.5))
    return shown


def to_sides(points_px: ndarray) -> ndarray:
    """Pixels of the network's crop (..., 2) to sides of it, from its middle."""
    return (points_px + 0.5) / CROP_PX - 0.5


def to_pixels(xy: ndarray) -> ndarray:
    """The inverse of `to_sides`."""
    return (xy + 0.5) * CROP_PX - 0.5
