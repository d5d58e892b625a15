"""Contact term of the fit: spheres that fill each hand, and the cost of their overlap.

The spheres are placed on the bones and in the palm at fixed combinations of the landmarks, as large as the mesh allows.
Where spheres of both hands overlap, a separating plane is placed half-way between them, and each hand is penalised for
crossing it. The planes are updated a few times; between two updates the hands are independent problems.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ..core.hands import BONES, MANO_JOINT, NUM_JOINTS
from .kinematics import Landmarks

PER_BONE = 4
SLAB_M = 0.004
"""Skin this far along the bone counts as around a sphere."""
MARGIN_M = 0.004
"""Distance below which a pair of spheres gets a plane: the spheres may overlap before the next update of the planes."""
UNIT_M = 1e-3
"""Depth that costs half the weight."""


@dataclass(frozen=True, eq=False)
class Spheres:
    """The spheres that fill a hand."""

    place: ndarray
    """(sphere, 21) each centre as a combination of the landmarks."""
    radius_m: ndarray
    """(sphere,)"""

    def centers(self, points_m: ndarray) -> ndarray:
        """(..., sphere, 3) of (..., 21, 3) landmarks."""
        return self.place @ points_m


def fill(hand: Landmarks) -> Spheres:
    """Spheres along every bone and between neighbouring bones of the palm, after the mesh of the zero pose.

    In the palm they are inscribed. In a finger the bone is not always in the middle: the radius is half-way between the
    least and the median distance of the skin around.
    """
    eye = np.eye(NUM_JOINTS)
    shares = np.arange(1, PER_BONE + 1) / PER_BONE
    rows = [eye[0]]
    for parent, child in BONES:
        rows += [(1 - t) * eye[parent] + t * eye[child] for t in shares]
    for one, other in ((1, 5), (5, 9), (9, 13), (13, 17)):
        rows += [(1 - t) * eye[0] + 0.5 * t * (eye[one] + eye[other]) for t in shares]
    place = np.stack(rows)
    model = hand.model
    vertices = model.v_template + model.shapedirs @ hand.betas
    centers = place @ hand.rest_landmarks
    distance = np.linalg.norm(centers[:, None] - vertices, axis=-1)
    radius = distance.min(axis=1)
    for bone, (parent, child) in enumerate(BONES):
        if parent == 0:
            continue
        along = hand.rest_landmarks[child] - hand.rest_landmarks[parent]
        own = model.weights[:, MANO_JOINT[parent]] >= 0.5
        for sphere in range(1 + PER_BONE * bone, 1 + PER_BONE * (bone + 1)):
            beside = np.abs((vertices - centers[sphere]) @ along) < SLAB_M * np.linalg.norm(along)
            # The tip itself lies on the skin.
            if (own & beside).any() and (MANO_JOINT[child] >= 0 or sphere < PER_BONE * (bone + 1)):
                radius[sphere] = 0.5 * (radius[sphere] + np.median(distance[sphere, own & beside]))
    return Spheres(place, radius)


@dataclass(frozen=True, eq=False)
class StayBeside:
    """One hand's side of the planes. A `PointTerm` of the model's own joints."""

    spheres: Spheres
    frame: ndarray
    """(plane,) rising."""
    sphere: ndarray
    """(plane,) which of the hand's spheres."""
    normal_out: ndarray
    """(plane, 3) away from the other hand."""
    limit_m: ndarray
    """(plane,) least `normal_out . center`."""
    weight: float
    frames: int
    of_model: bool = True

    @property
    def covers(self) -> ndarray:
        """(frame, 21) False: this term is added to the observations and replaces none."""
        return np.zeros((self.frames, NUM_JOINTS), dtype=bool)

    def take(self, frames: slice) -> StayBeside:
        """The term of these frames."""
        start, stop, _ = frames.indices(self.frames)
        part = slice(*np.searchsorted(self.frame, (start, stop)))
        return replace(
            self,
            frame=self.frame[part] - start,
            sphere=self.sphere[part],
            normal_out=self.normal_out[part],
            limit_m=self.limit_m[part],
            frames=stop - start,
        )

    def _depth(self, points_m: ndarray) -> ndarray:
        centers = self.spheres.centers(points_m)[self.frame, self.sphere]
        return np.maximum(0.0, self.limit_m - np.sum(self.normal_out * centers, axis=-1)) / UNIT_M

    def deepest_m(self, points_m: ndarray) -> float:
        """The farthest any sphere of (frame, 21, 3) joints is beyond its plane, metres."""
        return float(self._depth(points_m).max(initial=0.0)) * UNIT_M

    def cost(self, points_m: ndarray) -> ndarray:
        """(frame,) of (frame, 21, 3) joints."""
        depth = self._depth(points_m)
        return np.bincount(self.frame, 0.5 * self.weight * depth**2, minlength=self.frames)

    def normal(self, points_m: ndarray) -> tuple[ndarray, ndarray]:
        """Gradient (frame, 21, 3) and Gauss-Newton matrix (frame, 63, 63) by the joints."""
        slope = np.zeros((self.frames, 3 * NUM_JOINTS))
        curve = np.zeros((self.frames, 3 * NUM_JOINTS, 3 * NUM_JOINTS))
        depth = self._depth(points_m)
        inside = np.flatnonzero(depth > 0)
        rows = self.spheres.place[self.sphere[inside], :, None] * -self.normal_out[inside, None] / UNIT_M
        rows = rows.reshape(len(inside), 3 * NUM_JOINTS)
        if len(inside) == 0:
            return slope.reshape(-1, NUM_JOINTS, 3), curve
        felt, start = np.unique(self.frame[inside], return_index=True)
        for frame, one, depths in zip(felt, np.split(rows, start[1:]), np.split(depth[inside], start[1:]), strict=True):
            slope[frame] = self.weight * depths @ one
            curve[frame] = self.weight * one.T @ one
        return slope.reshape(-1, NUM_JOINTS, 3), curve


def planes(
    spheres: tuple[Spheres, Spheres], points_m: tuple[ndarray, ndarray], weight: float
) -> tuple[StayBeside, StayBeside] | None:
    """The planes between two hands.

    Args:
        spheres: of the left and the right hand.
        points_m: their (frame, 21, 3) joints; NaN where a hand is unknown.
        weight: of a millimetre's depth.

    Returns:
        Each hand's side; None where the hands are never near.
    """
    a, b = spheres
    frames = len(points_m[0])
    found: list[tuple[ndarray, ...]] = []
    reach = a.radius_m[:, None] + b.radius_m + MARGIN_M
    near = _boxes_meet(*points_m, 2 * max(a.radius_m.max(), b.radius_m.max()))
    for frame in near:
        one, other = a.centers(points_m[0][frame]), b.centers(points_m[1][frame])
        gap = one[:, None] - other
        distance = np.linalg.norm(gap, axis=-1)
        i, j = np.nonzero((distance < reach) & (distance > 1e-6))
        normal = gap[i, j] / distance[i, j, None]
        # Half-way between the two surfaces, along the line of centres.
        middle = other[j] + normal * (0.5 * (distance[i, j] + b.radius_m[j] - a.radius_m[i]))[:, None]
        found.append((np.full(len(i), frame), i, j, normal, np.sum(normal * middle, axis=-1)))
    if not any(len(item[0]) for item in found):
        return None
    frame, i, j, normal, level = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return (
        StayBeside(a, frame, i, normal, level + a.radius_m[i], weight, frames),
        StayBeside(b, frame, j, -normal, -level + b.radius_m[j], weight, frames),
    )


def _boxes_meet(one_m: ndarray, other_m: ndarray, room_m: float) -> ndarray:
    """Frames whose bounding boxes of (frame, 21, 3) joints come within `room_m`; NaN never does."""
    apart = np.maximum(one_m.min(axis=1) - other_m.max(axis=1), other_m.min(axis=1) - one_m.max(axis=1))
    return np.flatnonzero((apart <= room_m).all(axis=1))
