"""The 21 landmarks of a hand of known shape, and their exact derivatives.

Inside the solver the pose of a finger joint is three angles about its anatomical axes (flexion, abduction, twist):
`hand_pose = frames^T angles`, still an axis-angle vector, so limits and priors are diagonal. The root's rotation is a
matrix, moved by a small turn on its right. A step is ordered (transl 3, root turn 3, angles 45).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy import ndarray

from ..core.geometry import cross_matrix, rotation_from_axis_angle
from ..core.hands import MANO_JOINT, MANO_TIP_VERTEX, NUM_JOINTS, NUM_MANO_JOINTS, TIPS
from ..hand.model import HandModel, forward_kinematics

NUM_PARAMETERS = 51


def anatomical_frames(model: HandModel) -> ndarray:
    """Axes of the fifteen finger joints in the zero pose, from where the model's joints rest.

    Returns:
        (15, 3, 3) orthonormal rows in MANO's joint order: flexion (positive curls toward the palm), abduction,
        twist (along the bone). A left hand's axes mirror the right one's, so that equal angles mirror the pose.
    """
    joints, tips = model.rest_joints, model.v_template[MANO_TIP_VERTEX]
    index, middle, pinky = (joints[j] - joints[0] for j in (1, 4, 7))
    sign = 1.0 if model.side == "right" else -1.0
    palm = _unit(sign * np.cross(index, pinky))
    ulnar = _unit(sign * np.cross(palm, middle))
    frames = np.empty((15, 3, 3))
    for finger, tip in enumerate((1, 2, 4, 3, 0)):
        chain = np.concatenate([joints[1 + 3 * finger : 4 + 3 * finger], tips[tip : tip + 1]])
        # The thumb's pad faces the other fingers, about halfway between the palm's normal and the ulnar side.
        pad = palm + 0.8 * ulnar if tip == 0 else palm
        for level in range(3):
            bone = _unit(chain[level + 1] - chain[level])
            flexion = _unit(np.cross(bone, pad))
            frames[3 * finger + level] = [flexion, np.cross(bone, flexion), bone]
    # An axis-angle vector is a pseudovector: in a mirror the axes in the mirror's plane turn round.
    frames[:, 1:] *= sign
    return frames


def _unit(v: ndarray) -> ndarray:
    return v / np.linalg.norm(v)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The constants that turn poses into landmarks, for one model, one shape and one set of offsets."""

    model: HandModel
    frames: ndarray
    """(15, 3, 3) `anatomical_frames`."""
    betas: ndarray
    """(10,)"""
    offsets_m: ndarray
    """(21, 3) shift of each landmark in the zero pose; it moves with the landmark's bone."""

    @cached_property
    def bare(self) -> Landmarks:
        """The model's own joints: without offsets."""
        return replace(self, offsets_m=np.zeros_like(self.offsets_m))

    @cached_property
    def rest_joints(self) -> ndarray:
        """(16, 3) metres."""
        return self.model.rest_joints + self.model.rest_joint_dirs @ self.betas

    @cached_property
    def rest_landmarks(self) -> ndarray:
        """(21, 3) landmarks in the zero pose, metres."""
        rest = np.empty((NUM_JOINTS, 3))
        inner = MANO_JOINT >= 0
        rest[inner] = self.rest_joints[MANO_JOINT[inner]]
        rest[TIPS] = (self.model.v_template + self.model.shapedirs @ self.betas)[MANO_TIP_VERTEX]
        return rest + self.offsets_m

    @cached_property
    def skin(self) -> ndarray:
        """(21, 16) skinning weights: one joint each, but for the fingertips."""
        weights = np.zeros((NUM_JOINTS, NUM_MANO_JOINTS))
        inner = MANO_JOINT >= 0
        weights[inner, MANO_JOINT[inner]] = 1.0
        weights[TIPS] = self.model.weights[MANO_TIP_VERTEX]
        return weights

    @cached_property
    def pairs(self) -> tuple[ndarray, ndarray, ndarray]:
        """(pair,) landmark and joint of each weight that is not zero, and the (21, pair) matrix that sums them."""
        landmark, joint = np.nonzero(self.skin)
        gather = np.zeros((NUM_JOINTS, len(landmark)))
        gather[landmark, np.arange(len(landmark))] = self.skin[landmark, joint]
        return landmark, joint, gather

    @cached_property
    def levers(self) -> tuple[ndarray, ndarray, ndarray]:
        """Which landmark moves with which joint: (lever,) landmark, joint; (lever, pair) share of the pairs beyond."""
        landmark_of, joint_of, gather = self.pairs
        beyond = np.eye(NUM_MANO_JOINTS, dtype=bool)
        for joint in range(1, NUM_MANO_JOINTS):
            beyond[:, joint] |= beyond[:, self.model.parents[joint]]
        share = np.where(beyond[:, joint_of], gather.sum(0), 0.0)
        share = share[None] * (landmark_of == np.arange(NUM_JOINTS)[:, None])[:, None]
        landmark, joint = np.nonzero(share.any(axis=2))
        return landmark, joint, share[landmark, joint]

    @cached_property
    def tip_correctives(self) -> ndarray:
        """(15, 9, 15) pose correctives of the fingertips: joint, entry of R - I, (tip, xyz)."""
        return self.model.posedirs[MANO_TIP_VERTEX].reshape(15, 15, 9).transpose(1, 2, 0).copy()


@dataclass(frozen=True, eq=False)
class PosedLandmarks:
    """Landmarks in some frames, with what their derivatives need."""

    points_m: ndarray
    """(frame, 21, 3)"""
    axis_angle: ndarray
    """(frame, 15, 3)"""
    R_local: ndarray
    """(frame, 16, 3, 3)"""
    R_world: ndarray
    """(frame, 16, 3, 3)"""
    centers_m: ndarray
    """(frame, 16, 3) joints, without `transl`."""
    skinned_m: ndarray
    """(frame, pair, 3) each landmark as each of its joints carries it, without `transl`."""


def pose_landmarks(hand: Landmarks, R_root: ndarray, angles: ndarray, transl: ndarray) -> PosedLandmarks:
    """Landmarks of (frame, 3, 3) root rotations, (frame, 15, 3) anatomical angles, (frame, 3) translations."""
    frames = len(R_root)
    axis_angle = (angles[:, :, None] @ hand.frames)[:, :, 0]
    R_local = np.empty((frames, NUM_MANO_JOINTS, 3, 3))
    R_local[:, 0] = R_root
    R_local[:, 1:] = rotation_from_axis_angle(axis_angle)
    R_world, centers = forward_kinematics(R_local, hand.rest_joints)
    landmark, joint, gather = hand.pairs
    rest = np.broadcast_to(hand.rest_landmarks, (frames, NUM_JOINTS, 3)).copy()
    feature = (R_local[:, 1:] - np.eye(3)).reshape(frames, 135)
    rest[:, TIPS] += (feature @ hand.tip_correctives.reshape(135, 15)).reshape(frames, 5, 3)
    arm = rest[:, landmark] - hand.rest_joints[joint]
    skinned = (R_world[:, joint] @ arm[..., None])[..., 0] + centers[:, joint]
    points = gather @ skinned + transl[:, None]
    return PosedLandmarks(points, axis_angle, R_local, R_world, centers, skinned)


def pose_jacobian(hand: Landmarks, posed: PosedLandmarks) -> ndarray:
    """(frame, 63, 51) derivative of the landmarks by a step (transl, root turn, angles)."""
    frames = len(posed.points_m)
    landmark, joint, share = hand.levers
    turn = right_jacobian(posed.axis_angle) @ hand.frames.transpose(0, 2, 1)
    axes = posed.R_world.copy()
    axes[:, 1:] = axes[:, 1:] @ turn
    # A landmark turns about a joint's axis with the lever of the parts of it that lie beyond the joint.
    lever = share @ posed.skinned_m - share.sum(1)[:, None] * posed.centers_m[:, joint]
    out = np.zeros((frames, NUM_JOINTS, 3, NUM_PARAMETERS))
    out[:, :, [0, 1, 2], [0, 1, 2]] = 1.0
    a, y = axes[:, joint], lever[..., None]
    moved = np.empty((frames, len(joint), 3, 3))
    moved[:, :, 0] = a[:, :, 1] * y[:, :, 2] - a[:, :, 2] * y[:, :, 1]
    moved[:, :, 1] = a[:, :, 2] * y[:, :, 0] - a[:, :, 0] * y[:, :, 2]
    moved[:, :, 2] = a[:, :, 0] * y[:, :, 1] - a[:, :, 1] * y[:, :, 0]
    for i in range(len(joint)):
        out[:, landmark[i], :, 3 + 3 * joint[i] : 6 + 3 * joint[i]] = moved[:, i]
    out[:, TIPS, :, 6:] += _corrective_jacobian(hand, posed, turn)
    return out.reshape(frames, 3 * NUM_JOINTS, NUM_PARAMETERS)


def _corrective_jacobian(hand: Landmarks, posed: PosedLandmarks, turn: ndarray) -> ndarray:
    """(frame, 5, 3, 45) how the fingertips' pose correctives change with the angles."""
    frames = len(turn)
    # dR = R [turn]x, one slice for each angle: (joint, frame, angle, 3, 3)
    dR = posed.R_local[:, 1:, None] @ cross_matrix(turn.swapaxes(-1, -2))
    dR = dR.transpose(1, 0, 2, 3, 4).reshape(15, frames * 3, 9)
    d_rest = (dR @ hand.tip_correctives).reshape(15, frames, 3, 5, 3)
    d_rest = d_rest.transpose(1, 3, 4, 0, 2).reshape(frames, 5, 3, 45)
    blended = (hand.skin[TIPS] @ posed.R_world.reshape(frames, NUM_MANO_JOINTS, 9)).reshape(frames, 5, 3, 3)
    return blended @ d_rest


def shape_jacobian(hand: Landmarks, posed: PosedLandmarks) -> ndarray:
    """(frame, 63, 73) derivative of the landmarks by (betas 10, offsets 63)."""
    frames = len(posed.points_m)
    dirs = hand.model.rest_joint_dirs
    d_centers = np.empty((frames, NUM_MANO_JOINTS, 3, 10))
    d_centers[:, 0] = dirs[0]
    for joint in range(1, NUM_MANO_JOINTS):
        parent = hand.model.parents[joint]
        d_centers[:, joint] = d_centers[:, parent] + posed.R_world[:, parent] @ (dirs[joint] - dirs[parent])
    d_rest = np.empty((NUM_JOINTS, 3, 10))
    inner = MANO_JOINT >= 0
    d_rest[inner] = dirs[MANO_JOINT[inner]]
    d_rest[TIPS] = hand.model.shapedirs[MANO_TIP_VERTEX]
    landmark, joint, gather = hand.pairs
    moved = posed.R_world[:, joint] @ (d_rest[landmark] - dirs[joint]) + d_centers[:, joint]
    out = np.zeros((frames, NUM_JOINTS, 3, 73))
    out[..., :10] = (gather @ moved.reshape(frames, len(joint), 30)).reshape(frames, NUM_JOINTS, 3, 10)
    R_bone = (hand.skin @ posed.R_world.reshape(frames, NUM_MANO_JOINTS, 9)).reshape(frames, NUM_JOINTS, 3, 3)
    for i in range(NUM_JOINTS):
        out[:, i, :, 10 + 3 * i : 13 + 3 * i] = R_bone[:, i]
    return out.reshape(frames, 3 * NUM_JOINTS, 73)


def right_jacobian(axis_angle: ndarray) -> ndarray:
    """(..., 3, 3) J with exp(v + dv) = exp(v) exp(J dv) (Sola et al. 2018, eq. 143)."""
    angle2 = np.sum(axis_angle**2, axis=-1)
    small = angle2 < 1e-4  # below, the series are exact to 1e-13 and the quotients are not
    safe = np.where(small, 1.0, angle2)
    angle = np.sqrt(safe)
    b = 0.5 * np.sinc(np.sqrt(angle2) / (2 * np.pi)) ** 2
    c = np.where(small, 1 / 6 - angle2 / 120, (angle - np.sin(angle)) / (safe * angle))
    K = cross_matrix(axis_angle)
    return np.eye(3) - b[..., None, None] * K + c[..., None, None] * (K @ K)


def right_jacobian_inverse(axis_angle: ndarray) -> ndarray:
    """(..., 3, 3) inverse of `right_jacobian`, for angles below pi (Sola et al. 2018, eq. 144)."""
    angle2 = np.sum(axis_angle**2, axis=-1)
    small = angle2 < 1e-4
    safe = np.where(small, 1.0, angle2)
    half = 0.5 * np.sqrt(safe)
    c = np.where(small, 1 / 12 + angle2 / 720, (1 - half / np.tan(half)) / safe)
    K = cross_matrix(axis_angle)
    return np.eye(3) + 0.5 * K + c[..., None, None] * (K @ K)
