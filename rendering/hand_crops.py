"""Rendered crops with exact labels, from which a detector learns where the joints of the hand model are.

Each moment is one pair of hands: random shape, pose, skin, light and arms. Several cameras look at each hand, from
random sides, and render only the crop. Nothing is taken from a session.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy import ndarray

from ..capture.crop_images import crop_matrix
from ..capture.learning.crops import STORED_PX, STORED_SCALE, Crop
from ..capture.learning.labels import MAX_HIDDEN, covered_share, depth_m
from ..core.cameras import Cameras
from ..core.hands import HANDS, NUM_POSE, RIGHT
from ..hand.loading import hand_models
from ..hand.procedural_motion import pose_of_curl
from .arm import arm_at_rest, arm_skin
from .augment_pictures import backdrop, light_of, things_at
from .render import FAR_M, Light, LitHands, contact_shadow, draw_alone, light_hands, sensor
from .rig import look_at
from .scenes import Scene, draw_scene, random_rotation
from .skin import HandSkin, hand_skin

VIEWS = 4
"""Cameras for each hand of a moment."""
SINGLE, OCCLUDED, ARMS = 0.15, 0.15, 0.6
"""Shares of moments with one hand only, with things in front, and with forearms."""
SHAPE_SD = 0.9
"""Standard deviation of the betas."""
BENT_SD_RAD = 0.06
"""Standard deviation of the noise on every angle of a pose, radians."""
NEAREST_M = (0.008, 0.08)
"""Smallest distance between the joints of two hands."""
DISTANCE_M = (0.45, 1.4)
"""From the camera to the hands."""
ASIDE_M = 0.08
"""Standard deviation of the point that a camera is aimed at about the hand: crops are not all in the image's middle."""
BACKDROPS = 96
"""Backgrounds that are rendered once; each crop cuts its own part out of one."""
BACKDROP_PX = 320
SHADOW_PX = 3.5
"""Reach of the shadow between the fingers, pixels."""
WHITE = np.ones(3)


@dataclass(frozen=True, eq=False)
class Moment:
    """Two hands as they are rendered."""

    scene: Scene
    light: Light
    joints_m: ndarray
    """(hand, 21, 3) of both hands, also where one is not shown."""
    layers: list[LitHands]


def render_crops(hand_model: str | None, seed: int, moment: int) -> list[Crop]:
    """The crops of one moment: the same arguments give the same crops.

    Args:
        hand_model: folder of the model; None for the procedural hand.
        seed: of all moments.
        moment: its number.
    """
    rng = np.random.default_rng([seed, 1 << 24, moment])
    drawn = draw_moment(hand_model, rng)
    found = []
    for hand in drawn.scene.hands:
        for _ in range(VIEWS):
            crop = _crop(drawn, hand, seed, rng)
            found += [] if crop is None else [crop]
    return found


def draw_moment(hand_model: str | None, rng: np.random.Generator) -> Moment:
    """Random hands in a random light."""
    scene = draw_scene(rng, SINGLE, OCCLUDED, SHAPE_SD)
    light = light_of(scene.lamps)
    betas, pose = np.clip(scene.betas_delta, -2.5, 2.5), draw_poses(rng)
    R = np.stack([random_rotation(rng) for _ in HANDS])
    models, zero = hand_models(hand_model), np.zeros(3)
    joints = np.stack([models[h].joints(betas[h], zero, pose[h], zero) for h in range(len(HANDS))])
    wrist = joints[:, :1].copy()
    joints = np.einsum("hab,hjb->hja", R, joints - wrist)
    at = _beside(joints, rng)
    joints = joints + at[:, None]
    layers = []
    with_arms = rng.random() < ARMS
    for hand in scene.hands:
        rest = models[hand].vertices(betas[hand], zero, pose[hand], zero)
        vertices = (rest - wrist[hand]) @ R[hand].T + at[hand]
        skin = _skins(hand_model)[hand].toned(scene.tone_bgr)
        layers.append(light_hands([skin], vertices[None], light))
        if with_arms:
            flat = models[hand].vertices(betas[hand], zero, np.zeros(NUM_POSE), zero)
            knuckle = models[hand].joints(betas[hand], zero, np.zeros(NUM_POSE), zero)[9]
            arm = arm_at_rest(flat, wrist[hand, 0], knuckle, scene.arm) - wrist[hand]
            arm_of = arm_skin(arm + wrist[hand], scene.arm, scene.tone_bgr)
            layers.append(light_hands([arm_of], (arm @ R[hand].T + at[hand])[None], light))
    layers += [surface for _, surface in things_at(scene, joints, light)]
    return Moment(scene, light, joints, layers)


def draw_poses(rng: np.random.Generator) -> ndarray:
    """(hand, 45) poses within the limits of the joints: fingers that bend together, or each for itself."""
    base = rng.uniform(0.02, 0.75, (2, 1))
    together = base + rng.normal(0, 0.12, (2, 5))
    apart = rng.uniform(0.0, 0.85, (2, 5))
    curl = np.clip(np.where(rng.random((2, 1)) < 0.6, together, apart), 0.0, 0.9)
    spread = np.clip(rng.normal(0, 0.5, (2, 5)), -1, 1)
    pose = np.stack([pose_of_curl(side, curl[h], spread[h]) for h, side in enumerate(("left", "right"))])
    return pose + rng.normal(0, BENT_SD_RAD, pose.shape)


def _beside(joints_m: ndarray, rng: np.random.Generator) -> ndarray:
    """(hand, 3) where to put two hands (hand, 21, 3): moved apart in a random direction until they are free."""
    away = rng.normal(0, 1, 3)
    away /= np.linalg.norm(away)
    aside = rng.normal(0, 0.02, 3) + joints_m[0].mean(0) - joints_m[1].mean(0)
    nearest = rng.uniform(*NEAREST_M) if rng.random() < 0.8 else rng.uniform(0.08, 0.2)
    # Farther than 0.4 m they are always free.
    shifts = aside + np.arange(0.0, 0.42, 0.006)[:, None] * away
    moved = joints_m[1] + shifts[:, None]
    free = np.linalg.norm(joints_m[0][:, None] - moved[:, None], axis=-1).min(axis=(1, 2)) >= nearest
    return np.stack([np.zeros(3), shifts[int(np.argmax(free))]])


def _crop(drawn: Moment, hand: int, seed: int, rng: np.random.Generator) -> Crop | None:
    """One camera's crop of a hand; None where the other hand hides it."""
    joints = drawn.joints_m
    camera = _camera(joints[hand], rng)
    px = camera.project(joints)[0]
    both = len(drawn.scene.hands) == len(HANDS)
    if both:
        depth = depth_m(camera, 0, joints)
        if covered_share(px[None], depth[None], float(camera.focal_px[0]))[0, hand] > MAX_HIDDEN:
            return None
    image = _backdrop(seed, rng)
    depths = np.full(image.shape[:2], FAR_M, np.float32)
    for layer in drawn.layers:
        window, color, own = draw_alone(camera, layer)
        front = own < np.minimum(depths[window], 0.9 * FAR_M)
        np.copyto(image[window], color, where=front[..., None])
        np.copyto(depths[window], own, where=front)
    seen = depths < 0.9 * FAR_M
    if not seen.any():
        return None
    image *= contact_shadow(depths, seen, SHADOW_PX)[..., None]
    shown = sensor(image, int(rng.integers(1 << 31)), rng.uniform(0.3, 0.9), rng.uniform(0.4, 2.5))
    other = px[1 - hand] if both else np.full_like(px[hand], np.nan)
    return Crop(shown, px[hand].astype(np.float32), other.astype(np.float32), hand == RIGHT)


def _camera(joints_m: ndarray, rng: np.random.Generator) -> Cameras:
    """A camera whose whole image is the crop of a hand, upright and in the middle."""
    direction = rng.normal(0, 1, 3)
    direction /= np.linalg.norm(direction)
    target = joints_m.mean(0) + rng.normal(0, ASIDE_M, 3)
    T = look_at(target + rng.uniform(*DISTANCE_M) * direction, target)
    in_camera = joints_m @ T[:3, :3].T + T[:3, 3]
    M = crop_matrix(1e3 * in_camera[:, :2] / in_camera[:, 2:], STORED_SCALE, STORED_PX)
    zoom = np.sqrt(np.linalg.det(M[:, :2]))
    T_crop = np.eye(4)
    T_crop[:2, :2] = M[:, :2] / zoom
    K = np.array([[1e3 * zoom, 0, M[0, 2]], [0, 1e3 * zoom, M[1, 2]], [0, 0, 1]])
    size = np.array([[STORED_PX, STORED_PX]])
    return Cameras(("crop",), K[None], np.zeros((1, 5)), (T_crop @ T)[None], size)


def _backdrop(seed: int, rng: np.random.Generator) -> ndarray:
    """(STORED_PX, STORED_PX, 3) float32 a part of one of the backgrounds."""
    whole = _drawn_backdrop(seed, int(rng.integers(BACKDROPS)))
    y, x = rng.integers(0, BACKDROP_PX - STORED_PX + 1, 2)
    part = whole[y : y + STORED_PX, x : x + STORED_PX]
    part = np.rot90(part, int(rng.integers(4)))
    return np.ascontiguousarray(part * rng.uniform(0.6, 1.1), np.float32)


@lru_cache(BACKDROPS)
def _drawn_backdrop(seed: int, number: int) -> ndarray:
    return backdrop(np.random.default_rng([seed, 1 << 25, number]), (BACKDROP_PX, BACKDROP_PX), WHITE)


@lru_cache(2)
def _skins(hand_model: str | None) -> tuple[HandSkin, ...]:
    return tuple(
        hand_skin({"v_template": m.v_template, "f": m.faces, "J": m.rest_joints}, side, 1)
        for m, side in zip(hand_models(hand_model), HANDS, strict=True)
    )
