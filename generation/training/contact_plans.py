"""What happens in an episode of contact: which places of the hands touch, when, and how the hands are held meanwhile.

A plan is drawn at random; `contact_motion.py` turns it into motion. World frame as in `hand.procedural_motion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ...core.hands import BONES, HANDS, NUM_BETAS, NUM_JOINTS
from ...hand.procedural import ROOT, pose_limits
from ...hand.procedural_motion import SIDE, hand_orientation
from ..model.penetration import SPHERES

EPISODE_S = 4.0
MOST_CONTACTS = 8
WRIST_RADIUS_M, TIP_RADIUS_M = 0.015, 0.006

CURL_SHARES = np.array([[0.8, 0.7, 0.8]] + [[0.85, 0.85, 0.75]] * 4)
"""(finger, joint of the finger): what a curl of 1 bends, as a share of the joint's limit."""


@dataclass(frozen=True)
class Place:
    """A point on a bone that wanders during the contact."""

    joints: tuple[int, int]
    """Both ends of the bone."""
    share: tuple[float, float]
    """How far along the bone it is when the contact begins, and when it ends."""


@dataclass(frozen=True)
class Touch:
    """One contact of a place of the left hand with one of the right."""

    left: Place
    right: Place
    time_s: tuple[float, float]
    """When it begins and ends."""
    gap_m: float = 0.0
    """Distance of the skins: of what is between the hands."""


@dataclass(frozen=True)
class Plan:
    """One episode."""

    kind: str
    """Of KINDS."""
    betas: ndarray
    """(hand, 10)"""
    R_world_hand: ndarray
    """(hand, 3, 3) at the contact, before it is refined."""
    bend: ndarray
    """(hand, 15, 2) flexion and abduction at the contact as shares of their ranges."""
    way: ndarray
    """(3,) the direction in which the right hand leaves the left one."""
    opening: float
    """How much the fingers straighten before the hands part: 0 not at all, 1 wholly."""
    touches: tuple[Touch, ...]
    pace_s: tuple[float, float]
    """Duration of the approach and of the parting."""


def joint_radius_m() -> ndarray:
    """(21,) from the joint to the skin, as the spheres of `penetration.py` have it."""
    radius = np.full(NUM_JOINTS, TIP_RADIUS_M)
    radius[0] = WRIST_RADIUS_M
    for (_, child), own in zip(BONES, SPHERES, strict=True):
        share, last = own[-1]
        if share == 1.0:
            radius[child] = last
    return radius


def bend_of(curl: ndarray, spread: ndarray) -> ndarray:
    """(hand, 15, 2) shares of the joints' ranges, of curls and spreads (hand, finger); as `pose_of_curl`."""
    limits = pose_limits()
    low, high = limits[..., 0], limits[..., 1]
    angle = np.zeros((len(HANDS), 15, 2))
    for f in range(5):
        for k in range(3):
            j = ROOT[f] + k - 1
            angle[:, j, 0] = curl[:, f] * CURL_SHARES[f, k] * high[j, 0]
            middle, half = 0.5 * (low[j, 1] + high[j, 1]), 0.5 * (high[j, 1] - low[j, 1])
            angle[:, j, 1] = middle + spread[:, f] * half * (1 - 0.7 * curl[:, f])
    return np.clip((angle - low) / np.maximum(high - low, 1e-9), 0.03, 0.97)


# ---- the kinds ---------------------------------------------------------------------------------------------------


@dataclass
class _Draft:
    """What a kind says about its episode; hands are (hand, ...)."""

    fingers: ndarray
    palm: ndarray
    curl: ndarray
    way: ndarray
    opening: float
    touches: list[tuple[Place, Place, float]]
    """Of the left and the right hand, and the distance of the skins."""
    spread: float = 0.3
    """How much the fingers' spread varies."""


def _tip(finger: int) -> int:
    return 4 * finger + 4


def _at(joint: int) -> Place:
    return Place((joint, joint), (0.0, 0.0))


def _sliding(start: int, end: int, share: float, first: float = 0.0) -> Place:
    return Place((start, end), (first, share))


def _some(rng: np.random.Generator, fingers: list[int], least: int) -> list[int]:
    count = rng.integers(least, len(fingers) + 1)
    return sorted(rng.choice(fingers, count, replace=False).tolist())


def _facing(tilt: float, lean: float) -> tuple[ndarray, ndarray]:
    """Directions of fingers and palms of hands that face each other, the fingers up and inward."""
    fingers = np.stack([-SIDE * np.tan(tilt), np.full(2, lean), np.ones(2)], axis=1)
    return fingers, np.stack([-SIDE, np.zeros(2), np.full(2, -0.2 * tilt)], axis=1)


def _tips(rng: np.random.Generator) -> _Draft:
    """Fingertips on fingertips, of the same fingers or of neighbours."""
    fingers, palm = _facing(np.deg2rad(rng.uniform(15, 40)), rng.uniform(-0.2, 0.6))
    shift = int(rng.choice([0, 0, 0, 1, -1]))
    chosen = [f for f in _some(rng, [0, 1, 2, 3, 4], 1) if 0 < f + shift < 5 or (f == 0 and shift == 0)]
    pairs = [(_at(_tip(f)), _at(_tip(f + shift)), 0.0) for f in chosen or [1]]
    return _Draft(fingers, palm, rng.uniform(0.08, 0.3, (2, 5)), np.array([1.0, 0, 0]), 0.2, pairs)


def _palms(rng: np.random.Generator) -> _Draft:
    """Flat hands on each other; one may slide along the fingers of the other."""
    fingers, palm = _facing(np.deg2rad(rng.uniform(8, 20)), rng.uniform(-0.2, 0.6))
    slide, mover = rng.choice([0.0, 0.0, 0.5, 0.8]), int(rng.integers(2))
    pairs = []
    for f in _some(rng, [1, 2, 3, 4], 3):
        still, moved = (_at(_tip(f)), _sliding(_tip(f), _tip(f) - 1, slide))
        pairs.append((still, moved, 0.0) if mover else (moved, still, 0.0))
        if rng.random() < 0.5:
            still, moved = _at(_tip(f) - 1), _sliding(_tip(f) - 1, _tip(f) - 2, slide)
            pairs.append((still, moved, 0.0) if mover else (moved, still, 0.0))
    curl = np.full((2, 5), 0.06) + rng.uniform(-0.03, 0.05, (2, 5))
    return _Draft(fingers, palm, curl, np.array([1.0, 0, 0]), 0.0, pairs, spread=0.1)


def _poke(rng: np.random.Generator) -> _Draft:
    """One or a few fingers on the other hand, where they may slide along a finger."""
    a = int(rng.integers(2))
    b = 1 - a
    side = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.3]][rng.integers(2)]) + rng.normal(0, 0.1, 3)
    fingers, palm = np.zeros((2, 3)), np.zeros((2, 3))
    fingers[b], palm[b] = [-0.8 * SIDE[b], rng.uniform(0, 0.5), rng.uniform(0, 0.4)], side * rng.choice([-1.0, 1.0])
    fingers[a] = -0.7 * side + [-0.6 * SIDE[a], rng.uniform(-0.1, 0.4), 0]
    palm[a] = -side + [0.0, rng.uniform(-0.2, 0.2), 0]
    pointing = [[1], [1], [0, 1], [1, 2], [2], [1, 2, 3]][rng.integers(6)]
    curl = np.full((2, 5), 0.5)
    curl[b] = rng.uniform(0.05, 0.3)
    curl[a, pointing] = rng.uniform(0.1, 0.35)
    target = int(rng.integers(1, 5))
    start = _tip(target) - int(rng.integers(0, 4))
    end = max(start - 1, _tip(target) - 3) if rng.random() < 0.5 else min(start + 1, _tip(target))
    slide = rng.choice([0.0, 0.6, 1.0])
    pairs = []
    for rank, f in enumerate(pointing):
        other = int(np.clip(target + rank - len(pointing) // 2, 1, 4))
        shift = 4 * (other - target)
        there = _sliding(start + shift, end + shift, slide)
        pairs.append((_at(_tip(f)), there, 0.0) if a == 0 else (there, _at(_tip(f)), 0.0))
    way = side * (1 if a == 1 else -1)
    return _Draft(fingers, palm, curl + rng.normal(0, 0.05, (2, 5)), way, 0.0, pairs)


def _clasp(rng: np.random.Generator) -> _Draft:
    """One hand's fingers around the other hand, or over its fist."""
    a = int(rng.integers(2))
    b = 1 - a
    side = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.2], [0.0, 1.0, 0.2]][rng.integers(3)]) + rng.normal(0, 0.1, 3)
    fingers, palm = np.zeros((2, 3)), np.zeros((2, 3))
    fingers[b] = [-0.9 * SIDE[b], rng.uniform(0, 0.3), rng.uniform(-0.1, 0.3)]
    palm[b] = side * rng.choice([-1.0, 1.0])
    R = hand_orientation(b, fingers[b], palm[b])
    thumb_side = R[:, 2]
    # Across the other hand: from the thumb's edge to the little finger's, or the other way.
    across = thumb_side * rng.choice([-1.0, 1.0])
    fingers[a], palm[a] = across + 0.3 * rng.normal(0, 1, 3) * np.abs(across), -side
    far = 17 if across @ thumb_side < 0 else 5  # the edge where the fingertips arrive
    near = 22 - far
    along = hand_orientation(a, fingers[a], palm[a])[:, 2] @ fingers[b] > 0
    # The middle finger holds the far finger below its middle joint, the two beside it farther out and nearer in.
    outer, inner = Place((far + 1, far + 2), (0.3, 0.3)), Place((far, far + 1), (0.2, 0.2))
    index, ring = (outer, inner) if along else (inner, outer)
    slide = float(rng.choice([0.0, 0.0, 0.5]))
    middle = Place((far, far + 1), (0.8, 0.8 - slide))
    places = {2: middle, 1: index, 3: ring, 0: Place((near, near + 1), (0.7, 0.7))}
    chosen = [2] if slide else [2, *(f for f in (1, 3, 0) if rng.random() < 0.65)]
    pairs = []
    for f in chosen:
        own = _at(_tip(f))
        pairs.append((own, places[f], 0.0) if a == 0 else (places[f], own, 0.0))
    curl = np.zeros((2, 5))
    curl[a], curl[b] = rng.uniform(0.35, 0.6), rng.choice([0.1, 0.3, 0.75])
    way = side * (1 if a == 1 else -1)
    return _Draft(fingers, palm, curl + rng.normal(0, 0.04, (2, 5)), way, 0.8, pairs, spread=0.2)


def _interlace(rng: np.random.Generator) -> _Draft:
    """Fingers between fingers, crossed where the last two bones meet."""
    fingers, palm = _facing(np.deg2rad(rng.uniform(30, 50)), rng.uniform(-0.1, 0.4))
    first = int(rng.integers(2))  # whose index finger is the outermost
    pairs = []
    for f in range(1, 5):
        share = rng.uniform(0.0, 0.5)
        for other in (f, f + 1):
            if other < 5:
                one, two = (other, f) if first == 0 else (f, other)
                middle = [_sliding(_tip(x) - 1, _tip(x) - 2, share, first=share) for x in (one, two)]
                pairs.append((middle[0], middle[1], 0.0))
    start = int(rng.integers(0, 3))
    pairs = pairs[start : start + int(rng.integers(3, 8))]
    curl = np.full((2, 5), 0.05) + rng.uniform(0, 0.08, (2, 5))
    return _Draft(fingers, palm, curl, np.array([1.0, 0, 0.0]), 0.0, pairs, spread=0.0)


def _hand_over(rng: np.random.Generator) -> _Draft:
    """Both hands hold a small thing between thumb and fingers, and one lets go."""
    fingers = np.stack([-0.8 * SIDE, rng.uniform(0.1, 0.7, 2), rng.uniform(-0.3, 0.2, 2)], axis=1)
    palm = np.stack([-0.3 * SIDE, rng.uniform(-0.2, 0.3, 2), np.full(2, -1.0)], axis=1)
    if rng.random() < 0.5:
        palm[int(rng.integers(2))] *= [1, 1, -1]  # a palm that is held up receives
    curl = rng.uniform(0.3, 0.5, (2, 5))
    gap = rng.uniform(0.002, 0.010)
    chosen = [0, 1] if rng.random() < 0.6 else [0, 1, 2]
    flipped = (palm[0, 2] > 0) != (palm[1, 2] > 0)
    other = {0: 1, 1: 0, 2: 2} if flipped and len(chosen) == 2 else {f: f for f in chosen}
    pairs = [(_at(_tip(f)), _at(_tip(other[f])), gap) for f in chosen]
    return _Draft(fingers, palm, curl, np.array([1.0, 0, 0]), 0.3, pairs)


KINDS: Mapping[str, Callable[[np.random.Generator], _Draft]] = {
    "fingertips": _tips,
    "palms": _palms,
    "poke": _poke,
    "clasp": _clasp,
    "interlace": _interlace,
    "hand over": _hand_over,
}


def drawn_plan(rng: np.random.Generator, kind: str) -> Plan:
    """An episode of a kind, with everything else drawn."""
    common = np.clip(rng.normal(0, 0.7, NUM_BETAS), -1.8, 1.8)
    betas = common + rng.normal(0, 0.08, (len(HANDS), NUM_BETAS))  # a person's hands are nearly alike
    draft = KINDS[kind](rng)
    begin, hold = rng.uniform(1.1, 1.5), rng.uniform(0.7, 1.5)
    touches = []
    for left, right, gap in draft.touches[:MOST_CONTACTS]:
        late, early = rng.uniform(0, 0.2, 2)
        touches.append(Touch(left, right, (begin + late, begin + hold - early), gap))
    spread = np.clip(rng.normal(0, draft.spread, (2, 5)), -0.8, 0.8)
    R = np.stack([hand_orientation(h, draft.fingers[h], draft.palm[h]) for h in range(len(HANDS))])
    way = draft.way / np.linalg.norm(draft.way) + rng.normal(0, 0.15, 3)
    pace = rng.uniform(0.5, 0.9, 2)
    return Plan(
        kind,
        betas,
        R,
        bend_of(np.clip(draft.curl, 0.03, 0.9), spread),
        way / np.linalg.norm(way),
        draft.opening,
        tuple(touches),
        (float(pace[0]), float(pace[1])),
    )
