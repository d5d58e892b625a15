"""Rendering of hands and of the calibration board with the lens model of a camera.

The full lens model is used: vertices are distorted before rasterisation, and the board is sampled along the ray of
every pixel. Pixel (0, 0) is the centre of the first pixel. Images are 8-bit BGR.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras, distort, project_normalised
from ..core.fisheye import distort_fisheye, project_fisheye
from .skin import HandSkin, vertex_normals

NEAR_M, FAR_M = 0.05, 5.0
SUPERSAMPLING = 2
"""Rays per pixel and direction, for the board."""


# ---- the hands' picture ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Light:
    """Two lamps and ambient light; strengths are numbers, or BGR for coloured light."""

    key: ndarray
    """(3,) world, toward the stronger lamp, of any length."""
    fill: ndarray
    """(3,) toward the weaker one."""
    key_strength: float | ndarray = 0.64
    fill_strength: float | ndarray = 0.26
    ambient: float | ndarray = 0.22
    sky: float | ndarray = 0.18
    curve: float = 1.0
    """Exponent of the camera's response: below 1 it shows more in the shadows."""

    def shade(self, normals: ndarray, wrap: ndarray) -> ndarray:
        """(n, 3) BGR of the diffuse light on surfaces with these normals; `wrap` (3,) is how far it reaches round."""
        key, fill = self.key / np.linalg.norm(self.key), self.fill / np.linalg.norm(self.fill)
        lit = np.clip((normals @ key.astype(np.float32))[:, None] + wrap, 0, None) / (1 + wrap)
        back = np.clip((normals @ fill.astype(np.float32))[:, None] + 0.2, 0, None) / 1.2
        sky = 0.5 + 0.5 * normals[:, 2:]
        total = self.key_strength * lit + self.fill_strength * back + self.ambient + self.sky * sky
        return total if self.curve == 1 else total**self.curve


STUDIO = Light(np.array([0.35, -0.45, 0.82]), np.array([-0.75, 0.55, 0.25]))
"""The light of synthetic sessions."""

SKIN_WRAP = np.array([0.15, 0.20, 0.38], dtype=np.float32)
"""Light scatters in skin: it reaches a little round the edge, and red reaches furthest."""


@dataclass(frozen=True)
class LitHands:
    """Lit surfaces of one frame (hands or objects), for any view."""

    vertices_m: ndarray
    """(n, 3) world."""
    normals: ndarray
    """(n, 3)"""
    faces: ndarray
    """(face, 3) int32"""
    color: ndarray
    """(n, 3) BGR of the diffuse light, 0 to 1."""
    gloss: ndarray
    """(n,)"""
    light: Light = STUDIO


def light_hands(skins: Sequence[HandSkin], vertices_m: ndarray, light: Light = STUDIO) -> LitHands:
    """Smooth and light the hands of one frame; the same for every view.

    Args:
        skins: one per hand.
        vertices_m: (hand, V, 3) world.
        light: what shines on them.
    """
    vertices, normals, faces, colors, first = [], [], [], [], 0
    for skin, coarse in zip(skins, vertices_m, strict=True):
        v = skin.subdivision @ coarse.astype(np.float32)
        n = vertex_normals(v, skin.faces, skin.vertex_faces)
        colors.append(skin.albedo * light.shade(n, SKIN_WRAP))
        vertices.append(v)
        normals.append(n)
        faces.append(skin.faces + first)
        first += len(v)
    gloss = np.concatenate([skin.gloss for skin in skins])
    return LitHands(
        np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces), np.concatenate(colors), gloss, light
    )


def render_hands(camera: Cameras, hands: LitHands, background: ndarray, seed: int) -> ndarray:
    """A camera's picture of the hands.

    Args:
        camera: a single view.
        hands: both hands, from `light_hands`.
        background: (h, w, 3) uint8, from `room`.
        seed: of the sensor's noise; one per (view, frame).

    Returns:
        (h, w, 3) uint8 BGR.
    """
    image, depth_m = draw(camera, hands, background.astype(np.float32) / 255)
    seen = depth_m < 0.9 * FAR_M
    if seen.any():
        image *= contact_shadow(depth_m, seen)[..., None]
    return sensor(image, seed)


def draw(camera: Cameras, hands: LitHands, image: ndarray) -> tuple[ndarray, ndarray]:
    """Draw over an image.

    Args:
        camera: a single view.
        hands: from `light_hands`.
        image: (h, w, 3) float32 BGR, 0 to 1.

    Returns:
        The image, and the depth (h, w) float32 along the camera's z, metres; FAR_M where there is nothing.
    """
    uv, depth, shown = _project(camera, hands.vertices_m)
    faces = hands.faces if shown.all() else hands.faces[shown[hands.faces].all(axis=1)]
    return _rasterise(uv, depth, faces, _seen_color(camera, hands), image)


def draw_alone(camera: Cameras, hands: LitHands) -> tuple[tuple[slice, slice], ndarray, ndarray]:
    """Draw on black, only where something is: in a small window that costs little.

    Args:
        camera: a single view.
        hands: from `light_hands`.

    Returns:
        Rows and columns of the window in the picture; colour (h, w, 3) and depth (h, w) in it, as from `draw`.
    """
    uv, depth, shown = _project(camera, hands.vertices_m)
    size = camera.size_px[0]
    faces, within = hands.faces, uv
    if not shown.all():
        faces, within = faces[shown[faces].all(axis=1)], uv[shown]
    low = np.clip(np.floor(within.min(axis=0, initial=np.inf)), 0, size).astype(int)
    high = np.clip(np.ceil(within.max(axis=0, initial=-np.inf)) + 1, low, size).astype(int)
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    black = np.zeros((high[1] - low[1], high[0] - low[0], 3), np.float32)
    if black.size == 0:
        return window, black, black[..., 0]
    return window, *_rasterise(uv - low, depth, faces, _seen_color(camera, hands), black)


def _seen_color(camera: Cameras, hands: LitHands) -> ndarray:
    """(n, 3) BGR of the vertices as a camera sees them: skin darkens toward its edge, and shines."""
    view = camera.centers_m[0].astype(np.float32) - hands.vertices_m
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    facing = np.clip(np.sum(view * hands.normals, axis=1), 0, 1)
    key = hands.light.key
    half = view + key.astype(np.float32) / np.linalg.norm(key).astype(np.float32)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = hands.gloss * np.clip(np.sum(half * hands.normals, axis=1), 0, 1) ** 24
    return hands.color * (0.55 + 0.45 * facing)[:, None] + shine[:, None]


def _project(camera: Cameras, points_m: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Pixels (n, 2), depth (n,) in metres, and whether these mean anything (n,): points behind the camera have none,
    nor those beyond the lens's range, nor those far outside the picture."""
    T, K = camera.T_cam_world[0].astype(np.float64), camera.K[0]
    cam = points_m @ T[:3, :3].T + T[:3, 3]
    fisheye, slope = camera.fisheye[0], cam[:, :2] / cam[:, 2:]
    corner = np.maximum(K[:2, 2], camera.size_px[0] - K[:2, 2]) / K[[0, 1], [0, 1]]
    shown = (cam[:, 2] > NEAR_M) & (fisheye | (np.sum(slope * slope, axis=1) < 1.5**2 * np.sum(corner * corner)))
    distorted, projected = (distort_fisheye, project_fisheye) if fisheye else (distort, project_normalised)
    shown &= np.isfinite(projected(slope, camera.distortion[0])[:, 0])
    xy = distorted(slope, camera.distortion[0])
    return xy * K[[0, 1], [0, 1]] + K[:2, 2], cam[:, 2], shown


def _rasterise(uv: ndarray, depth: ndarray, faces: ndarray, color: ndarray, image: ndarray) -> tuple[ndarray, ndarray]:
    """Draw Gouraud-shaded faces over the image, nearest first; returns the image and the depth (h, w), metres.

    `cv2.triangleRasterize` takes OpenGL's camera (+y up, -z forward, samples at x + 0.5); a field of view of 90 degrees
    makes one unit at depth one equal to h / 2 pixels.
    """
    h, w = image.shape[:2]
    scale = depth * (2 / h)
    gl = np.stack([(uv[:, 0] + 0.5 - w / 2) * scale, -(uv[:, 1] + 0.5 - h / 2) * scale, -depth], axis=1)
    image = np.ascontiguousarray(image, dtype=np.float32)
    depth_m = np.full((h, w), FAR_M, np.float32)
    cv2.triangleRasterize(
        gl.astype(np.float32), faces, color.astype(np.float32), image, depth_m, np.eye(4), np.pi / 2, NEAR_M, FAR_M
    )
    return image, depth_m


def contact_shadow(depth_m: ndarray, seen: ndarray, reach_px: float = 7) -> ndarray:
    """(h, w) factor that darkens what lies just behind something nearer (unsharp masking of the depth: Luft, Colditz,
    Deussen 2006)."""
    behind = np.where(seen, depth_m, depth_m[seen].max())
    near = cv2.GaussianBlur(behind, (0, 0), reach_px)
    return np.where(seen, 1 - 0.42 * np.clip((behind - near) / 0.012, 0, 1), 1).astype(np.float32)


@cache
def _noise_tile(h: int, w: int) -> ndarray:
    return np.random.default_rng(0).standard_normal((h, w, 3), dtype=np.float32)


def sensor(image: ndarray, seed: int, blur_px: float = 0.55, gain: float = 1.0) -> ndarray:
    """Lens blur, noise that grows with the light, and 8 bits. The noise is a random cut of one large tile."""
    h, w = image.shape[:2]
    y, x = np.random.default_rng(seed).integers(0, 256, 2)
    noise = _noise_tile(h + 256, w + 256)[y : y + h, x : x + w]
    image = cv2.GaussianBlur(image, (0, 0), blur_px)
    image += noise * (gain * 0.004 + gain * 0.005 * np.sqrt(np.maximum(image, 0)))
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def room(size_px: tuple[int, int], seed: int) -> ndarray:
    """(h, w, 3) uint8: a blurred, dim background; one per view, the same in every frame."""
    w, h = size_px
    rng = np.random.default_rng(seed)
    coarse = 0.25 * rng.normal(0, 1, (7, 9, 3)) + rng.normal(0, 1, (7, 9, 1))
    smooth = cv2.resize(coarse.astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    y = np.linspace(-1, 1, h, dtype=np.float32)[:, None, None]
    return np.clip(np.array([134.0, 115.0, 102.0]) + 14 * smooth - 16 * y, 0, 255).astype(np.uint8)


# ---- the board's picture -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BoardTexture:
    """A printed ChArUco board with its white margin, at several resolutions."""

    levels: tuple[ndarray, ...]
    """Each (rows, columns, 2) uint8, half as fine as the one before: the print, and 255 everywhere."""
    texel_m: tuple[float, ...]
    """Size of a texel of each level."""
    size_m: tuple[float, float]
    """Width and height of the squares, without the margin."""
    margin_m: float


def board_texture(columns: int, rows: int, square_m: float, marker_m: float, dictionary: str) -> BoardTexture:
    """Print a ChArUco board as `cv2.aruco.CharucoBoard` has it.

    Args:
        columns, rows: squares.
        square_m, marker_m: sides of the squares and of the markers, metres.
        dictionary: OpenCV's name, such as "DICT_4X4_50".
    """
    words = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary))
    board = cv2.aruco.CharucoBoard((columns, rows), square_m, marker_m, words)
    # A square of 24 x (modules per marker) texels puts the usual ratios of marker to square on whole texels.
    square = 24 * (words.markerSize + 2)
    pattern = board.generateImage((columns * square, rows * square), marginSize=0)
    margin = square // 2
    margin -= margin % 16
    level = np.pad(pattern, margin, constant_values=255)
    level = (30 + level.astype(np.float32) * (205 / 255)).astype(np.uint8)  # ink and paper
    levels, texel = [level], [square_m / square]
    for _ in range(4):
        h, w = levels[-1].shape
        levels.append(np.asarray(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA), np.uint8))
        texel.append(2 * texel[-1])
    levels = [np.stack([level, np.full_like(level, 255)], axis=-1) for level in levels]
    return BoardTexture(tuple(levels), tuple(texel), (columns * square_m, rows * square_m), margin * texel[0])


def pixel_rays(camera: Cameras) -> ndarray:
    """(h, w, 2) float32 x/z and y/z of the ray of every pixel of a single view, undistorted. Half a second; once per
    camera."""
    w, h = (int(n) for n in camera.size_px[0])
    grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).astype(float)
    return camera.undistort(grid[None])[0].astype(np.float32)


def render_board(
    camera: Cameras, rays: ndarray, T_world_board: ndarray, texture: BoardTexture, background: ndarray, seed: int
) -> ndarray:
    """A camera's picture of the board; its plain back if it faces away.

    Args:
        camera: a single view.
        rays: (h, w, 2) from `pixel_rays`.
        T_world_board: (4, 4), board to world; the board's z goes into it, as in OpenCV.
        texture: from `board_texture`.
        background: (h, w, 3) uint8, from `room`.
        seed: of the sensor's noise; one per (view, frame).

    Returns:
        (h, w, 3) uint8 BGR.
    """
    image = background.astype(np.float32) / 255
    T_cam_board = camera.T_cam_world[0] @ T_world_board
    edge = np.linspace(0.0, 1.0, 9)
    outline = np.concatenate([[(u, 0.0), (u, 1.0), (0.0, u), (1.0, u)] for u in edge])
    size = np.array(texture.size_m) + 2 * texture.margin_m
    outline_m = np.concatenate([outline * size - texture.margin_m, np.zeros((len(outline), 1))], axis=1)
    uv = camera.project(outline_m @ T_world_board[:3, :3].T + T_world_board[:3, 3])[0]
    if np.isfinite(uv).all():
        h, w = image.shape[:2]
        x0, y0 = np.clip(np.floor(uv.min(0)).astype(int) - 2, 0, [w, h])
        x1, y1 = np.clip(np.ceil(uv.max(0)).astype(int) + 3, 0, [w, h])
        if x1 - x0 > 2 and y1 - y0 > 2:
            _draw_board(image[y0:y1, x0:x1], rays[y0:y1, x0:x1], T_cam_board, texture, camera.focal_px[0])
    return sensor(image, seed)


def _draw_board(image: ndarray, rays: ndarray, T_cam_board: ndarray, texture: BoardTexture, focal_px: float) -> None:
    """Draw the board over a cut of the picture, several rays per pixel, averaged."""
    h, w = rays.shape[:2]
    facing = T_cam_board[:3, 2] @ T_cam_board[:3, 3] / np.linalg.norm(T_cam_board[:3, 3])
    # The level whose texels are just finer than the samples.
    sample_m = T_cam_board[2, 3] / focal_px / SUPERSAMPLING
    level = max(0, int(np.sum(np.array(texture.texel_m) <= sample_m)) - 1)
    texel, margin = texture.texel_m[level], texture.margin_m / texture.texel_m[level] - 0.5
    to_texel = np.array([[1 / texel, 0, margin], [0, 1 / texel, margin], [0, 0, 1]])
    # A ray and the plane z = 0 of the board meet where [X, Y, 1] ~ inv([r1 r2 t]) [x, y, 1].
    at = cv2.perspectiveTransform(rays, to_texel @ np.linalg.inv(T_cam_board[:3][:, [0, 1, 3]]))
    at = cv2.resize(at, (w * SUPERSAMPLING, h * SUPERSAMPLING), interpolation=cv2.INTER_LINEAR)
    drawn = cv2.remap(texture.levels[level], at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    drawn = cv2.resize(drawn, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    drawn *= np.float32(1 / 255)
    tone, cover = cv2.split(drawn)
    tone = tone * np.float32(0.70 + 0.25 * facing) if facing > 0 else cover * np.float32(0.35)
    # Numbers of three equal channels: NumPy is slow where the last axis is broadcast.
    image *= cv2.cvtColor(1 - cover, cv2.COLOR_GRAY2BGR)
    image += cv2.cvtColor(tone, cv2.COLOR_GRAY2BGR)
