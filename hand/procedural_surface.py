"""The surface of the procedural hand: a fixed mesh, shrink-wrapped onto a skeleton with flesh. Right hand, metres.

The mesh (procedural_mesh.py) is lofted onto a skeleton and shrink-wrapped onto a smooth union of round cones (a signed
distance field). Its topology never changes, so the vertices of hands of other proportions correspond one to one.

Fingers along -x, thumb toward +z, palm facing -y; vertices in construction order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy import ndarray

from .procedural_mesh import FINGER_RINGS, NUM_VERTICES, PALM_RINGS, REMOVED, RING, THUMB_RINGS, Topology, topology

WRIST_M = np.array([0.095, 0.006, 0.003])


@dataclass(frozen=True)
class Proportions:
    """Factors on the average adult hand; `shapedirs` vary them one at a time, in this order."""

    size: float = 1.0
    finger_length: float = 1.0
    palm_width: float = 1.0
    palm_length: float = 1.0
    finger_thickness: float = 1.0
    thumb_length: float = 1.0
    palm_thickness: float = 1.0
    pinky_length: float = 1.0
    index_over_ring: float = 1.0
    taper: float = 1.0


@dataclass(frozen=True)
class Skeleton:
    """Bones and thickness of one hand; fingers are thumb to pinky."""

    chain_m: ndarray
    """(finger, 4, 3) the middle of the flesh at the three joints, and the tip of the skin."""
    joints_m: ndarray
    """(finger, 3, 3) centres of rotation."""
    palmar: ndarray
    """(finger, 3) unit vector from the bone to the pad, square to the finger."""
    radius_m: ndarray
    """(finger, 4) half width of the finger at the chain's points."""
    wrist_m: ndarray
    """(3,) the narrowest place of the wrist's flesh."""
    palm_radius_m: float
    """Half thickness of the palm at the knuckles."""
    width: float
    """Factor on z of the palm and the wrist."""


# ---- skeleton ----------------------------------------------------------------------------------------------------


def unit(v: ndarray) -> ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def skeleton(p: Proportions) -> Skeleton:
    """Joint centres and radii in all proportions but the size.

    Bone lengths are near those of Buryanov & Kotiuk 2010; breadths are of a medium adult hand.
    """
    root = np.array(
        [
            [0.074, -0.008, 0.029],
            [0.008, 0.002, 0.028],
            [0.005, 0.005, 0.005],
            [0.011, 0.003, -0.0155],
            [0.021, -0.003, -0.034],
        ]
    )
    bones = np.array(
        [
            [0.043, 0.032, 0.027],
            [0.041, 0.025, 0.0235],
            [0.044, 0.029, 0.025],
            [0.041, 0.027, 0.0245],
            [0.033, 0.0195, 0.0215],
        ]
    )
    radius = np.array(
        [
            [0.0130, 0.0118, 0.0112, 0.0092],
            [0.0108, 0.0098, 0.0086, 0.0072],
            [0.0108, 0.0100, 0.0088, 0.0074],
            [0.0104, 0.0094, 0.0083, 0.0070],
            [0.0094, 0.0083, 0.0073, 0.0062],
        ]
    )
    spread = np.deg2rad([0.0, 5.0, 0.5, -4.5, -11.0])
    droop = np.deg2rad([[2.0, 4.0, 6.0]])
    direction = np.stack(
        [
            -np.cos(spread)[:, None] * np.cos(droop),
            -np.sin(droop) * np.ones((5, 1)),
            np.sin(spread)[:, None] * np.cos(droop),
        ],
        axis=-1,
    )
    direction[0] = unit(np.array([[-0.70, -0.30, 0.62], [-0.82, -0.26, 0.50], [-0.88, -0.26, 0.40]]))
    palmar = np.tile([0.0, -1.0, 0.0], (5, 1))
    palmar[0] = [-0.15, -0.75, -0.62]
    palmar = unit(palmar - np.einsum("fi,fi->f", palmar, direction[:, 1])[:, None] * direction[:, 1])

    bones[1:] *= p.finger_length
    bones[0] *= p.thumb_length
    bones[4] *= p.pinky_length
    bones[1] *= p.index_over_ring
    bones[3] /= p.index_over_ring
    radius *= p.finger_thickness * np.linspace(1.0, p.taper, 4)
    root = WRIST_M + (root + [0.007, 0.0, 0.003] - WRIST_M) * [p.palm_length, 1.0, p.palm_width]
    chain = np.concatenate([root[:, None], root[:, None] + np.cumsum(bones[..., None] * direction, axis=1)], axis=1)
    # People who mark joints in pictures, and so the detectors trained on their marks, put the wrist, the knuckles and
    # the thumb's root further out than the middle of the flesh; with the joints there, a detector has little bias.
    outward = np.array(
        [
            [-0.005, -0.003, 0.004],
            [-0.007, -0.002, 0.0],
            [-0.005, -0.003, 0.0],
            [-0.006, -0.003, 0.0],
            [-0.007, -0.002, 0.0],
        ]
    )
    joints = chain[:, :3] + np.stack([outward, 0.15 * outward, 0.0 * outward], axis=1)
    joints[0, 1:] += [[0.003, 0.0, -0.004], [0.003, 0.0, -0.005]]
    flesh_wrist = WRIST_M + [0.007, 0.0, 0.006]
    return Skeleton(chain, joints, palmar, radius, flesh_wrist, 0.0108 * p.palm_thickness, p.palm_width)


@dataclass(frozen=True)
class _Cones:
    """Round cones with an elliptic section: the flesh."""

    start_m: ndarray
    end_m: ndarray
    radius_start_m: ndarray
    radius_end_m: ndarray
    flat: ndarray
    """(cone, 3) unit axis times the excess stretch of distance along it: thinner in that direction."""
    finger: ndarray
    """(cone,) 0 to 4, or -1 for the palm."""


def _cones(s: Skeleton) -> _Cones:
    rows: list[tuple[ndarray, ndarray, float, float, ndarray, int]] = []
    dorsal = np.array([0.0, 1.0, 0.0])
    for i in range(5):
        c, r = s.chain_m[i], s.radius_m[i]
        tip_center = c[3] - r[3] * unit(c[3] - c[2])
        pad = 0.5 * (c[2] + tip_center) + 0.16 * r[3] * s.palmar[i]
        ends = np.stack([c[0], c[1], c[2], tip_center])
        for k in range(3):
            rows.append((ends[k], ends[k + 1], r[k], r[k + 1], 0.10 * s.palmar[i] * (1 + k / 2), i))
        rows.append((pad, tip_center, r[2] * 0.88, r[3] * 0.95, 0.10 * s.palmar[i], i))
    m, w = s.palm_radius_m, s.wrist_m
    across = np.array([0.0, 0.0, s.width])
    carpal = w + np.array([-0.012, 0.0, 0.0])
    for i, z in zip(range(1, 5), (0.013, 0.004, -0.006, -0.014), strict=True):
        rows.append((carpal + z * across, s.chain_m[i, 0] - 0.001 * dorsal, 1.15 * m, 0.92 * m, 0.0 * dorsal, -1))
        pad = s.chain_m[i, 0] + 0.12 * (s.chain_m[i, 1] - s.chain_m[i, 0]) - 0.35 * m * dorsal
        rows.append((carpal + z * across - 0.2 * m * dorsal, pad, 0.9 * m, 0.74 * m, 0.0 * dorsal, -1))
    for i in range(1, 4):  # the webs between the fingers
        a, b = (s.chain_m[j, 0] + 0.34 * (s.chain_m[j, 1] - s.chain_m[j, 0]) for j in (i, i + 1))
        rows.append((a - 0.15 * m * dorsal, b - 0.15 * m * dorsal, 0.58 * m, 0.58 * m, 0.0 * dorsal, -1))
    thumb, index = s.chain_m[0], s.chain_m[1]
    thenar = thumb[0] + 0.35 * (thumb[1] - thumb[0]) - 0.004 * dorsal - 0.006 * across / s.width
    rows.append((w + 0.010 * across / s.width, thenar, 1.05 * m, 1.22 * m, 0.0 * dorsal, -1))
    web = index[0] + 0.42 * (w - index[0])
    rows.append((0.5 * (thumb[0] + thumb[1]), web, 0.75 * m, 0.70 * m, 0.0 * dorsal, -1))
    hypothenar = s.chain_m[4, 0] + 0.75 * (w - 0.016 * across - s.chain_m[4, 0]) - 0.004 * dorsal - 0.004 * across
    rows.append((hypothenar, s.chain_m[4, 0] - 0.004 * dorsal, 1.25 * m, 0.85 * m, 0.0 * dorsal, -1))
    for z in (0.011, -0.012):  # radius and ulna
        end = w + z * across
        rows.append((end + [0.07, 0.0, 0.0], end, 1.58 * m, 1.48 * m, 0.0 * dorsal, -1))
    a, b, ra, rb, flat, finger = (np.array(column) for column in zip(*rows, strict=True))
    return _Cones(a, b, ra, rb, flat, finger)


def _distance(points_m: ndarray, cones: _Cones, allowed: ndarray, blend_m: ndarray) -> tuple[ndarray, ndarray]:
    """Signed distance (n,) to the smooth union (log-sum-exp) of the cones each point may see, and its gradient.

    `blend_m` (n, 1) is how wide the cones melt into each other.
    """
    axis = cones.end_m - cones.start_m
    offset = points_m[:, None] - cones.start_m
    t = np.clip(np.einsum("nci,ci->nc", offset, axis) / np.einsum("ci,ci->c", axis, axis), 0.0, 1.0)
    offset = offset - t[..., None] * axis
    stretched = offset + np.einsum("nci,ci->nc", offset, _safe_unit(cones.flat))[..., None] * cones.flat
    length = np.linalg.norm(stretched, axis=-1) + 1e-9
    d = length - (cones.radius_start_m + t * (cones.radius_end_m - cones.radius_start_m))
    d = np.where(allowed, d, 1.0)
    nearest = d.min(axis=1, keepdims=True)
    weight = np.exp(-(d - nearest) / blend_m)
    total = weight.sum(axis=1, keepdims=True)
    gradient = np.einsum("nc,nci->ni", weight / total, stretched / length[..., None])
    return (nearest - blend_m * np.log(total))[:, 0], gradient


def _safe_unit(v: ndarray) -> ndarray:
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    return v / np.where(length > 0, length, 1.0)


# ---- shrink-wrap -------------------------------------------------------------------------------------------------


def _loft(t: Topology, s: Skeleton) -> tuple[ndarray, ndarray]:
    """First positions (vertex, 3) and, for finger vertices, the arc length from the finger's first joint (vertex,)."""
    v, arc = np.zeros((NUM_VERTICES, 3)), np.zeros(NUM_VERTICES)
    base = np.stack([_along(s.chain_m[f], 0.46 * bone_lengths(s.chain_m[f])[0])[0] for f in range(1, 5)])
    edge = 0.5 * (base[1:] + base[:-1])
    outer = [base[0] + 0.5 * (base[0] - base[1]), base[3] + 0.5 * (base[3] - base[2])]
    distal = np.stack([outer[0], base[0], edge[0], base[1], edge[1], base[2], edge[2], base[3], outer[1]])
    wrist = s.wrist_m + [0.026, 0.0, 0.0] + np.linspace(0.027, -0.027, 9)[:, None] * [0.0, 0.0, s.width]
    forearm = np.array([0.028, 0.0, 0.0])  # a detector of hands wants to see a piece of the arm
    half = np.array([0.0, s.palm_radius_m, 0.0])
    for i in range(PALM_RINGS):
        u = i / (PALM_RINGS - 1)
        row = (1 - u) * wrist + u * distal + (forearm if i == 0 else 0.0)
        scale = 1.3 * (1 - u) + 0.75 * u
        v[i * RING : (i + 1) * RING] = np.concatenate(
            [row + scale * half, row[8:] + [0.0, 0.0, -0.004], row[::-1] - scale * half, row[:1] + [0.0, 0.0, 0.004]]
        )[:RING]
    v[: t.cap.start] = np.delete(v[: PALM_RINGS * RING], REMOVED, axis=0)
    v[t.cap], v[t.web] = wrist[1:8] + forearm, distal[2:7:2]
    for f in range(5):
        chain, radius = s.chain_m[f], s.radius_m[f]
        rings = THUMB_RINGS if f == 0 else FINGER_RINGS
        total = bone_lengths(chain).sum()
        begin = (0.62 if f == 0 else 0.60) * bone_lengths(chain)[0]
        dome = np.deg2rad([70.0, 46.0])
        straight = np.linspace(begin, total - radius[3], rings - 2)
        at = np.concatenate([straight, total - radius[3] + radius[3] * np.cos(dome)])
        width = np.concatenate(
            [np.interp(straight, np.r_[0, np.cumsum(bone_lengths(chain))], radius), radius[3] * np.sin(dome)]
        )
        center, direction = _along(chain, at)
        side = np.cross(direction, s.palmar[f])
        ring_v = v[t.boundary[f]] - v[t.boundary[f]].mean(0)
        angle = np.arctan2(ring_v @ side[0], ring_v @ s.palmar[f])
        turn = -2 * np.pi * np.arange(8) / 8
        turn = turn + np.angle(np.exp(1j * (angle - turn)).sum())
        ring = np.cos(turn)[:, None] * s.palmar[f] + np.sin(turn)[:, None] * side[:, None]
        tube = slice(t.first[f], t.first[f] + 8 * rings)
        v[tube] = (center[:, None] + width[:, None, None] * ring).reshape(-1, 3)
        arc[tube] = np.repeat(at, 8)
        v[t.ends[f]], arc[t.ends[f]] = chain[3], total
    return v, arc


def bone_lengths(chain_m: ndarray) -> ndarray:
    return np.linalg.norm(np.diff(chain_m, axis=-2), axis=-1)


def _along(chain_m: ndarray, arc_m: ndarray | float) -> tuple[ndarray, ndarray]:
    """Point and direction of the bone at an arc length from the first joint."""
    knots = np.concatenate([[0.0], np.cumsum(bone_lengths(chain_m))])
    point = np.stack([np.interp(arc_m, knots, chain_m[:, i]) for i in range(3)], axis=-1)
    bone = np.clip(np.searchsorted(knots, arc_m, side="right") - 1, 0, len(knots) - 2)
    return point, unit(np.diff(chain_m, axis=0))[bone]


def _shrink_wrap(v: ndarray, t: Topology, s: Skeleton, steps: int, slide: bool) -> ndarray:
    """Alternate a step onto the surface of the flesh with (slide) a tangential step toward the neighbours' mean."""
    cones = _cones(s)
    far = (t.part >= 0) & (t.ring >= 2)
    allowed = np.where(far[:, None], (cones.finger == t.part[:, None]), True)
    allowed |= (cones.finger == -1) & (t.ring < 5)[:, None]
    # Rings of a finger keep their place along the bone; only the junctions are free to slide.
    relax = np.where(t.part < 0, 0.5, np.interp(t.ring, [0, 4], [0.5, 0.0]))[:, None]
    blend = np.where(t.part < 0, 0.0042, np.interp(t.ring, [0, 3], [0.0035, 0.0022]))[:, None]
    cut = np.zeros(NUM_VERTICES, bool)
    cut[:RING] = True
    cut[t.cap] = True
    fixed_x = v[cut, 0]
    for _ in range(steps):
        d, gradient = _distance(v, cones, allowed, blend)
        v = v - np.clip(d, -0.004, 0.004)[:, None] * gradient / np.sum(gradient**2, axis=1, keepdims=True)
        if slide:
            normal = unit(gradient)
            step = relax * (t.adjacency @ v - v)
            v = v + step - np.sum(step * normal, axis=1, keepdims=True) * normal
        v[cut, 0] = fixed_x
        v[t.cap] = (t.adjacency @ v)[t.cap]
        v[t.cap, 0] = fixed_x[RING:]
    return _shrink_wrap(v, t, s, 3, slide=False) if slide else v


@cache
def average_surface() -> tuple[ndarray, ndarray]:
    """Vertices (778, 3) of the average hand in construction order and the arc length along their finger."""
    t, s = topology(), skeleton(Proportions())
    v, arc = _loft(t, s)
    return _shrink_wrap(v, t, s, steps=30, slide=True), arc


def surface_variant(p: Proportions) -> ndarray:
    """(778, 3) the same hand in other proportions: carried along with the loft, then set back on the surface."""
    t = topology()
    moved = _loft(t, skeleton(p))[0] - _loft(t, skeleton(Proportions()))[0]
    wrapped = _shrink_wrap(average_surface()[0] + moved, t, skeleton(p), steps=4, slide=False)
    return WRIST_M + p.size * (wrapped - WRIST_M)
