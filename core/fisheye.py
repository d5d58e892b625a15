"""OpenCV's fisheye: theta_d = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8), theta the ray's angle.

Rays are x/z and y/z as everywhere, so the model reaches to `MAX_ANGLE_RAD` from the axis, and no further than the
angle at which the polynomial turns back: beyond it two rays would share a pixel. Coefficients are k1, k2, k3, k4; a
fifth, which OpenCV's other lens has, is not looked at.

Source: Kannala and Brandt, A generic camera model (PAMI 2006), as in `cv2.fisheye`.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

MAX_ANGLE_RAD = np.deg2rad(85.0)
"""x/z and y/z grow without bound toward 90 degrees; from here on a pixel of noise means too much."""
STEPS = 30
"""Of Newton's method, kept in brackets; five are enough but where the polynomial is almost flat."""
TINY = 1e-8


def distort_fisheye(xy: ndarray, distortion: ndarray) -> ndarray:
    """(..., 2) x/z and y/z to distorted coordinates, whatever the angle; coefficients (..., 4 or more)."""
    r = np.hypot(xy[..., 0], xy[..., 1])
    scale = np.where(r > TINY, _bent(np.arctan(r), distortion) / np.maximum(r, TINY), 1.0)
    return xy * scale[..., None]


def project_fisheye(xy: ndarray, distortion: ndarray) -> ndarray:
    """The same; NaN beyond the range."""
    inside = np.arctan(np.hypot(xy[..., 0], xy[..., 1])) <= max_angle_rad(distortion)
    return np.where(inside[..., None], distort_fisheye(xy, distortion), np.nan)


def undistort_fisheye(xy_distorted: ndarray, distortion: ndarray) -> ndarray:
    """Inverse of `project_fisheye`: (..., 2) distorted coordinates to x/z and y/z; NaN beyond the range."""
    r = np.hypot(xy_distorted[..., 0], xy_distorted[..., 1])
    high = np.broadcast_to(max_angle_rad(distortion), r.shape)
    low, inside = np.zeros(r.shape), r <= _bent(high, distortion)
    theta = np.minimum(r, high)
    for _ in range(STEPS):
        over = _bent(theta, distortion) - r
        low, high = np.where(over < 0, theta, low), np.where(over > 0, theta, high)
        with np.errstate(divide="ignore"):
            newton = theta - over / _slope(theta, distortion)
        theta = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
    scale = np.where(r > TINY, np.tan(theta) / np.maximum(r, TINY), 1.0)
    return np.where(inside[..., None], xy_distorted * scale[..., None], np.nan)


def max_angle_rad(distortion: ndarray) -> ndarray:
    """(...) up to which angle a ray's place in the image moves outward; coefficients (..., 4 or more)."""
    theta = np.linspace(0, MAX_ANGLE_RAD, 512)
    falls = _slope(theta, distortion[..., None, :]) <= 0
    return np.where(falls.any(-1), theta[falls.argmax(-1) - 1], MAX_ANGLE_RAD)


def fisheye_jacobian(x: ndarray, y: ndarray, distortion: ndarray) -> tuple[ndarray, ndarray]:
    """Derivatives of `distort_fisheye`: (..., 2, 2) to x, y and (..., 2, 5) to k1, k2, k3, k4 and one without use."""
    r = np.hypot(x, y)
    theta, safe = np.arctan(r), np.maximum(r, TINY)
    scale = np.where(r > TINY, _bent(theta, distortion) / safe, 1.0)
    # The derivative of the scale by r, divided by r once more; x and y, which multiply it, are as small as r.
    change = np.where(r > TINY, (_slope(theta, distortion) / (1 + r * r) - scale) / safe**2, 0.0)
    d_xy = np.stack([scale + x * x * change, x * y * change, x * y * change, scale + y * y * change], -1)
    powers = np.stack([theta**3, theta**5, theta**7, theta**9, 0 * theta], -1)
    d_coefficients = np.stack([x / safe, y / safe], -1)[..., None] * powers[..., None, :]
    return d_xy.reshape(*x.shape, 2, 2), d_coefficients


def _bent(theta: ndarray, distortion: ndarray) -> ndarray:
    k1, k2, k3, k4 = np.moveaxis(distortion, -1, 0)[:4]
    t2 = theta * theta
    return theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))


def _slope(theta: ndarray, distortion: ndarray) -> ndarray:
    """The derivative of `_bent` by the angle."""
    k1, k2, k3, k4 = np.moveaxis(distortion, -1, 0)[:4]
    t2 = theta * theta
    return 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
