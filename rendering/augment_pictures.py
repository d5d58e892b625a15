"""Images of a scene with labels per pixel: mask, depth, boxes, and the visible share of each hand."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from .render import FAR_M, Light, LitHands, contact_shadow, draw_alone, sensor
from .scenes import Film, Lamps, Scene, Thing, palm_frames

THING = 3
"""Label of what is neither a hand (left 1, right 2) nor an arm (4, 5)."""

CURVE = 0.7
"""Exponent of the cameras' response to light."""

MATT = np.zeros(3, np.float32)


@dataclass(frozen=True, eq=False)
class Picture:
    """One image and its labels."""

    image: ndarray
    """(h, w, 3) uint8 BGR."""
    mask: ndarray
    """(h, w) uint8: 0 background, 1 left hand, 2 right hand, 3 occluder, 4 left arm, 5 right arm."""
    depth_m: ndarray
    """(h, w) float32 along the camera's z; FAR_M in the room."""
    box: ndarray
    """(layer, 4) float32 x0, y0, x1, y1: first and last pixel of each hand as if it were alone; NaN if none."""
    seen: ndarray
    """(layer,) float32 share of those pixels in which it is in front; NaN if none."""


def take_picture(
    camera: Cameras, layers: Sequence[tuple[int, LitHands]], background: ndarray, film: Film, seed: int
) -> Picture:
    """A camera's picture.

    Args:
        camera: a single view.
        layers: what is there: its label and surface.
        background: (h, w, 3) float32 BGR, 0 to 1.
        film: of the camera.
        seed: of the sensor's noise.
    """
    image, depth = background.copy(), np.full(background.shape[:2], FAR_M, np.float32)
    mask = np.zeros(depth.shape, np.uint8)
    box, seen = np.full((len(layers), 4), np.nan, np.float32), np.full(len(layers), np.nan, np.float32)
    silhouettes = []
    for layer, (label, surface) in enumerate(layers):
        window, color, own = draw_alone(camera, surface)
        whole = own < 0.9 * FAR_M
        if label < THING and whole.any():
            silhouettes.append((layer, window, whole))
            x, y = np.flatnonzero(whole.any(axis=0)), np.flatnonzero(whole.any(axis=1))
            first = (window[1].start, window[0].start)
            box[layer] = np.array([x[0], y[0], x[-1], y[-1]]) + [*first, *first]
        front = whole & (own < depth[window])
        np.copyto(image[window], color, where=front[..., None])
        np.copyto(depth[window], own, where=front)
        mask[window][front] = label
    for layer, window, whole in silhouettes:
        seen[layer] = np.mean(mask[window][whole] == layers[layer][0])
    if mask.any():
        image *= contact_shadow(depth, mask > 0, 7 * len(depth) / 512)[..., None]
    return Picture(sensor(image, seed, film.blur_px, film.gain), mask, depth, box, seen)


def light_of(lamps: Lamps) -> Light:
    """The same for the renderer; in float32, as the colours are."""
    key, fill, ambient = (bgr.astype(np.float32) for bgr in (lamps.key_bgr, lamps.fill_bgr, lamps.ambient_bgr))
    return Light(lamps.key, lamps.fill, key, fill, ambient, 0.3 * ambient, CURVE)


def things_at(scene: Scene, joints_m: ndarray, light: Light) -> list[tuple[int, LitHands]]:
    """The scene's things in one frame.

    Args:
        scene: whose.
        joints_m: (hand, 21, 3) world.
        light: what shines on them.
    """
    layers = []
    for thing in scene.things:
        R, t = palm_frames(joints_m[thing.hand], thing.hand)
        layers.append((THING, _thing(thing, R, t, light)))
    return layers


def _thing(thing: Thing, R_world_hand: ndarray, t_world_m: ndarray, light: Light) -> LitHands:
    vertices, normals, faces = _primitive(thing.kind)
    R = R_world_hand @ thing.R_hand_thing
    normals = normals / thing.half_m
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)) @ R.T
    world = (vertices * thing.half_m) @ R.T + R_world_hand @ thing.t_hand_m + t_world_m
    color = thing.color_bgr.astype(np.float32) * light.shade(normals.astype(np.float32), MATT)
    gloss = np.full(len(vertices), thing.gloss, np.float32)
    return LitHands(world.astype(np.float32), normals.astype(np.float32), faces, color, gloss, light)


@cache
def _primitive(kind: str) -> tuple[ndarray, ndarray, ndarray]:
    """Vertices and normals (n, 3) and faces (face, 3) int32, counter-clockwise from outside, within -1 to 1."""
    if kind == "box":
        parts = [_sheet(*np.meshgrid([-1.0, 1.0], [-1.0, 1.0]), axis, sign) for axis in range(3) for sign in (-1, 1)]
        return _joined(parts)
    turn = np.linspace(0, 2 * np.pi, 25)
    if kind == "ball":
        tilt, turn = np.meshgrid(np.linspace(0, np.pi, 13), turn, indexing="ij")
        points = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], axis=-1)
        return _joined([(points, points)])
    side = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=-1)
    up = np.array([0.0, 0.0, 1.0])
    hull = (np.stack([side + up, side - up]), np.stack([side, side]))
    caps = [
        (np.stack([sign * up + 0 * side, side * [1, sign, 1] + sign * up]), np.stack([sign * up + 0 * side] * 2))
        for sign in (1, -1)
    ]
    return _joined([hull, *caps])


def _sheet(a: ndarray, b: ndarray, axis: int, sign: int) -> tuple[ndarray, ndarray]:
    """One side of a box: a grid (2, 2, 3) of points and of normals."""
    points, normals = np.zeros((2, *a.shape, 3))
    points[..., axis], normals[..., axis] = sign, sign
    points[..., (axis + 1) % 3], points[..., (axis + 2) % 3] = sign * b, a
    return points, normals


def _joined(grids: Sequence[tuple[ndarray, ndarray]]) -> tuple[ndarray, ndarray, ndarray]:
    """Grids (row, column, 3) of points and normals as one mesh; rows x columns turn counter-clockwise from outside."""
    vertices, normals, faces, first = [], [], [], 0
    for points, normal in grids:
        rows, columns = points.shape[:2]
        index = first + np.arange(rows * columns).reshape(rows, columns)
        a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
        faces += [np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]
        vertices.append(points.reshape(-1, 3))
        normals.append(normal.reshape(-1, 3))
        first += rows * columns
    return np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces).astype(np.int32)


def backdrop(rng: np.random.Generator, size_px: tuple[int, int], ambient_bgr: ndarray) -> ndarray:
    """(h, w, 3) float32 BGR: what is behind the hands: a plain wall, a pattern, or clutter, out of focus or in it."""
    w, h = size_px
    base, other = np.clip(rng.uniform(0.05, 0.95) + rng.normal(0, 0.12, (2, 3)), 0.02, 1).astype(np.float32)
    image = np.broadcast_to(base, (h, w, 3)).copy()
    cells = int(rng.integers(2, 9))
    slow = rng.normal(0, 1, (cells, cells, 3)) * 0.3 + rng.normal(0, 1, (cells, cells, 1))
    smooth = np.asarray(cv2.resize(slow.astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC))
    image += rng.uniform(0.02, 0.12) * smooth
    kind = rng.choice(["wall", "pattern", "clutter"], p=[0.4, 0.2, 0.4])
    if kind == "pattern":
        for octave in range(3, 7):
            grain = rng.normal(0, 1, (2**octave, 2**octave)).astype(np.float32)
            grain = np.asarray(cv2.resize(grain, (w, h), interpolation=cv2.INTER_LINEAR))
            image += (rng.uniform(0, 0.3) * grain[..., None]) * (other - base)
    elif kind == "clutter":
        for _ in range(int(rng.integers(5, 25))):
            _shape(rng, image)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), h * rng.uniform(0.004, 0.03)))
    return np.clip(image * (0.3 + 0.7 * ambient_bgr / ambient_bgr.mean()), 0, 1).astype(np.float32)


def _shape(rng: np.random.Generator, image: ndarray) -> None:
    """Paint one thing of the room."""
    h, w = image.shape[:2]
    middle = tuple(int(v) for v in rng.uniform(0, [w, h]))
    half = tuple(int(v) + 1 for v in rng.gamma(1.5, 0.08, 2) * min(w, h))
    color = tuple(float(v) for v in np.clip(rng.uniform(0, 1) + rng.normal(0, 0.15, 3), 0, 1))
    angle = float(rng.uniform(0, 180))
    match int(rng.integers(3)):
        case 0:
            corners = cv2.boxPoints((middle, (2 * half[0], 2 * half[1]), angle))
            cv2.fillConvexPoly(image, np.round(corners).astype(np.int32), color)
        case 1:
            cv2.ellipse(image, middle, half, angle, 0, 360, color, -1)
        case _:
            end = tuple(int(v) for v in rng.uniform(0, [w, h]))
            cv2.line(image, middle, end, color, int(rng.integers(1, 8)))
