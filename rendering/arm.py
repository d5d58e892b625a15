"""Forearms for hand models, which end at the wrist.

An arm is a tube that continues the hand with the outline of its end. It moves with the hand and may have a sleeve.
Hands are oriented as in MANO's zero pose: the back toward +y, the thumb toward +z.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy import ndarray
from scipy import sparse

from .scenes import Arm
from .skin import SKIN_BGR, HandSkin, vertex_normals

AROUND = 16
"""Vertices of a ring."""

RINGS_M = np.concatenate([[-0.012, -0.004], np.linspace(0.003, 0.048, 5), np.linspace(0.07, 0.40, 9)])
"""Positions of the rings along the arm, from the hand's end; the first ones are under its skin, to avoid a gap."""

BENDS_M = 0.05
"""Length on which the wrist bends."""

ROUND_M = 0.06
"""Length on which the hand's outline becomes an ellipse."""

THICK = (1.25, 1.50)
"""The forearm's width and height, as multiples of the wrist's."""

END_M = 0.010
"""Of the hand: there its outline is measured."""


def arm_at_rest(vertices_m: ndarray, wrist_m: ndarray, knuckle_m: ndarray, arm: Arm) -> ndarray:
    """The arm of a hand in the zero pose.

    Args:
        vertices_m: (V, 3) the hand.
        wrist_m: (3,)
        knuckle_m: (3,) the middle finger's.
        arm: how it goes on.

    Returns:
        (n, 3) rings from the hand to the elbow, and the middle of the last one; `arm_skin` has the faces.
    """
    back, thumb = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    along = (wrist_m - knuckle_m) * (1 - back)
    along /= np.linalg.norm(along)
    across = np.cross(along, back)
    offset = (vertices_m - wrist_m) @ np.stack([along, across, back], axis=1)
    end_m = offset[:, 0].max()
    middle, angle, outline = _outline(offset[offset[:, 0] > end_m - END_M, 1:])
    at = _rings_m(arm)
    bend = np.clip(at / BENDS_M, 0, 1)[:, None] * np.tan(arm.bend_rad)
    tangent = along - bend[:, :1] * back + bend[:, 1:] * thumb
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    steps = np.diff(at, prepend=0.0)[:, None] * tangent
    line = wrist_m + end_m * along + middle[0] * across + middle[1] * back + np.cumsum(steps, axis=0)
    right = np.cross(tangent, back)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    up = np.cross(right, tangent)
    y, z = _section(outline, angle, at, arm)
    rings = line[:, None] + y[..., None] * right[:, None] + z[..., None] * up[:, None]
    return np.concatenate([rings.reshape(-1, 3), line[-1:]])


def _rings_m(arm: Arm) -> ndarray:
    """(ring,) along the arm; a sleeve has an edge of its own."""
    edge = min(arm.sleeve_m, 0.2)
    return np.sort(np.concatenate([RINGS_M, [edge - 1e-6, edge + 0.0005, edge + 0.003]]))


def _outline(points: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Of points (n, 2) of a section: the middle, angles (AROUND,) from -pi to pi and the outline's radius there."""
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    offset = points - middle
    outer = offset[np.linalg.norm(offset / offset.max(axis=0), axis=1) > 0.8]
    angle, length = np.arctan2(outer[:, 1], outer[:, 0]), np.linalg.norm(outer, axis=1)
    order = np.argsort(angle, kind="stable")
    even = 2 * np.pi * np.arange(AROUND) / AROUND - np.pi
    return middle, even, np.interp(even, angle[order], length[order], period=2 * np.pi)


def _section(outline: ndarray, angle: ndarray, at_m: ndarray, arm: Arm) -> tuple[ndarray, ndarray]:
    """Across and up, each (ring, AROUND), from the arm's middle line."""
    half = np.ptp(outline * np.cos(angle)) / 2, np.ptp(outline * np.sin(angle)) / 2
    ellipse = 1 / np.hypot(np.cos(angle) / half[0], np.sin(angle) / half[1])
    even = np.clip(at_m / ROUND_M, 0, 1)[:, None]
    radius = ((1 - even) * outline + even * ellipse) * np.interp(at_m, RINGS_M[[0, 2]], [0.88, 1.0])[:, None]
    belly = np.sin(np.clip(np.pi / 2 * at_m / 0.18, 0, np.pi / 2))[:, None] ** 1.5
    off = arm.loose_m * (at_m > arm.sleeve_m)[:, None]
    y, z = ((radius * (1 + (thick - 1) * belly) + off) for thick in THICK)
    return y * np.cos(angle), z * np.sin(angle)


def arm_skin(rest_m: ndarray, arm: Arm, tone_bgr: ndarray) -> HandSkin:
    """Colours of an arm, like the hand's; the sleeve has its own.

    Args:
        rest_m: from `arm_at_rest`.
        arm: the same.
        tone_bgr: (3,) mean colour of the skin, 0 to 1.
    """
    faces, touch = _faces()
    palmar = np.clip(-vertex_normals(rest_m, faces, touch)[:, 1], 0, 1)
    at = np.append(np.repeat(_rings_m(arm), AROUND), RINGS_M[-1])
    albedo = SKIN_BGR * (1 - 0.55 * palmar[:, None] * np.array([0.14, 0.17, 0.02]))
    pale = np.clip(2 * palmar, 0, 1) * np.exp(-np.clip(at, 0, None) / 0.03)
    whole = sparse.csr_array(sparse.eye_array(len(rest_m)), dtype=np.float32)
    skin = HandSkin(whole, faces, touch, albedo, np.full(len(rest_m), 0.10, np.float32), pale).toned(tone_bgr)
    clothed = at > arm.sleeve_m
    color = np.where(clothed[:, None], arm.sleeve_bgr, skin.albedo).astype(np.float32)
    return replace(skin, albedo=color, gloss=np.where(clothed, 0, skin.gloss).astype(np.float32))


@cache
def _faces() -> tuple[ndarray, sparse.csr_array]:
    """(face, 3) int32, counter-clockwise seen from outside; and which vertices they touch."""
    rings = len(RINGS_M) + 3
    index = np.arange(rings * AROUND).reshape(rings, AROUND)
    beside = np.roll(index, -1, axis=1)
    parts = [
        np.stack([index[:-1], index[1:], beside[1:]], -1),
        np.stack([index[:-1], beside[1:], beside[:-1]], -1),
        np.stack([beside[-1:], index[-1:], np.full((1, AROUND), rings * AROUND)], -1),
    ]
    faces = np.concatenate([part.reshape(-1, 3) for part in parts]).astype(np.int32)
    ones, columns = np.ones(faces.size, np.float32), np.repeat(np.arange(len(faces)), 3)
    return faces, sparse.csr_array((ones, (faces.ravel(), columns)), shape=(rings * AROUND + 1, len(faces)))
