"""Motion of two procedural hands with known contacts: they approach, touch as planned, and part.

An optimiser turns plans (contact_plans.py) into motion: first the hands' poses at the contact, then the whole motion as
cubic splines. It draws the planned places together until the skins meet, and pushes the hands apart where the spheres
that fill them (`model/penetration.py`) overlap. Episodes are made in blocks of `BLOCK` at once, and an episode depends
only on its number: each block is drawn and optimised alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import roma
import torch
from numpy import ndarray
from torch import Tensor

from ...core.hands import HANDS, NUM_JOINTS, TIPS
from ...hand.model import HandModel
from ...hand.procedural import joint_frames, pose_limits
from ..model.kinematics import Kinematics
from ..model.motion import Motion
from ..model.penetration import RADIUS_M, sphere_centers
from .contact_plans import EPISODE_S, KINDS, TIP_RADIUS_M, Plan, drawn_plan, joint_radius_m

BLOCK = 16
"""Episodes that are optimised together."""
ATTEMPTS = 3
"""Plans that are tried for an episode; the best one counts."""
TOUCH_ERROR_M, DEPTH_M = 0.004, 0.0025
"""Misses of a planned contact, and overlaps of spheres, up to which an episode is good."""

FINGER_MARGIN_M, PALM_MARGIN_M = 0.001, 0.003
"""By how much the spheres are taken larger than they are: the skin is not spheres, least of all in the palm."""
NEAR_M = 0.035
"""Hands whose boxes around the joints are farther apart cannot overlap."""
PALM_RADIUS_M = 0.0125
"""Spheres from this size on are of the palm."""
KNOT_S = 1 / 6
FIT_FPS = 20.0
POSE_STEPS, MOTION_STEPS = 80, 70
STEP = 0.06
UNITS = np.array([0.02] * 3 + [0.2] * 3 + [0.5] * 30, np.float32)
"""Of the unknowns: metres, radians, logits of shares of the joints' ranges; 36 for each hand."""
TOUCH_UNIT_M = 0.002
DEPTH_UNIT_M = 0.0015
STAY_WEIGHT, SMOOTH_WEIGHT = 0.01, 0.3


@dataclass(frozen=True)
class Episode:
    """A motion and the contacts that it was made for."""

    plan: Plan
    arrays: dict[str, ndarray]
    """betas (hand, 10), global_orient (frame, hand, 3), hand_pose (frame, hand, 45), transl (frame, hand, 3)."""
    good: bool
    """Whether the contacts are met within TOUCH_ERROR_M and the overlap of spheres is within DEPTH_M."""


@dataclass(frozen=True)
class _Touches:
    """The contacts of a batch of episodes in some frames."""

    places: Tensor
    """(hand, episode, frame, contact, 21) each place as a combination of the joints."""
    distance_m: Tensor
    """(episode, frame, contact) between the places when the skins meet."""
    active: Tensor
    """(episode, frame, contact) 1 where they touch, else 0."""

    @classmethod
    def of(cls, plans: Sequence[Plan], time_s: Tensor, always: bool = False) -> _Touches:
        """At (episode, frame) times; `always`: also before and after the contact."""
        most = max(len(plan.touches) for plan in plans)
        count, frames = time_s.shape
        places = torch.zeros(2, count, frames, most, NUM_JOINTS)
        distance, active = torch.zeros(count, frames, most), torch.zeros(count, frames, most)
        radius = torch.tensor(joint_radius_m(), dtype=torch.float32)
        for e, plan in enumerate(plans):
            for c, touch in enumerate(plan.touches):
                u = ((time_s[e] - touch.time_s[0]) / (touch.time_s[1] - touch.time_s[0])).clamp(0, 1)
                s = u**3 * (10 - 15 * u + 6 * u * u)
                for h, place in enumerate((touch.left, touch.right)):
                    share = place.share[0] + s * (place.share[1] - place.share[0])
                    places[h, e, :, c, place.joints[0]] += 1 - share
                    places[h, e, :, c, place.joints[1]] += share
                distance[e, :, c] = touch.gap_m
                inside = (time_s[e] >= touch.time_s[0]) & (time_s[e] <= touch.time_s[1])
                active[e, :, c] = 1.0 if always else inside.float()
        return cls(places, distance + (places @ radius).sum(dim=0), active)

    def frames(self, part: slice) -> _Touches:
        return _Touches(self.places[:, :, part], self.distance_m[:, part], self.active[:, part])

    def errors_m(self, joints_m: Tensor) -> Tensor:
        """(episode, frame, contact) distance of the places beyond what they should have."""
        left, right = (self.places[h] @ joints_m[:, :, h] for h in range(2))
        return ((left - right).square().sum(dim=-1) + 1e-10).sqrt() - self.distance_m


@dataclass(frozen=True)
class _Hands:
    """From unknowns to joints."""

    kinematics: Kinematics
    betas: Tensor
    """(episode, hand, 10)"""
    R_base: Tensor
    """(episode, hand, 3, 3) from which rotations are counted."""
    axes: Tensor
    """(hand, 15, 2, 3) of flexion and abduction."""
    low: Tensor
    span: Tensor
    """(15, 2) radians, range of the angles."""

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> _Hands:
        limits = torch.tensor(pose_limits(), dtype=torch.float32)
        axes = np.stack([joint_frames("left")[:, :2], joint_frames("right")[:, :2]])
        return cls(
            Kinematics.of_models([HandModel.procedural(side) for side in HANDS]),
            torch.tensor(np.stack([plan.betas for plan in plans]), dtype=torch.float32),
            torch.tensor(np.stack([plan.R_world_hand for plan in plans]), dtype=torch.float32),
            torch.tensor(axes, dtype=torch.float32),
            limits[..., 0],
            limits[..., 1] - limits[..., 0],
        )

    def motion(self, unknowns: Tensor) -> Motion:
        """Of (episode, frame, hand, 36)."""
        wrist, turn, bend = (unknowns * torch.from_numpy(UNITS)).split([3, 3, 30], dim=-1)
        angle = self.low + self.span * torch.sigmoid(bend.unflatten(-1, (15, 2)))
        R_pose = roma.rotvec_to_rotmat((angle[..., None] * self.axes).sum(dim=-2))
        R_wrist = self.R_base[:, None] @ roma.rotvec_to_rotmat(turn)
        return Motion(wrist, R_wrist, R_pose, self.betas)

    def joints(self, unknowns: Tensor) -> Tensor:
        """(episode, frame, hand, 21, 3) metres."""
        return self.kinematics.joints(self.motion(unknowns))


def block_of_episodes(number: int, fps: float) -> list[Episode]:
    """The episodes number * BLOCK to (number + 1) * BLOCK - 1, EPISODE_S each; the same whatever the rate.

    Takes some seconds. Plans whose contact cannot be reached, or only through the other hand, are drawn again.
    """
    found: dict[int, tuple[float, Episode]] = {}
    seeds = list(range(number * BLOCK, (number + 1) * BLOCK))
    names = list(KINDS)
    for attempt in range(ATTEMPTS):
        left = [seed for seed in seeds if seed not in found or not found[seed][1].good]
        if not left:
            break
        rngs = [np.random.default_rng([seed, attempt]) for seed in left]
        plans = [drawn_plan(rng, names[seed % len(names)]) for seed, rng in zip(left, rngs, strict=True)]
        for seed, (fault, episode) in zip(left, _made(plans, rngs, fps), strict=True):
            if seed not in found or fault < found[seed][0]:
                found[seed] = fault, episode
    return [found[seed][1] for seed in seeds]


def _made(plans: Sequence[Plan], rngs: Sequence[np.random.Generator], fps: float) -> list[tuple[float, Episode]]:
    """Each plan's episode, and how bad it is: at most 1 if it is good."""
    hands = _Hands.of(plans)
    contact = _contact_poses(hands, plans)
    keys = [_keys(plan, pose, rng) for plan, pose, rng in zip(plans, contact.numpy(), rngs, strict=True)]
    knots_s = torch.arange(-1, round(EPISODE_S / KNOT_S) + 2) * KNOT_S
    start = torch.stack([_track(times, poses, knots_s.numpy()) for times, poses in keys])
    fit_s = torch.arange(0, round(EPISODE_S * FIT_FPS) + 1) / FIT_FPS
    basis, touches = _basis(fit_s), _Touches.of(plans, fit_s.expand(len(plans), -1))
    knots = _refined(hands, start, basis, touches)
    with torch.no_grad():
        joints = hands.joints(torch.einsum("fk,ekhn->efhn", basis, knots))
        error = (touches.errors_m(joints).abs() * touches.active).amax(dim=(1, 2))
        depth = overlap_m(joints).amax(dim=(1, 2, 3))
        fault = torch.maximum(error / TOUCH_ERROR_M, depth / DEPTH_M).tolist()
        time_s = torch.arange(max(2, round(EPISODE_S * fps))) / fps
        motion = hands.motion(torch.einsum("fk,ekhn->efhn", _basis(time_s), knots))
        motion = _wandering(motion, rngs, time_s)
        arrays = {name: value.double().numpy() for name, value in hands.kinematics.to_mano(motion).items()}
    return [
        (fault[e], Episode(plan, {name: value[e] for name, value in arrays.items()}, fault[e] <= 1))
        for e, plan in enumerate(plans)
    ]


def _descent(start: Tensor, cost: Callable[[Tensor, int], Tensor], steps: int) -> Tensor:
    """Adam from a start, with steps that become smaller; `cost(unknowns, step)` is a sum over episodes."""
    unknowns = start.clone().requires_grad_()
    adam = torch.optim.Adam([unknowns], lr=STEP, betas=(0.8, 0.95))
    for step in range(steps):
        adam.param_groups[0]["lr"] = STEP * (1 - step / steps)
        adam.zero_grad()
        cost(unknowns, step).backward()
        adam.step()
    return unknowns.detach()


def _contact_cost(hands: _Hands, unknowns: Tensor, touches: _Touches) -> Tensor:
    joints = hands.joints(unknowns)
    missed = (touches.active * (touches.errors_m(joints) / TOUCH_UNIT_M).square()).sum()
    low, high = joints.detach().aminmax(dim=-2)
    apart = torch.maximum(low[..., 0, :] - high[..., 1, :], low[..., 1, :] - high[..., 0, :]).amax(dim=-1)
    return missed + (overlap_m(joints[apart < NEAR_M]) / DEPTH_UNIT_M).square().sum()


def overlap_m(joints_m: Tensor) -> Tensor:
    """(..., left, right) by how much the spheres of one hand, and its fingertips, are inside those of the other."""
    radius = RADIUS_M + np.where(RADIUS_M > PALM_RADIUS_M, PALM_MARGIN_M, FINGER_MARGIN_M)
    radius = torch.tensor(np.append(radius, np.full(len(TIPS), TIP_RADIUS_M)), dtype=joints_m.dtype)
    left, right = torch.cat([sphere_centers(joints_m), joints_m[..., TIPS, :]], dim=-2).unbind(-3)
    square = left.square().sum(-1)[..., None] + right.square().sum(-1)[..., None, :] - 2 * left @ right.mT
    return (radius[:, None] + radius - (square.clamp(min=0) + 1e-8).sqrt()).relu()


def _contact_poses(hands: _Hands, plans: Sequence[Plan]) -> Tensor:
    """(episode, 3, hand, 36) unknowns when the contact begins, in its middle and when it ends."""
    spans = [(max(t.time_s[0] for t in plan.touches), min(t.time_s[1] for t in plan.touches)) for plan in plans]
    time_s = torch.tensor([[begin, 0.5 * (begin + end), end] for begin, end in spans], dtype=torch.float32)
    touches = _Touches.of(plans, time_s, always=True)
    bend = torch.logit(torch.tensor(np.stack([plan.bend for plan in plans]), dtype=torch.float32)).flatten(-2)
    start = torch.cat([torch.zeros(len(plans), 2, 6), bend], dim=-1) / torch.from_numpy(UNITS)
    start = start[:, None].repeat(1, 3, 1, 1)
    # Bring the places of both hands to the origin, two centimetres from each other, before anything is bent.
    joints, used = hands.joints(start), touches.active[..., None]
    way = torch.tensor(np.stack([plan.way for plan in plans]), dtype=torch.float32)[:, None]
    for h, side in enumerate((-0.01, 0.01)):
        middle = ((touches.places[h] @ joints[:, :, h]) * used).sum(2) / used.sum(2)
        start[:, :, h, :3] = (side * way - middle) / float(UNITS[0])

    def cost(unknowns: Tensor, step: int) -> Tensor:
        same = (unknowns - start).square().sum() + 3 * unknowns.diff(dim=1).square().sum()
        return _contact_cost(hands, unknowns, touches) + STAY_WEIGHT * same

    return _descent(start, cost, POSE_STEPS)


def _keys(plan: Plan, contact: ndarray, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
    """Times (key,) and unknowns (key, hand, 36) of the whole episode, around the poses of the contact (3, hand, 36)."""
    begin, end = min(t.time_s[0] for t in plan.touches), max(t.time_s[1] for t in plan.touches)

    def apart(pose: ndarray, half_m: float, loose: float, open_share: float) -> ndarray:
        out = pose.copy()
        out[:, :3] += np.array([[-half_m], [half_m]]) * plan.way / UNITS[:3]
        out[:, :3] += loose * rng.normal(0, 0.015, (2, 3)) / UNITS[:3]
        out[:, 3:6] += loose * rng.normal(0, 0.25, (2, 3)) / UNITS[3:6]
        flat = np.float32(np.log(0.15 / 0.85)) / UNITS[6]
        out[:, 6::2] += open_share * (flat - out[:, 6::2])
        out[:, 6:] += loose * (rng.normal(0, 0.5, (2, 1)) + rng.normal(0, 0.25, (2, 30)))
        return out

    opened = 0.7 * plan.opening
    ready = [apart(pose, 0.025, 0.1, opened) for pose in (contact[0], contact[2])]
    far = [apart(pose, rng.uniform(0.055, 0.09), 1.0, opened * rng.uniform(0.5, 1)) for pose in ready]
    times = [-0.5, begin - plan.pace_s[0], begin - 0.2, begin + 0.05, 0.5 * (begin + end), end - 0.05, end + 0.2]
    rest = apart(far[0], 0.0, 0.5, 0.0), apart(far[1], 0.0, 0.5, 0.0)
    poses = [rest[0], far[0], ready[0], *contact, ready[1], far[1], rest[1]]
    return np.array([*times, end + plan.pace_s[1], EPISODE_S + 0.5]), np.stack(poses)


def _track(times_s: ndarray, poses: ndarray, at_s: ndarray) -> Tensor:
    """(time, hand, 36) minimum-jerk movements from key to key."""
    segment = np.clip(np.searchsorted(times_s, at_s, side="right") - 1, 0, len(times_s) - 2)
    u = np.clip((at_s - times_s[segment]) / np.diff(times_s)[segment], 0, 1)
    s = (u**3 * (10 - 15 * u + 6 * u * u))[:, None, None]
    return torch.tensor(poses[segment] + s * (poses[segment + 1] - poses[segment]), dtype=torch.float32)


def _basis(time_s: Tensor) -> Tensor:
    """(time, knot) of uniform cubic B-splines, the first knot KNOT_S before 0: twice continuously differentiable."""
    knots = torch.arange(-1, round(EPISODE_S / KNOT_S) + 2)
    x = (time_s[:, None].double() / KNOT_S - knots).abs()
    inner, outer = 2 / 3 - x**2 + x**3 / 2, (2 - x).clamp(min=0) ** 3 / 6
    return torch.where(x < 1, inner, outer).float()


def _refined(hands: _Hands, start: Tensor, basis: Tensor, touches: _Touches) -> Tensor:
    """(episode, knot, hand, 36) the knots for which the contacts hold and the hands stay out of each other."""

    def cost(knots: Tensor, step: int) -> Tensor:
        part = slice(step % 2, None, 2)  # every other frame, in turn
        unknowns = torch.einsum("fk,ekhn->efhn", basis[part], knots)
        change = knots - start
        stay = STAY_WEIGHT * change.square().sum() + SMOOTH_WEIGHT * change.diff(n=2, dim=1).square().sum()
        return _contact_cost(hands, unknowns, touches.frames(part)) + stay

    return _descent(start, cost, MOTION_STEPS)


def _wandering(motion: Motion, rngs: Sequence[np.random.Generator], time_s: Tensor) -> Motion:
    """Both hands carried about together, slowly: it changes no contact."""
    count = round(EPISODE_S / KNOT_S) + 3
    coarse = np.linspace(0, 4, count)
    moves = []
    for rng in rngs:
        points = rng.normal(0, 1, (6, 6)) * [0.03, 0.03, 0.03, 0.12, 0.12, 0.12]
        moves.append(np.stack([np.interp(coarse, np.arange(6), points[:, i]) for i in range(6)], axis=-1))
    knots = torch.tensor(np.stack(moves), dtype=torch.float32)
    place, turn = torch.einsum("fk,ekn->efn", _basis(time_s), knots).split(3, dim=-1)
    R = roma.rotvec_to_rotmat(turn)[:, :, None]
    wrist = (R @ motion.wrist_m[..., None])[..., 0] + place[:, :, None]
    return Motion(wrist, R @ motion.R_world_wrist, motion.R_pose, motion.betas)
