"""Which way is up: a session's world is where its calibration put it, glTF and its like want y up."""

# Ring 2: reads and writes.

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ..recording import Recording

ALONG_AXIS_DEG = 5.0
"""An axis of the world this near to the cameras' up is meant to be up: what is left is how level the cameras are."""

UNKNOWN = "Up and down: no cameras say which way is up, so the axes are the session's world."


def upright(recording: Recording, back: str) -> tuple[ndarray, list[str]]:
    """The turn of a recording's world to y up, and what there is to say about it.

    Up is z where `calibration.world` is `gravity`, else what the cameras' images say.

    Args:
        recording: with cameras, or not.
        back: how one gets the session's own axes again.

    Returns:
        (3, 3) rotation, the identity where up is not known; one sentence.
    """
    cameras = recording.cameras()
    if cameras is None:
        return np.eye(3), [UNKNOWN]
    settings = (recording.store.fingerprint("cameras") or {}).get("settings", {})
    gravity = settings.get("world") == "gravity"
    up = np.array([0.0, 0.0, 1.0]) if gravity else cameras.up
    if not np.isfinite(up).all():
        return np.eye(3), [UNKNOWN]
    who = "its world is `gravity`" if gravity else "the cameras' images are upright"
    return y_up(along_axis(up)), [f"The session's axes: turned so that y is up, as {who}. {back}"]


def along_axis(up: ndarray) -> ndarray:
    """A unit vector, or the axis of the world that it nearly is."""
    axis = np.zeros(3)
    largest = np.argmax(np.abs(up))
    axis[largest] = np.sign(up[largest])
    return axis if axis @ up > np.cos(np.deg2rad(ALONG_AXIS_DEG)) else up


def y_up(up: ndarray) -> ndarray:
    """(3, 3) rotation that takes a unit vector to +y and keeps x to the right: of z up it makes (x, z, -y), of y down
    (x, -y, -z). Where x itself is up or down, z is kept."""
    if abs(up[0]) < 0.9:
        z = np.cross([1.0, 0.0, 0.0], up)
        z /= np.linalg.norm(z)
        return np.stack([np.cross(up, z), up, z])
    x = np.cross(up, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    return np.stack([x, up, np.cross(x, up)])
