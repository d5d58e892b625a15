"""Terms of the fitting cost: observed points, pose prior with joint limits, and smoothness. Half sums of squares.

Each term returns its cost, its gradient, and its part of the Gauss-Newton normal matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from ..core.geometry import axis_angle_from_rotation, rotation_from_axis_angle
from .kinematics import NUM_PARAMETERS, right_jacobian_inverse

LIMIT_SD_RAD = 0.1
"""Standard deviation of the soft joint limits, radians."""


@dataclass(frozen=True, eq=False)
class HandState:
    """The unknowns of each frame."""

    R_root: ndarray
    """(frame, 3, 3) rotation of the root."""
    angles: ndarray
    """(frame, 15, 3) flexion, abduction, twist of each finger joint, radians."""
    transl: ndarray
    """(frame, 3) metres."""

    def moved(self, step: ndarray) -> HandState:
        """The state after a (frame, 51) step (transl, root turn on the right, angles)."""
        turn = rotation_from_axis_angle(step[:, 3:6])
        return HandState(self.R_root @ turn, self.angles + step[:, 6:].reshape(-1, 15, 3), self.transl + step[:, :3])

    def take(self, frames: ndarray | slice) -> HandState:
        """The state of these frames."""
        return HandState(self.R_root[frames], self.angles[frames], self.transl[frames])

    def where(self, mask: ndarray, other: HandState) -> HandState:
        """This state where the (frame,) mask is True, the other one elsewhere."""
        m = mask[:, None, None]
        return HandState(
            np.where(m, self.R_root, other.R_root),
            np.where(m, self.angles, other.angles),
            np.where(mask[:, None], self.transl, other.transl),
        )


@dataclass(frozen=True, eq=False)
class PosePrior:
    """Independent normal distributions of the anatomical angles, and soft joint limits."""

    mean: ndarray
    """(15, 3) radians."""
    sd: ndarray
    """(15, 3) radians."""
    low: ndarray
    """(15, 3) radians."""
    high: ndarray
    """(15, 3) radians."""

    def cost(self, angles: ndarray) -> ndarray:
        """(frame,) half squared deviation of (frame, 15, 3) angles from the mean and beyond the limits."""
        beyond = angles - np.clip(angles, self.low, self.high)
        each = ((angles - self.mean) / self.sd) ** 2 + (beyond / LIMIT_SD_RAD) ** 2
        return 0.5 * each.sum(axis=(-2, -1))

    def normal(self, angles: ndarray) -> tuple[ndarray, ndarray]:
        """Gradient and diagonal of the normal matrix, (frame, 45) each."""
        beyond = angles - np.clip(angles, self.low, self.high)
        gradient = (angles - self.mean) / self.sd**2 + beyond / LIMIT_SD_RAD**2
        diagonal = 1 / self.sd**2 + (beyond != 0) / LIMIT_SD_RAD**2
        return gradient.reshape(-1, 45), diagonal.reshape(-1, 45)


def pose_prior(flexion_sd: float, abduction_sd: float, hinge_sd: float, twist_sd: float) -> PosePrior:
    """The pose prior of a healthy hand: knuckles flex and abduct, outer joints are hinges, bones do not twist.

    Twenty-one points determine twist and sideways bending of hinges poorly; small standard deviations keep them
    plausible. All in radians. The limits follow the ranges of motion of Hume et al. 1990, with a margin.
    """
    mean = np.zeros((5, 3, 3))
    sd = np.empty((5, 3, 3))
    low, high = np.full((5, 3, 3), -np.inf), np.full((5, 3, 3), np.inf)
    mean[:4, :, 0] = 0.3
    sd[..., 0] = flexion_sd
    sd[:, 0, 1], sd[:, 1:, 1] = abduction_sd, hinge_sd
    sd[..., 2] = twist_sd
    sd[:, 1:, 2] = hinge_sd
    low[:4, :, 0], high[:4, :, 0] = (-0.5, -0.15, -0.35), (1.75, 2.1, 1.6)
    low[:4, 0, 1], high[:4, 0, 1] = -0.5, 0.5
    # The thumb's saddle joint turns about all three axes, and its second joint is not quite a hinge.
    sd[4, 0], sd[4, 1, 1:] = (flexion_sd, flexion_sd, 3 * twist_sd), abduction_sd
    sd[4, 1, 2] = twist_sd
    low[4, :, 0], high[4, :, 0] = (-0.9, -0.7, -0.9), (1.1, 1.4, 1.6)
    low[4, 0, 1], high[4, 0, 1] = -0.9, 1.1
    return PosePrior(*(x.reshape(15, 3) for x in (mean, sd, low, high)))


def geman_mcclure(error_m: ndarray, sigma_m: ndarray, scale: float) -> tuple[ndarray, ndarray]:
    """Robust cost of 3D errors and the weight of each point in the next least-squares step.

    rho = s^2 r^2 / 2 (s^2 + r^2) with r = |error| / sigma: quadratic near zero, an outlier costs at most s^2 / 2.

    Args:
        error_m: (..., 3) predicted minus observed, NaN where unobserved.
        sigma_m: (...) standard error, metres.
        scale: s, standard deviations.

    Returns:
        cost (...) and weight (...) in 1/m^2; both 0 where unobserved.
    """
    r2 = np.sum(error_m**2, axis=-1) / sigma_m**2
    seen = np.isfinite(r2)
    r2 = np.where(seen, r2, 0.0)
    share = scale**2 / (scale**2 + r2)
    return np.where(seen, 0.5 * r2 * share, 0.0), np.where(seen, share**2 / np.where(seen, sigma_m, 1.0) ** 2, 0.0)


@dataclass(frozen=True, eq=False)
class Smoothness:
    """Accelerations of the 17 three-vectors of a hand (wrist, its turn, fifteen finger joints) as a Huber cost.

    The cost uses second differences, so that uniform motion costs nothing at any speed. It is linear beyond `huber`
    standard deviations, so that abrupt motion is not spread over neighbouring frames. A very weak cost on first
    differences (speed) keeps the hand from drifting away in long gaps.
    """

    fps: float
    acceleration_sd: ndarray
    """(17,) m/s^2 for the wrist, then rad/s^2."""
    speed_sd: ndarray
    """(17,) m/s for the wrist, then rad/s."""
    huber: float
    """Standard deviations."""
    freedom: ndarray | None = None
    """(frame - 2, 17) factors of the standard deviations of the accelerations; None is one everywhere."""

    def adapted(self, state: HandState, share: float, span_s: float) -> Smoothness:
        """A copy with larger standard deviations where the hand accelerates strongly for some time.

        Strong acceleration in single frames is noise and handled by the Huber cost. Strong acceleration over `span_s`
        is fast motion, which smoothing would reduce. There, the standard deviation increases to `share` of the RMS
        acceleration.
        """
        steps = self.steps(state)
        if len(steps) < 2:
            return self
        second = self.fps**2 * np.diff(steps, axis=0) / self.acceleration_sd[:, None]
        reach = max(1, round(0.5 * span_s * self.fps))
        total = np.cumsum(np.concatenate([np.zeros((1, 17)), np.sum(second**2, axis=-1)]), axis=0)
        at = np.arange(len(second))
        start, stop = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(second))
        rms = np.sqrt((total[stop] - total[start]) / (stop - start)[:, None])
        return replace(self, freedom=np.maximum(1.0, share * rms))

    def steps(self, state: HandState) -> ndarray:
        """(frame - 1, 17, 3) first differences; the root's are turns in its own frame."""
        R = state.R_root
        turn = axis_angle_from_rotation(np.swapaxes(R[:-1], -1, -2) @ R[1:])
        return np.concatenate(
            [np.diff(state.transl, axis=0)[:, None], turn[:, None], np.diff(state.angles, axis=0)], axis=1
        )

    def _weights(self, steps: ndarray) -> tuple[float, ndarray, ndarray]:
        """Cost, Huber weights (frame - 2, 17) of the second and weights (17,) of the first differences."""
        second = self.fps**2 * np.diff(steps, axis=0) / self.acceleration_sd[:, None]
        size = np.sqrt(np.sum(second**2, axis=-1))
        if self.freedom is not None:
            size = size / self.freedom
        share = np.minimum(1.0, self.huber / np.maximum(size, 1e-12))
        cost = np.sum(np.where(share < 1, self.huber * (size - 0.5 * self.huber), 0.5 * size**2))
        if self.freedom is not None:
            share = share / self.freedom**2
        first_weight = (self.fps / self.speed_sd) ** 2
        cost += 0.5 * np.sum(first_weight[:, None] * steps**2)
        return float(cost), share * (self.fps**2 / self.acceleration_sd) ** 2, first_weight

    def cost(self, state: HandState) -> float:
        """Half squared accelerations (Huber) and speeds of the whole sequence."""
        return self._weights(self.steps(state))[0]

    def normal(self, state: HandState) -> tuple[float, ndarray, ndarray]:
        """Cost, gradient (frame, 51), and the normal matrix as (frame, 3, 17, 3, 3).

        Entry [t, k, g] is the block of frames t + k (rows) and t (columns) of vector g.
        """
        steps = self.steps(state)
        frames = len(steps) + 1
        cost, weight2, weight1 = self._weights(steps)
        # A first difference changes by ahead[t] d(t + 1) - behind[t] d(t): identities, but for the root's turn.
        ahead = np.broadcast_to(np.eye(3), (*steps.shape, 3)).copy()
        ahead[:, 1] = right_jacobian_inverse(steps[:, 1])
        behind = ahead.copy()
        behind[:, 1] = np.swapaxes(ahead[:, 1], -1, -2)
        gradient = np.zeros((frames, 17, 3))
        blocks = np.zeros((frames, 3, 17, 3, 3))

        def add(start: ndarray, parts: list[ndarray], residual: ndarray, weight: ndarray) -> None:
            n = len(residual)
            for i, part in enumerate(parts):
                weighted = np.swapaxes(part, -1, -2) * weight[..., None, None]
                gradient[i : i + n] += (weighted @ residual[..., None])[..., 0]
                for j in range(i + 1):
                    blocks[j : j + n, i - j] += weighted @ parts[j]

        add(steps, [-behind, ahead], steps, np.broadcast_to(weight1, steps.shape[:2]))
        if frames > 2:
            second = np.diff(steps, axis=0)
            add(second, [behind[:-1], -(ahead[:-1] + behind[1:]), ahead[1:]], second, weight2)
        return cost, gradient.reshape(frames, NUM_PARAMETERS), blocks
