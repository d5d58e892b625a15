"""Random scenes around two moving hands: person, light, occluders and cameras. World frame: metres, +z up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.hands import LEFT
from .rig import look_at

TONES_BGR = np.array(
    [[196, 224, 255], [160, 195, 240], [126, 168, 222], [92, 136, 198], [66, 105, 165], [44, 74, 122], [32, 50, 84]]
)
"""Skin from pale to dark, as a camera in white light has it."""

HALF_FIELD_RAD = (np.deg2rad(10.0), np.deg2rad(32.0))
"""Half the angle of view, from a portrait lens to a phone's."""

FILL = (0.35, 0.95)
"""Extent of the hands' path relative to half of the image size."""

NEAREST_M = (0.35, 0.60)
"""Cameras are not nearer to the hands than a distance drawn from this: not even a phone's is."""

FARTHEST_M = 4.0

DRAWS = 48
"""Places that are tried for a camera which should face the hands."""

FACING = (0.5, 0.7)
"""It does where the palm's normal has at least this cosine with its sight, and the forearm at most that one."""

FLESH_M = 0.015
"""Around the joints."""

HIDES_M = np.array([0.04, *(0.035, 0.025, 0.018, 0.015), *(0.026, 0.02, 0.016, 0.014) * 4])
"""Thickness of the flesh in front of each joint, for a hand of usual size."""

ARM = 3
"""Added to a hand's label in masks, 1 or 2, it is its arm's."""

USUAL_PALM_M = 0.095
"""From the wrist to the middle finger's knuckle."""


@dataclass(frozen=True, eq=False)
class Lamps:
    """Directions and strengths of the lamps, BGR."""

    key: ndarray
    """(3,) unit vector toward the stronger lamp."""
    fill: ndarray
    key_bgr: ndarray
    """(3,)"""
    fill_bgr: ndarray
    ambient_bgr: ndarray


@dataclass(frozen=True, eq=False)
class Thing:
    """An occluder near a hand; it moves with the hand, as if it were held."""

    hand: int
    kind: str
    """`ball`, `box` or `tube`."""
    half_m: ndarray
    """(3,) half extents."""
    R_hand_thing: ndarray
    """(3, 3)"""
    t_hand_m: ndarray
    """(3,) its middle in the hand's frame (`palm_frames`)."""
    color_bgr: ndarray
    """(3,) 0 to 1."""
    gloss: float


@dataclass(frozen=True, eq=False)
class Arm:
    """The arms of a person."""

    bend_rad: ndarray
    """(2,) of the wrist: toward the palm, and toward the thumb."""
    sleeve_m: float
    """Distance from the hand's end to the sleeve; infinite if there is none."""
    loose_m: float
    """Distance of the sleeve from the skin."""
    sleeve_bgr: ndarray
    """(3,) 0 to 1."""


@dataclass(frozen=True, eq=False)
class Scene:
    """The properties of a scene that are constant over all frames and views of a sequence."""

    betas_delta: ndarray
    """(hand, 10) what is added to the motion's hand shape."""
    tone_bgr: ndarray
    """(3,) mean colour of the skin, 0 to 1."""
    hands: tuple[int, ...]
    """The hands that are shown."""
    lamps: Lamps
    things: tuple[Thing, ...]
    arm: Arm


@dataclass(frozen=True, eq=False)
class Film:
    """The image quality of a camera: blur, noise and compression."""

    blur_px: float
    gain: float
    """Gain of the sensor noise."""
    quality: int
    """JPEG quality."""


def draw_scene(rng: np.random.Generator, single: float, occluded: float, shape: float) -> Scene:
    """One sequence's scene.

    Args:
        rng: of everything.
        single: probability that only one hand is shown.
        occluded: probability of occluders.
        shape: standard deviation of what is added to betas; a person's hands are nearly alike.
    """
    delta = np.clip(rng.normal(0, shape, 10), -2.5 * shape, 2.5 * shape) + rng.normal(0, 0.1 * shape, (2, 10))
    one = int(rng.integers(2))
    hands = (one,) if rng.random() < single else (0, 1)
    tone, lamps = _tone(rng), _lamps(rng)
    wanted = int(rng.integers(1, 4)) if rng.random() < occluded else 0
    things = tuple(_thing(rng, int(rng.choice(hands))) for _ in range(wanted))
    return Scene(delta, tone, hands, lamps, things, _arm(rng))


def _tone(rng: np.random.Generator) -> ndarray:
    at = rng.uniform(0, len(TONES_BGR) - 1)
    low = min(int(at), len(TONES_BGR) - 2)
    tone = TONES_BGR[low] + (at - low) * (TONES_BGR[low + 1] - TONES_BGR[low])
    return np.clip(tone / 255 * rng.uniform(0.94, 1.06, 3), 0.05, 1)


def _lamps(rng: np.random.Generator) -> Lamps:
    key, fill = rng.normal(0, 1, (2, 3)) + [[0, 0, 0.7], [0, 0, 0.2]]
    warmth = rng.normal(0, 0.12, 3)  # lamp, second lamp, room: candle to shade
    white = np.stack([1 - 1.2 * warmth, 1 - 0.1 * warmth, 1 + 0.8 * warmth], axis=1)
    total, hardness = rng.uniform(0.85, 1.3), rng.uniform(0.25, 0.75)
    return Lamps(
        key / np.linalg.norm(key),
        fill / np.linalg.norm(fill),
        total * hardness * white[0] * 1.15,
        total * (1 - hardness) * rng.uniform(0.2, 0.7) * white[1],
        total * (0.12 + 0.55 * (1 - hardness)) * white[2],
    )


def _thing(rng: np.random.Generator, hand: int) -> Thing:
    kind = str(rng.choice(["ball", "box", "tube"]))
    half = rng.uniform(0.012, 0.035, 3) * (np.array([1.0, 1.0, 2.2]) if kind != "ball" else 1.0)
    side = -1.0 if rng.random() < 0.8 else 1.0  # mostly before the palm, where things are held
    middle = np.array([rng.uniform(-0.03, 0.06), side * (half.min() + rng.uniform(0.02, 0.05)), rng.normal(0, 0.02)])
    return Thing(
        hand, kind, half, random_rotation(rng), middle, np.clip(rng.beta(1.0, 1.0, 3), 0.04, 0.95), rng.uniform(0, 0.5)
    )


def _arm(rng: np.random.Generator) -> Arm:
    """Wrists are mostly bent a little back; two in three people wear sleeves."""
    bend = np.clip(rng.normal([-8.0, 0.0], [16.0, 7.0]), [-40.0, -15.0], [40.0, 15.0])
    sleeve = rng.uniform(0.0, 0.16) if rng.random() < 0.65 else np.inf
    color = np.clip(rng.uniform(0.05, 0.95) + rng.normal(0, 0.12, 3), 0.03, 0.97)
    return Arm(np.deg2rad(bend), float(sleeve), rng.uniform(0.002, 0.007), color)


def draw_film(rng: np.random.Generator, quality: int) -> Film:
    """One view's film; `quality` is the JPEG's at best."""
    return Film(rng.uniform(0.4, 0.9), rng.uniform(0.4, 2.5), int(rng.integers(max(quality - 20, 1), quality + 1)))


def draw_cameras(
    rng: np.random.Generator,
    joints_m: ndarray,
    palms: ndarray,
    names: Sequence[str],
    size_px: tuple[int, int],
    facing: float,
) -> Cameras:
    """Random cameras around the hands that see their whole path.

    Args:
        rng: of everything.
        joints_m: (frame, hand, joint, 3) world, those that are shown.
        palms: (frame, hand, 3, 3) their palms, from `palm_frames`.
        names: one per camera.
        size_px: width and height.
        facing: probability that a camera stands where it sees the hands' palms or backs, not their edges or stumps.
    """
    w, h = size_px
    points = joints_m.reshape(-1, 3)
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    radius = np.linalg.norm(points - middle, axis=1).max() + FLESH_M
    K, T, lens = np.zeros((len(names), 3, 3)), [], np.zeros((len(names), 5))
    for view in range(len(names)):
        direction = _direction(rng, palms if rng.random() < facing else palms[:, :0])
        slope, fill = np.tan(rng.uniform(*HALF_FIELD_RAD)), rng.uniform(*FILL)
        # A ball of this radius touches a cone of slope fill * slope about its centre at this distance.
        distance = min(max(radius * np.hypot(1, 1 / (fill * slope)), rng.uniform(*NEAREST_M)), FARTHEST_M)
        aside = rng.uniform(-0.5, 0.5, 3) * (1 - fill) * radius
        # Rigs have cameras on their sides, and the world of a session need not have its z axis up: any roll.
        T.append(look_at(middle + aside + distance * direction, middle + aside, rng.uniform(-np.pi, np.pi)))
        # The ball is larger than what is in it: zoom in on that.
        in_camera = points @ T[-1][:3, :3].T + T[-1][:3, 3]
        reach = np.abs(in_camera[:, :2] / in_camera[:, 2:]) + FLESH_M / in_camera[:, 2:]
        K[view, 0, 0] = K[view, 1, 1] = 0.5 * fill / np.max(reach / [w, h])
        K[view, :2, 2] = [(w - 1) / 2, (h - 1) / 2] + rng.normal(0, 0.01, 2) * min(w, h)
        lens[view, :4] = rng.normal(0, [0.05, 0.01, 5e-4, 5e-4])
    K[:, 2, 2] = 1.0
    return Cameras(tuple(names), K, lens, np.stack(T), np.tile([w, h], (len(names), 1)))


def _direction(rng: np.random.Generator, palms: ndarray) -> ndarray:
    """(3,) from the hands to a camera: the first of some draws from which every palm (frame, hand, 3, 3) is seen well,
    or else the best."""
    z, turn = rng.uniform(-0.6, 0.97, DRAWS), rng.uniform(0, 2 * np.pi, DRAWS)
    directions = np.stack([np.cos(turn) * np.sqrt(1 - z * z), np.sin(turn) * np.sqrt(1 - z * z), z], axis=1)
    along, across, _ = np.moveaxis(np.abs(directions @ palms).mean(axis=0), -1, 0)  # each (hand, draw)
    quality = np.minimum(across - FACING[0], FACING[1] - along).min(axis=0, initial=1.0)
    good = np.flatnonzero(quality >= 0)
    return directions[good[0] if len(good) else quality.argmax()]


def palm_frames(joints_m: ndarray, hand: int) -> tuple[ndarray, ndarray]:
    """A frame in the palm that moves with the hand.

    Args:
        joints_m: (..., 21, 3) of one hand.
        hand: LEFT or RIGHT.

    Returns:
        R_world_hand (..., 3, 3): x toward the fingers, y out of the back of the hand; the middle of the palm (..., 3).
    """
    wrist, index, middle, pinky = (joints_m[..., joint, :] for joint in (0, 5, 9, 17))
    x = middle - wrist
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    y = np.cross(index - wrist, pinky - wrist) * (1.0 if hand == LEFT else -1.0)
    y = y - np.sum(x * y, axis=-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=-1), 0.5 * (wrist + middle)


def random_rotation(rng: np.random.Generator) -> ndarray:
    """(3, 3) uniform over all rotations."""
    q, r = np.linalg.qr(rng.normal(0, 1, (3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.array([np.sign(np.linalg.det(q)), 1.0, 1.0])


def visibility(uv: ndarray, joints_cam_m: ndarray, hand: int, mask: ndarray, picture_m: ndarray) -> ndarray:
    """(joint,) 2 if a joint is visible, 1 if it is hidden, 0 if it is outside the image.

    Joints are inside the hand. A joint counts as visible if the nearest surface at its pixel belongs to its own hand,
    and the distance to that surface is at most the thickness of the flesh.

    Args:
        uv: (21, 2) pixels.
        joints_cam_m: (21, 3) in the camera's frame.
        hand: its label in `mask`.
        mask: (h, w) which hand is in front.
        picture_m: (h, w) how far that is, along the camera's z.
    """
    h, w = mask.shape
    depth_m = joints_cam_m[:, 2]
    inside = np.all((uv > -0.5) & (uv < np.array([w, h]) - 0.5), axis=-1) & (depth_m > 0)
    x, y = (np.clip(np.round(np.where(inside, uv[:, i], 0)), 0, n - 1).astype(int) for i, n in ((0, w), (1, h)))
    size = np.linalg.norm(joints_cam_m[9] - joints_cam_m[0]) / USUAL_PALM_M
    # The skin about the wrist may be the arm's.
    seen = np.isin(mask[y, x], (hand, hand + ARM)) & (picture_m[y, x] > depth_m - size * HIDES_M)
    return np.where(inside, np.where(seen, 2, 1), 0).astype(np.uint8)
