"""Interpolation between controls, and correction of a motion so that it meets its controls."""

from __future__ import annotations

import roma
import torch
from torch import Tensor

from .controls import Controls
from .motion import Motion
from .precision import full_precision

ROUGH = 1e-4
"""Of a kernel's diagonal, the variance of a rough part that fades within ROUGH_FRAMES. Without it a smooth kernel is
singular, and noise at neighbouring observed frames would be carried on as a wild swing; a nugget would leave seams.

Measured with the wrists' kernel of captured motion and 20 observed frames in a row: white noise there is 12 times as
great in the next 20 frames (40 times without a rough part). Ten times as much of it: 4 times, but then the jerk around
the last observed frame is up to twice the data's instead of 1.3 times."""

ROUGH_FRAMES = 1.0


@full_precision
def interpolate(controls: Controls) -> Motion:
    """The simplest motion through the controls: each quantity of each hand on its own, between the frames in which it
    is observed, positions linearly, rotations by SLERP (Shoemake 1985); held outside of them.

    What is observed in no frame is at the origin (wrist), unturned (orientation), or flat (pose).

    Args:
        controls: observed parts of (..., frame, hand) motions.

    Returns:
        The motions; observed entries are the observed values, bit by bit.
    """
    motion = controls.motion
    before, after, share, ever = _neighbours(controls.has_wrist)
    a, b = (motion.wrist_m.gather(-3, frame[..., None].expand(motion.wrist_m.shape)) for frame in (before, after))
    wrist = torch.where(ever[..., None], a + share[..., None].to(a.dtype) * (b - a), 0.0)
    orient = _slerped(motion.R_world_wrist[..., None, :, :], controls.has_orient).squeeze(-3)
    pose = _slerped(motion.R_pose, controls.has_pose)
    return Motion(wrist, orient, pose, motion.betas)


@full_precision
def impose(motion: Motion, controls: Controls, kernel: Tensor) -> Motion:
    """Correct a motion so that it meets the controls exactly, with a correction that is as smooth as the kernel.

    What is missing at the observed frames (wrists: a vector; rotations: the rotation vector of R_observed R^T) is
    spread over the other frames by kriging with the kernel, K[:, o] K[o, o]^-1 (Krige 1951; Cressie 1993), and added.
    A quantity of a hand which is observed nowhere is left as it is. Last, the observed values are written over.

    Args:
        motion: (..., frame, hand) motions.
        controls: of the same motions.
        kernel: (frame, frame) covariance over time, positive semi-definite; its scale does not matter.

    Returns:
        The motions; observed entries are the observed values, bit by bit.
    """
    given = controls.motion
    missing = given.wrist_m.double() - motion.wrist_m.double()
    wrist = motion.wrist_m + _spread(missing, controls.has_wrist, kernel).to(motion.wrist_m.dtype)
    orient = _turned_to(
        motion.R_world_wrist[..., None, :, :], given.R_world_wrist[..., None, :, :], controls.has_orient, kernel
    )
    pose = _turned_to(motion.R_pose, given.R_pose, controls.has_pose, kernel)
    return controls.over(Motion(wrist, orient.squeeze(-3), pose, motion.betas))


def _turned_to(R: Tensor, R_given: Tensor, has: Tensor, kernel: Tensor) -> Tensor:
    """(..., frame, hand, joint, 3, 3) rotations turned towards those given where `has` (..., frame, hand)."""
    missing = R.new_zeros(R.shape[:-1])
    missing[has] = roma.rotmat_to_rotvec(_times(R_given[has], R[has].mT))
    spread = _spread(missing.flatten(-2), has, kernel).to(R.dtype).unflatten(-1, (-1, 3))
    return _times(roma.rotvec_to_rotmat(spread), R)


def _spread(missing: Tensor, has: Tensor, kernel: Tensor) -> Tensor:
    """Distribute the differences at the observed frames over all frames by kriging.

    Args:
        missing: (..., frame, hand, number), anything where not observed.
        has: (..., frame, hand) bool.
        kernel: (frame, frame)

    Returns:
        (..., frame, hand, number) float64.
    """
    missing = torch.where(has[..., None], missing.double(), 0.0).movedim(-2, -3)
    o = has.movedim(-1, -2)
    K = kernel.double() / kernel.double().diagonal().mean()
    K = K + ROUGH * _matern(K.shape[-1], ROUGH_FRAMES, K)
    # Unobserved rows and columns are the identity's: their unknowns stay zero, and all masks share one shape.
    eye = torch.eye(K.shape[-1], dtype=K.dtype, device=K.device)
    K_oo = torch.where(o[..., :, None] & o[..., None, :], K, eye)
    weight = torch.cholesky_solve(missing, torch.linalg.cholesky(K_oo))
    return (K @ weight).movedim(-3, -2)


def _matern(frames: int, scale: float, like: Tensor) -> Tensor:
    """(frame, frame) Matern covariance of smoothness 5/2 (Rasmussen and Williams 2006, eq. 4.17)."""
    frame = torch.arange(frames, dtype=like.dtype, device=like.device)
    r = 5**0.5 * (frame[:, None] - frame).abs() / scale
    return (1 + r + r * r / 3) * torch.exp(-r)


def _slerped(R: Tensor, has: Tensor) -> Tensor:
    """(..., frame, hand, joint, 3, 3) by SLERP between the frames where `has` (..., frame, hand); identity if none."""
    before, after, share, ever = _neighbours(has)
    entry = torch.arange(has.numel(), device=has.device).view(has.shape)
    first, second = (entry.gather(-2, frame) for frame in (before, after))
    out = R.flatten(0, has.ndim - 1)[first]
    out[~ever.expand(has.shape)] = torch.eye(3, dtype=R.dtype, device=R.device)
    # Quaternions of the observed frames alone, and of the frames where there is something between two of them.
    between = before != after
    if not between.any():
        return out
    q = roma.rotmat_to_unitquat(R[has]).movedim(-1, 0).contiguous()
    number = has.flatten().cumsum(0) - 1
    a, b = (q[:, number[knot[between]]] for knot in (first, second))
    b = torch.where((a * b).sum(0) < 0, -b, b)
    # The angle from both chords is accurate for equal and for opposite rotations; the sinc form divides by no zero.
    angle = 2 * torch.atan2((b - a).square().sum(0).sqrt(), (b + a).square().sum(0).sqrt()) / torch.pi
    share = share[between][:, None].to(R.dtype)
    weight_a, weight_b = (part * torch.sinc(part * angle) for part in (1 - share, share))
    out[between] = _rotation_of_quaternion((weight_a * a + weight_b * b) / torch.sinc(angle))
    return out


def _rotation_of_quaternion(q: Tensor) -> Tensor:
    """(..., 3, 3) of (4, ...) unit quaternions x, y, z, w."""
    x, y, z, w = q
    xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
    wx, wy, wz = w * x, w * y, w * z
    rows = (
        *(1 - 2 * (yy + zz), 2 * (xy - wz), 2 * (xz + wy)),
        *(2 * (xy + wz), 1 - 2 * (xx + zz), 2 * (yz - wx)),
        *(2 * (xz - wy), 2 * (yz + wx), 1 - 2 * (xx + yy)),
    )
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _neighbours(has: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For (..., frame, hand) bool: the last observed frame until each frame and the first from it on, the share of the
    way between them, all (..., frame, hand), and whether any frame is observed, (..., 1, hand)."""
    frames = has.shape[-2]
    frame = torch.arange(frames, device=has.device)[:, None]
    before = torch.where(has, frame, -1).cummax(-2).values
    after = torch.where(has, frame, frames).flip(-2).cummin(-2).values.flip(-2)
    # Outside of the observed frames both are the nearest one.
    before = torch.where(before < 0, after, before)
    after = torch.where(after == frames, before, after)
    ever = has.any(-2, keepdim=True)
    share = (frame - before).double() / (after - before).clamp(min=1)
    return before.clamp(0, frames - 1), after.clamp(0, frames - 1), share, ever


def _times(A: Tensor, B: Tensor) -> Tensor:
    """A B for (..., 3, 3), entry by entry: faster than matmul for many small products, and not rounded to bfloat16 by
    `torch.set_float32_matmul_precision`."""
    a, b = (M.flatten(0, -3).movedim(0, -1).contiguous() for M in (A, B))
    product = a[:, 0, None] * b[0] + a[:, 1, None] * b[1] + a[:, 2, None] * b[2]
    return product.movedim(-1, 0).contiguous().view(A.shape)
