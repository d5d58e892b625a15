"""The procedural hand: a hand model with MANO's structure, built from anatomy. It needs no licensed files.

Same arrays, shapes, joint order and conventions as MANO (Romero et al. 2017): 778 vertices, 16 joints, 10 shapes,
135 pose correctives, 45 pose components. The right hand has its fingers along -x, its thumb toward +z and its palm
facing -y; the left hand is its mirror image in x. Metres, radians.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
from numpy import ndarray

from ..core.hands import MANO_JOINT, MANO_TIP_VERTEX, NUM_BETAS, NUM_MANO_JOINTS, NUM_POSE
from .procedural_mesh import NUM_VERTICES, Topology, topology
from .procedural_surface import (
    WRIST_M,
    Proportions,
    Skeleton,
    average_surface,
    bone_lengths,
    skeleton,
    surface_variant,
    unit,
)

ROOT = MANO_JOINT[[1, 5, 9, 13, 17]]
"""MANO's index of the first joint of thumb, index, middle, ring, pinky."""
PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
MIRROR = np.array([-1.0, 1.0, 1.0])

FLEXION_LIMITS = np.deg2rad([[[-10, 35], [-10, 55], [-15, 75]]] + [[[-15, 85], [0, 100], [0, 70]]] * 4)
"""(finger, joint of the finger, low/high) radians, fingers thumb to pinky: extension is negative."""
ABDUCTION_LIMITS = np.deg2rad([[[-20, 25], [-6, 6], [0, 0]]] + [[[-14, 14], [0, 0], [0, 0]]] * 4)
"""(finger, joint of the finger, low/high) radians: positive is toward the thumb's side."""


_ONE_SIGMA = {
    "size": 0.055,
    "finger_length": 0.04,
    "palm_width": 0.045,
    "palm_length": 0.04,
    "finger_thickness": 0.06,
    "thumb_length": 0.05,
    "palm_thickness": 0.07,
    "pinky_length": 0.05,
    "index_over_ring": 0.03,
    "taper": 0.06,
}
assert len(_ONE_SIGMA) == NUM_BETAS


# ---- skin, joints, blend shapes ----------------------------------------------------------------------------------


def _smoothstep(x: ndarray) -> ndarray:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _segment_distance(v: ndarray, a: ndarray, b: ndarray) -> ndarray:
    u = np.clip((v - a) @ (b - a) / np.sum((b - a) ** 2), 0.0, 1.0)
    return np.linalg.norm(v - a - u[:, None] * (b - a), axis=1)


def _skin_weights(t: Topology, s: Skeleton, v: ndarray, arc: ndarray) -> ndarray:
    """(778, 16): by part and by place along the bone, blended over about one finger radius at each joint."""
    share = np.zeros((NUM_VERTICES, 5))  # how much of each vertex moves with the finger at all
    near = np.zeros((NUM_VERTICES, 5))
    along = np.zeros((NUM_VERTICES, 5))
    for f in range(5):
        c = s.joints_m[f]
        direction = unit(c[1] - c[0])
        shift = (c[0] - s.chain_m[f, 0]) @ direction  # the tube's arc is counted from the flesh's joint
        along[:, f] = np.where(t.part == f, arc - shift, (v - c[0]) @ direction)
        # The skin folds about one finger radius further out on the palm's side than at the knuckle.
        palmar = np.clip((v - c[0]) @ s.palmar[f] / s.radius_m[f, 0], -1.0, 1.0)
        share[:, f] = _smoothstep((along[:, f] - 0.003 - 0.006 * palmar) / 0.022 + 0.5)
        near[:, f] = np.exp(-((_segment_distance(v, c[0], c[1]) / 0.009) ** 2))
    metacarpal = s.joints_m[0, 0], s.joints_m[0, 1]
    closer = _segment_distance(v, s.wrist_m, s.chain_m[2, 0]) - _segment_distance(v, *metacarpal)
    share[:, 0] = _smoothstep((along[:, 0] + 0.004) / 0.024) * _smoothstep((closer + 0.006) / 0.020)
    own = t.part >= 0
    fingers = near[:, 1:] / (near[:, 1:].sum(axis=1, keepdims=True) + 1e-12)
    share[:, 1:] *= np.where(own[:, None], t.part[:, None] == np.arange(1, 5), fingers)
    share[own & (t.part != 0), 0] = 0.0
    share[:, 1:] *= 1 - share[:, :1]

    weights = np.zeros((NUM_VERTICES, NUM_MANO_JOINTS))
    for f in range(5):
        lengths = np.cumsum(bone_lengths(s.joints_m[f]))
        bend = [_smoothstep((along[:, f] - lengths[k]) / (1.5 * s.radius_m[f, k + 1]) + 0.5) for k in range(2)]
        for k, part in enumerate((1 - bend[0], bend[0] * (1 - bend[1]), bend[0] * bend[1])):
            weights[:, ROOT[f] + k] = share[:, f] * part
    weights[:, 0] = 1 - weights.sum(axis=1)
    smooth = np.where(t.part < 0, 0.6, np.interp(t.ring, [0, 3], [0.6, 0.1]))[:, None]
    for _ in range(4):
        weights += smooth * (t.adjacency @ weights - weights)
    weights[weights < 1e-4] = 0.0
    return weights / weights.sum(axis=1, keepdims=True)


def _joint_rows(v: ndarray, joints_m: ndarray) -> ndarray:
    """(16, 778) convex combinations of nearby vertices that give the joints exactly.

    Of all such combinations the one of greatest entropy relative to a Gaussian around the joint:
    w_i ~ exp(-|v_i - J|^2 / 2 sigma^2 + mu . (v_i - J)), mu by Newton's method.
    """
    rows = np.zeros((NUM_MANO_JOINTS, NUM_VERTICES))
    for j, joint in enumerate(joints_m):
        offset = v - joint
        distance = np.linalg.norm(offset, axis=1)
        near = np.argsort(distance, kind="stable")[:40]
        sigma = distance[near].mean()
        u = offset[near] / sigma
        mu, w = np.zeros(3), np.empty(0)
        for _ in range(20):
            log_w = -0.5 * np.sum(u * u, axis=1) + u @ mu
            w = np.exp(log_w - log_w.max())
            w /= w.sum()
            mean = w @ u
            mu -= np.linalg.solve((w[:, None] * u).T @ u - np.outer(mean, mean), mean)
        rows[j, near] = w
    return rows


def joint_frames(side: Literal["left", "right"]) -> ndarray:
    """Anatomical axes of the procedural hand's fifteen finger joints in the zero pose.

    Returns:
        (15, 3, 3) rows are unit axes, in MANO's joint order: flexion (positive curls toward the palm), abduction
        (positive toward the thumb's side; for the thumb, away from the fingers), twist (along the bone). An axis-angle
        of `angle * axis` is MANO's `hand_pose` of that joint.
    """
    s = skeleton(Proportions())
    frames = np.zeros((15, 3, 3))
    for f in range(5):
        bone = unit(np.diff(s.chain_m[f], axis=0))
        for k in range(3):
            palmar = unit(s.palmar[f] - (s.palmar[f] @ bone[k]) * bone[k])
            flexion = np.cross(bone[k], palmar)
            frames[ROOT[f] + k - 1] = [flexion, -palmar, bone[k]]
    if side == "left":  # an axis-angle vector is a pseudovector: a mirror in x flips the other two components
        frames = frames * -MIRROR
    return frames


def pose_limits() -> ndarray:
    """(15, 2, 2) radians: (joint in MANO's order, flexion/abduction, low/high) of a healthy hand."""
    limits = np.zeros((15, 2, 2))
    for f in range(5):
        limits[ROOT[f] - 1 : ROOT[f] + 2, 0] = FLEXION_LIMITS[f]
        limits[ROOT[f] - 1 : ROOT[f] + 2, 1] = ABDUCTION_LIMITS[f]
    return limits


def _pose_correctives(v: ndarray, joints_m: ndarray, weights: ndarray, frames: ndarray) -> ndarray:
    """(778, 3, 135): gives back the volume linear blend skinning loses at a bent joint.

    A vertex that moves half with each bone comes cos(angle/2) times as far from the axis as it should. The outer
    side is pushed out by what is missing, 0.41 (1 - cos angle) at a right angle; the inner side bulges sideways.
    """
    out = np.zeros((NUM_VERTICES, 3, 15, 9))
    for j in range(1, NUM_MANO_JOINTS):
        flexion, _, bone = frames[j - 1]
        descendants = [j] + [k for k in range(j + 1, NUM_MANO_JOINTS) if PARENTS[k] == j or PARENTS[PARENTS[k]] == j]
        moved = weights[:, descendants].sum(axis=1)
        half = 4 * moved * (1 - moved)
        offset = v - joints_m[j]
        dorsal = np.cross(bone, flexion)
        height = offset @ dorsal
        outer = np.clip(height, 0.0, None)[:, None] * dorsal
        inner = np.clip(-height, 0.0, None)[:, None] * np.sign(offset @ flexion)[:, None] * flexion
        push = half[:, None] * (0.41 * outer + 0.25 * inner)
        k = np.cross(np.eye(3), flexion).T  # K x = flexion x x;  R - I = sin K + (1 - cos) K^2,  <K^2, K^2> = 2
        out[:, :, j - 1] = push[:, :, None] * (0.5 * k @ k).reshape(9)
    return out.reshape(NUM_VERTICES, 3, 135)


def random_pose(rng: np.random.Generator, side: Literal["left", "right"], count: int) -> ndarray:
    """(count, 45) axis-angle poses within the joint limits; fingers curl together, as real ones do."""
    limits, frames = pose_limits(), joint_frames(side)
    curl = rng.beta(1.2, 1.6, (count, 1)) + 0.22 * rng.standard_normal((count, 5))
    share = np.zeros((count, 15))
    for f in range(5):
        share[:, ROOT[f] - 1 : ROOT[f] + 2] = curl[:, f : f + 1] + 0.12 * rng.standard_normal((count, 3))
    flexion = limits[:, 0, 0] + np.clip(share, 0.0, 1.0) * (limits[:, 0, 1] - limits[:, 0, 0])
    abduction = limits[:, 1, 0] + rng.beta(2.5, 2.5, (count, 15)) * (limits[:, 1, 1] - limits[:, 1, 0])
    return (flexion[..., None] * frames[:, 0] + abduction[..., None] * frames[:, 1]).reshape(count, NUM_POSE)


def _pose_space() -> tuple[ndarray, ndarray]:
    """Principal components (45, 45), orthonormal rows by falling variance, and the mean (45,) of random poses."""
    poses = random_pose(np.random.default_rng(0), "right", 2000)
    _, components = np.linalg.eigh(np.cov(poses.T))
    components = components.T[::-1]
    largest = components[np.arange(NUM_POSE), np.abs(components).argmax(axis=1)]
    return components * np.sign(largest)[:, None], 0.5 * poses.mean(axis=0)


def _tips_at_mano_indices(t: Topology) -> ndarray:
    """(778,) for each final vertex the one in construction order: fingertips stand where MANO has them."""
    order = np.arange(NUM_VERTICES)
    for tip, wanted in zip(t.tips, MANO_TIP_VERTEX, strict=True):
        now = int(np.flatnonzero(order == tip)[0])
        order[[now, wanted]] = order[[wanted, now]]
    return order


# ---- the model ---------------------------------------------------------------------------------------------------


@cache
def _right_hand() -> dict[str, ndarray]:
    t, average = topology(), Proportions()
    s = skeleton(average)
    v, arc = average_surface()
    joints = np.zeros((NUM_MANO_JOINTS, 3))
    joints[0] = WRIST_M
    for f in range(5):
        joints[ROOT[f] : ROOT[f] + 3] = s.joints_m[f]
    shapes = []
    for name, sigma in _ONE_SIGMA.items():
        more, less = (surface_variant(replace(average, **{name: 1 + sign * sigma})) for sign in (1, -1))
        shapes.append(0.5 * (more - less))
    weights = _skin_weights(t, s, v, arc)
    components, mean = _pose_space()
    order = _tips_at_mano_indices(t)
    v, weights = v[order], weights[order]
    return {
        "v_template": v,
        "f": np.argsort(order)[t.faces],
        "shapedirs": np.stack(shapes, axis=-1)[order],
        "posedirs": _pose_correctives(v, joints, weights, joint_frames("right")),
        "J_regressor": _joint_rows(v, joints),
        "weights": weights,
        "kintree_table": np.stack([PARENTS, np.arange(NUM_MANO_JOINTS)]),
        "hands_components": components,
        "hands_mean": mean,
        "J": joints,
    }


def procedural_hand(side: Literal["left", "right"]) -> dict[str, ndarray]:
    """The hand's arrays, named and shaped like a MANO file's.

    Args:
        side: which hand; the left one is the right one mirrored in x, as in MANO.

    Returns:
        v_template (778, 3) m, f (1552, 3), shapedirs (778, 3, 10) m per unit beta (one standard deviation),
        posedirs (778, 3, 135), J_regressor (16, 778), weights (778, 16), kintree_table (2, 16),
        hands_components (45, 45), hands_mean (45,) rad, J (16, 3) m. All new copies; float64 and int64.
        Feed `smplx.utils.Struct(**arrays)` to `smplx.MANO` as `data_struct`.
    """
    hand = {name: array.copy() for name, array in _right_hand().items()}
    if side == "right":
        return hand
    turn = np.tile(-MIRROR, 15)  # axis-angles are pseudovectors
    rotation = np.outer(MIRROR, MIRROR).reshape(9)  # R' = S R S
    hand["v_template"] *= MIRROR
    hand["J"] *= MIRROR
    hand["f"] = hand["f"][:, [0, 2, 1]]
    hand["shapedirs"] *= MIRROR[:, None]
    hand["posedirs"] *= MIRROR[:, None] * np.tile(rotation, 15)
    hand["hands_components"] *= turn
    hand["hands_mean"] *= turn
    return hand
